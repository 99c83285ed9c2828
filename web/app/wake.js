/** Keeps the screen on during a call, where the browser can: a phone that sleeps ends it. */

export class WakeLock {
  #wanted = false;
  /** @type {WakeLockSentinel | null} */
  #lock = null;

  constructor() {
    // The browser lets go of it when the page is hidden, and of itself does not take it again.
    document.addEventListener("visibilitychange", () => void this.#take());
  }

  hold() {
    this.#wanted = true;
    void this.#take();
  }

  release() {
    this.#wanted = false;
    void this.#lock?.release();
    this.#lock = null;
  }

  async #take() {
    if (!this.#wanted || document.visibilityState !== "visible" || !("wakeLock" in navigator)) return;
    try {
      const lock = await navigator.wakeLock.request("screen");
      if (this.#wanted) this.#lock = lock;
      else void lock.release();
    } catch {
      // Refused, for example with an empty battery: the call goes on.
    }
  }
}
