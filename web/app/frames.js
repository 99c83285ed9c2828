/** One animation loop for everything on the page that shows a level; it rests while the page is hidden or nothing moves. */

/** @typedef {(nowMs: number) => void} Draw */

/** @type {Set<Draw>} */
const draws = new Set();
let running = false;

/** @param {number} nowMs */
function frame(nowMs) {
  if (draws.size === 0) {
    running = false;
    return;
  }
  for (const draw of draws) draw(nowMs);
  requestAnimationFrame(frame);
}

/**
 * Calls `draw` before each repaint until the returned function is called.
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
