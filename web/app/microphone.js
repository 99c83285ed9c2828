/** The microphone: asking for it, its live level, and losing it. Shown in the lobby, and in the room's controls while in one. */

import { createAudioContext, LocalLevel, meterPosition, Smoother } from "../client/index.js";
import { box, button, element, setIcon, setLevel } from "./elements.js";
import { everyFrame } from "./frames.js";
import { MICROPHONE_ERRORS } from "./text.js";

/** Speech as people hear it best: the browser removes echo and noise and levels the voice; mono at the rate of Opus. */
const CONSTRAINTS = {
  audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1, sampleRate: 48_000 },
};

/** Screen readers are told the level this often; the bar moves with every frame. */
const ANNOUNCE_MS = 500;

/**
 * @typedef {object} MicrophoneEvents
 * @property {(stream: MediaStream) => void} onStream
 * @property {() => void} onEnded the device is gone
 * @property {(sentence: string) => void} onError
 */

export class Microphone {
  #events;
  /** @type {MediaStream | null} */
  #stream = null;
  /** @type {LocalLevel | null} */
  #level = null;
  #smoother = new Smoother();
  #announcedMs = 0;
  #muted = false;

  /** @param {MicrophoneEvents} events */
  constructor(events) {
    this.#events = events;
    button("request-microphone").addEventListener("click", () => void this.request());
  }

  get granted() {
    return this.#stream !== null;
  }

  /** Linear level now, 0..1. */
  get level() {
    return this.#muted ? 0 : (this.#level?.read() ?? 0);
  }

  /** Asks the browser; shows the level when it was granted. */
  async request() {
    button("request-microphone").disabled = true;
    try {
      if (!navigator.mediaDevices) throw Object.assign(new Error(), { name: "InsecureContext" });
      const stream = await navigator.mediaDevices.getUserMedia(CONSTRAINTS);
      stream.getAudioTracks()[0]?.addEventListener("ended", () => this.#onEnded());
      this.#stream = stream;
      this.#level = meter(stream);
      everyFrame((nowMs) => this.#draw(nowMs));
      this.#show();
      this.#events.onStream(stream);
    } catch (thrown) {
      const name = thrown instanceof Error ? thrown.name : "Other";
      this.#events.onError(MICROPHONE_ERRORS[name] ?? MICROPHONE_ERRORS["Other"] ?? "");
    } finally {
      button("request-microphone").disabled = false;
    }
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.#muted = muted;
    this.#show();
  }

  /** The one microphone panel goes where the person is. @param {boolean} inRoom */
  moveTo(inRoom) {
    box(inRoom ? "microphone-in-room" : "microphone-home").append(box("microphone"));
  }

  #show() {
    button("request-microphone").hidden = this.granted;
    box("microphone-hint").hidden = this.granted;
    box("microphone-live").hidden = !this.granted;
    box("microphone").classList.toggle("muted", this.#muted);
    setIcon("microphone-icon", this.#muted ? "icon-mic-off" : "icon-mic");
  }

  /** @param {number} nowMs */
  #draw(nowMs) {
    if (!this.#level) return;
    const position = this.#smoother.next(meterPosition(this.#level.read()), nowMs);
    const bar = element("microphone-level", HTMLElement);
    setLevel(bar, position);
    if (nowMs - this.#announcedMs < ANNOUNCE_MS) return;
    this.#announcedMs = nowMs;
    bar.setAttribute("aria-valuenow", String(Math.round(position * 100)));
  }

  #onEnded() {
    this.#level?.close();
    this.#level = null;
    this.#stream = null;
    this.#show();
    this.#events.onEnded();
    this.#events.onError(MICROPHONE_ERRORS["Ended"] ?? "");
  }
}

/**
 * Measures a stream. A context that may not or cannot run (no sound device) measures nothing, and holds up nothing.
 *
 * @param {MediaStream} stream
 * @returns {LocalLevel}
 */
function meter(stream) {
  const context = createAudioContext();
  try {
    void context.resume();
    return new LocalLevel(context, stream);
  } catch {
    // Firefox refuses a stream whose rate is not the context's (NotSupportedError): measure at the device's own rate.
    void context.close();
    const own = new AudioContext({ latencyHint: 0.01 });
    void own.resume();
    return new LocalLevel(own, stream);
  }
}
