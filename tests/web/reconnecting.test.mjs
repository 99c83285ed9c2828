/** AntiphonClient over lost sockets, with a scripted server and in virtual time: what is kept, repaired, told and given up. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it, mock } from "node:test";
import { TROUBLE_MS } from "../../web/client/connection.js";
import { AntiphonClient } from "../../web/client/index.js";
import { PROBE_DEADLINE_MS } from "../../web/client/signaling.js";
import { FakeServer } from "./fake-server.mjs";
import { FakeClock, FakePeerConnection, settled } from "./fakes.mjs";

const track = { kind: "audio" };
const original = { RTCPeerConnection: globalThis.RTCPeerConnection, MediaStream: globalThis.MediaStream };
const EVENTS = ["statechange", "reconnecting", "reconnected", "disconnected", "roomjoined", "roomleft", "error"];

let clock, server, client, events, news, delayMs, why;

beforeEach(() => {
  FakePeerConnection.all = [];
  globalThis.RTCPeerConnection = FakePeerConnection;
  globalThis.MediaStream = class {
    getTracks = () => [];
  };
  clock = new FakeClock();
  server = new FakeServer();
  const surroundings = {
    ...clock.surroundings,
    openSocket: server.open,
    random: () => 1,
    isOnline: () => true,
    watchNetwork: (listener) => {
      news = listener;
      return () => (news = () => {});
    },
  };
  client = new AntiphonClient({ hearing: "connections", surroundings });
  client.on("reconnecting", (event) => ({ delayMs } = event));
  client.on("disconnected", ({ error }) => (why = error));
  events = [];
  for (const type of EVENTS) {
    client.on(type, (event) => events.push(event.state ?? (type === "error" ? event.error.code : type)));
  }
});

afterEach(() => {
  client.close();
  Object.assign(globalThis, original);
});

/** In the room with Bo, heard and hearing. */
async function call() {
  await client.connect("http://test", "Ann");
  await client.publish(track);
  const room = await client.joinRoom("r");
  await settled();
  for (const connection of FakePeerConnection.all) connection.become("connected");
  events.length = 0;
  return room;
}

const lose = () => server.socket.close(1006);

/** Until the next attempt has been made. */
async function attempt(ms = delayMs) {
  clock.advance(ms);
  await settled();
  await settled();
}

const summary = (room) => room.participants.map(({ userId, publishing, muted }) => `${userId}${publishing ? " publishes" : ""}${muted ? " muted" : ""}`);
const states = () => FakePeerConnection.all.map(({ connectionState }) => connectionState);

