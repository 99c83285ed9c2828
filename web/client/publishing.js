/**
 * What this client sends: keeps a microphone published in the room it is in, and tries again when the connection breaks.
 */

import { Backoff } from "./backoff.js";
import { AntiphonError } from "./errors.js";
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

/** One track published in one room, over as many connections as it takes. */
export class Publishing {
  #options;
  #muted;
  #backoff = new Backoff();
  /** @type {Publication | null} */
  #publication = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  #stopped = false;

  /** @param {PublishingOptions} options */
  constructor(options) {
    this.#options = options;
    this.#muted = options.muted;
  }

  get peerConnection() {
    return this.#publication && !this.#publication.closed ? this.#publication.peerConnection : null;
  }

  /**
   * Publishes. Call once; what breaks later is repaired without a further call.
   *
   * @throws {AntiphonError} when the first attempt is refused or fails
   */
  async start() {
    this.#backoff.started(performance.now());
    const { signaling, iceServers, track } = this.#options;
    const publication = new Publication({
      signaling,
      iceServers,
      track,
      muted: this.#muted,
      onLost: (error) => this.#lost(publication, error),
    });
    this.#publication = publication;
    await publication.start();
    this.#options.onChange(true);
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

  /** Closes the connection here; telling the server is the caller's. */
  stop() {
    this.#stopped = true;
    clearTimeout(this.#retryTimer);
    this.#publication?.close();
    this.#publication = null;
  }

  /**
   * @param {Publication} publication
   * @param {AntiphonError} error
   */
  #lost(publication, error) {
    if (this.#stopped || publication !== this.#publication) return;
    this.#options.onChange(false);
    const delayMs = this.#backoff.broke(performance.now());
    if (delayMs === null) {
      this.#options.onError(error);
      return;
    }
    this.#retryTimer = setTimeout(() => {
      this.start().catch((thrown) => {
        const next = AntiphonError.from(thrown, "connection_failed", "The connection for your microphone broke.");
        if (this.#publication) this.#lost(this.#publication, next);
      });
    }, delayMs);
  }
}
