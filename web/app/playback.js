/** Playing what people say: one audio element each. Where the browser wants a tap first, one button plays all. */

import { box, button } from "./elements.js";

export class Playback {
  /** @type {Map<MediaStream, HTMLAudioElement>} */
  #elements = new Map();

  constructor() {
    button("unblock-sound").addEventListener("click", () => {
      for (const audio of this.#elements.values()) this.#play(audio);
    });
  }

  /** @param {MediaStream} stream */
  add(stream) {
    const audio = new Audio();
    audio.srcObject = stream;
    box("sounds").append(audio);
    this.#elements.set(stream, audio);
    this.#play(audio);
  }

  /** @param {MediaStream} stream */
  remove(stream) {
    const audio = this.#elements.get(stream);
    if (!audio) return;
    audio.srcObject = null;
    audio.remove();
    this.#elements.delete(stream);
    this.#showButton();
  }

  clear() {
    for (const stream of [...this.#elements.keys()]) this.remove(stream);
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