describe("a lost socket", () => {
  it("is resumed, and nothing else happens", async () => {
    const room = await call();
    const [people, { userId }] = [room.participants, client];
    const changes = [];
    for (const type of ["participantjoined", "participantleft", "participantchanged", "trackadded", "trackremoved"]) room.on(type, () => changes.push(type));
    lose();
    assert.deepEqual([client.state, client.room, client.userId], ["reconnecting", room, userId]);
    await attempt();
    assert.deepEqual(events, ["reconnecting", "reconnecting", "in_room", "reconnected"]);
    assert.deepEqual([client.room, client.userId, client.state], [room, userId, "in_room"]);
    assert.deepEqual([room.participants, changes], [people, []]);
    assert.deepEqual(states(), ["connected", "connected"]);
    assert.deepEqual(server.types(), ["register", "ping", "set_muted", "ping"]);
  });

  it("says how often and how long it waits, without end, and why", async () => {
    await call();
    const waits = [];
    client.on("reconnecting", (event) => waits.push([event.attempt, event.delayMs, event.error.code]));
    server.up = false;
    lose();
    for (let n = 0; n < 12; n += 1) await attempt();
    assert.deepEqual(waits.slice(0, 3), [[1, 250, "disconnected"], [2, 500, "disconnected"], [3, 1000, "disconnected"]]);
    assert.deepEqual([waits.length, waits.at(-1)[1], client.state], [13, 15_000, "reconnecting"]);
    server.up = true;
    await attempt();
    assert.equal(client.state, "in_room");
  });

  it("uses the newest token each time", async () => {
    await call();
    const tokens = [];
    for (let n = 0; n < 3; n += 1) {
      tokens.push(client.resumeToken);
      lose();
      await attempt();
      assert.equal(server.socket.sent[0].resume_token, tokens.at(-1));
    }
    assert.equal(new Set(tokens).size, 3);
  });

  it("shows who came, went, published and muted meanwhile", async () => {
    const room = await call();
    const bo = room.participant("bo");
    const told = [];
    for (const type of ["participantjoined", "participantleft", "participantchanged"]) room.on(type, ({ participant }) => told.push(`${type} ${participant.userId}`));
    server.others[0].muted = true;
    server.others.push({ user_id: "cy", username: "Cy", publishing: true, muted: false });
    lose();
    await attempt();
    assert.deepEqual(summary(room), ["bo publishes muted", "me1 publishes", "cy publishes"]);
    assert.equal(room.participant("bo"), bo);
    assert.deepEqual(told.slice(0, 3), ["participantchanged bo", "participantjoined cy", "participantchanged cy"]);
    assert.ok(room.participant("cy").stream);
    assert.deepEqual(states(), ["connected", "connected", "new"]);
    FakePeerConnection.all[2].become("connected");
    server.others.shift();
    server.others[0].publishing = false;
    lose();
    await attempt();
    assert.deepEqual(summary(room), ["me1 publishes", "cy"]);
    assert.equal(told.at(-1), "participantchanged cy");
    assert.deepEqual(states(), ["connected", "closed", "closed"]);
  });

  it("takes what happens between the list and the last word into account", async () => {
    const room = await call();
    lose();
    server.beforePong = [
      { type: "publisher_closed", user_id: "bo" },
      { type: "new_publisher", user_id: "bo", username: "Bo" },
      { type: "user_joined", user_id: "cy", username: "Cy" },
    ];
    await attempt();
    assert.deepEqual(summary(room), ["bo publishes", "me1 publishes", "cy"]);
    assert.deepEqual(states(), ["connected", "closed", "new"]);
  });

  it("publishes again when the server has lost the publisher, and hears again whom it no longer sends", async () => {
    const room = await call();
    server.session.publishing = false;
    server.session.consumers = [];
    lose();
    await attempt();
    await settled();
    assert.ok(server.types().includes("create_consumer"));
    await new Promise((resolve) => setTimeout(resolve, 350));
    await settled();
    assert.ok(server.types().includes("create_publisher"));
    assert.deepEqual(summary(room), ["bo publishes", "me1 publishes"]);
    assert.deepEqual(states().slice(0, 2), ["closed", "closed"]);
  });

  it("tells of a mute that was wished meanwhile", async () => {
    await call();
    lose();
    await client.setMuted(true);
    assert.equal(client.muted, true);
    await attempt();
    assert.equal(server.session.muted, true);
    lose();
    await client.setMuted(false);
    await attempt();
    assert.equal(server.session.muted, false);
  });

  it("stops publishing what was taken back meanwhile, and publishes what was given", async () => {
    await call();
    lose();
    client.unpublish();
    await attempt();
    assert.equal(server.session.publishing, false);
    lose();
    const published = client.publish(track);
    await attempt();
    await published;
    assert.equal(server.session.publishing, true);
  });

  it("that was noticed by neither side is taken over by the new one", async () => {
    await call();
    server.silent = true;
    clock.advance(20_000);
    assert.equal(server.sockets[0].readyState, 3);
    assert.equal(client.state, "reconnecting");
    server.silent = false;
    await attempt();
    assert.equal(client.state, "in_room");
  });
});

