/** How good a connection is, in three steps that a person can see. No DOM here. */

/** @typedef {"good" | "fair" | "poor"} Quality */

/**
 * @typedef {object} Measured
 * @property {number | null} lossFraction of the packets of the last seconds, 0..1
 * @property {number | null} jitterMs
 * @property {number | null} roundTripMs
 */

/** From here on a conversation is unsteady: words get lost (Opus conceals up to about 3 %), or people talk at once. */
const FAIR = { lossFraction: 0.03, jitterMs: 40, roundTripMs: 300 };
/** From here on it is work to understand each other. */
const POOR = { lossFraction: 0.1, jitterMs: 100, roundTripMs: 600 };

/**
 * @param {Measured} measured
 * @returns {Quality | null} null when nothing is known
 */
export function qualityOf(measured) {
  const keys = /** @type {const} */ (["lossFraction", "jitterMs", "roundTripMs"]);
  if (keys.every((key) => measured[key] === null)) return null;
  const beyond = (/** @type {typeof FAIR} */ bounds) => keys.some((key) => (measured[key] ?? 0) >= bounds[key]);
  if (beyond(POOR)) return "poor";
  return beyond(FAIR) ? "fair" : "good";
}
