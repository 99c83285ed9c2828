/**
 * One RTCPeerConnection that the server offered: answers, passes candidates both ways, tells when it broke.
 *
 * The answer goes back as the browser wrote it. What a browser *sends* is governed by the server's offer (Opus with
 * `useinbandfec=1;usedtx=1`); the answer's own parameters say what may be sent *to* it, and both browsers announce in-band
 * FEC there by themselves. RFC 7587 6.1 has no more to ask of a voice receiver, so there is nothing to rewrite.
 */

import { AntiphonError } from "./errors.js";

/** A connection that is not up after this time has failed. ICE and DTLS take 12 to 35 ms on a good path. */
export const SETUP_DEADLINE_MS = 15_000;
/**
 * A connection without answers for this long looks for another way (`disconnected` itself comes after some seconds of silence, and single lost
 * checks pass by themselves); each further try waits twice as long.
 */
export const TROUBLE_MS = 2000;
export const MAX_TROUBLE_MS = 8000;

/**
 * @typedef {object} ConnectionOptions
 * @property {RTCIceServer[]} iceServers as the server gave them; none are added
 * @property {(candidate: string) => void} onCandidate a local candidate line, "" after the last; never before the answer was taken
 * @property {(track: MediaStreamTrack, receiver: RTCRtpReceiver) => void} [onTrack] a remote track
 * @property {() => void} [onTroubled] nothing comes through for some time: ICE should be restarted. Again and again while it stays so
 * @property {(error: AntiphonError) => void} onFailed once, when it is or becomes unusable without `close`
 */

export class Connection {
  /** For statistics; nothing else may negotiate with it. @readonly @type {RTCPeerConnection} */
  peerConnection;
  #options;
  /** @type {string[] | null} */
  #localCandidates = [];
  /** @type {string[] | null} */
  #remoteCandidates = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #setupTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #troubleTimer;
  #ended = false;

  /** @param {ConnectionOptions} options */
  constructor(options) {
    if (typeof RTCPeerConnection === "undefined") {
      throw new AntiphonError("unsupported", "This browser cannot make calls: it has no WebRTC.");
    }
    this.#options = options;
    this.peerConnection = new RTCPeerConnection({
      iceServers: options.iceServers,
      bundlePolicy: "max-bundle",
      rtcpMuxPolicy: "require",
    });
    this.peerConnection.addEventListener("icecandidate", (event) => this.#onLocalCandidate(event.candidate));
    this.peerConnection.addEventListener("connectionstatechange", () => this.#onState());
    this.peerConnection.addEventListener("track", (event) => options.onTrack?.(event.track, event.receiver));
  }

  /**
   * Accepts the server's offer: the first one, or a later one for the same connection.
   *
   * @param {string} offer SDP
   * @param {MediaStreamTrack | null} [track] what to send in the first section, if the server wants to receive one
   * @returns {Promise<string>} the answer's SDP; call {@link flushCandidates} when it has been sent
   * @throws {AntiphonError} `connection_failed`
   */
  async answer(offer, track = null) {
    try {
      await this.peerConnection.setRemoteDescription({ type: "offer", sdp: offer });
      if (track) await this.#send(track);
      await this.peerConnection.setLocalDescription(await this.peerConnection.createAnswer());
    } catch (cause) {
      throw new AntiphonError("connection_failed", "This browser could not accept the server's media offer.", { cause });
    }
    clearTimeout(this.#setupTimer);
    if (this.peerConnection.connectionState !== "connected") {
      this.#setupTimer = setTimeout(() => this.#fail("No media connection to the server came up."), SETUP_DEADLINE_MS);
    }
    const waiting = this.#remoteCandidates ?? [];
    this.#remoteCandidates = null;
    for (const line of waiting) this.#addRemote(line);
    return this.peerConnection.localDescription?.sdp ?? "";
  }

  /** The answer is on its way: candidates may follow it. */
  flushCandidates() {
    const waiting = this.#localCandidates ?? [];
    this.#localCandidates = null;
    for (const line of waiting) this.#options.onCandidate(line);
  }

  /** A candidate of the server. @param {string} line as browsers write them; "" ends them */
  addCandidate(line) {
    if (this.#remoteCandidates) this.#remoteCandidates.push(line);
    else this.#addRemote(line);
  }

  /**
   * What the first section sends from now on; null sends nothing and keeps the connection.
   *
   * @param {MediaStreamTrack | null} track
   */
  async replaceTrack(track) {
    await this.peerConnection.getTransceivers()[0]?.sender.replaceTrack(track);
  }

  /** Media can flow. */
  get up() {
    return this.peerConnection.connectionState === "connected";
  }

  /** Ends it without `onFailed`. */
  close() {
    this.#ended = true;
    clearTimeout(this.#setupTimer);
    clearTimeout(this.#troubleTimer);
    this.peerConnection.close();
  }

  /** @param {MediaStreamTrack} track */
  async #send(track) {
    const transceiver = this.peerConnection.getTransceivers()[0];
    if (!transceiver) throw new Error("the offer has no media section");
    transceiver.direction = "sendonly";
    await transceiver.sender.replaceTrack(track);
  }

  /** @param {RTCIceCandidate | null} candidate */
  #onLocalCandidate(candidate) {
    // The server listens on UDP only.
    if (candidate?.protocol === "tcp") return;
    const line = candidate?.candidate ?? "";
    if (this.#localCandidates) this.#localCandidates.push(line);
    else this.#options.onCandidate(line);
  }

  /** @param {string} line */
  #addRemote(line) {
    if (line === "") return;
    // They stand in the SDP as well: one that is refused here costs nothing.
    this.peerConnection.addIceCandidate({ candidate: line, sdpMLineIndex: 0 }).catch(() => {});
  }

  #onState() {
    const state = this.peerConnection.connectionState;
    if (state === "connected") clearTimeout(this.#setupTimer);
    clearTimeout(this.#troubleTimer);
    if (state === "disconnected") this.#watchTrouble(TROUBLE_MS);
    if (state === "failed") this.#fail("The media connection to the server broke.");
  }

  /** @param {number} delayMs */
  #watchTrouble(delayMs) {
    this.#troubleTimer = setTimeout(() => {
      this.#watchTrouble(Math.min(MAX_TROUBLE_MS, 2 * delayMs));
      this.#options.onTroubled?.();
    }, delayMs);
  }

  /** @param {string} sentence */
  #fail(sentence) {
    if (this.#ended) return;
    this.close();
    this.#options.onFailed(new AntiphonError("connection_failed", sentence));
  }
}
