/**
 * Playing what people say: one audio element each, with a volume of its own, on the chosen speaker. Where the browser wants a tap
 * first, one button plays all.
 */

import { box, button } from "./elements.js";

/** @typedef {{volume: number, muted: boolean}} Mix how somebody is heard: volume 0..1 */

/** Whether the page can choose the speaker. */
export const CAN_CHOOSE_SPEAKER = "setSinkId" in HTMLMediaElement.prototype;

export class Playback {
  /** @type {Map<string, HTMLAudioElement>} by user id */
  #elements = new Map();
  /** Kept for the whole call, also when somebody is away for a moment. @type {Map<string, Mix>} by user id */
  #mixes = new Map();
  #deafened = false;
  #sinkId = "";

  constructor() {
    button("unblock-sound").addEventListener("click", () => {
      for (const audio of this.#elements.values()) this.#play(audio);
    });
  }

  /**
   * @param {string} userId
   * @param {MediaStream} stream
   */
  add(userId, stream) {
    this.remove(userId);
    const audio = new Audio();
    audio.srcObject = stream;
    box("sounds").append(audio);
    this.#elements.set(userId, audio);
    this.#apply(userId);
    this.#route(audio);
    this.#play(audio);
  }

  /** @param {string} userId */
  remove(userId) {
    const audio = this.#elements.get(userId);
    if (!audio) return;
    audio.srcObject = null;
    audio.remove();
    this.#elements.delete(userId);
    this.#showButton();
  }

  /** The call is over: everybody is forgotten. */
  clear() {
    for (const userId of [...this.#elements.keys()]) this.remove(userId);
    this.#mixes.clear();
  }

  /**
   * @param {string} userId
   * @returns {Mix}
   */
  mix(userId) {
    return this.#mixes.get(userId) ?? { volume: 1, muted: false };
  }

  /**
   * @param {string} userId
   * @param {Partial<Mix>} change
   */
  setMix(userId, change) {
    this.#mixes.set(userId, { ...this.mix(userId), ...change });
    this.#apply(userId);
  }

  /** @param {boolean} deafened nobody is heard */
  setDeafened(deafened) {
    this.#deafened = deafened;
    for (const userId of this.#elements.keys()) this.#apply(userId);
  }

  /** @param {string} sinkId device id of the speaker; "" is the system's default */
  setSpeaker(sinkId) {
    this.#sinkId = sinkId;
    for (const audio of this.#elements.values()) this.#route(audio);
  }

  /** @param {string} userId */
  #apply(userId) {
    const audio = this.#elements.get(userId);
    if (!audio) return;
    const { volume, muted } = this.mix(userId);
    audio.volume = volume;
    audio.muted = muted || this.#deafened;
  }

  /** A speaker that is gone leaves the default one. @param {HTMLAudioElement} audio */
  #route(audio) {
    if (!CAN_CHOOSE_SPEAKER || audio.sinkId === this.#sinkId) return;
    audio.setSinkId(this.#sinkId).catch(() => {});
  }

  /** @param {HTMLAudioElement} audio */
  #play(audio) {
    // Refused until the person touched the page (NotAllowedError); also ends with AbortError when removed meanwhile.
    audio.play().then(
      () => this.#showButton(),
      () => this.#showButton(),
    );
  }

  #showButton() {
    button("unblock-sound").hidden = ![...this.#elements.values()].some((audio) => audio.paused);
  }
}
