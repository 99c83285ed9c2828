/** Statistics: what real browsers' reports say (reports/*.json were recorded in them), rates, quality, history, the bug report. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, describe, it } from "node:test";
import { judge, QUALITY_BOUNDS } from "../../web/client/quality.js";
import { readConnection } from "../../web/client/reports.js";
import { sampleOf, together } from "../../web/client/samples.js";
import { HISTORY_MS, SAMPLE_INTERVAL_MS, StatisticsCollector } from "../../web/client/statistics.js";
import { FakeClock, settled } from "./fakes.mjs";

const recorded = (browser) => JSON.parse(readFileSync(new URL(`reports/${browser}.json`, import.meta.url), "utf8"));
const BROWSERS = { chromium: recorded("chromium"), firefox: recorded("firefox") };

/** The report of a connection, a number of seconds later, with counters that have grown. */
function later(stats, seconds, grown = {}) {
  return stats.map((entry) => {
    const next = { ...entry, timestamp: entry.timestamp + seconds * 1000 };
    for (const [name, by] of Object.entries(grown)) if (name in next) next[name] += by;
    return next;
  });
}

describe("a report of a real browser", () => {
  for (const [browser, [sent, received]] of Object.entries(BROWSERS)) {
    it(`of ${browser} has path, cipher and codec in both directions`, () => {
      for (const { direction, stats } of [sent, received]) {
        const { path, encryption, streams, roundTripMs } = readConnection(direction, stats);
        assert.deepEqual([path.remote.type, path.remote.protocol, path.remote.address], ["host", "udp", "127.0.0.1"]);
        assert.ok(["127.0.0.1", "192.0.2.2"].includes(path.local.address) && path.local.port > 0);
        assert.deepEqual(
          [encryption.dtlsState, encryption.tlsVersion, encryption.srtpCipher],
          ["connected", "DTLS 1.2", "SRTP_AEAD_AES_128_GCM"],
        );
        assert.match(encryption.dtlsCipher, /^TLS_ECDHE_ECDSA_/);
        assert.equal(streams.length, 1);
        assert.deepEqual([streams[0].codec.mimeType, streams[0].codec.payloadType, streams[0].mid], ["audio/opus", 111, "0"]);
        assert.match(streams[0].codec.parameters, /useinbandfec=1/);
        assert.ok(roundTripMs >= 0);
      }
    });

    it(`of ${browser} has what the server reported about the microphone`, () => {
      const [stream] = readConnection("send", sent.stats).streams;
      assert.ok(stream.packets > 200 && stream.bytes > 10_000);
      assert.deepEqual([stream.packetsLost, stream.fractionLost, stream.roundTripMs], [0, 0, 1]);
      assert.ok(stream.jitterMs > 0 && stream.jitterMs < 10);
      assert.equal(stream.audioLevel !== null, browser === "chromium");
    });

    it(`of ${browser} has what was heard`, () => {
      const [stream] = readConnection("receive", received.stats).streams;
      assert.ok(stream.packets > 200 && stream.audioLevel > 0 && stream.samples > 100_000 && stream.jitterBufferDelayS > 0);
      assert.equal(stream.packetsLost, 0);
      assert.equal(typeof stream.trackId, "string");
    });
  }

  it("without a transport still has its selected pair", () => {
    const stats = BROWSERS.firefox[0].stats.filter(({ type }) => type !== "transport");
    const { path, encryption } = readConnection("send", stats);
    assert.equal(path.remote.type, "host");
    assert.equal(encryption.dtlsState, null);
  });

  it("that is empty is a connection of which nothing is known", () => {
    const reading = readConnection("receive", []);
    assert.deepEqual([reading.path, reading.roundTripMs, reading.streams], [null, null, []]);
  });
});

