/**
 * Whether the microphone is muted, and the server's agreement to it.
 *
 * Muted or not takes effect here at once; the server is told, and may refuse (its media server is away for a moment). Then the
 * microphone is shown as what it is, muted: the server forwards nothing. It is told again until it agrees.
 */

import { DELAYS_MS } from "./backoff.js";
import { AntiphonError, serverError } from "./errors.js";

/** @typedef {import("./signaling.js").Signaling} Signaling */

/** Refusals that telling it again does not change. */
const FINAL = new Set(["not_in_room", "not_registered", "superseded", "disconnected"]);

export class Muting {
  #onChange;
  #onRefused;
  #wanted = false;
  #muted = false;
  /** While in a room. @type {Signaling | null} */
  #signaling = null;
  /** Which telling is under way; what is heard of older ones does not matter. */
  #telling = 0;
  #refusals = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {object} listener
   * @param {(muted: boolean) => void} listener.onChange `muted` is another
   * @param {(error: AntiphonError) => void} listener.onRefused once for each wish that the server does not fulfil at once
   */
  constructor({ onChange, onRefused }) {
    this.#onChange = onChange;
    this.#onRefused = onRefused;
  }

  /** Nothing of the microphone reaches anybody. */
  get muted() {
    return this.#muted;
  }

  /** @param {boolean} wanted */
  set(wanted) {
    if (wanted === this.#wanted && wanted === this.#muted) return;
    const again = wanted === this.#wanted; // the server has refused it, and somebody will not wait for the next try
    this.#wanted = wanted;
    if (!again) {
      this.#refusals = 0;
      this.#show(wanted);
    }
    this.#tell();
  }

  /** In a room, where nobody is muted at first. @param {Signaling} signaling */
  enter(signaling) {
    this.#stop();
    this.#signaling = signaling;
    this.#show(this.#wanted);
    if (this.#wanted) this.#tell();
  }

  /** Back in the room in which one was: the server may not have heard the last wish. */
  resume() {
    this.#refusals = 0;
    this.#tell();
  }

  leave() {
    this.#stop();
    this.#signaling = null;
    this.#show(this.#wanted);
  }

  /**
   * The server has refused `set_muted`.
   *
   * @param {import("./messages.js").Received<"error">} message
   */
  onError(message) {
    if (this.#signaling) this.#refused(serverError(message));
  }

  /** The server has muted this client, or taken that back: an operator wished it. @param {boolean} muted */
  told(muted) {
    this.#stop();
    this.#wanted = muted;
    this.#show(muted);
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#telling += 1;
    this.#refusals = 0;
  }

  #tell() {
    const signaling = this.#signaling;
    if (!signaling) return;
    clearTimeout(this.#timer);
    this.#telling += 1;
    const telling = this.#telling;
    signaling.send({ type: "set_muted", muted: this.#wanted });
    // Only a refusal of set_muted is answered. Messages are carried out in order: a pong without one means that it was taken.
    signaling.request({ type: "ping" }, "pong").then(
      () => telling === this.#telling && this.#taken(),
      (error) => telling === this.#telling && this.#refused(AntiphonError.from(error, "timeout", "The server does not answer.")),
    );
  }

  #taken() {
    this.#refusals = 0;
    this.#show(this.#wanted);
  }

  /** @param {AntiphonError} error */
  #refused(error) {
    clearTimeout(this.#timer);
    this.#telling += 1;
    if (FINAL.has(error.code)) return;
    this.#show(true);
    const delayMs = DELAYS_MS[Math.min(this.#refusals, DELAYS_MS.length - 1)];
    this.#timer = setTimeout(() => this.#tell(), delayMs);
    this.#refusals += 1;
    if (this.#refusals === 1) this.#onRefused(error);
  }

  /** @param {boolean} muted */
  #show(muted) {
    if (muted === this.#muted) return;
    this.#muted = muted;
    this.#onChange(muted);
  }
}
