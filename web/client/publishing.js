/**
 * What this client sends: keeps a microphone published in the room it is in, and tries again when the connection breaks.
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

/** One track published in one room, over as many connections as it takes. */
export class Publishing {
  #options;
  #track;
  #muted;
  #backoff = new Backoff();
  /** @type {Publication | null} */
  #publication = null;
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

  /**
   * Publishes, with as many attempts as {@link Backoff} allows. Call once; what breaks later is repaired without a further call.
   *
   * @throws {AntiphonError} of the last attempt; `superseded` when stopped meanwhile
   */
  async start() {
    for (;;) {
      this.#backoff.started(performance.now());
      try {
        await this.#attempt();
        return;
      } catch (thrown) {
        const error = AntiphonError.from(thrown, "connection_failed", "The connection for your microphone did not come up.");
        const delayMs = PASSING.has(error.code) ? this.#backoff.broke(performance.now()) : null;
        if (delayMs === null) throw error;
        await this.#wait(delayMs);
      }
    }
  }

  async #attempt() {
    const { signaling, iceServers, onChange } = this.#options;
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
  }

  /** The server closed our publisher. */
  onClosedByServer() {
    const publication = this.#publication;
    // While an attempt is under way the notice is about the one before it.
    if (!publication?.established) return;
    publication.close();
    this.#lost(publication, new AntiphonError("connection_failed", "The connection for your microphone broke."));
  }

  /** @param {string} line */
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
   * A connection that had been up is gone.
   *
   * @param {Publication} publication
   * @param {AntiphonError} error
   */
  #lost(publication, error) {
    if (this.#stopping.signal.aborted || publication !== this.#publication) return;
    this.#options.onChange(false);
    void this.#repair(error);
  }

  /** @param {AntiphonError} error */
  async #repair(error) {
    const delayMs = this.#backoff.broke(performance.now());
    try {
      if (delayMs === null) throw error;
      await this.#wait(delayMs);
      await this.start();
    } catch (thrown) {
      const last = AntiphonError.from(thrown, "connection_failed", error.message);
      if (last.code !== "superseded") this.#options.onError(last);
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
      signal.addEventListener("abort", () => {
        clearTimeout(timer);
        reject(superseded());
      });
    });
  }
}
