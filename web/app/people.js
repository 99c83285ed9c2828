/** The people in the room, one tile each. */

import { box } from "./elements.js";
import { everyFrame } from "./frames.js";
import { TEXT } from "./text.js";
import { Tile } from "./tile.js";

/** @typedef {import("../client/index.js").Room} Room */
/** @typedef {import("../client/index.js").Participant} Participant */

/**
 * @typedef {object} PeopleOptions
 * @property {Room} room
 * @property {() => number} localLevel linear level of the own microphone
 * @property {(person: Participant, opener: HTMLButtonElement) => void} onOptions somebody wants to do something about a person
 */

export class People {
  #options;
  /** @type {Map<Participant, Tile>} */
  #tiles = new Map();
  /** @type {(() => void)[]} */
  #subscriptions = [];

  /** @param {PeopleOptions} options */
  constructor(options) {
    this.#options = options;
    const { room } = options;
    for (const person of room.participants) this.#add(person);
    this.#subscriptions = [
      room.on("participantjoined", ({ participant }) => this.#add(participant)),
      room.on("participantleft", ({ participant }) => this.#remove(participant)),
      room.on("participantchanged", ({ participant }) => this.tile(participant)?.update()),
      everyFrame((nowMs) => this.#draw(nowMs)),
    ];
  }

  /** @param {Participant} person */
  tile(person) {
    return this.#tiles.get(person) ?? null;
  }

  close() {
    for (const end of this.#subscriptions) end();
    for (const tile of this.#tiles.values()) tile.item.remove();
  }

  /** @param {Participant} person */
  #add(person) {
    const onOptions = (/** @type {HTMLButtonElement} */ opener) => this.#options.onOptions(person, opener);
    const tile = new Tile(person, person.isLocal ? null : onOptions);
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
    box("people").dataset["crowd"] = crowd(count);
    box("alone").hidden = count !== 1;
  }

  /** @param {number} nowMs */
  #draw(nowMs) {
    for (const [person, tile] of this.#tiles) {
      const silent = !person.publishing || person.muted;
      const level = person.isLocal ? this.#options.localLevel() : person.level(nowMs);
      tile.draw(silent ? 0 : level, nowMs);
    }
  }
}

/**
 * How much room each tile may take.
 *
 * @param {number} count
 */
function crowd(count) {
  if (count <= 4) return "few";
  return count <= 8 ? "some" : "many";
}
