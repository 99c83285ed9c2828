/** What a person has chosen for this browser, remembered. No DOM here. */

import { recall, remember } from "./storage.js";

const KEY = "antiphon.settings";

/** Speech as people hear it best is the default: the browser removes echo and noise and levels the voice. */
const DEFAULTS = {
  /** Device ids; "" is what the system has as its default. */
  microphone: "",
  speaker: "",
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
  /** Tones when somebody joins or leaves. */
  callSounds: true,
};

/** @typedef {typeof DEFAULTS} Values */

export class Settings {
  #values;
  /** @type {Set<(changed: keyof Values) => void>} */
  #listeners = new Set();

  /** @param {string | null} [stored] JSON of an earlier visit */
  constructor(stored = recall(KEY)) {
    this.#values = { ...DEFAULTS, ...readable(stored) };
  }

  /** @returns {Readonly<Values>} */
  get values() {
    return this.#values;
  }

  /** @param {Partial<Values>} changes */
  set(changes) {
    const changed = /** @type {(keyof Values)[]} */ (Object.keys(changes)).filter((key) => changes[key] !== this.#values[key]);
    this.#values = { ...this.#values, ...changes };
    remember(KEY, JSON.stringify(this.#values));
    for (const key of changed) for (const listener of this.#listeners) listener(key);
  }

  /** Calls `listener` after each change. @param {(changed: keyof Values) => void} listener */
  onChange(listener) {
    this.#listeners.add(listener);
  }
}

/**
 * Those values of an earlier visit that are what they should be; another version of the page may have written them.
 *
 * @param {string | null} stored
 * @returns {Partial<Values>}
 */
function readable(stored) {
  /** @type {unknown} */
  let parsed;
  try {
    parsed = JSON.parse(stored ?? "{}");
  } catch {
    return {};
  }
  if (typeof parsed !== "object" || parsed === null) return {};
  const fitting = Object.entries(parsed).filter(
    ([key, value]) => Object.hasOwn(DEFAULTS, key) && typeof value === typeof DEFAULTS[/** @type {keyof Values} */ (key)],
  );
  return Object.fromEntries(fitting);
}
