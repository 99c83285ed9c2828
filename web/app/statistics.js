/** The statistics panel: a card for each connection, drawn once a second while it is open, and the file for a bug report. */

import { box, button } from "./elements.js";

/** @typedef {import("../client/index.js").AntiphonClient} AntiphonClient */
/** @typedef {import("./connection-card.js").ConnectionCard} ConnectionCard */
/** @typedef {typeof import("./connection-card.js").ConnectionCard} CardClass */

/** So many cards begin unfolded: the microphone, and the first that is heard. More than that nobody reads, and each costs drawing. */
const OPEN_CARDS = 2;

export class StatisticsPanel {
  #client;
  /** @type {Map<string, ConnectionCard>} by the connection's id */
  #cards = new Map();
  #open = false;
  /** Loaded, with all that draws charts, when somebody wants to see them. @type {CardClass | null} */
  #Card = null;
  #watching = false;

  /** @param {AntiphonClient} client */
  constructor(client) {
    this.#client = client;
    button("statistics-toggle").addEventListener("click", () => this.#toggle());
    button("statistics-download").addEventListener("click", () => this.#download());
    client.on("roomjoined", () => this.#watch());
    client.on("roomleft", () => this.#clear());
  }

  /** The library measures from the first room on, and has one collector for all rooms. */
  #watch() {
    if (!this.#watching) this.#client.statistics().on("sample", () => this.#draw());
    this.#watching = true;
  }

  #toggle() {
    this.#open = !this.#open;
    button("statistics-toggle").setAttribute("aria-expanded", String(this.#open));
    box("statistics").hidden = !this.#open;
    if (this.#open) void this.#load();
    else this.#clear();
  }

  async #load() {
    this.#Card ??= (await import("./connection-card.js")).ConnectionCard;
    this.#draw();
  }

  #draw() {
    const Card = this.#Card;
    if (!this.#open || !Card || !this.#client.room) return;
    const { connections } = this.#client.statistics();
    const nowMs = performance.now();
    for (const [id, card] of this.#cards) if (!connections.some((one) => one.id === id)) this.#remove(id, card);
    for (const connection of connections) {
      const card = this.#cards.get(connection.id) ?? this.#add(connection.id, Card);
      card.update(connection, nowMs);
    }
    box("statistics-empty").hidden = connections.length > 0;
  }

  /**
   * @param {string} id
   * @param {CardClass} Card
   */
  #add(id, Card) {
    const card = new Card((userId) => this.#client.room?.participant(userId)?.username ?? "", this.#cards.size < OPEN_CARDS);
    card.element.addEventListener("toggle", () => this.#draw());
    this.#cards.set(id, card);
    box("connections").append(card.element);
    return card;
  }

  /**
   * @param {string} id
   * @param {ConnectionCard} card
   */
  #remove(id, card) {
    card.close();
    this.#cards.delete(id);
  }

  #clear() {
    for (const [id, card] of this.#cards) this.#remove(id, card);
  }

  #download() {
    const json = JSON.stringify(this.#client.statistics(), null, 1);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([json], { type: "application/json" }));
    link.download = `antiphon-statistics-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // some browsers begin to read only later
  }
}
