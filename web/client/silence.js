/**
 * Notices that nothing comes in any more on a connection that calls itself connected.
 *
 * A router that gives the machine another port leaves ICE content: the server answers checks to where they come from, but it sends media to
 * the address that was nominated, until that is renewed. Chromium nominates in each check, so its calls move along by themselves; Firefox
 * does not (RFC 8445 8.1.1 asks for one nomination), and needs a restart of ICE. Here media itself is the proof: who sends gets a receiver
 * report each second, who hears somebody gets packets even while that person is silent.
 */

import { BROWSER } from "./surroundings.js";

/** @typedef {import("./surroundings.js").Surroundings} Surroundings */

/** How often is looked. */
export const LOOK_MS = 2000;
/** So many looks without anything new are silence: four seconds. */
export const LOOKS = 2;
/** The longest pause between two alarms; it doubles while the silence lasts. */
export const MAX_PAUSE_LOOKS = 30;

/**
 * @typedef {object} Watched
 * @property {RTCPeerConnection} peerConnection
 * @property {boolean} expected something should come in: it is unmuted, or somebody is heard on it
 */

/** What is known of one connection. */
class Ear {
  received = -1;
  sent = -1;
  silentLooks = 0;
  alarmAt = LOOKS;

  /**
   * @param {any[]} stats
   * @param {boolean} expected
   * @returns {boolean} it is time to raise the alarm
   */
  look(stats, expected) {
    const received = total(stats, "candidate-pair", "bytesReceived");
    const sent = total(stats, "outbound-rtp", "packetsSent");
    const quiet = received === this.received && (sent === null || sent !== this.sent);
    [this.received, this.sent] = [received ?? -1, sent ?? -1];
    if (!quiet || !expected || received === null) {
      [this.silentLooks, this.alarmAt] = [0, LOOKS];
      return false;
    }
    this.silentLooks += 1;
    if (this.silentLooks < this.alarmAt) return false;
    this.alarmAt = this.silentLooks + Math.min(MAX_PAUSE_LOOKS, 2 * this.alarmAt);
    return true;
  }
}

export class SilenceWatch {
  #connections;
  #onSilent;
  #surroundings;
  /** @type {WeakMap<RTCPeerConnection, Ear>} */
  #ears = new WeakMap();
  /** @type {unknown} */
  #timer = null;
  #running = false;

  /**
   * @param {object} options
   * @param {() => Watched[]} options.connections what there is to watch now
   * @param {() => void} options.onSilent nothing comes in on one of them
   * @param {Partial<Surroundings>} [options.surroundings]
   */
  constructor({ connections, onSilent, surroundings = {} }) {
    this.#connections = connections;
    this.#onSilent = onSilent;
    this.#surroundings = { ...BROWSER, ...surroundings };
  }

  start() {
    this.#running = true;
    this.#surroundings.clearTimer(this.#timer);
    this.#timer = this.#surroundings.setTimer(() => void this.#look(), LOOK_MS);
  }

  stop() {
    this.#running = false;
    this.#surroundings.clearTimer(this.#timer);
  }

  async #look() {
    const silent = await Promise.all(this.#connections().map((one) => this.#lookAt(one)));
    if (!this.#running) return;
    if (silent.includes(true)) this.#onSilent();
    this.start();
  }

  /** @param {Watched} watched */
  async #lookAt({ peerConnection, expected }) {
    const report = await peerConnection.getStats().catch(() => null);
    if (report === null || peerConnection.connectionState !== "connected") return false;
    const ear = this.#ears.get(peerConnection) ?? new Ear();
    this.#ears.set(peerConnection, ear);
    return ear.look([...report.values()], expected);
  }
}

/**
 * @param {any[]} stats
 * @param {string} type
 * @param {string} counter
 * @returns {number | null} null where there is none
 */
function total(stats, type, counter) {
  const found = stats.filter((entry) => entry.type === type && entry[counter] !== undefined);
  return found.length === 0 ? null : found.reduce((sum, entry) => sum + entry[counter], 0);
}
