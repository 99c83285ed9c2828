/** Noticing that nothing comes in, in virtual time and with stats as the browsers give them. */

import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { LOOK_MS, LOOKS, MAX_PAUSE_LOOKS, SilenceWatch } from "../../web/client/silence.js";
import { FakeClock, settled } from "./fakes.mjs";

let clock, watch, alarms, connection, expected;

const peer = (entries) => ({
  connectionState: "connected",
  entries,
  async getStats() {
    return new Map(this.entries.map((entry, index) => [index, entry]));
  },
});

const looks = async (count, each = () => {}) => {
  for (let n = 0; n < count; n += 1) {
    each();
    clock.advance(LOOK_MS);
    await settled();
  }
};

beforeEach(() => {
  clock = new FakeClock();
  [alarms, expected] = [0, true];
  connection = peer([{ type: "candidate-pair", bytesReceived: 100 }, { type: "candidate-pair" }]);
  watch = new SilenceWatch({
    connections: () => [{ peerConnection: connection, expected }],
    onSilent: () => (alarms += 1),
    surroundings: clock.surroundings,
  });
  watch.start();
});

describe("SilenceWatch", () => {
  it("says nothing while something comes in", async () => {
    await looks(20, () => (connection.entries[0].bytesReceived += 1));
    assert.equal(alarms, 0);
  });

  it("raises the alarm after four seconds of nothing, then more and more rarely, and anew after something came in", async () => {
    await looks(LOOKS);
    assert.equal(alarms, 0); // the first look only learns the counters
    await looks(1);
    assert.equal(alarms, 1);
    await looks(100);
    assert.ok(alarms > 3 && alarms < 8, `${alarms}`);
    const before = alarms;
    await looks(MAX_PAUSE_LOOKS);
    assert.equal(alarms, before + 1);
    await looks(1, () => (connection.entries[0].bytesReceived += 1));
    await looks(LOOKS);
    assert.equal(alarms, before + 2);
  });

  it("expects nothing from people who are muted, nor on a connection that is not up", async () => {
    expected = false;
    await looks(10);
    [expected, connection.connectionState] = [true, "disconnected"];
    await looks(10);
    assert.equal(alarms, 0);
  });

  it("expects reports only about what was sent", async () => {
    connection.entries.push({ type: "outbound-rtp", packetsSent: 5 });
    await looks(10);
    assert.equal(alarms, 0);
    await looks(LOOKS + 1, () => (connection.entries[2].packetsSent += 50));
    assert.equal(alarms, 1);
  });

  it("knows nothing where the browser counts nothing, and survives a refusal", async () => {
    connection = peer([]);
    await looks(10);
    connection.getStats = () => Promise.reject(new Error("closed"));
    await looks(10);
    assert.equal(alarms, 0);
  });

  it("stops", async () => {
    watch.stop();
    await looks(10);
    assert.equal(alarms, 0);
  });
});
