/** One small chart of the last two minutes: what is measured, its value now, and the line. */

import { HISTORY_MS } from "../client/index.js";
import { LANGUAGE, TEXT } from "./text.js";
import uPlot from "./vendor/uplot/uPlot.esm.js";

/** @typedef {import("../client/statistics.js").Sample} Sample */
/** @typedef {import("../client/samples.js").Measure} MeasureName */

/**
 * @typedef {object} Measure
 * @property {Exclude<keyof Sample, "atMs">} name
 * @property {string} label
 * @property {string} unit
 * @property {number} factor from the sample's unit to the shown one
 * @property {number} top the chart reaches at least this far, so that small noise looks small
 */

/** What is drawn of each stream, in this order. @type {readonly Measure[]} */
export const MEASURES = [
  { name: "bitrateBps", label: TEXT.bitrate, unit: "kbit/s", factor: 1 / 1000, top: 40 },
  { name: "lossPercent", label: TEXT.packetLoss, unit: "%", factor: 1, top: 5 },
  { name: "jitterMs", label: TEXT.jitter, unit: "ms", factor: 1, top: 20 },
  { name: "roundTripMs", label: TEXT.roundTrip, unit: "ms", factor: 1, top: 50 },
  { name: "audioLevel", label: TEXT.audioLevel, unit: "%", factor: 100, top: 50 },
  { name: "jitterBufferMs", label: TEXT.jitterBuffer, unit: "ms", factor: 1, top: 100 },
];

const HEIGHT_PX = 104;
const SPAN_S = HISTORY_MS / 1000;
const number = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 1 });

/**
 * @param {Measure} measure
 * @param {number | null | undefined} value in the sample's unit
 * @returns {string}
 */
export function shown({ factor, unit }, value) {
  return value === null || value === undefined ? "–" : `${number.format(value * factor)} ${unit}`;
}

export class Chart {
  #measure;
  #value = document.createElement("span");
  #canvas = document.createElement("div");
  /** @type {uPlot | null} */
  #plot = null;
  figure = document.createElement("figure");

  /** @param {Measure} measure */
  constructor(measure) {
    this.#measure = measure;
    const caption = document.createElement("figcaption");
    const label = document.createElement("span");
    label.textContent = measure.label;
    this.#value.className = "chart-value";
    caption.append(label, this.#value);
    this.#canvas.className = "chart-canvas";
    this.#canvas.setAttribute("role", "img");
    this.#canvas.setAttribute("aria-label", TEXT.chartOf(measure.label));
    this.figure.className = "chart";
    this.figure.append(caption, this.#canvas);
  }

  /**
   * @param {Sample[]} history oldest first
   * @param {number} nowMs `performance.now()`
   */
  update(history, nowMs) {
    const { name, factor } = this.#measure;
    this.#value.textContent = shown(this.#measure, history.at(-1)?.[name]);
    const width = this.#canvas.clientWidth;
    if (width === 0) return; // not on the page, or folded
    const seconds = history.map(({ atMs }) => (atMs - nowMs) / 1000);
    const values = history.map((sample) => (sample[name] === null ? null : sample[name] * factor));
    if (!this.#plot) this.#plot = new uPlot(this.#options(width), [seconds, values], this.#canvas);
    if (this.#plot.width !== width) this.#plot.setSize({ width, height: HEIGHT_PX });
    this.#plot.setData([seconds, values]);
  }

  close() {
    this.#plot?.destroy();
    this.#plot = null;
    this.figure.remove();
  }

  /**
   * @param {number} width
   * @returns {import("./vendor/uplot/uPlot.esm.js").Options}
   */
  #options(width) {
    // Read each time something is drawn: the system may turn dark meanwhile.
    const style = getComputedStyle(document.documentElement);
    const colour = (/** @type {string} */ token) => () => style.getPropertyValue(token);
    const font = "11px system-ui, sans-serif";
    const { top } = this.#measure;
    return {
      width,
      height: HEIGHT_PX,
      padding: [8, 8, 0, 0],
      cursor: { show: false },
      legend: { show: false },
      scales: {
        x: { time: false, range: [-SPAN_S, 0] },
        y: { range: (_plot, _low, high) => [0, Math.max(top, (high ?? 0) * 1.15)] },
      },
      axes: [
        {
          stroke: colour("--text-2"),
          font,
          size: 24,
          gap: 6,
          grid: { show: false },
          ticks: { show: false },
          splits: () => [-SPAN_S, -SPAN_S / 2, 0],
          values: () => [TEXT.minutesAgo(2), TEXT.minutesAgo(1), ""],
        },
        {
          stroke: colour("--text-2"),
          font,
          size: 34,
          gap: 4,
          grid: { stroke: colour("--line"), width: 1 },
          ticks: { show: false },
          space: 28,
          values: (_plot, splits) => splits.map((split) => number.format(split)),
        },
      ],
      series: [{}, { stroke: colour("--accent"), fill: colour("--accent-soft"), width: 1.75, points: { show: false } }],
    };
  }
}
