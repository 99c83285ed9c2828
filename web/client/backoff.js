/**
 * How long to wait before something that broke is tried again: longer each time, from the start once it has held.
 */

/** Waits before the attempts that follow one another, in milliseconds; after the last there is no further attempt. */
export const DELAYS_MS = [300, 1000, 3000, 8000];
/** What held this long starts again with the shortest wait. */
export const HELD_MS = 10_000;

export class Backoff {
  #attempts = 0;
  #sinceMs = 0;

  /** Something was started anew. @param {number} nowMs any monotonic clock */
  started(nowMs) {
    this.#sinceMs = nowMs;
  }

  /**
   * It broke: how long to wait, or null to give up.
   *
   * @param {number} nowMs
   * @returns {number | null}
   */
  broke(nowMs) {
    if (nowMs - this.#sinceMs >= HELD_MS) this.#attempts = 0;
    const delayMs = DELAYS_MS[this.#attempts] ?? null;
    this.#attempts += 1;
    return delayMs;
  }
}
