/** Hearing a room over one connection, with a scripted server and a peer connection whose sections the test names. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it, mock } from "node:test";
import { OFFER_DEADLINE_MS, Subscription } from "../../web/client/subscription.js";
import { FakePeerConnection, settled } from "./fakes.mjs";

const { timers } = mock;
const original = globalThis.RTCPeerConnection;

/** Has a transceiver for each `a=mid:` that was ever offered; its track is always the same object. */
class SectionedPeerConnection extends FakePeerConnection {
  transceivers = [];

  getTransceivers() {
    return this.transceivers;
  }

  async setRemoteDescription(description) {
    await super.setRemoteDescription(description);
    for (const [, mid] of description.sdp.matchAll(/a=mid:(\S+)/g)) {
      if (!this.transceivers.some((one) => one.mid === mid)) this.transceivers.push({ mid, receiver: { track: { id: `track-${mid}` } } });
    }
  }
}

/** What Signaling is to a Hearing: `sent` is what it said. */
class FakeSignaling {
  sent = [];

  send(message) {
    this.sent.push(message);
  }

  types() {
    return this.sent.map(({ type }) => type);
  }
}

let signaling, told, errors, subscription, revision;

/** An offer of sections: "ann bo -" is ann in section 0, bo in section 1 and an inactive one. */
function offer(people, { session = 1, sdp = "" } = {}) {
  const sections = people.split(" ");
  const tracks = sections.flatMap((name, mid) =>
    name === "-" ? [] : [{ mid: String(mid), consumer_id: `c-${name}`, user_id: name.split("'")[0], track_id: `t-${name}`, kind: "audio" }],
  );
  revision += 1;
  const text = `v=0\r\no=antiphon ${session} ${revision} IN IP4 127.0.0.1\r\n${sections.map((_, mid) => `a=mid:${mid}\r\n`).join("")}${sdp}`;
  return { type: "subscription_offer", revision, sdp: text, tracks };
}

async function say(message) {
  subscription.onMessage(message);
  await settled();
}

const heard = () => told.splice(0);

beforeEach(() => {
  timers.enable({ apis: ["setTimeout"] });
  FakePeerConnection.all = [];
  globalThis.RTCPeerConnection = SectionedPeerConnection;
  signaling = new FakeSignaling();
  told = [];
  errors = [];
  revision = 0;
  subscription = new Subscription(signaling, [], {
    onTrack: (userId, track) => told.push(`${userId} on ${track.id}`),
    onTrackEnded: (userId) => told.push(`${userId} ended`),
    onError: (error) => errors.push(error.code),
  });
});

afterEach(() => {
  subscription.close();
  timers.reset();
  globalThis.RTCPeerConnection = original;
});

describe("following offers", () => {
  it("asks at once, answers each offer with its revision, candidates behind the answer", async () => {
    assert.deepEqual(signaling.types(), ["subscribe"]);
    await say(offer("-"));
    assert.deepEqual(signaling.sent.slice(1).map(({ type, revision: of }) => [type, of]), [["subscription_answer", 1], ["subscription_ice_candidate", undefined]]);
    await say(offer("-"));
    assert.deepEqual(signaling.sent.filter(({ type }) => type === "subscription_answer").map(({ revision: of }) => of), [1, 2]);
    assert.equal(FakePeerConnection.all.length, 1);
    assert.deepEqual(subscription.connections(), [{ userId: null, peerConnection: FakePeerConnection.all[0] }]);
  });

  it("tells who is in which section", async () => {
    subscription.add("ann");
    subscription.add("bo");
    await say(offer("ann bo"));
    assert.deepEqual(heard(), ["ann on track-0", "bo on track-1"]);
  });

  it("ends a person as soon as they stop publishing, before the server says what becomes of the section", async () => {
    subscription.add("ann");
    await say(offer("ann"));
    subscription.remove("ann");
    assert.deepEqual(heard(), ["ann on track-0", "ann ended"]);
    await say(offer("-"));
    assert.deepEqual(heard(), []);
  });

  it("never has two people on one track", async () => {
    subscription.add("ann");
    subscription.add("bo");
    subscription.add("cy");
    await say(offer("ann bo"));
    heard();
    await say(offer("bo' cy")); // everybody changes places at once: whoever goes ends before whoever comes begins
    assert.deepEqual(heard(), ["ann ended", "bo ended", "bo on track-0", "cy on track-1"]);
  });

  it("tells of the same person's new track in the same section", async () => {
    subscription.add("ann");
    await say(offer("ann"));
    heard();
    await say(offer("ann'"));
    assert.deepEqual(heard(), ["ann ended", "ann on track-0"]);
  });

  it("says nothing of somebody who stops publishing while the offer is applied", async () => {
    subscription.add("ann");
    subscription.onMessage(offer("ann"));
    subscription.remove("ann");
    await settled();
    assert.deepEqual(heard(), []);
  });

  it("tells of somebody whose announcement comes after the offer", async () => {
    await say(offer("ann"));
    assert.deepEqual(heard(), []);
    subscription.add("ann");
    assert.deepEqual(heard(), ["ann on track-0"]);
  });

  it("answers an offer that is repeated after a resume on the same connection", async () => {
    const first = offer("-");
    await say(first);
    await say(first);
    assert.equal(signaling.types().filter((type) => type === "subscription_answer").length, 2);
    assert.equal(FakePeerConnection.all.length, 1);
  });

  it("makes a new connection for the offers of another session", async () => {
    subscription.add("ann");
    await say(offer("ann"));
    await say(offer("ann'", { session: 2 }));
    assert.deepEqual(heard(), ["ann on track-0", "ann ended", "ann on track-0"]);
    assert.deepEqual(FakePeerConnection.all.map(({ connectionState }) => connectionState), ["closed", "new"]);
  });
});

