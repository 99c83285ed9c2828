/** One animation loop for everything on the page that shows a level; it rests while the page is hidden or nothing moves. */

/** @typedef {(nowMs: number) => void} Draw */

/** Levels come with packets, 50 a second; drawing them at half that looks the same and leaves the processor to the sound. */
const INTERVAL_MS = 38;

/** @type {Set<Draw>} */
const draws = new Set();
let running = false;
let drawnMs = -Infinity;

/** @param {number} nowMs */
function frame(nowMs) {
  if (draws.size === 0) {
    running = false;
    return;
  }
  requestAnimationFrame(frame);
  if (nowMs - drawnMs < INTERVAL_MS) return;
  drawnMs = nowMs;
  for (const draw of draws) draw(nowMs);
}

/**
 * Calls `draw` about 25 times a second, before a repaint, until the returned function is called.
 *
 * @param {Draw} draw
 * @returns {() => void}
 */
export function everyFrame(draw) {
  draws.add(draw);
  if (!running) {
    running = true;
    requestAnimationFrame(frame);
  }
  return () => draws.delete(draw);
}
