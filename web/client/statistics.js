/**
 * Measures every media connection once a second and keeps the last two minutes: for charts, for a word about each person's
 * connection, and for a bug report.
 *
 *     const statistics = client.statistics();          // measures from now on; the same object each time
 *     statistics.on("sample", () => {
 *       for (const { id, path, encryption, history, streams } of statistics.connections) draw(id, history);
 *     });
 *     statistics.stop();
 *     JSON.stringify(statistics);                       // what a bug report needs; no names, rooms, tokens or ICE passwords
 *
 * `history` is the connection as a whole; `streams` are what it carries, each with a history of its own: one for the microphone,
 * one for each person heard. Both hold {@link Sample}s, oldest first, so one chart draws both.
 */

import { QualityEvent, SampledEvent, TypedEventTarget } from "./events.js";
import { judge } from "./quality.js";
import { readConnection } from "./reports.js";
import { sampleOf, together } from "./samples.js";
import { BROWSER } from "./surroundings.js";

/** @typedef {import("./quality.js").Quality} Quality */
/** @typedef {import("./reports.js").Codec} Codec */
/** @typedef {import("./reports.js").ConnectionReading} ConnectionReading */
/** @typedef {import("./reports.js").Encryption} Encryption */
/** @typedef {import("./reports.js").Path} Path */
/** @typedef {import("./reports.js").StreamReading} StreamReading */
/** @typedef {import("./samples.js").Sample} Sample */
/** @typedef {import("./surroundings.js").Surroundings} Surroundings */

/** How often is measured. */
export const SAMPLE_INTERVAL_MS = 1000;
/** How long samples are kept. */
export const HISTORY_MS = 120_000;
/** A connection that comes back within this time (renewed after it broke) goes on with its history. */
export const REMEMBERED_MS = 30_000;

/**
 * A connection to measure, as `client.connections` lists them.
 *
 * @typedef {object} MeasuredConnection
 * @property {"send" | "receive"} direction
 * @property {string | null} userId the one person heard on it; null for the microphone, and where several are
 * @property {RTCPeerConnection} peerConnection
 */

/** One RTP stream: the microphone, or one person as heard here. */
export class StreamStatistics {
  /** @type {Sample[]} oldest first; the last one is now */
  history = [];
  /** @type {StreamReading | null} */
  #reading = null;

  /** @param {string | null} userId who is heard; null for the microphone */
  constructor(userId) {
    /** @readonly */ this.userId = userId;
  }

  /** @returns {Codec | null} */
  get codec() {
    return this.#reading?.codec ?? null;
  }

  /** Since the stream began. @returns {{packets: number, bytes: number, packetsLost: number | null}} */
  get totals() {
    const { packets = 0, bytes = 0, packetsLost = null } = this.#reading ?? {};
    return { packets, bytes, packetsLost };
  }

  /**
   * @internal
   * @param {StreamReading} reading
   * @param {number} atMs
   * @param {number | null} pathRoundTripMs
   */
  add(reading, atMs, pathRoundTripMs) {
    const sample = sampleOf(this.#reading, reading, atMs, pathRoundTripMs);
    this.#reading = reading;
    keep(this.history, sample);
    return sample;
  }

  toJSON() {
    return { userId: this.userId, codec: this.codec, totals: this.totals, history: this.history.map(rounded) };
  }
}

/** One connection to the server and what it carries. */
export class ConnectionStatistics {
  /** @type {RTCPeerConnectionState} */
  state = "new";
  /** The way media takes, both candidates of it; null until there is one. @type {Path | null} */
  path = null;
  /** @type {Encryption} */
  encryption = { dtlsState: null, tlsVersion: null, dtlsCipher: null, srtpCipher: null };
  /** All streams together. @type {Sample[]} oldest first; the last one is now */
  history = [];
  /** @type {Map<string | null, StreamStatistics>} */
  #streams = new Map();

  /** @param {MeasuredConnection} connection */
  constructor({ direction, userId }) {
    /** `send`, `receive`, or `receive:<userId>`; the same when the connection was renewed. @readonly */
    this.id = connectionId({ direction, userId });
    /** @readonly */ this.direction = direction;
    /** The one person heard on it; null for the microphone, and where several are. @readonly */
    this.userId = userId;
  }

