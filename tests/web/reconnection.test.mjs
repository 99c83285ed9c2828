/** When to reconnect, in virtual time. */

import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { FIRST_DELAY_MS, HELD_MS, HURRY_MS, MAX_DELAY_MS, Reconnection } from "../../web/client/reconnection.js";
import { FakeClock } from "./fakes.mjs";

let clock, reconnection, waits, attempts, random, online;

beforeEach(() => {
  clock = new FakeClock();
  [waits, attempts, random, online] = [[], [], 1, true];
  reconnection = new Reconnection({
    surroundings: { ...clock.surroundings, random: () => random, isOnline: () => online },
    onWaiting: (attempt, delayMs) => waits.push([attempt, delayMs]),
    onAttempt: (attempt) => attempts.push([attempt, clock.nowMs]),
  });
});

/** Lets the attempt that is waited for begin, and fail. */
const fail = (times) => {
  for (let n = 0; n < times; n += 1) {
    clock.advance(MAX_DELAY_MS);
    reconnection.failed();
  }
};

describe("Reconnection", () => {
  it("waits longer each time, and never gives up", () => {
    reconnection.lost();
    fail(40);
    assert.deepEqual(waits.slice(0, 8).map(([, delayMs]) => delayMs), [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
    assert.deepEqual(waits.at(-1), [41, MAX_DELAY_MS]);
    assert.equal(attempts.length, 40);
  });

  it("makes half of each wait a matter of chance", () => {
    random = 0;
    reconnection.lost();
    fail(1);
    assert.deepEqual(waits, [[1, FIRST_DELAY_MS / 2], [2, FIRST_DELAY_MS]]);
  });

  it("tries seven times while the server keeps the session, even with bad luck", () => {
    reconnection.lost();
    for (let n = 0; n < 7; n += 1) {
      clock.advance(waits.at(-1)[1]);
      reconnection.failed();
    }
    assert.equal(attempts.length, 7);
    assert.ok(attempts.at(-1)[1] - 15_000 < 16_000 && attempts.at(-2)[1] < 30_000);
  });

  it("does nothing after success", () => {
    reconnection.lost();
    clock.advance(FIRST_DELAY_MS);
    reconnection.succeeded();
    clock.advance(100_000);
    assert.deepEqual([attempts.length, reconnection.state], [1, "idle"]);
  });

  it("starts again with the shortest wait after a connection that held, and goes on after one that did not", () => {
    reconnection.lost();
    fail(3);
    clock.advance(MAX_DELAY_MS);
    reconnection.succeeded();
    clock.advance(HELD_MS - 1);
    reconnection.lost();
    assert.deepEqual(waits.at(-1), [5, 4000]);
    clock.advance(4000);
    reconnection.succeeded();
    clock.advance(HELD_MS);
    reconnection.lost();
    assert.deepEqual(waits.at(-1), [1, FIRST_DELAY_MS]);
  });

  it("hurries when there is news, but not without end", () => {
    reconnection.lost();
    fail(6);
    const before = clock.nowMs;
    reconnection.hurry();
    clock.advance(HURRY_MS);
    assert.equal(attempts.length, 7);
    assert.ok(attempts.at(-1)[1] - before <= HURRY_MS);
    reconnection.failed();
    for (let n = 0; n < 10; n += 1) {
      reconnection.hurry();
      clock.advance(100);
    }
    assert.equal(attempts.length, 8);
  });

  it("tries rarely while there is no network, and at once when there is one", () => {
    online = false;
    reconnection.lost();
    assert.deepEqual(waits, [[1, MAX_DELAY_MS]]);
    clock.advance(MAX_DELAY_MS - 1);
    assert.equal(attempts.length, 0);
    online = true;
    reconnection.hurry();
    clock.advance(0);
    assert.equal(attempts.length, 1);
    reconnection.failed();
    reconnection.offline();
    clock.advance(MAX_DELAY_MS - 1);
    assert.equal(attempts.length, 1);
    clock.advance(1);
    assert.equal(attempts.length, 2);
  });

  it("is not disturbed by news while an attempt is under way, or while all is well", () => {
    reconnection.hurry();
    reconnection.offline();
    reconnection.failed();
    clock.advance(100_000);
    assert.deepEqual([attempts, waits], [[], []]);
    reconnection.lost();
    clock.advance(FIRST_DELAY_MS);
    reconnection.hurry();
    reconnection.lost();
    clock.advance(100_000);
    assert.equal(attempts.length, 1);
  });

  it("stops", () => {
    reconnection.lost();
    reconnection.stop();
    clock.advance(100_000);
    assert.deepEqual([attempts, reconnection.state], [[], "idle"]);
  });
});
