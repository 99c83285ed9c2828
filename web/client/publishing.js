/**
 * What this client sends: keeps a microphone published in the room it is in, over as many connections as it takes.
 *
 *     new ── start() ──▶ establishing ── others can hear it ──▶ established
 *                          ▲   └─ given up ─▶ broken ─ renew() ─┐   │
 *                          └──────────── broke, renew() ────────┴───┘      stop() ends it from everywhere
 */

import { Backoff } from "./backoff.js";
import { AntiphonError, superseded } from "./errors.js";
import { Publication } from "./publication.js";

/** @typedef {import("./signaling.js").Signaling} Signaling */

/**
 * @typedef {object} PublishingOptions
 * @property {Signaling} signaling
 * @property {RTCIceServer[]} iceServers
 * @property {MediaStreamTrack} track
 * @property {boolean} muted
 * @property {(publishing: boolean) => void} onChange others can hear it, or no longer
 * @property {(error: AntiphonError) => void} onError given up after a broken connection
 */

/** Failures that may be over at the next attempt; what else the server refuses, it would refuse again. */
const PASSING = new Set(["connection_failed", "shard_unavailable", "publisher_not_found", "timeout"]);

export class Publishing {
  #options;
  #track;
  #muted;
  #backoff = new Backoff();
  /** @type {Publication | null} */
  #publication = null;
  #establishing = false;
  /** Ends a wait before its time. */
  #wake = () => {};
  #stopping = new AbortController();

  /** @param {PublishingOptions} options */
  constructor(options) {
    this.#options = options;
    this.#track = options.track;
    this.#muted = options.muted;
  }

  get peerConnection() {
    return this.#publication && !this.#publication.closed ? this.#publication.peerConnection : null;
  }

  /** Others can hear it, as far as is known here. */
  get established() {
    return this.#publication?.established ?? false;
  }

  /**
   * Publishes, with as many attempts as {@link Backoff} allows. Call once; what breaks later is repaired without a further call.
   *
   * @throws {AntiphonError} of the last attempt; `superseded` when stopped meanwhile
   */
  async start() {
    this.#establishing = true;
    try {
      while (!(await this.#attempt())) {
        // again
      }
    } finally {
      this.#establishing = false;
    }
  }

  /** The server holds nothing of what was published (the room has moved, the session is another one): publishes anew, at once. */
  renew() {
    this.#backoff = new Backoff();
    const { established } = this;
    this.#publication?.close(); // an attempt that is under way begins again
    this.#wake();
    if (established) this.#options.onChange(false);
    if (!this.#establishing) void this.#repair(0, null);
  }

  /** The server closed our publisher. */
  onClosedByServer() {
    const publication = this.#publication;
    // While an attempt is under way the notice is about the one before it.
    if (!publication?.established) return;
    publication.close();
    this.#lost(publication, new AntiphonError("connection_failed", "The connection for your microphone broke."));
  }

  /** A candidate of the server. @param {string} line */
  addCandidate(line) {
    this.#publication?.addCandidate(line);
  }

  /** @param {boolean} muted */
  async setMuted(muted) {
    this.#muted = muted;
    await this.#publication?.setMuted(muted);
  }

  /** Sends another microphone from now on, on the same connection. @param {MediaStreamTrack} track */
  async replaceTrack(track) {
    this.#track = track;
    await this.#publication?.replaceTrack(track);
  }

  /** New ICE credentials, for when the network has changed. A connection that breaks all the same is repaired as any other. */
  async restartIce() {
    await this.#publication?.restartIce().catch(() => {});
  }

  /** Closes the connection here; telling the server is the caller's. */
  stop() {
    this.#stopping.abort();
    this.#publication?.close();
    this.#publication = null;
  }

  /**
   * @returns {Promise<boolean>} false when it is worth another attempt, after having waited for it
   * @throws {AntiphonError} when it is not
   */
  async #attempt() {
    const { signaling, iceServers, onChange } = this.#options;
    this.#backoff.started(performance.now());
    try {
      const publication = new Publication({
        signaling,
        iceServers,
        track: this.#track,
        muted: this.#muted,
        onLost: (error) => this.#lost(publication, error),
      });
      this.#publication = publication;
      await publication.start();
      onChange(true);
      return true;
    } catch (thrown) {
      if (this.#stopping.signal.aborted) throw superseded();
      await this.#beforeNext(AntiphonError.from(thrown, "connection_failed", "The connection for your microphone did not come up."));
      return false;
    }
  }

  /**
   * Waits until the next attempt makes sense.
   *
   * @param {AntiphonError} error why the last one failed
   * @throws {AntiphonError} this error when none makes sense
   */
  async #beforeNext(error) {
    if (error.code === "superseded") return; // by renew()
    if (error.code === "disconnected") {
      await this.#options.signaling.available();
      return;
    }
    const delayMs = PASSING.has(error.code) ? this.#backoff.broke(performance.now()) : null;
    if (delayMs === null) throw error;
    await this.#wait(delayMs);
  }

  /**
   * A connection that had been up is gone.
   *
   * @param {Publication} publication
   * @param {AntiphonError} error
   */
  #lost(publication, error) {
    if (this.#stopping.signal.aborted || publication !== this.#publication) return;
    this.#options.onChange(false);
    void this.#repair(this.#backoff.broke(performance.now()), error);
  }

  /**
   * @param {number | null} delayMs null: given up
   * @param {AntiphonError | null} error
   */
  async #repair(delayMs, error) {
    this.#establishing = true;
    try {
      if (delayMs === null) throw error;
      if (delayMs > 0) await this.#wait(delayMs);
      await this.start();
    } catch (thrown) {
      const last = AntiphonError.from(thrown, "connection_failed", "The connection for your microphone broke.");
      // Whoever keeps the session says so when it has ended.
      if (last.code !== "superseded" && last.code !== "disconnected") this.#options.onError(last);
    } finally {
      this.#establishing = false;
    }
  }

  /**
   * @param {number} delayMs
   * @returns {Promise<void>}
   * @throws {AntiphonError} `superseded` when stopped meanwhile
   */
  #wait(delayMs) {
    const { signal } = this.#stopping;
    return new Promise((resolve, reject) => {
      if (signal.aborted) reject(superseded());
      const timer = setTimeout(resolve, delayMs);
      this.#wake = resolve;
      signal.addEventListener("abort", () => {
        clearTimeout(timer);
        reject(superseded());
      });
    });
  }
}
