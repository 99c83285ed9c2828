/** What is known of one connection to the server: what it is, what it carries, and its charts. */

import { Chart, MEASURES } from "./chart.js";
import { LANGUAGE, TEXT } from "./text.js";

/** @typedef {import("../client/index.js").ConnectionStatistics} ConnectionStatistics */
/** @typedef {import("../client/index.js").StreamStatistics} StreamStatistics */
/** @typedef {import("../client/statistics.js").Path} Path */
/** @typedef {(userId: string) => string} NameOf */

/** Value of the choice that shows all streams together. */
const TOGETHER = "";
const number = new Intl.NumberFormat(LANGUAGE);

export class ConnectionCard {
  #nameOf;
  #summary = document.createElement("span");
  #state = document.createElement("span");
  #choice = document.createElement("select");
  #choiceRow = document.createElement("label");
  #facts = document.createElement("dl");
  /** @type {(readonly [HTMLElement, HTMLElement])[]} */
  #factElements = [];
  #charts = MEASURES.map((measure) => new Chart(measure));
  element = document.createElement("details");

  /**
   * @param {NameOf} nameOf
   * @param {boolean} open
   */
  constructor(nameOf, open) {
    this.#nameOf = nameOf;
    const head = document.createElement("summary");
    this.#summary.className = "connection-name";
    this.#summary.dir = "auto";
    this.#state.className = "connection-state";
    head.append(this.#summary, this.#state);
    this.#choiceRow.className = "connection-choice";
    this.#choiceRow.append(TEXT.streamShown, this.#choice);
    this.#facts.className = "facts";
    const charts = document.createElement("div");
    charts.className = "charts";
    charts.append(...this.#charts.map(({ figure }) => figure));
    this.element.className = "connection";
    this.element.open = open;
    this.element.append(head, this.#choiceRow, this.#facts, charts);
  }

  /**
   * @param {ConnectionStatistics} connection
   * @param {number} nowMs
   */
  update(connection, nowMs) {
    const { direction, userId, state, streams } = connection;
    this.#summary.textContent = direction === "send" ? TEXT.sentConnection : userId === null ? TEXT.heardConnection : TEXT.heardFrom(this.#nameOf(userId));
    this.#state.textContent = TEXT.connectionState[state] ?? state;
    this.#state.dataset["state"] = state;
    if (!this.element.open) return;
    this.#offer(streams);
    const stream = streams.find((one) => (one.userId ?? TOGETHER) === this.#choice.value) ?? (streams.length === 1 ? streams[0] : undefined);
    this.#tell(factsOf(connection, stream ?? null));
    for (const chart of this.#charts) chart.update(stream?.history ?? connection.history, nowMs);
  }

  close() {
    for (const chart of this.#charts) chart.close();
    this.element.remove();
  }

  /** Only what changed is touched, so that a fact can be selected and copied. @param {[string, string][]} facts */
  #tell(facts) {
    facts.forEach(([label, value], index) => {
      const [, description] = this.#factElements[index] ?? this.#addFact(label);
      if (description.textContent !== value) description.textContent = value;
    });
  }

  /** @param {string} label */
  #addFact(label) {
    const pair = /** @type {const} */ ([document.createElement("dt"), document.createElement("dd")]);
    pair[0].textContent = label;
    this.#facts.append(...pair);
    this.#factElements.push(pair);
    return pair;
  }

  /** Where several people are heard on one connection, one of them can be looked at. @param {StreamStatistics[]} streams */
  #offer(streams) {
    this.#choiceRow.hidden = streams.length < 2;
    const options = [[TOGETHER, TEXT.everyoneTogether], ...streams.map(({ userId }) => [userId ?? "", this.#nameOf(userId ?? "")])];
    const before = this.#choice.value;
    const same = this.#choice.length === options.length && options.every(([value], index) => this.#choice.options[index]?.value === value);
    if (same) return;
    this.#choice.replaceChildren(...options.map(([value, name]) => new Option(name, value)));
    this.#choice.value = options.some(([value]) => value === before) ? before : TOGETHER;
  }
}

/**
 * @param {ConnectionStatistics} connection
 * @param {StreamStatistics | null} stream
 * @returns {[string, string][]}
 */
function factsOf({ path, encryption, streams }, stream) {
  const codec = (stream ?? streams[0])?.codec;
  const totals = stream ? [stream.totals] : streams.map((one) => one.totals);
  const packets = totals.reduce((sum, one) => sum + one.packets, 0);
  const lost = totals.reduce((sum, one) => sum + (one.packetsLost ?? 0), 0);
  const { tlsVersion, dtlsCipher, dtlsState, srtpCipher } = encryption;
  const dtls = [tlsVersion, dtlsCipher].filter(Boolean).join(", ");
  return [
    [TEXT.codec, codec ? `${codec.mimeType.replace("audio/", "")}, ${number.format((codec.clockRate ?? 0) / 1000)} kHz` : "–"],
    [TEXT.packets, TEXT.packetsOf(number.format(packets), number.format(lost))],
    [TEXT.icePath, path ? pathText(path) : "–"],
    ["DTLS", dtls || dtlsState || "–"],
    ["SRTP", srtpCipher ?? "–"],
  ];
}

/** @param {Path} path */
function pathText({ local, remote }) {
  const end = (/** @type {Path["local"]} */ { type, address, port }) => `${type} ${address.includes(":") ? `[${address}]` : address}:${port}`;
  return `${end(local)} → ${end(remote)} (${local.protocol.toUpperCase()})`;
}
