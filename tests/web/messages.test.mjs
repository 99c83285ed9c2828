/** The messages of the client library against the examples of control/SIGNALING.md. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { CLIENT_MESSAGES, decodeServerMessage, encodeClientMessage, SERVER_MESSAGES } from "../../web/client/messages.js";

const SIGNALING = readFileSync(new URL("../../control/SIGNALING.md", import.meta.url), "utf8");
const EXAMPLE = /^### `(\w+)` \((server to client|client to server)\)$([\s\S]*?)^```json\n([\s\S]*?)^```$/gm;
const EXAMPLES = [...SIGNALING.matchAll(EXAMPLE)].map(([, type, direction, , json]) => ({ type, direction, json: json.trim() }));
const FROM_SERVER = EXAMPLES.filter(({ direction }) => direction === "server to client");
const FROM_CLIENT = EXAMPLES.filter(({ direction }) => direction === "client to server");

const without = (message) => Object.fromEntries(Object.entries(message).filter(([, value]) => value !== null));

describe("documented examples", () => {
  it("are found, one below each heading", () => {
    assert.equal(EXAMPLES.length, [...SIGNALING.matchAll(/^### `\w+` \(/gm)].length);
    assert.ok(FROM_SERVER.length >= 18 && FROM_CLIENT.length >= 14);
  });

  for (const { type, json } of FROM_SERVER) {
    it(`decodes ${type} of the server without losing a field`, () => {
      assert.deepEqual(decodeServerMessage(json), without(JSON.parse(json)));
    });
  }

  for (const { type, json } of FROM_CLIENT) {
    it(`knows ${type} of the client with all its fields`, () => {
      assert.ok(Object.hasOwn(CLIENT_MESSAGES, type));
      const { type: _, ...fields } = JSON.parse(json);
      assert.deepEqual(CLIENT_MESSAGES[type](fields, type), fields);
      assert.deepEqual(JSON.parse(encodeClientMessage(JSON.parse(json))), JSON.parse(json));
    });
  }

  it("cover every message", () => {
    const known = (/** @type {object} */ table) => Object.keys(table);
    const documented = (/** @type {{type: string}[]} */ examples) => new Set(examples.map(({ type }) => type));
    assert.deepEqual(known(SERVER_MESSAGES).filter((type) => !documented(FROM_SERVER).has(type)), []);
    assert.deepEqual(known(CLIENT_MESSAGES).filter((type) => !documented(FROM_CLIENT).has(type)), []);
  });
});

describe("decodeServerMessage", () => {
  it("ignores a type that it does not know", () => {
    assert.equal(decodeServerMessage('{"type": "confetti", "amount": 3}'), null);
  });

  it("is not fooled by names that every object has", () => {
    for (const type of ["constructor", "toString", "__proto__"]) assert.equal(decodeServerMessage(JSON.stringify({ type })), null);
  });

  it("drops fields that it does not know", () => {
    assert.deepEqual(decodeServerMessage('{"type": "pong", "at": 7}'), { type: "pong" });
  });

  it("takes null for a field that is missing", () => {
    const json = '{"type": "error", "message": "No.", "code": "no", "request": null}';
    assert.deepEqual(decodeServerMessage(json), { type: "error", message: "No.", code: "no" });
  });

  const bad = {
    "no JSON": "{",
    "no object": "[]",
    "null": "null",
    "no type": "{}",
    "a type that is no text": '{"type": 1}',
    "a missing field": '{"type": "user_left", "user_id": "u"}',
    "an ill-typed field": '{"type": "user_muted", "user_id": "u", "muted": "yes"}',
    "an ill-typed list": '{"type": "room_joined", "room_id": "r", "participants": {}}',
    "an ill-typed item": '{"type": "room_joined", "room_id": "r", "participants": [{"user_id": 1, "username": "A"}]}',
    "an endless frame": `{"type": "pong", "x": "${"x".repeat(1024 * 1024)}"}`,
    "a binary frame": new ArrayBuffer(2),
  };
  for (const [what, frame] of Object.entries(bad)) {
    it(`refuses ${what}`, () => {
      assert.throws(() => decodeServerMessage(frame), { name: "AntiphonError", code: "bad_server_message" });
    });
  }
});