describe("samples", () => {
  const { stats } = BROWSERS.chromium[1];
  const reading = (report) => readConnection("receive", report).streams[0];

  it("are rates since the reading before", () => {
    const grown = { bytesReceived: 8000, packetsReceived: 90, packetsLost: 10, concealedSamples: 960, totalSamplesReceived: 96_000, jitterBufferDelay: 4800, jitterBufferEmittedCount: 96_000 };
    const sample = sampleOf(reading(stats), reading(later(stats, 2, grown)), 5, 40);
    assert.deepEqual(
      [sample.bitrateBps, sample.packetsPerS, sample.packetsLost, sample.lossPercent, sample.concealedPercent, sample.jitterBufferMs, sample.roundTripMs],
      [32_000, 45, 10, 10, 1, 50, 40],
    );
  });

  it("know no rate at the first reading, nor when the stream is another one", () => {
    for (const before of [null, { ...reading(stats), id: "other" }, { ...reading(stats), packets: 1e9 }]) {
      const { bitrateBps, packetsLost, lossPercent, jitterMs } = sampleOf(before, reading(stats), 0, null);
      assert.deepEqual([bitrateBps, packetsLost, lossPercent, jitterMs], [null, null, null, 5]);
    }
  });

  it("of a late packet that came after all are no negative loss", () => {
    const sample = sampleOf(reading(stats), reading(later(stats, 1, { packetsReceived: 50, packetsLost: -1 })), 0, null);
    assert.deepEqual([sample.packetsLost, sample.lossPercent], [-1, 0]);
  });

  it("together weigh loss by packets, and show the worst of what does not add up", () => {
    const one = { bitrateBps: 30_000, packetsPerS: 50, packetsLost: 5, lossPercent: 10, jitterMs: 5, audioLevel: 0.1, jitterBufferMs: 20, concealedPercent: 1, roundTripMs: null };
    const two = { ...one, packetsPerS: 150, lossPercent: 0, packetsLost: 0, jitterMs: 9, audioLevel: null };
    const all = together([one, two], 7, 30);
    assert.deepEqual([all.bitrateBps, all.packetsLost, all.lossPercent, all.jitterMs, all.audioLevel, all.roundTripMs], [60_000, 5, 2.5, 9, 0.1, 30]);
    assert.deepEqual(together([], 7, null).bitrateBps, null);
  });
});

describe("quality", () => {
  const fine = { lossPercent: 0, roundTripMs: 20, jitterMs: 2, concealedPercent: 0 };

  it("is good, fair and poor at the documented bounds", () => {
    for (const name of Object.keys(fine)) {
      const at = (value) => judge("connected", [{ ...fine, [name]: value }]);
      assert.deepEqual(
        [QUALITY_BOUNDS.good[name], QUALITY_BOUNDS.good[name] + 1, QUALITY_BOUNDS.fair[name], QUALITY_BOUNDS.fair[name] + 1].map(at),
        ["good", "fair", "fair", "poor"],
      );
    }
  });

  it("does not turn at one bad second", () => {
    assert.equal(judge("connected", [fine, fine, fine, fine, { ...fine, lossPercent: 9 }]), "good");
  });

  it("is poor on a broken connection, and unknown before anything is", () => {
    assert.equal(judge("disconnected", [fine]), "poor");
    assert.equal(judge("connected", []), null);
    assert.equal(judge("connected", [{ lossPercent: null, roundTripMs: null, jitterMs: null, concealedPercent: null }]), null);
  });
});

