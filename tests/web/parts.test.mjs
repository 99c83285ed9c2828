/** The small pure modules: levels, backoff, room links. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { roomIdFrom, roomLink, tokenFrom } from "../../web/app/links.js";
import { Backoff, DELAYS_MS, HELD_MS } from "../../web/client/backoff.js";
import { meterPosition, RemoteLevel, rms, Smoother, STALE_MS } from "../../web/client/levels.js";

describe("room links", () => {
  const ID = "0d5f5a7e-53a1-4a0c-9f0b-7a1f4f6f2c11";

  it("give back the room they were made for", () => {
    for (const id of [ID, "a b", "ä&room=x#?", "100%"]) assert.equal(roomIdFrom(roomLink("http://localhost:8080", id)), id);
  });

  it("are found in whatever people paste", () => {
    for (const text of [ID, `  ${ID}\n`, `localhost:8080/?room=${ID}`, `?room=${ID}`, `https://x/?a=b&room=${ID}&c#d`]) {
      assert.equal(roomIdFrom(text), ID);
    }
  });

  it("without a room, or with a lone %, do no harm", () => {
    assert.equal(roomIdFrom(""), "");
    assert.equal(roomIdFrom("https://x/?room="), "");
    assert.equal(roomIdFrom("?room=%"), "%");
  });
});

describe("tokens", () => {
  it("stand in the fragment of a link, alone or beside others", () => {
    assert.equal(tokenFrom("#token=ey.J-_.x"), "ey.J-_.x");
    assert.equal(tokenFrom("#a=b&token=x"), "x");
    for (const none of ["", "#", "#token", "#token=", "#other"]) assert.equal(tokenFrom(none), "");
  });
});

describe("meterPosition", () => {
  it("is linear in decibels between the floor and full scale", () => {
    assert.equal(meterPosition(1), 1);
    assert.ok(Math.abs(meterPosition(10 ** (-30 / 20)) - 0.5) < 1e-9);
    assert.equal(meterPosition(10 ** (-60 / 20)).toFixed(9), "0.000000000");
  });

  it("stays between 0 and 1 for anything", () => {
    assert.deepEqual([0, -1, NaN, 1e-9, 3, Infinity].map(meterPosition), [0, 0, 0, 0, 1, 1]);
  });
});

describe("rms", () => {
  it("is 1 for a full-scale square wave, 0.707 for a sine, 0 for nothing", () => {
    assert.equal(rms([1, -1, 1, -1]), 1);
    const sine = Float32Array.from({ length: 480 }, (_, index) => Math.sin((2 * Math.PI * index) / 48));
    assert.equal(rms(sine).toFixed(3), "0.707");
    assert.equal(rms([]), 0);
  });
});

describe("Smoother", () => {
  it("rises at once and falls with time", () => {
    const smoother = new Smoother(2);
    assert.equal(smoother.next(0.8, 1000), 0.8);
    assert.equal(smoother.next(0, 1100).toFixed(3), "0.600");
    assert.equal(smoother.next(0, 2000), 0);
  });
});

describe("RemoteLevel", () => {
  it("is the level of the last packet, and silence when no more come", () => {
    const source = { rtpTimestamp: 1, audioLevel: 0.5 };
    const level = new RemoteLevel({ getSynchronizationSources: () => [source] });
    assert.equal(level.read(0), 0.5);
    assert.equal(level.read(STALE_MS), 0.5);
    assert.equal(level.read(STALE_MS + 1), 0);
    source.rtpTimestamp = 961;
    assert.equal(level.read(STALE_MS + 2), 0.5);
  });

  it("is silence before the first packet", () => {
    assert.equal(new RemoteLevel({ getSynchronizationSources: () => [] }).read(0), 0);
  });
});

describe("Backoff", () => {
  it("waits longer each time and then gives up", () => {
    const backoff = new Backoff();
    backoff.started(0);
    assert.deepEqual([...DELAYS_MS, null].map(() => backoff.broke(1)), [...DELAYS_MS, null]);
  });

  it("starts again after something that held", () => {
    const backoff = new Backoff();
    backoff.started(0);
    backoff.broke(1);
    backoff.started(2);
    assert.equal(backoff.broke(2 + HELD_MS), DELAYS_MS[0]);
  });
});
