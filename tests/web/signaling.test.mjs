/** Signaling: pairing requests with answers, keeping the socket alive, staying below the server's limit. */

import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { REQUEST_DEADLINE_MS, Signaling, socketUrl } from "../../web/client/signaling.js";
import { FakeClock, FakeSocket, settled } from "./fakes.mjs";

let clock, socket, signaling;

beforeEach(async () => {
  clock = new FakeClock();
  socket = new FakeSocket();
  signaling = new Signaling({ ...clock.surroundings, openSocket: () => socket });
  const opened = signaling.open("ws://test/ws");
  socket.accept();
  await opened;
});

const consume = (userId) =>
  signaling.request({ type: "create_consumer", publisher_user_id: userId }, "consumer_created", {
    matches: (answer) => answer.publisher_user_id === userId,
  });
const created = (userId) => ({ type: "consumer_created", consumer_id: `c-${userId}`, publisher_user_id: userId, sdp: "s" });

describe("requests", () => {
  it("resolve with the answer of the expected type", async () => {
    const answer = signaling.request({ type: "create_publisher" }, "publisher_created");
    socket.say({ type: "user_left", user_id: "u", username: "Bo" });
    socket.say({ type: "publisher_created", sdp: "offer" });
    assert.deepEqual(await answer, { type: "publisher_created", sdp: "offer" });
    assert.deepEqual(socket.sent, [{ type: "create_publisher" }]);
  });

  it("for several people are told apart by the person", async () => {
    const [ann, bo] = [consume("ann"), consume("bo")];
    socket.say(created("bo"));
    socket.say(created("ann"));
    assert.equal((await ann).consumer_id, "c-ann");
    assert.equal((await bo).consumer_id, "c-bo");
  });

  it("are rejected in order by errors that name them", async () => {
    const [ann, bo] = [consume("ann"), consume("bo")];
    socket.say({ type: "error", code: "not_publishing", message: "Ann does not publish.", request: "create_consumer" });
    socket.say(created("bo"));
    await assert.rejects(ann, { name: "AntiphonError", code: "not_publishing", message: "Ann does not publish.", request: "create_consumer" });
    assert.equal((await bo).consumer_id, "c-bo");
  });

  it("are rejected by errors that name the person, in whatever order", async () => {
    const [ann, bo] = [consume("ann"), consume("bo")];
    socket.say({ type: "error", code: "shard_full", message: "Full.", request: "create_consumer", publisher_user_id: "bo" });
    socket.say(created("ann"));
    await assert.rejects(bo, { code: "shard_full" });
    assert.equal((await ann).consumer_id, "c-ann");
  });

  it("for a ping do not take the pong of the keepalive", async () => {
    clock.advance(10_000);
    const heard = [];
    signaling.request({ type: "ping" }, "pong").then(() => heard.push("pong"));
    socket.say({ type: "pong" });
    await settled();
    assert.deepEqual(heard, []);
    socket.say({ type: "pong" });
    await settled();
    assert.deepEqual(heard, ["pong"]);
  });

  it("are not rejected by an error about something else", async () => {
    const heard = [];
    signaling.on("message", ({ message }) => heard.push(message.type));
    const answer = signaling.request({ type: "leave_room" }, "room_left");
    socket.say({ type: "error", code: "invalid_sdp", message: "Bad.", request: "consumer_answer" });
    socket.say({ type: "room_left" });
    await answer;
    assert.deepEqual(heard, ["error", "room_left"]);
  });

  it("fail when the server does not answer in time, and the next one is not confused", async () => {
    const late = signaling.request({ type: "create_room" }, "room_joined");
    clock.advance(REQUEST_DEADLINE_MS);
    await assert.rejects(late, { code: "timeout", request: "create_room" });
  });

  it("can be given up by a signal", async () => {
    const ending = new AbortController();
    const published = signaling.request({ type: "publish_audio", sdp: "old" }, "audio_published", { signal: ending.signal });
    ending.abort();
    await assert.rejects(published, { code: "superseded" });
    const next = signaling.request({ type: "publish_audio", sdp: "new" }, "audio_published");
    socket.say({ type: "audio_published", track_id: "t" });
    assert.equal((await next).track_id, "t");
  });

  it("fail when the socket is lost", async () => {
    const closed = [];
    signaling.on("close", ({ error }) => closed.push(error?.code));
    const answer = signaling.request({ type: "create_room" }, "room_joined");
    socket.close(1006);
    await assert.rejects(answer, { code: "disconnected" });
    await assert.rejects(signaling.request({ type: "ping" }, "pong"), { code: "disconnected" });
    assert.deepEqual(closed, ["disconnected"]);
  });
});

describe("frames of the server", () => {
  it("that make no sense become an error and nothing more", async () => {
    const heard = [];
    signaling.on("message", ({ message }) => heard.push(message));
    socket.sayText("{nonsense");
    socket.say({ type: "pong" });
    assert.deepEqual(heard.map(({ type, code }) => code ?? type), ["bad_server_message", "pong"]);
  });
});

describe("keepalive", () => {
  it("pings, and lives as long as something arrives", async () => {
    socket.onSent = ({ type }) => type === "ping" && socket.say({ type: "pong" });
    clock.advance(100_000);
    assert.equal(socket.sent.filter(({ type }) => type === "ping").length, 5);
    assert.equal(socket.readyState, 1);
  });

  it("gives the socket up when nothing arrives", async () => {
    const closed = [];
    signaling.on("close", ({ error }) => closed.push(error?.code));
    clock.advance(20_000);
    assert.deepEqual(closed, ["disconnected"]);
    assert.equal(socket.readyState, 3);
  });
});

describe("pacing", () => {
  it("sends at most 50 messages in any second, requests before candidates, and forgets candidates nobody wants", async () => {
    const times = [];
    socket.onSent = () => times.push(clock.nowMs);
    let wanted = true;
    for (let n = 0; n < 60; n += 1) {
      signaling.send({ type: "publisher_ice_candidate", candidate: `${n}` }, { background: true, wanted: () => wanted });
    }
    for (let n = 0; n < 60; n += 1) void consume(`u${n}`).catch(() => {});
    clock.advance(2000);
    wanted = false;
    clock.advance(5000);
    signaling.close();
    await settled();
    for (const start of times) assert.ok(times.filter((time) => time >= start && time < start + 1000).length <= 50);
    const kinds = socket.sent.map(({ type }) => type);
    assert.equal(kinds.filter((type) => type === "create_consumer").length, 60);
    assert.ok(kinds.filter((type) => type === "publisher_ice_candidate").length < 60);
    assert.ok(kinds.slice(20, 60).every((type) => type === "create_consumer"));
  });
});

describe("socketUrl", () => {
  it("accepts a page's address and a socket's", () => {
    assert.equal(socketUrl("http://localhost:8080"), "ws://localhost:8080/ws");
    assert.equal(socketUrl("https://talk.example/"), "wss://talk.example/ws");
    assert.equal(socketUrl("wss://talk.example/other/ws"), "wss://talk.example/other/ws");
  });

  it("refuses what is no address", () => {
    for (const text of ["", "talk", "ftp://talk.example"]) assert.throws(() => socketUrl(text), { code: "unreachable" });
  });
});

describe("open", () => {
  it("rejects when there is no server", async () => {
    const dead = new FakeSocket();
    const opened = new Signaling({ openSocket: () => dead }).open("ws://test/ws");
    dead.close(1006);
    await assert.rejects(opened, { code: "unreachable" });
  });
});
