/** AntiphonClient through a whole call with a scripted server. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it, mock } from "node:test";
import { AntiphonClient } from "../../web/client/index.js";
import { CLIENT_MESSAGES } from "../../web/client/messages.js";
import { FakePeerConnection, FakeSocket, settled } from "./fakes.mjs";

const { timers } = mock;
const ME = { user_id: "me", username: "Ann" };
const BO = { user_id: "bo", username: "Bo" };
const ANSWERS = {
  register: () => [{ type: "registered", user_id: "me", protocol: [1], ice_servers: [] }],
  create_room: () => [{ type: "room_joined", room_id: "new", participants: [ME] }],
  join_room: ({ room_id }) =>
    room_id === "r"
      ? [{ type: "room_joined", room_id, participants: [BO, ME] }, { type: "new_publisher", ...BO }]
      : [{ type: "error", code: "room_not_found", message: "There is no such room.", request: "join_room" }],
  leave_room: () => [{ type: "room_left" }],
  create_publisher: () => [{ type: "publisher_created", sdp: "recvonly" }],
  publish_audio: () => [{ type: "audio_published", track_id: "t" }],
  create_consumer: ({ publisher_user_id }) => [{ type: "consumer_created", consumer_id: `c-${publisher_user_id}`, publisher_user_id, sdp: "sendonly" }],
};

let client, socket, events;
const track = { kind: "audio" };
const original = { WebSocket: globalThis.WebSocket, RTCPeerConnection: globalThis.RTCPeerConnection, MediaStream: globalThis.MediaStream };

beforeEach(async () => {
  FakePeerConnection.all = [];
  socket = new FakeSocket();
  socket.onSent = (message) => queueMicrotask(() => (ANSWERS[message.type]?.(message) ?? []).forEach((answer) => socket.say(answer)));
  globalThis.WebSocket = function () {
    queueMicrotask(() => socket.accept());
    return socket;
  };
  globalThis.RTCPeerConnection = FakePeerConnection;
  globalThis.MediaStream = class {};
  client = new AntiphonClient({ hearing: "connections" });
  events = [];
  for (const type of ["statechange", "roomjoined", "roomleft", "roommoved", "disconnected", "error", "draining"]) {
    client.on(type, (event) => events.push(type === "statechange" ? event.state : type === "error" ? event.error.code : type));
  }
  await client.connect("http://test", "Ann");
});

afterEach(() => {
  client.close();
  Object.assign(globalThis, original);
});

const types = () => socket.sent.map(({ type }) => type);
const summary = (room) => room.participants.map(({ userId, publishing, muted }) => `${userId}${publishing ? " publishes" : ""}${muted ? " muted" : ""}`);

describe("a call", () => {
  it("goes through all states", async () => {
    await client.joinRoom("r");
    await settled();
    assert.equal(client.state, "in_room");
    await client.leaveRoom();
    client.close();
    assert.deepEqual(events, ["connecting", "connected", "in_room", "roomjoined", "roomleft", "connected", "disconnected", "disconnected"]);
  });

  it("publishes the microphone on entering, and hears who publishes", async () => {
    await client.publish(track);
    assert.deepEqual(types(), ["register"]);
    const room = await client.joinRoom("r");
    await settled();
    assert.deepEqual(summary(room), ["bo publishes", "me publishes"]);
    assert.ok(room.participant("bo").stream);
    assert.deepEqual(client.connections.map(({ direction, userId }) => [direction, userId]), [["send", null], ["receive", "bo"]]);
    for (const type of ["create_publisher", "publish_audio", "create_consumer", "consumer_answer"]) assert.ok(types().includes(type), type);
    const sender = client.connections[0].peerConnection.getTransceivers()[0];
    assert.deepEqual([sender.direction, sender.sender.track], ["sendonly", track]);
  });

  it("registers with the token that it is given", async () => {
    client.close();
    await client.connect("http://server", "Ann", { token: "ey.J.x" });
    assert.deepEqual(socket.sent.at(-1), { type: "register", username: "Ann", token: "ey.J.x" });
  });

  it("tells what the operator says, and that the server will stop", async () => {
    const told = [];
    client.on("announcement", ({ message }) => told.push(message));
    client.on("draining", ({ deadlineSeconds }) => told.push(deadlineSeconds));
    socket.say({ type: "announcement", message: "Tea at five." });
    socket.say({ type: "server_draining", deadline_s: 60 });
    assert.deepEqual(told, ["Tea at five.", 60]);
  });

  it("sends its candidates behind its answers", async () => {
    await client.publish(track);
    await client.createRoom();
    await settled();
    assert.ok(types().indexOf("publisher_ice_candidate") > types().indexOf("publish_audio"));
  });

  it("listens without a microphone, and publishes when it is granted later", async () => {
    const room = await client.createRoom();
    await settled();
    assert.ok(!types().includes("create_publisher"));
    await client.publish(track);
    assert.deepEqual(summary(room), ["me publishes"]);
  });

  it("sends nothing while muted, and remembers it in the next room", async () => {
    await client.publish(track);
    await client.createRoom();
    await settled();
    await client.setMuted(true);
    assert.equal(FakePeerConnection.all[0].getTransceivers()[0].sender.track, null);
    await client.leaveRoom();
    const next = await client.createRoom();
    await settled();
    assert.deepEqual(summary(next), ["me publishes muted"]);
    assert.equal(FakePeerConnection.all[1].getTransceivers()[0].sender.track, null);
    await client.setMuted(false);
    assert.equal(FakePeerConnection.all[1].getTransceivers()[0].sender.track, track);
    assert.deepEqual(socket.sent.filter(({ type }) => type === "set_muted").map(({ muted }) => muted), [true, true, false]);
  });

  it("is muted where an operator wishes it, says nothing of it to the server, and can unmute itself", async () => {
    await client.publish(track);
    const room = await client.createRoom();
    await settled();
    socket.say({ type: "user_muted", user_id: "me", muted: true });
    await settled();
    assert.ok(client.muted);
    assert.deepEqual(summary(room), ["me publishes muted"]);
    assert.equal(FakePeerConnection.all[0].getTransceivers()[0].sender.track, null);
    assert.ok(!types().includes("set_muted"));
    await client.setMuted(false);
    assert.equal(FakePeerConnection.all[0].getTransceivers()[0].sender.track, track);
    assert.deepEqual(summary(room), ["me publishes"]);
  });

  it("is out of its room where an operator takes it out", async () => {
    await client.createRoom();
    socket.say({ type: "room_left", reason: "removed" });
    assert.equal(client.state, "connected");
    assert.equal(client.room, null);
  });

  it("follows the people in the room", async () => {
    const room = await client.createRoom();
    socket.say({ type: "user_joined", ...BO });
    socket.say({ type: "new_publisher", ...BO });
    socket.say({ type: "user_muted", user_id: "bo", muted: true });
    await settled();
    assert.deepEqual(summary(room), ["me", "bo publishes muted"]);
    socket.say({ type: "publisher_closed", user_id: "bo" });
    assert.deepEqual(summary(room), ["me", "bo muted"]);
    assert.equal(room.participant("bo").stream, null);
    socket.say({ type: "user_left", ...BO });
    assert.deepEqual(summary(room), ["me"]);
    assert.equal(FakePeerConnection.all[0].connectionState, "closed");
  });

  it("publishes and hears again when the room has moved", async () => {
    await client.publish(track);
    const room = await client.joinRoom("r");
    await settled();
    socket.say({ type: "room_moved", reason: "shard_lost" });
    socket.say({ type: "new_publisher", ...BO });
    await settled();
    assert.deepEqual(summary(room), ["bo publishes", "me publishes"]);
    assert.deepEqual(FakePeerConnection.all.map(({ connectionState }) => connectionState), ["closed", "closed", "new", "new"]);
  });

  it("sends only documented messages, with documented fields", async () => {
    await client.publish(track);
    await client.joinRoom("r");
    await settled();
    await client.setMuted(true);
    client.unpublish();
    await client.leaveRoom();
    for (const { type, ...fields } of socket.sent) assert.deepEqual(CLIENT_MESSAGES[type](fields, type), fields);
  });
});

describe("a mute that the server refuses", () => {
  const refuse = (code) => {
    const answer = socket.onSent;
    const refusals = { left: 0 };
    socket.onSent = (message) => {
      if (message.type === "ping") queueMicrotask(() => socket.say({ type: "pong" }));
      if (message.type !== "set_muted" || refusals.left === 0) return answer(message);
      refusals.left -= 1;
      queueMicrotask(() => socket.say({ type: "error", code, message: "Busy.", request: "set_muted" }));
    };
    return refusals;
  };
  const told = () => socket.sent.filter(({ type }) => type === "set_muted").map(({ muted }) => muted);
  const sending = () => FakePeerConnection.all[0].getTransceivers()[0].sender.track === track;
  let room, refusals;

  beforeEach(async () => {
    timers.enable({ apis: ["setTimeout"] });
    refusals = refuse("shard_unavailable");
    await client.publish(track);
    room = await client.createRoom();
    await settled();
    await client.setMuted(true);
    await settled();
  });

  afterEach(() => timers.reset());

  it("shows that nobody hears, and is told again until it is taken", async () => {
    refusals.left = 2;
    await client.setMuted(false);
    await settled();
    assert.deepEqual([client.muted, sending(), summary(room)], [true, false, ["me publishes muted"]]);
    timers.tick(300);
    await settled();
    assert.deepEqual([client.muted, told()], [true, [true, false, false]]);
    timers.tick(1000);
    await settled();
    assert.deepEqual([client.muted, sending(), summary(room)], [false, true, ["me publishes"]]);
    timers.tick(60_000);
    assert.deepEqual(told(), [true, false, false, false]);
    assert.deepEqual(events.filter((event) => event === "shard_unavailable"), ["shard_unavailable"]);
  });

  it("is told at once when somebody presses again, and no more when they think better of it", async () => {
    refusals.left = 2;
    await client.setMuted(false);
    await settled();
    await client.setMuted(false);
    assert.deepEqual([client.muted, told()], [true, [true, false, false]]);
    await settled();
    await client.setMuted(true);
    await settled();
    timers.tick(60_000);
    assert.deepEqual([client.muted, told()], [true, [true, false, false, true]]);
  });

  it("ends with the room", async () => {
    refusals.left = 1;
    await client.setMuted(false);
    await settled();
    await client.leaveRoom();
    assert.equal(client.muted, false);
    timers.tick(60_000);
    const next = await client.createRoom();
    await settled();
    assert.deepEqual([summary(next), told()], [["me publishes"], [true, false]]);
  });

  it("keeps the microphone muted here all the same", async () => {
    await client.setMuted(false);
    await settled();
    refusals.left = 1;
    await client.setMuted(true);
    await settled();
    assert.deepEqual([client.muted, sending()], [true, false]);
    timers.tick(300);
    assert.deepEqual(told(), [true, false, true, true]);
  });
});

describe("failures", () => {
  it("reject the call and are events as well", async () => {
    await assert.rejects(client.joinRoom("wrong"), { name: "AntiphonError", code: "room_not_found", message: "There is no such room." });
    assert.deepEqual(events.slice(2), ["room_not_found"]);
    assert.equal(client.state, "connected");
  });

  it("of a connect end disconnected, and one may try again", async () => {
    await assert.rejects(client.connect("http://test", "Ann"), { code: "already_connected" });
    client.close();
    socket = new FakeSocket();
    socket.onSent = () => queueMicrotask(() => socket.say({ type: "error", code: "invalid_username", message: "No.", request: "register" }));
    await assert.rejects(client.connect("http://test", ""), { code: "invalid_username" });
    assert.equal(client.state, "disconnected");
    await assert.rejects(client.createRoom(), { code: "disconnected" });
  });

  it("that may pass are tried again, and are no error when that helps", async () => {
    let refusals = 2;
    const answer = socket.onSent;
    socket.onSent = (message) => {
      if (message.type !== "create_publisher" || refusals === 0) return answer(message);
      refusals -= 1;
      queueMicrotask(() => socket.say({ type: "error", code: "shard_unavailable", message: "Busy.", request: "create_publisher" }));
    };
    timers.enable({ apis: ["setTimeout"] });
    await client.publish(track);
    const room = await client.createRoom();
    for (let turn = 0; turn < 3; turn += 1) {
      await settled();
      timers.tick(1000);
    }
    await settled();
    timers.reset();
    assert.deepEqual(summary(room), ["me publishes"]);
    assert.deepEqual(events.slice(2), ["in_room", "roomjoined"]);
  });

  it("that will not pass are said at once", async () => {
    socket.onSent = (message) => {
      const refused = { type: "error", code: "shard_full", message: "Full.", request: "create_publisher" };
      queueMicrotask(() => (message.type === "create_publisher" ? [refused] : ANSWERS[message.type]?.(message) ?? []).forEach((one) => socket.say(one)));
    };
    await client.createRoom();
    await assert.rejects(client.publish(track), { code: "shard_full" });
    assert.deepEqual(events.slice(2), ["in_room", "roomjoined", "shard_full"]);
  });

  it("of a connection that was up are repaired", async () => {
    timers.enable({ apis: ["setTimeout"] });
    await client.publish(track);
    const room = await client.createRoom();
    await settled();
    FakePeerConnection.all[0].become("failed");
    assert.deepEqual(summary(room), ["me"]);
    await settled();
    timers.tick(1000);
    await settled();
    timers.reset();
    assert.deepEqual(summary(room), ["me publishes"]);
    assert.deepEqual(events.slice(2), ["in_room", "roomjoined"]);
  });

  it("of somebody who stopped publishing meanwhile are no error", async () => {
    socket.onSent = (message) => {
      if (message.type === "join_room") ANSWERS.join_room(message).forEach((answer) => socket.say(answer));
      if (message.type === "create_consumer") socket.say({ type: "error", code: "not_publishing", message: "No.", request: "create_consumer" });
    };
    await client.joinRoom("r");
    await settled();
    assert.deepEqual(events.slice(2), ["in_room", "roomjoined"]);
  });

  it("of one consumer's answer fail that consumer at once, and no other", async () => {
    const answer = socket.onSent;
    let refusals = 1;
    socket.onSent = (message) => {
      if (message.type !== "consumer_answer" || message.consumer_id !== "c-bo" || refusals === 0) return answer(message);
      refusals -= 1;
      const { type: request, consumer_id } = message;
      queueMicrotask(() => socket.say({ type: "error", code: "invalid_sdp", message: "No.", request, consumer_id }));
    };
    timers.enable({ apis: ["setTimeout"] });
    const room = await client.joinRoom("r");
    socket.say({ type: "user_joined", user_id: "cy", username: "Cy" });
    socket.say({ type: "new_publisher", user_id: "cy", username: "Cy" });
    await settled();
    assert.deepEqual(FakePeerConnection.all.map(({ connectionState }) => connectionState), ["closed", "new"]);
    assert.equal(room.participant("bo").stream, null);
    assert.ok(socket.sent.some(({ type, consumer_id }) => type === "close_consumer" && consumer_id === "c-bo"));
    timers.tick(300);
    await settled();
    timers.reset();
    assert.ok(room.participant("bo").stream);
    assert.equal(types().filter((type) => type === "create_consumer").length, 3);
    assert.deepEqual(events.slice(2), ["in_room", "roomjoined"]);
  });

  it("refused candidates are not shown to people", async () => {
    socket.say({ type: "error", code: "consumer_not_found", message: "No.", request: "consumer_ice_candidate" });
    assert.deepEqual(events, ["connecting", "connected"]);
  });
});
