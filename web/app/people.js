/** The people in the room, one tile each, with their live level. */

import { meterPosition, Smoother, SPEAKING_LEVEL } from "../client/index.js";
import { box, icon, setLevel } from "./elements.js";
import { everyFrame } from "./frames.js";
import { TEXT } from "./text.js";

/** @typedef {import("../client/index.js").Room} Room */
/** @typedef {import("../client/index.js").Participant} Participant */

/** A tile stays marked as speaking this long after the last loud moment, so that pauses between words do not flicker. */
const SPEAKING_HOLD_MS = 400;

/** @typedef {"on" | "muted" | "listening" | "connecting"} PersonState */

/** @type {Record<PersonState, string>} */
const STATE_TEXT = { on: TEXT.microphoneOn, muted: TEXT.muted, listening: TEXT.listening, connecting: TEXT.connecting };

/** @param {Participant} person @returns {PersonState} */
function stateOf(person) {
  if (!person.publishing) return "listening";
  if (person.muted) return "muted";
  return person.isLocal || person.stream ? "on" : "connecting";
}

/** One person. */
class Tile {
  #person;
  #smoother = new Smoother();
  #spokeMs = -Infinity;
  #avatar = document.createElement("div");
  #state = document.createElement("span");
  item = document.createElement("li");

  /** @param {Participant} person */
  constructor(person) {
    this.#person = person;
    this.item.className = "person";
    this.#avatar.className = "avatar";
    this.#avatar.textContent = initials(person.username);
    this.#avatar.setAttribute("aria-hidden", "true");
    this.#avatar.style.setProperty("--hue", String(hue(person.userId)));
    this.#state.className = "person-state";
    this.item.append(this.#avatar, nameLine(person), this.#state);
    this.update();
  }

  update() {
    const state = stateOf(this.#person);
    this.item.dataset["state"] = state;
    this.#state.replaceChildren(...(state === "muted" ? [icon("icon-mic-off")] : []), STATE_TEXT[state]);
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

export class People {
  #localLevel;
  /** @type {Map<Participant, Tile>} */
  #tiles = new Map();
  /** @type {(() => void)[]} */
  #subscriptions = [];

  /**
   * @param {Room} room
   * @param {() => number} localLevel linear level of the own microphone
   */
  constructor(room, localLevel) {
    this.#localLevel = localLevel;
    for (const person of room.participants) this.#add(person);
    this.#subscriptions = [
      room.on("participantjoined", ({ participant }) => this.#add(participant)),
      room.on("participantleft", ({ participant }) => this.#remove(participant)),
      room.on("participantchanged", ({ participant }) => this.#tiles.get(participant)?.update()),
      everyFrame((nowMs) => this.#draw(nowMs)),
    ];
  }

  close() {
    for (const end of this.#subscriptions) end();
    for (const tile of this.#tiles.values()) tile.item.remove();
  }

  /** @param {Participant} person */
  #add(person) {
    const tile = new Tile(person);
    this.#tiles.set(person, tile);
    box("people").append(tile.item);
    this.#count();
  }

  /** @param {Participant} person */
  #remove(person) {
    this.#tiles.get(person)?.item.remove();
    this.#tiles.delete(person);
    this.#count();
  }

  #count() {
    const count = this.#tiles.size;
    box("room-heading").textContent = TEXT.people(count);
    box("alone").hidden = count !== 1;
  }

  /** @param {number} nowMs */
  #draw(nowMs) {
    for (const [person, tile] of this.#tiles) {
      const silent = !person.publishing || person.muted;
      const level = person.isLocal ? this.#localLevel() : person.level(nowMs);
      tile.draw(silent ? 0 : level, nowMs);
    }
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

/**
 * Up to two letters of a name.
 *
 * @param {string} name
 */
function initials(name) {
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
