/**
 * One attempt to send this participant's microphone: from `create_publisher` to the end of that connection.
 *
 *     new ── start() ──▶ offered ──▶ answered ── audio_published ──▶ established
 *      └─────────────────────────┴────────────┴── close(), broken ─────────┴──▶ closed
 */

import { Connection } from "./connection.js";
import { superseded } from "./errors.js";

/** @typedef {import("./signaling.js").Signaling} Signaling */
/** @typedef {import("./errors.js").AntiphonError} AntiphonError */

export class Publication {
  #signaling;
  #track;
  #muted;
  #connection;
  #ending = new AbortController();
  #established = false;
  /** Why it ended by itself. @type {AntiphonError | null} */
  #failure = null;

  /**
   * @param {object} options
   * @param {Signaling} options.signaling
   * @param {RTCIceServer[]} options.iceServers
   * @param {MediaStreamTrack} options.track
   * @param {boolean} options.muted
   * @param {(error: AntiphonError) => void} options.onLost the connection broke by itself after `start` had succeeded
   */
  constructor({ signaling, iceServers, track, muted, onLost }) {
    this.#signaling = signaling;
    this.#track = track;
    this.#muted = muted;
    this.#connection = new Connection({
      iceServers,
      onCandidate: (candidate) =>
        signaling.send({ type: "publisher_ice_candidate", candidate }, { background: true, wanted: () => !this.closed }),
      onTroubled: () => void this.restartIce().catch(() => {}), // tried again, and given up when it fails
      onFailed: (error) => {
        const wasEstablished = this.established;
        this.#failure = error;
        this.close();
        if (wasEstablished) onLost(error);
      },
    });
  }

  get peerConnection() {
    return this.#connection.peerConnection;
  }

  /** The server has said that others can hear it. */
  get established() {
    return this.#established && !this.closed;
  }

  get closed() {
    return this.#ending.signal.aborted;
  }

  /** @throws {AntiphonError} of the server; `connection_failed`; `superseded` when it was closed meanwhile */
  async start() {
    try {
      const { sdp: offer } = await this.#signaling.request({ type: "create_publisher" }, "publisher_created");
      if (this.closed) throw superseded();
      const track = this.#track;
      const sdp = await this.#connection.answer(offer, track);
      // Muted, or another microphone meanwhile.
      if (this.#muted || track !== this.#track) await this.setMuted(this.#muted);
      if (this.closed) throw superseded();
      const published = this.#signaling.request({ type: "publish_audio", sdp }, "audio_published", {
        signal: this.#ending.signal,
      });
      this.#connection.flushCandidates();
      await published;
      this.#established = true;
    } catch (error) {
      this.close();
      throw this.#failure ?? error;
    }
  }

  /** A candidate of the server. @param {string} line */
  addCandidate(line) {
    if (!this.closed) this.#connection.addCandidate(line);
  }

  /**
   * While muted no packet leaves this machine; the track itself stays as it is, so that the application can go on metering it.
   *
   * @param {boolean} muted
   */
  async setMuted(muted) {
    this.#muted = muted;
    if (!this.closed) await this.#connection.replaceTrack(muted ? null : this.#track);
  }

  /** Sends another track from now on, or once it is no longer muted. @param {MediaStreamTrack} track */
  async replaceTrack(track) {
    this.#track = track;
    await this.setMuted(this.#muted);
  }

  /**
   * Asks for new ICE credentials, for when the network has changed; what is sent goes on meanwhile.
   *
   * @throws {AntiphonError} of the server; `connection_failed`
   */
  async restartIce() {
    if (!this.established) return;
    const { sdp: offer } = await this.#signaling.request({ type: "restart_ice", target: "publisher" }, "publisher_created");
    if (this.closed) return;
    const sdp = await this.#connection.answer(offer);
    if (!this.closed) this.#signaling.send({ type: "publish_audio", sdp });
  }

  /** Closes the connection here; telling the server is the caller's. */
  close() {
    this.#ending.abort();
    this.#connection.close();
  }
}
