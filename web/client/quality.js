/**
 * How good a connection is, as one word that a page can show beside a name.
 *
 * Judged by the last {@link JUDGED_SAMPLES} samples. The bounds are those of Opus with in-band FEC: it hides single lost packets
 * well, 2 % of loss is not heard, 8 % is; below 300 ms there and back people do not talk into each other (ITU-T G.114 asks for 150 ms one
 * way), above 600 ms they do; and the jitter buffer swallows jitter at the price of delay.
 */

/** @typedef {import("./samples.js").Sample} Sample */

/** @typedef {"good" | "fair" | "poor"} Quality */

/** How many samples are judged together: five seconds. */
export const JUDGED_SAMPLES = 5;

/** The means up to which a connection is `good`, and `fair`; what exceeds one of them is worse. */
export const QUALITY_BOUNDS = Object.freeze({
  good: Object.freeze({ lossPercent: 2, roundTripMs: 300, jitterMs: 30, concealedPercent: 3 }),
  fair: Object.freeze({ lossPercent: 8, roundTripMs: 600, jitterMs: 80, concealedPercent: 10 }),
});

/** Connection states in which nothing is heard, whatever was measured before. */
const BROKEN = new Set(["disconnected", "failed"]);

/**
 * @param {RTCPeerConnectionState} state of the connection
 * @param {Sample[]} samples oldest first
 * @returns {Quality | null} null while nothing is known
 */
export function judge(state, samples) {
  if (BROKEN.has(state)) return "poor";
  const judged = samples.slice(-JUDGED_SAMPLES);
  const means = {
    lossPercent: mean(judged.map((sample) => sample.lossPercent)),
    roundTripMs: mean(judged.map((sample) => sample.roundTripMs)),
    jitterMs: mean(judged.map((sample) => sample.jitterMs)),
    concealedPercent: mean(judged.map((sample) => sample.concealedPercent)),
  };
  const names = /** @type {(keyof typeof means)[]} */ (Object.keys(means));
  if (names.every((name) => means[name] === null)) return null;
  const within = (/** @type {typeof QUALITY_BOUNDS.good | typeof QUALITY_BOUNDS.fair} */ bounds) =>
    names.every((name) => (means[name] ?? 0) <= bounds[name]);
  if (within(QUALITY_BOUNDS.good)) return "good";
  return within(QUALITY_BOUNDS.fair) ? "fair" : "poor";
}

/** @param {(number | null)[]} values */
function mean(values) {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}