describe("a session that cannot be resumed", () => {
  it("is made anew: same room, publishing, muted, hearing everybody", async () => {
    const room = await call();
    await client.setMuted(true);
    const [local, bo] = [room.local, room.participant("bo")];
    server.restart();
    lose();
    await attempt();
    await settled();
    assert.deepEqual([client.state, client.room === room, events.at(-1)], ["in_room", true, "reconnected"]);
    assert.deepEqual([room.local === local, room.participant("bo") === bo], [true, true]);
    assert.notEqual(client.userId, "me1");
    assert.equal(local.userId, client.userId);
    assert.equal(room.participant(client.userId), local);
    assert.deepEqual(summary(room), ["bo publishes", `${client.userId} publishes muted`]);
    assert.deepEqual([server.session.publishing, server.session.muted], [true, true]);
    assert.deepEqual(states(), ["closed", "closed", "new", "new"]);
    assert.ok(bo.stream);
    assert.ok(!events.includes("roomleft") && !events.includes("error"));
  });

  it("tells of people who are others now", async () => {
    const room = await call();
    server.restart();
    server.others = [{ user_id: "bo2", username: "Bo", publishing: true, muted: false }];
    const told = [];
    for (const type of ["participantjoined", "participantleft"]) room.on(type, ({ participant }) => told.push(`${type} ${participant.userId}`));
    lose();
    await attempt();
    assert.deepEqual(told, ["participantleft bo", "participantjoined bo2"]);
  });

  it("ends the room when there is none any more, and stays connected", async () => {
    await call();
    server.restart();
    server.room = "another";
    lose();
    await attempt();
    assert.deepEqual(events, ["reconnecting", "reconnecting", "roomleft", "room_not_found", "connected", "reconnected"]);
    assert.deepEqual([client.state, client.room], ["connected", null]);
    assert.ok(states().every((state) => state === "closed"));
  });

  it("tries again while the room's media server is away", async () => {
    const room = await call();
    server.restart();
    server.refuse = { join_room: "shard_unavailable" };
    lose();
    await attempt();
    assert.equal(client.state, "reconnecting");
    server.refuse = {};
    await attempt();
    assert.deepEqual([client.state, client.room], ["in_room", room]);
    await settled();
    assert.deepEqual(summary(room), ["bo publishes", `${client.userId} publishes`]);
  });

  it("is joined anew when the socket breaks again in the middle of it", async () => {
    const room = await call();
    server.silent = true;
    lose();
    clock.advance(250);
    await settled();
    server.socket.say({ type: "registered", user_id: "me1", protocol: [1], resume_token: "x", resumed: true });
    server.socket.say({ type: "room_joined", room_id: "r", participants: [{ user_id: "me1", username: "Ann" }], resumed: { publishing: true, muted: false, consumers: [] } });
    server.socket.close(1006);
    server.silent = false;
    server.restart();
    await settled();
    await attempt();
    await settled();
    assert.equal(client.state, "in_room");
    assert.equal(server.session.room, "r");
    assert.deepEqual(summary(room), ["bo publishes", `${client.userId} publishes`]);
  });
});

describe("what is asked while the socket is lost", () => {
  it("is refused at once", async () => {
    await client.connect("http://test", "Ann");
    lose();
    await assert.rejects(client.joinRoom("r"), { code: "disconnected" });
    await assert.rejects(client.createRoom(), { code: "disconnected" });
  });

  it("leaves the room here at once, and on the server as soon as it can be told", async () => {
    await call();
    lose();
    await client.leaveRoom();
    assert.deepEqual([client.room, client.state, events.at(-1)], [null, "reconnecting", "roomleft"]);
    await attempt();
    assert.deepEqual([client.state, server.session.room], ["connected", null]);
    await client.joinRoom("r");
    assert.equal(client.state, "in_room");
  });

  it("is asked again where that does no harm: entering a room", async () => {
    await client.connect("http://test", "Ann");
    server.silent = true;
    const joined = client.joinRoom("r");
    await settled();
    lose();
    server.silent = false;
    await attempt();
    assert.equal((await joined).id, "r");
    assert.equal(client.state, "in_room");
  });

  it("is answered by what the server had done before", async () => {
    await client.connect("http://test", "Ann");
    server.silent = true;
    const made = client.createRoom();
    await settled();
    server.session.room = "new";
    lose();
    server.silent = false;
    await attempt();
    assert.equal((await made).id, "new");
  });

  it("is rejected where it might be done twice: making a room", async () => {
    await client.connect("http://test", "Ann");
    server.silent = true;
    const made = client.createRoom();
    await settled();
    lose();
    server.silent = false;
    const rejected = assert.rejects(made, { code: "disconnected" });
    await attempt();
    await rejected;
    assert.equal(client.state, "connected");
  });

  it("is all over after close()", async () => {
    await call();
    lose();
    client.close();
    assert.deepEqual([client.state, client.room, events.at(-1)], ["disconnected", null, "disconnected"]);
    assert.ok(states().every((state) => state === "closed"));
    await attempt(100_000);
    assert.equal(server.sockets.length, 1);
  });
});

