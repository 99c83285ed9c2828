/** One person in the room: name, state, live level, connection, and the way to what can be done about that person. */

import { meterPosition, Smoother, SPEAKING_LEVEL } from "../client/index.js";
import { icon, setLevel } from "./elements.js";
import { TEXT } from "./text.js";

/** @typedef {import("../client/index.js").Participant} Participant */
/** @typedef {import("./playback.js").Mix} Mix */
/** @typedef {"on" | "muted" | "listening" | "connecting"} PersonState */

/** A tile stays marked as speaking this long after the last loud moment, so that pauses between words do not flicker. */
const SPEAKING_HOLD_MS = 400;

/** @type {Record<PersonState, string>} */
const STATE_TEXT = { on: TEXT.microphoneOn, muted: TEXT.muted, listening: TEXT.listening, connecting: TEXT.connecting };

/** @param {Participant} person @returns {PersonState} */
function stateOf(person) {
  if (!person.publishing) return "listening";
  if (person.muted) return "muted";
  return person.isLocal || person.stream ? "on" : "connecting";
}

export class Tile {
  #person;
  #smoother = new Smoother();
  #spokeMs = -Infinity;
  /** @type {Mix} */
  #mix = { volume: 1, muted: false };
  #avatar = document.createElement("div");
  #state = document.createElement("span");
  #quality = qualityBars();
  item = document.createElement("li");

  /**
   * @param {Participant} person
   * @param {((opener: HTMLButtonElement) => void) | null} onOptions null for oneself
   */
  constructor(person, onOptions) {
    this.#person = person;
    this.item.className = "person";
    this.#avatar.className = "avatar";
    this.#avatar.textContent = initials(person.username);
    this.#avatar.setAttribute("aria-hidden", "true");
    this.#avatar.style.setProperty("--hue", String(hue(person.userId)));
    this.#state.className = "person-state";
    this.item.append(this.#avatar, nameLine(person), this.#state, this.#quality);
    if (onOptions) this.item.append(optionsButton(person, onOptions));
    this.update();
  }

  update() {
    const state = stateOf(this.#person);
    const silenced = this.#mix.muted || this.#mix.volume === 0;
    this.item.dataset["state"] = state;
    this.item.classList.toggle("silenced", silenced);
    if (state === "muted") this.#state.replaceChildren(icon("icon-mic-off"), STATE_TEXT.muted);
    else if (silenced) this.#state.replaceChildren(icon("icon-sound-off"), TEXT.mutedForYou);
    else this.#state.replaceChildren(STATE_TEXT[state]);
    this.#showQuality();
  }

  /** How this page plays the person. @param {Mix} mix */
  setMix(mix) {
    this.#mix = mix;
    this.update();
  }

  /** One hears it only from who speaks: of others nothing arrives that could be judged. */
  #showQuality() {
    const { quality, publishing, muted } = this.#person;
    const shown = publishing && !muted ? quality : null;
    this.#quality.hidden = shown === null;
    this.#quality.dataset["quality"] = shown ?? "";
    this.#quality.title = shown ? TEXT.quality[shown] : "";
    this.#quality.setAttribute("aria-label", this.#quality.title);
  }

  /**
   * @param {number} level linear, 0..1
   * @param {number} nowMs
   */
  draw(level, nowMs) {
    if (level > SPEAKING_LEVEL) this.#spokeMs = nowMs;
    this.item.classList.toggle("speaking", nowMs - this.#spokeMs < SPEAKING_HOLD_MS);
    setLevel(this.#avatar, this.#smoother.next(meterPosition(level), nowMs));
  }
}

/** @param {Participant} person */
function nameLine(person) {
  const line = document.createElement("span");
  line.className = "person-name";
  line.title = person.username;
  const name = document.createElement("bdi"); // a right-to-left name does not turn "(you)" around
  name.textContent = person.username;
  line.append(name);
  if (person.isLocal) {
    const you = document.createElement("span");
    you.className = "person-you";
    you.textContent = ` ${TEXT.you}`;
    line.append(you);
  }
  return line;
}

/** Three bars; the stylesheet fills them. */
function qualityBars() {
  const bars = document.createElement("span");
  bars.className = "quality";
  bars.setAttribute("role", "img");
  bars.hidden = true;
  for (let count = 0; count < 3; count += 1) bars.append(document.createElement("i"));
  return bars;
}

/**
 * @param {Participant} person
 * @param {(opener: HTMLButtonElement) => void} onOptions
 */
function optionsButton(person, onOptions) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "icon-button person-options";
  button.setAttribute("aria-label", TEXT.optionsFor(person.username));
  button.setAttribute("aria-haspopup", "dialog");
  button.append(icon("icon-more"));
  button.addEventListener("click", () => onOptions(button));
  return button;
}

/**
 * Up to two letters of a name.
 *
 * @param {string} name
 */
export function initials(name) {
  const words = name.trim().split(/\s+/);
  const chosen = words.length > 1 ? [words[0], words[words.length - 1]] : [words[0]];
  return chosen.map((word) => [...(word ?? "")][0] ?? "").join("").toLocaleUpperCase();
}

/**
 * A colour that stays with a person.
 *
 * @param {string} id
 * @returns {number} degrees
 */
function hue(id) {
  let hash = 0;
  for (const char of id) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) % 360;
  return hash;
}
