/**
 * When to try to reach the server again. Sans-I/O: it owns waiting and counting, not sockets; time, chance and timers come in.
 *
 *     idle ── lost() ──▶ waiting ── delay over, hurry() ──▶ attempting ── succeeded() ──▶ idle
 *                         ▲   └ offline(): waits for online, at most MAX_DELAY_MS ┘  │
 *                         └──────────────────────── failed() ──────────────────────┘
 *     stop() leads to idle from everywhere. Attempts have no limit; each longer wait has a random part, so that the clients of a
 *     server that comes back do not all come at once.
 */

/** @typedef {import("./surroundings.js").Surroundings} Surroundings */

/** The longest wait before the first attempt; it doubles with each further one. */
export const FIRST_DELAY_MS = 250;
/** The longest wait of all. Seven attempts fall into the 30 s in which the server keeps a session. */
export const MAX_DELAY_MS = 15_000;
/** A connection that held this long starts again with the shortest wait; else one that always breaks would be made without pause. */
export const HELD_MS = 10_000;
/** News of the network cut a wait short, but not more often than this. */
export const HURRY_MS = 1000;

export class Reconnection {
  #surroundings;
  #onWaiting;
  #onAttempt;
  /** @type {"idle" | "waiting" | "attempting"} */
  #state = "idle";
  #attempts = 0;
  #succeededMs = -Infinity;
  #attemptedMs = -Infinity;
  /** @type {unknown} */
  #timer = null;

  /**
   * @param {object} options
   * @param {Pick<Surroundings, "now" | "setTimer" | "clearTimer" | "random" | "isOnline">} options.surroundings
   * @param {(attempt: number, delayMs: number) => void} options.onWaiting before each attempt; the first is 1
   * @param {(attempt: number) => void} options.onAttempt try now; answer with `succeeded` or `failed`
   */
  constructor({ surroundings, onWaiting, onAttempt }) {
    this.#surroundings = surroundings;
    this.#onWaiting = onWaiting;
    this.#onAttempt = onAttempt;
  }

  get state() {
    return this.#state;
  }

  /** A connection that was up is gone. */
  lost() {
    if (this.#state !== "idle") return;
    if (this.#surroundings.now() - this.#succeededMs >= HELD_MS) this.#attempts = 0;
    this.#wait();
  }

  /** The attempt has failed. */
  failed() {
    if (this.#state === "attempting") this.#wait();
  }

  /** The attempt has succeeded. */
  succeeded() {
    if (this.#state !== "attempting") return;
    this.#state = "idle";
    this.#succeededMs = this.#surroundings.now();
  }

  /** Something has changed that may make an attempt succeed now: a network is there, somebody looks. */
  hurry() {
    if (this.#state !== "waiting") return;
    const waitMs = this.#attemptedMs + HURRY_MS - this.#surroundings.now();
    this.#schedule(Math.max(0, waitMs));
  }

  /** There is no network: nothing is tried until there is one, or until MAX_DELAY_MS have shown that the machine may be wrong. */
  offline() {
    if (this.#state === "waiting") this.#schedule(MAX_DELAY_MS);
  }

  stop() {
    this.#state = "idle";
    this.#attempts = 0;
    this.#surroundings.clearTimer(this.#timer);
  }

  #wait() {
    this.#state = "waiting";
    this.#attempts += 1;
    const delayMs = this.#surroundings.isOnline() ? this.#delayMs() : MAX_DELAY_MS;
    this.#schedule(delayMs);
    this.#onWaiting(this.#attempts, delayMs);
  }

  #delayMs() {
    const longest = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(this.#attempts - 1, 16));
    return longest * (0.5 + 0.5 * this.#surroundings.random());
  }

  /** @param {number} delayMs */
  #schedule(delayMs) {
    this.#surroundings.clearTimer(this.#timer);
    this.#timer = this.#surroundings.setTimer(() => {
      this.#state = "attempting";
      this.#attemptedMs = this.#surroundings.now();
      this.#onAttempt(this.#attempts);
    }, delayMs);
  }
}