describe("leaving a room", () => {
  it("says why", async () => {
    const reasons = [];
    client.on("roomleft", ({ reason }) => reasons.push(reason));
    for (const reason of ["removed", "room_closed", "server_draining", "something new"]) {
      await call();
      server.socket.say({ type: "room_left", reason });
      assert.equal(client.state, "connected");
      client.close();
    }
    await call();
    await client.leaveRoom();
    await client.joinRoom("r");
    server.restart();
    server.room = "another";
    lose();
    await attempt();
    server.room = "r";
    await client.joinRoom("r");
    client.close();
    assert.deepEqual(reasons, ["removed", "room_closed", "server_draining", "removed", "left", "not_found", "disconnected"]);
  });
});

describe("what cannot be mended", () => {
  const ending = async (code) => {
    await attempt();
    assert.deepEqual([client.state, client.room, why.code, why.fatal], ["disconnected", null, code, true]);
    await attempt(100_000);
  };

  it("is a session that another tab has taken over", async () => {
    await call();
    server.socket.close(4001, "this session goes on on another connection");
    await ending("taken_over");
    assert.equal(server.sockets.length, 1);
    assert.ok(events.includes("taken_over"));
  });

  it("is a server that does not take this client any more", async () => {
    await call();
    server.restart();
    server.refuse = { register: "invalid_username" };
    lose();
    await ending("invalid_username");
    assert.equal(server.sockets.length, 2);
  });
});

describe("the network", () => {
  it("that comes back is used at once", async () => {
    await call();
    server.up = false;
    lose();
    for (let n = 0; n < 8; n += 1) await attempt();
    server.up = true;
    news("online");
    await attempt(1000);
    assert.equal(client.state, "in_room");
  });

  it("that has changed is probed, and a silent socket given up", async () => {
    for (const word of ["changed", "visible", "online"]) {
      await call();
      news(word);
      await settled();
      clock.advance(PROBE_DEADLINE_MS);
      assert.equal(client.state, "in_room");
      server.silent = true;
      news(word);
      clock.advance(PROBE_DEADLINE_MS);
      assert.equal(client.state, "reconnecting");
      server.silent = false;
      await attempt();
      assert.equal(client.state, "in_room");
      client.close();
    }
  });
});