describe("StatisticsCollector", () => {
  let clock, collector, all, heard;

  const peer = ({ stats }) => {
    const fake = { connectionState: "connected", seconds: 0, grown: {}, asked: 0 };
    fake.getStats = async () => {
      fake.asked += 1;
      return new Map(later(stats, fake.seconds, fake.grown).map((entry) => [entry.id, entry]));
    };
    return fake;
  };
  const second = async () => {
    for (const { peerConnection } of all) {
      peerConnection.seconds += 1;
      for (const name of ["packetsReceived", "packetsSent"]) peerConnection.grown[name] = (peerConnection.grown[name] ?? 0) + 50;
    }
    clock.advance(SAMPLE_INTERVAL_MS);
    await settled();
  };

  beforeEach(async () => {
    clock = new FakeClock();
    heard = (trackId) => (trackId === BROWSERS.chromium[1].stats.find(({ type }) => type === "inbound-rtp").trackIdentifier ? "bo" : undefined);
    all = [
      { direction: "receive", userId: null, peerConnection: peer(BROWSERS.chromium[1]) },
      { direction: "send", userId: null, peerConnection: peer(BROWSERS.chromium[0]) },
    ];
    collector = new StatisticsCollector({ connections: () => all, whoIsHeard: (id) => heard(id), surroundings: clock.surroundings });
    collector.start();
    await settled();
  });

  it("measures every second until it is stopped", async () => {
    let samples = 0;
    collector.on("sample", () => (samples += 1));
    for (let n = 0; n < 3; n += 1) await second();
    assert.deepEqual([samples, all[0].peerConnection.asked, collector.running], [3, 4, true]);
    collector.stop();
    await second();
    assert.deepEqual([samples, collector.running], [3, false]);
    collector.start();
    collector.start();
    await settled();
    assert.equal(samples, 4);
  });

  it("has the microphone first, and each person by name of the track", async () => {
    await second();
    assert.deepEqual(collector.connections.map(({ id }) => id), ["send", "receive"]);
    assert.deepEqual(collector.connections.map(({ streams }) => streams.map(({ userId }) => userId)), [[null], ["bo"]]);
    assert.equal(collector.stream("bo").history.at(-1).packetsPerS, 50);
    assert.equal(collector.stream(null).codec.mimeType, "audio/opus");
    assert.equal(collector.stream("bo").totals.packets, 303);
    assert.equal(collector.stream("nobody"), null);
  });

  it("keeps two minutes", async () => {
    for (let n = 0; n < 130; n += 1) await second();
    assert.equal(collector.connections[0].history.length, HISTORY_MS / SAMPLE_INTERVAL_MS + 1);
    assert.equal(collector.stream("bo").history.length, HISTORY_MS / SAMPLE_INTERVAL_MS + 1);
  });

  it("shows a connection while it is there, and goes on with its history when it was renewed", async () => {
    const [receiving] = all.splice(0, 1);
    await second();
    assert.deepEqual(collector.connections.map(({ id }) => id), ["send"]);
    all.push({ ...receiving, peerConnection: peer(BROWSERS.chromium[1]) });
    await second();
    assert.equal(collector.connections[1].history.length, 2);
    all.pop();
    for (let n = 0; n < 40; n += 1) await second();
    all.push(receiving);
    await second();
    assert.equal(collector.connections[1].history.length, 1);
  });

  it("forgets a person who is gone from a connection that stays", async () => {
    heard = () => undefined;
    await second();
    assert.deepEqual(collector.connections[1].streams, []);
  });

  it("tells when somebody's quality is another", async () => {
    const told = [];
    collector.on("qualitychanged", ({ userId, quality }) => told.push([userId, quality]));
    await second();
    assert.deepEqual([collector.quality("bo"), collector.quality(null), told], ["good", "good", []]);
    for (let n = 0; n < 5; n += 1) {
      all[0].peerConnection.grown.packetsLost = (all[0].peerConnection.grown.packetsLost ?? 0) + 5;
      await second();
    }
    assert.deepEqual([collector.quality("bo"), told], ["poor", [["bo", "fair"], ["bo", "poor"]]]);
    all.splice(0, 1);
    await second();
    assert.deepEqual(told.at(-1), ["bo", null]);
  });

  it("takes the level of the microphone from the application where the browser has none", async () => {
    all = [{ direction: "send", userId: null, peerConnection: peer(BROWSERS.firefox[0]) }];
    await second();
    assert.equal(collector.stream(null).history.at(-1).audioLevel, null);
    collector.localLevel = () => 0.25;
    await second();
    assert.equal(collector.stream(null).history.at(-1).audioLevel, 0.25);
  });

  it("survives a connection that refuses to be measured", async () => {
    all[0].peerConnection.getStats = () => Promise.reject(new Error("closed"));
    await second();
    await second();
    assert.equal(collector.connections.at(0).history.length, 3);
  });

  it("is a bug report without secrets", async () => {
    await second();
    const text = JSON.stringify(collector);
    const report = JSON.parse(text);
    assert.equal(report.kind, "antiphon-statistics");
    assert.deepEqual(report.connections.map(({ id, state }) => [id, state]), [["send", "connected"], ["receive", "connected"]]);
    assert.equal(report.connections[0].encryption.srtpCipher, "SRTP_AEAD_AES_128_GCM");
    assert.equal(report.connections[1].streams[0].history.length, 2);
    const everything = [...BROWSERS.chromium[0].stats, ...BROWSERS.chromium[1].stats];
    const secrets = everything.flatMap((entry) => [entry.usernameFragment, entry.iceLocalUsernameFragment, entry.fingerprint, entry.trackIdentifier]);
    for (const secret of secrets.filter(Boolean)) assert.ok(!text.includes(secret), secret);
  });
});