  get streams() {
    return [...this.#streams.values()];
  }

  /** @param {string | null} userId null: the microphone */
  stream(userId) {
    return this.#streams.get(userId) ?? null;
  }

  /**
   * @internal
   * @param {ConnectionReading} reading
   * @param {RTCPeerConnectionState} state
   * @param {(stream: StreamReading) => string | null | undefined} personOf undefined: nobody now
   * @param {number} atMs
   */
  add({ path, roundTripMs, encryption, streams }, state, personOf, atMs) {
    Object.assign(this, { path, encryption, state });
    const before = this.#streams;
    this.#streams = new Map();
    const samples = streams.flatMap((reading) => {
      const userId = personOf(reading);
      if (userId === undefined || this.#streams.has(userId)) return [];
      const stream = before.get(userId) ?? new StreamStatistics(userId);
      this.#streams.set(userId, stream);
      return [stream.add(reading, atMs, roundTripMs)];
    });
    keep(this.history, together(samples, atMs, roundTripMs));
  }

  toJSON() {
    const { id, direction, userId, state, path, encryption, streams, history } = this;
    return { id, direction, userId, state, path, encryption, streams, history: history.map(rounded) };
  }
}

/**
 * Events: `sample` after each measuring, `qualitychanged` when a person's connection became better or worse.
 *
 * @extends {TypedEventTarget<{sample: SampledEvent, qualitychanged: QualityEvent}>}
 */
export class StatisticsCollector extends TypedEventTarget {
  #measured;
  #whoIsHeard;
  #surroundings;
  /** Level of the microphone, where the browser's statistics have none (Firefox): linear, 0..1. @type {(() => number) | null} */
  localLevel = null;
  /** @type {Map<string, ConnectionStatistics>} */
  #connections = new Map();
  /** @type {Set<string>} those that there are now */
  #present = new Set();
  /** @type {Map<string | null, Quality>} */
  #quality = new Map();
  /** @type {unknown} */
  #timer = null;
  #running = false;

  /**
   * @param {object} options
   * @param {() => MeasuredConnection[]} options.connections what there is to measure now
   * @param {(trackId: string | null) => string | undefined} [options.whoIsHeard] the person of a track on a connection with several
   * @param {Partial<Surroundings>} [options.surroundings]
   */
  constructor({ connections, whoIsHeard = () => undefined, surroundings = {} }) {
    super();
    this.#measured = connections;
    this.#whoIsHeard = whoIsHeard;
    this.#surroundings = { ...BROWSER, ...surroundings };
  }

  get running() {
    return this.#running;
  }

  /** Measures now and each second. */
  start() {
    if (this.#running) return;
    this.#running = true;
    void this.#measure();
  }

  /** What was measured stays. */
  stop() {
    this.#running = false;
    this.#surroundings.clearTimer(this.#timer);
  }

  /** Every connection that there is now: the microphone's first. */
  get connections() {
    const present = [...this.#connections.values()].filter(({ id }) => this.#present.has(id));
    return present.sort((a, b) => Number(b.direction === "send") - Number(a.direction === "send"));
  }

  /**
   * What is known about one person: how they are heard here, or for null how the own microphone is sent.
   *
   * @param {string | null} userId
   * @returns {StreamStatistics | null}
   */
  stream(userId) {
    return this.#carrierOf(userId)?.stream(userId) ?? null;
  }

  /**
   * How good the connection of one person is; null for the own microphone, and null while nothing is known.
   *
   * @param {string | null} userId
   * @returns {Quality | null}
   */
  quality(userId) {
    return this.#quality.get(userId) ?? null;
  }

  /** For a bug report. Holds no name, room, token, fingerprint or ICE password; the addresses of the media path are in it. */
  toJSON() {
    return {
      kind: "antiphon-statistics",
      version: 1,
      takenAt: new Date().toISOString(),
      browser: globalThis.navigator?.userAgent ?? "",
      connections: this.connections,
    };
  }

  async #measure() {
    const measured = this.#measured();
    await Promise.all(measured.map((one) => this.#measureOne(one)));
    if (!this.#running) return;
    this.#present = new Set(measured.map(connectionId));
    this.#forget();
    this.#judge();
    this.dispatchEvent(new SampledEvent());
    this.#timer = this.#surroundings.setTimer(() => void this.#measure(), SAMPLE_INTERVAL_MS);
  }

  /** @param {MeasuredConnection} connection */
  async #measureOne(connection) {
    const { direction, userId, peerConnection } = connection;
    // A connection that was closed meanwhile has nothing to say, in some browsers with an exception.
    const report = await peerConnection.getStats().catch(() => null);
    if (report === null) return;
    const id = connectionId(connection);
    const statistics = this.#connections.get(id) ?? new ConnectionStatistics(connection);
    this.#connections.set(id, statistics);
    const personOf = (/** @type {StreamReading} */ { trackId }) => (direction === "send" ? null : (userId ?? this.#whoIsHeard(trackId)));
    const reading = readConnection(direction, report.values());
    if (direction === "send") this.#addLevel(reading);
    statistics.add(reading, peerConnection.connectionState, personOf, this.#surroundings.now());
  }

  /** @param {ConnectionReading} reading of the microphone */
  #addLevel({ streams }) {
    for (const stream of streams) stream.audioLevel ??= this.localLevel?.() ?? null;
  }

  #forget() {
    const nowMs = this.#surroundings.now();
    for (const [id, { history }] of this.#connections) {
      if (!this.#present.has(id) && nowMs - (history.at(-1)?.atMs ?? 0) > REMEMBERED_MS) this.#connections.delete(id);
    }
  }

  #judge() {
    const before = this.#quality;
    this.#quality = new Map();
    for (const { state, streams } of this.connections) {
      for (const { userId, history } of streams) {
        const quality = judge(state, history);
        if (quality) this.#quality.set(userId, quality);
      }
    }
    for (const userId of new Set([...before.keys(), ...this.#quality.keys()])) {
      const quality = this.quality(userId);
      if (quality !== (before.get(userId) ?? null)) this.dispatchEvent(new QualityEvent(userId, quality));
    }
  }

  /** @param {string | null} userId */
  #carrierOf(userId) {
    return this.connections.find((connection) => connection.stream(userId));
  }
}

/** @param {Pick<MeasuredConnection, "direction" | "userId">} connection */
function connectionId({ direction, userId }) {
  return userId === null ? direction : `${direction}:${userId}`;
}

/**
 * @param {Sample[]} history
 * @param {Sample} sample
 */
function keep(history, sample) {
  history.push(sample);
  while (sample.atMs - (history[0]?.atMs ?? 0) > HISTORY_MS) history.shift();
}

/** Three decimals are more than anything here is measured with. @param {Sample} sample */
function rounded(sample) {
  const round = (/** @type {number | null} */ value) => (value === null ? null : Math.round(value * 1000) / 1000);
  return Object.fromEntries(Object.entries(sample).map(([name, value]) => [name, round(value)]));
}
