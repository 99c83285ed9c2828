/**
 * Keeps the client below the server's message limit (50 a second, else the socket is closed).
 *
 * Two lanes: what someone waits for, and candidates, which the ICE-lite server does not need. Joining a large room asks
 * for many connections at once; the pacer spreads what exceeds the burst over the following moments. Sans-I/O: time comes in.
 */

/** Messages that may go at once after a quiet second. With {@link RATE_PER_S}, at most 45 in any second. */
export const BURST = 20;
export const RATE_PER_S = 25;

/** Candidates waiting; older ones are dropped first, since later ones (server-reflexive) say more. */
export const MAX_BACKGROUND = 64;

/** @typedef {{frame: string, wanted: () => boolean}} Waiting */

export class Pacer {
  /** @type {Waiting[]} */
  #urgent = [];
  /** @type {Waiting[]} */
  #background = [];
  #tokens = BURST;
  #lastMs;

  /** @param {number} nowMs any monotonic clock */
  constructor(nowMs) {
    this.#lastMs = nowMs;
  }

  /**
   * @param {string} frame
   * @param {{background?: boolean, wanted?: () => boolean}} [options] background: goes when nothing else waits, may be
   *   dropped; wanted: asked when its turn comes, false drops it
   */
  push(frame, { background = false, wanted = () => true } = {}) {
    const lane = background ? this.#background : this.#urgent;
    lane.push({ frame, wanted });
    if (background && lane.length > MAX_BACKGROUND) lane.shift();
  }

  /**
   * Frames that may be sent now, in order.
   *
   * @param {number} nowMs
   * @returns {string[]}
   */
  take(nowMs) {
    this.#tokens = Math.min(BURST, this.#tokens + ((nowMs - this.#lastMs) / 1000) * RATE_PER_S);
    this.#lastMs = nowMs;
    /** @type {string[]} */
    const due = [];
    while (this.#tokens >= 1) {
      const next = this.#urgent.shift() ?? this.#background.shift();
      if (next === undefined) break;
      if (!next.wanted()) continue;
      this.#tokens -= 1;
      due.push(next.frame);
    }
    return due;
  }

  /** Milliseconds until {@link take} gives the next frame; null when nothing waits. @returns {number | null} */
  get waitMs() {
    if (this.#urgent.length + this.#background.length === 0) return null;
    return Math.max(1, Math.ceil(((1 - this.#tokens) / RATE_PER_S) * 1000));
  }

  /** Forgets everything that waits. */
  clear() {
    this.#urgent.length = 0;
    this.#background.length = 0;
  }
}