describe("breaking", () => {
  const retried = async (delayMs = 300) => {
    timers.tick(delayMs - 1);
    assert.equal(signaling.types().filter((type) => type === "subscribe").length, 1);
    timers.tick(1);
    await settled();
    assert.equal(signaling.types().filter((type) => type === "subscribe").length, 2);
  };

  it("subscribes again when the connection failed", async () => {
    subscription.add("ann");
    await say(offer("ann"));
    FakePeerConnection.all[0].become("failed");
    assert.deepEqual(heard(), ["ann on track-0", "ann ended"]);
    await retried();
    await say(offer("ann'", { session: 2 }));
    assert.deepEqual(heard(), ["ann on track-0"]);
    assert.deepEqual(errors, []);
  });

  it("subscribes again when the server has closed it", async () => {
    await say(offer("-"));
    await say({ type: "subscription_closed", reason: "consent_lost" });
    await retried();
    await say({ type: "subscription_closed", reason: "dtls_closed" }); // of the former one, under way when this one was asked for
    await say(offer("-", { session: 2 }));
    assert.equal(subscription.connections().length, 1);
  });

  it("subscribes again when an offer cannot be applied", async () => {
    await say(offer("-", { sdp: "broken" }));
    await retried();
  });

  it("subscribes again when its answer is refused", async () => {
    await say(offer("-"));
    await say({ type: "error", request: "subscription_answer", code: "invalid_sdp", message: "No." });
    await retried();
  });

  it("subscribes again when no offer comes", async () => {
    timers.tick(OFFER_DEADLINE_MS);
    await retried();
  });

  it("goes on trying, and reports it once", async () => {
    for (let attempt = 0; attempt < 8; attempt += 1) {
      await say({ type: "error", request: "subscribe", code: "shard_unavailable", message: "No." });
      timers.tick(8000);
    }
    assert.equal(signaling.types().filter((type) => type === "subscribe").length, 9);
    assert.deepEqual(errors, ["shard_unavailable"]);
  });

  it("stops when this client is in no room any more", async () => {
    await say(offer("-"));
    await say({ type: "error", request: "subscription_answer", code: "not_in_room", message: "No." });
    timers.tick(60_000);
    assert.deepEqual(signaling.types().filter((type) => type === "subscribe"), ["subscribe"]);
  });

  it("subscribes at once when the room has moved, and when a resumed session has no subscription", async () => {
    await say(offer("-"));
    await say({ type: "room_moved", reason: "shard_lost" });
    const resume = (subscribed) => subscription.resume({ publishing: false, muted: false, consumers: [], subscribed });
    await say(offer("-", { session: 2 }));
    resume(true);
    assert.equal(subscription.connections().length, 1);
    resume(false);
    assert.deepEqual(subscription.connections(), []);
    resume(true); // what there was is closed: nothing can be resumed
    assert.equal(signaling.types().filter((type) => type === "subscribe").length, 4);
  });

  it("tells a server that may not have heard it whom it wants to hear", async () => {
    await say(offer("ann bo"));
    subscription.setSubscribed("ann", false);
    subscription.setSubscribed("ann", true);
    subscription.setSubscribed("bo", false);
    const said = signaling.sent.length;
    subscription.resume({ publishing: false, muted: false, consumers: [], subscribed: true });
    assert.deepEqual(
      signaling.sent.slice(said).map(({ user_id, subscribed }) => [user_id, subscribed]),
      [["bo", false], ["ann", true]],
    );
  });

  it("does nothing after close", async () => {
    await say(offer("-"));
    subscription.close();
    const said = signaling.sent.length;
    await say(offer("ann"));
    await say({ type: "room_moved", reason: "shard_lost" });
    timers.tick(60_000);
    assert.equal(signaling.sent.length, said);
    assert.equal(FakePeerConnection.all[0].connectionState, "closed");
  });
});

describe("single people", () => {
  it("asks the server to send nothing of somebody, and says so again to the next one", async () => {
    subscription.setSubscribed("ann", false);
    subscription.setSubscribed("ann", false);
    const wish = { type: "set_subscribed", user_id: "ann", subscribed: false };
    assert.deepEqual(signaling.sent.slice(1), [wish]);
    await say({ type: "room_moved", reason: "shard_lost" });
    assert.deepEqual(signaling.sent.slice(2), [{ type: "subscribe" }, wish]);
    subscription.setSubscribed("ann", true);
    await say({ type: "room_moved", reason: "shard_lost" });
    assert.deepEqual(signaling.sent.slice(4), [{ ...wish, subscribed: true }, { type: "subscribe" }]);
  });

  it("forgets somebody who has left", async () => {
    subscription.setSubscribed("ann", false);
    await say({ type: "user_left", user_id: "ann", username: "Ann" });
    await say({ type: "room_moved", reason: "shard_lost" });
    assert.deepEqual(signaling.types(), ["subscribe", "set_subscribed", "subscribe"]);
  });
});

describe("restarting ICE", () => {
  it("asks for it where there is a connection, and answers the offer on that", async () => {
    subscription.restartIce();
    assert.deepEqual(signaling.types(), ["subscribe"]);
    await say(offer("-"));
    subscription.restartIce();
    assert.deepEqual(signaling.sent.at(-1), { type: "restart_ice", target: "subscription" });
    await say(offer("-"));
    assert.equal(FakePeerConnection.all.length, 1);
  });
});
