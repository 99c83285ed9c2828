/** The settings: which devices, how the microphone is treated, and tones. Open to everybody at any time, in a call as well. */

import { box, button, element, input } from "./elements.js";
import { CAN_CHOOSE_SPEAKER } from "./playback.js";
import { playTone } from "./sound.js";
import { TEXT } from "./text.js";

/** @typedef {import("./devices.js").Device} Device */
/** @typedef {import("./devices.js").Devices} Devices */
/** @typedef {import("./settings.js").Settings} Settings */

const SWITCHES = /** @type {const} */ (["echoCancellation", "noiseSuppression", "autoGainControl", "callSounds"]);

/** Element ids of the switches. */
const SWITCH_IDS = {
  echoCancellation: "echo-cancellation",
  noiseSuppression: "noise-suppression",
  autoGainControl: "auto-gain-control",
  callSounds: "call-sounds",
};

export class SettingsDialog {
  #settings;
  #devices;

  /**
   * @param {Settings} settings
   * @param {Devices} devices
   */
  constructor(settings, devices) {
    this.#settings = settings;
    this.#devices = devices;
    for (const opener of document.querySelectorAll("[data-opens='settings']")) opener.addEventListener("click", () => this.open());
    button("settings-done").addEventListener("click", () => dialog().close());
    // A click beside the dialog hits the dialog element itself, which fills the screen behind it.
    dialog().addEventListener("click", (event) => event.target === dialog() && dialog().close());
    for (const kind of /** @type {const} */ (["microphone", "speaker"])) {
      select(kind).addEventListener("change", () => settings.set({ [kind]: select(kind).value }));
    }
    for (const key of SWITCHES) {
      const id = SWITCH_IDS[key];
      input(id).addEventListener("change", () => settings.set({ [key]: input(id).checked }));
    }
    button("test-sound").addEventListener("click", () => playTone("test"));
    box("speaker-setting").hidden = !CAN_CHOOSE_SPEAKER;
    this.show();
  }

  open() {
    this.show();
    dialog().showModal();
    void this.#devices.refresh();
  }

  /** Shows the settings and devices as they are. */
  show() {
    const { values } = this.#settings;
    fill("microphone", this.#devices.microphones, values.microphone);
    fill("speaker", this.#devices.speakers, values.speaker);
    box("devices-hidden").hidden = this.#devices.microphones.length > 0;
    for (const key of SWITCHES) input(SWITCH_IDS[key]).checked = values[key];
  }
}

function dialog() {
  return element("settings", HTMLDialogElement);
}

/** @param {"microphone" | "speaker"} kind */
function select(kind) {
  return element(`${kind}-choice`, HTMLSelectElement);
}

/**
 * Only what changed is touched: a list that is open stays open.
 *
 * @param {"microphone" | "speaker"} kind
 * @param {Device[]} devices
 * @param {string} chosen device id; one that is not plugged in shows as the default, which is what is used then
 */
function fill(kind, devices, chosen) {
  const list = select(kind);
  const options = [
    new Option(TEXT.systemDefault, ""),
    ...devices.map(({ id, label }, index) => new Option(label || TEXT.unnamedDevice(index + 1), id)),
  ];
  const same = list.length === options.length && options.every((one, index) => one.value === list.options[index]?.value && one.text === list.options[index]?.text);
  if (!same) list.replaceChildren(...options);
  list.disabled = devices.length === 0;
  list.value = devices.some(({ id }) => id === chosen) ? chosen : "";
}