describe("connect", () => {
  it("asks for the token before each attempt", async () => {
    let count = 0;
    await client.connect("http://test", "Ann", { token: async () => `jwt${(count += 1)}` });
    lose();
    await attempt();
    await settled();
    assert.deepEqual(server.sockets.map(({ sent }) => sent[0].token), ["jwt1", "jwt2"]);
  });

  it("takes over the session of a page that ended without goodbye, with its room", async () => {
    await call();
    const { resumeToken, userId } = client;
    const surroundings = { ...clock.surroundings, openSocket: server.open, watchNetwork: () => () => {} };
    const other = new AntiphonClient({ hearing: "connections", surroundings });
    await other.connect("http://test", "Ann", { resumeToken });
    await settled();
    assert.deepEqual([other.userId, other.state, other.room.id], [userId, "in_room", "r"]);
    assert.deepEqual(summary(other.room), ["bo publishes", "me1"]);
    assert.ok(other.room.participant("bo").stream);
    other.close();
  });

  it("to a server that is full says so", async () => {
    server.silent = true;
    const failed = assert.rejects(client.connect("http://test", "Ann"), { code: "ended_by_server", fatal: true, message: /has as many/ });
    await settled();
    server.socket.close(1013, "the server has as many connections as it takes");
    await failed;
    assert.equal(client.state, "disconnected");
  });

  it("can be given up", async () => {
    server.silent = true;
    const given = assert.rejects(client.connect("http://test", "Ann"), { code: "superseded" });
    await settled();
    client.close();
    await given;
    assert.deepEqual(events, ["connecting", "disconnected"]);
    server.silent = false;
    await client.connect("http://test", "Ann");
    assert.equal(client.state, "connected");
  });

  it("that fails is rejected, said once, and ends", async () => {
    server.up = false;
    await assert.rejects(client.connect("http://test", "Ann"), { code: "unreachable" });
    assert.deepEqual(events, ["connecting", "disconnected", "unreachable"]);
    await attempt(100_000);
    assert.equal(server.sockets.length, 1);
  });
});

describe("a person who is not to be heard", () => {
  it("is no longer sent, until they are to be heard again", async () => {
    const room = await call();
    const bo = room.participant("bo");
    const changes = [];
    room.on("participantchanged", ({ participant }) => changes.push(participant.heard));
    bo.setHeard(false);
    await settled();
    assert.deepEqual([bo.heard, bo.stream, server.session.consumers], [false, null, []]);
    assert.equal(changes.at(-1), false);
    server.socket.say({ type: "publisher_closed", user_id: "bo" });
    server.socket.say({ type: "new_publisher", user_id: "bo", username: "Bo" });
    await settled();
    assert.deepEqual([bo.publishing, server.session.consumers], [true, []]);
    bo.setHeard(true);
    await settled();
    assert.deepEqual([bo.heard, server.session.consumers.length, bo.stream !== null], [true, 1, true]);
  });

  it("stays so over a lost session", async () => {
    const room = await call();
    room.participant("bo").setHeard(false);
    await settled();
    server.restart();
    lose();
    await attempt();
    await settled();
    assert.deepEqual([room.participant("bo").heard, server.session.consumers], [false, []]);
  });

  it("is never this client itself", async () => {
    const room = await call();
    room.local.setHeard(false);
    assert.equal(room.local.heard, true);
  });
});

describe("a network that is another one", () => {
  const restarts = () => server.sent.filter(({ type }) => type === "restart_ice").map(({ target }) => target);

  it("restarts ICE on every connection, at once", async () => {
    await call();
    news("changed");
    await settled();
    assert.deepEqual(restarts(), ["publisher", "consumer"]);
    news("visible");
    await settled();
    assert.equal(restarts().length, 2);
    assert.deepEqual(states(), ["connected", "connected"]);
  });

  it("restarts it when the server can be told, if the socket is lost with it", async () => {
    await call();
    lose();
    news("online");
    await settled();
    assert.deepEqual(restarts(), []);
    await attempt();
    assert.deepEqual(restarts(), ["publisher", "consumer"]);
  });

  it("is noticed by a connection on which nothing comes through, which tries again while it stays so", async () => {
    mock.timers.enable({ apis: ["setTimeout"] });
    await call();
    const [publisher, consumer] = FakePeerConnection.all;
    publisher.become("disconnected");
    mock.timers.tick(TROUBLE_MS - 1);
    await settled();
    assert.deepEqual(restarts(), []);
    mock.timers.tick(1);
    await settled();
    assert.deepEqual(restarts(), ["publisher"]);
    mock.timers.tick(2 * TROUBLE_MS);
    await settled();
    assert.equal(restarts().length, 2);
    publisher.become("connected");
    consumer.become("disconnected");
    consumer.become("connected");
    mock.timers.tick(100_000);
    await settled();
    assert.equal(restarts().length, 2);
    mock.timers.reset();
  });
});
