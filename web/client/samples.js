/**
 * What happened on a stream between two readings, and on a connection that carries several: rates and shares instead of counters.
 */

/** @typedef {import("./reports.js").StreamReading} StreamReading */

/**
 * One moment of a chart. Everything is about the time since the sample before; null is what is not known.
 *
 * @typedef {object} Sample
 * @property {number} atMs `performance.now()` when it was taken
 * @property {number | null} bitrateBps of payload
 * @property {number | null} packetsPerS
 * @property {number | null} packetsLost how many were lost (below zero: some that counted as lost came after all)
 * @property {number | null} lossPercent 0..100
 * @property {number | null} jitterMs
 * @property {number | null} roundTripMs to the server and back
 * @property {number | null} audioLevel linear, 0..1
 * @property {number | null} jitterBufferMs how long a sample waited before it was played
 * @property {number | null} concealedPercent 0..100, of what was played: made up because packets were missing or late
 */

/** @typedef {Exclude<keyof Sample, "atMs">} Measure */

/**
 * @typedef {"packets" | "bytes" | "packetsLost" | "jitterBufferDelayS" | "jitterBufferSamples" | "samples" | "concealedSamples"} Counter
 */

/**
 * @param {StreamReading | null} before of the same stream
 * @param {StreamReading} now
 * @param {number} atMs
 * @param {number | null} pathRoundTripMs for streams that do not know their own
 * @returns {Sample}
 */
export function sampleOf(before, now, atMs, pathRoundTripMs) {
  const since = before?.id === now.id && now.packets >= before.packets ? before : null;
  const seconds = since ? (now.atMs - since.atMs) / 1000 : 0;
  const grown = (/** @type {Counter} */ name) => (since === null || now[name] === null ? null : now[name] - (since[name] ?? 0));
  const perS = (/** @type {number | null} */ count) => (count === null || seconds <= 0 ? null : count / seconds);
  const lost = grown("packetsLost");
  const bits = perS(grown("bytes"));
  const waitedS = share(grown("jitterBufferDelayS"), grown("jitterBufferSamples"));
  return {
    atMs,
    bitrateBps: bits === null ? null : bits * 8,
    packetsPerS: perS(grown("packets")),
    packetsLost: lost,
    lossPercent: now.fractionLost === null ? lossPercent(lost, grown("packets")) : now.fractionLost * 100,
    jitterMs: now.jitterMs,
    roundTripMs: now.roundTripMs ?? pathRoundTripMs,
    audioLevel: now.audioLevel,
    jitterBufferMs: waitedS === null ? null : waitedS * 1000,
    concealedPercent: percent(share(grown("concealedSamples"), grown("samples"))),
  };
}

/**
 * The streams of one connection as one: sums of rates and counts, the worst jitter, buffer and concealment, the loudest level.
 *
 * @param {Sample[]} samples of one moment
 * @param {number} atMs
 * @param {number | null} pathRoundTripMs
 * @returns {Sample}
 */
export function together(samples, atMs, pathRoundTripMs) {
  const known = (/** @type {Measure} */ name) => samples.map((sample) => sample[name]).filter((value) => value !== null);
  const sum = (/** @type {Measure} */ name) => (known(name).length === 0 ? null : known(name).reduce((all, one) => all + one, 0));
  const most = (/** @type {Measure} */ name) => (known(name).length === 0 ? null : Math.max(...known(name)));
  return {
    atMs,
    bitrateBps: sum("bitrateBps"),
    packetsPerS: sum("packetsPerS"),
    packetsLost: sum("packetsLost"),
    lossPercent: weightedLoss(samples),
    jitterMs: most("jitterMs"),
    roundTripMs: most("roundTripMs") ?? pathRoundTripMs,
    audioLevel: most("audioLevel"),
    jitterBufferMs: most("jitterBufferMs"),
    concealedPercent: most("concealedPercent"),
  };
}

/** Someone who says nothing sends few packets: their loss counts as little. @param {Sample[]} samples */
function weightedLoss(samples) {
  let [packets, lost] = [0, 0];
  for (const { packetsPerS, lossPercent: loss } of samples) {
    if (loss === null || packetsPerS === null) continue;
    packets += packetsPerS;
    lost += packetsPerS * loss;
  }
  return share(lost, packets);
}

/**
 * @param {number | null} lost
 * @param {number | null} received
 */
function lossPercent(lost, received) {
  if (lost === null || received === null || lost + received <= 0) return null;
  return Math.max(0, (100 * lost) / (lost + received));
}

/**
 * @param {number | null} part
 * @param {number | null} whole
 */
function share(part, whole) {
  return part === null || whole === null || whole <= 0 ? null : part / whole;
}

/** @param {number | null} value 0..1 */
function percent(value) {
  return value === null ? null : Math.min(100, Math.max(0, value * 100));
}
