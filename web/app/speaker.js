/** Which speaker plays: the chosen one while it is plugged in, the system's default otherwise. */

import { showNotice } from "./notices.js";
import { routeTones } from "./sound.js";
import { TEXT } from "./text.js";

/** @typedef {import("./devices.js").Devices} Devices */
/** @typedef {import("./playback.js").Playback} Playback */
/** @typedef {import("./settings.js").Settings} Settings */

export class Speaker {
  #settings;
  #devices;
  #playback;
  #inUse = "";
  /** Before the microphone is allowed the browser names no devices: the first list is no change. */
  #known = false;

  /**
   * @param {Settings} settings
   * @param {Devices} devices
   * @param {Playback} playback
   */
  constructor(settings, devices, playback) {
    this.#settings = settings;
    this.#devices = devices;
    this.#playback = playback;
    settings.onChange((key) => key === "speaker" && this.#choose({ announced: false }));
  }

  /** The list of devices is another. */
  onDevices() {
    this.#choose({ announced: this.#known });
    this.#known = this.#devices.speakers.length > 0;
  }

  /** @param {{announced: boolean}} options whether a change is told */
  #choose({ announced }) {
    const device = this.#devices.speakers.find(({ id }) => id === this.#settings.values.speaker);
    const id = device?.id ?? "";
    if (id === this.#inUse) return;
    this.#inUse = id;
    this.#playback.setSpeaker(id);
    routeTones(id);
    if (announced) showNotice(TEXT.usingSpeaker(device?.label || TEXT.systemDefault));
  }
}
