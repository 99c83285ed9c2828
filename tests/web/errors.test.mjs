/** The error type: every code is known, marked, and comes with a sentence. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { AntiphonError, SERVER_ERROR_CODES, serverError } from "../../web/client/errors.js";

const SIGNALING = readFileSync(new URL("../../control/SIGNALING.md", import.meta.url), "utf8");
const TABLE = SIGNALING.slice(SIGNALING.indexOf("## Error codes"));
const DOCUMENTED = [...TABLE.matchAll(/^\| `(\w+)` \|/gm)].map(([, code]) => code);

describe("AntiphonError", () => {
  it("knows every code of the server: web/client/errors.js has what SIGNALING.md has", () => {
    assert.deepEqual([...SERVER_ERROR_CODES].sort(), DOCUMENTED.sort());
  });

  it("says of a code that this version does not know which one it was", () => {
    const { code, serverCode, message, request } = serverError({ code: "too_sunny", message: "Go outside.", request: "join_room" });
    assert.deepEqual([code, serverCode, message, request], ["server_error", "too_sunny", "Go outside.", "join_room"]);
    assert.equal(serverError({ code: "room_full", message: "Full." }).serverCode, null);
  });

  it("can be marked without becoming another", () => {
    const cause = new Error("why");
    const error = new AntiphonError("unreachable", "No.", { request: "register", cause });
    const fatal = error.as({ fatal: true });
    assert.deepEqual([error.fatal, error.retrying, fatal.fatal, fatal.retrying], [false, false, true, false]);
    assert.deepEqual([fatal.code, fatal.message, fatal.request, fatal.cause], [error.code, error.message, error.request, cause]);
  });

  it("is made of anything that was thrown, once", () => {
    const thrown = new TypeError("x is not a function");
    const error = AntiphonError.from(thrown, "connection_failed", "It broke.");
    assert.deepEqual([error.code, error.message, error.cause], ["connection_failed", "It broke.", thrown]);
    assert.equal(AntiphonError.from(error, "timeout", "No."), error);
  });
});
