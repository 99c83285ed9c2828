/**
 * What the library takes from where it runs: sockets, clock, timers, chance, and news of the network. Tests give their own.
 */

/**
 * @typedef {object} Surroundings
 * @property {(url: string) => WebSocket} openSocket
 * @property {() => number} now monotonic milliseconds
 * @property {(callback: () => void, delayMs: number) => unknown} setTimer
 * @property {(timer: any) => void} clearTimer
 * @property {() => number} random 0..1
 * @property {() => boolean} isOnline false only where the machine is known to have no network
 * @property {(listener: (news: NetworkNews) => void) => () => void} watchNetwork until the returned function is called
 */

/**
 * - `online`, `offline`: the machine has a network, or none
 * - `changed`: it has another one (Wi-Fi to cellular), or an address of another kind
 * - `visible`: somebody looks at the page again; timers of hidden pages are late
 *
 * @typedef {"online" | "offline" | "changed" | "visible"} NetworkNews
 */

/** @type {Surroundings} */
export const BROWSER = {
  openSocket: (url) => new WebSocket(url),
  now: () => performance.now(),
  setTimer: (callback, delayMs) => setTimeout(callback, delayMs),
  clearTimer: (timer) => clearTimeout(timer),
  random: () => Math.random(),
  isOnline: () => globalThis.navigator?.onLine ?? true,
  watchNetwork,
};

/**
 * Where an event does not exist (`navigator.connection` in Firefox, everything in a worker or in node), its news never comes, and
 * only waiting takes longer. `visibilitychange` bubbles up to the global object; that it comes when a page is hidden too does no harm.
 *
 * @param {(news: NetworkNews) => void} listener
 */
function watchNetwork(listener) {
  const ending = new AbortController();
  const connection = /** @type {{connection?: EventTarget}} */ (globalThis.navigator ?? {}).connection;
  const watch = (/** @type {EventTarget | undefined} */ target, /** @type {string} */ type, /** @type {NetworkNews} */ news) =>
    target?.addEventListener?.(type, () => listener(news), { signal: ending.signal });
  watch(globalThis, "online", "online");
  watch(globalThis, "offline", "offline");
  watch(globalThis, "visibilitychange", "visible");
  watch(connection, "change", "changed");
  return () => ending.abort();
}
