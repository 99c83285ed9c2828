/**
 * The page's one AudioContext: it measures the microphone and plays the page's own tones. Made when first needed, because browsers
 * let a page make sound only after it was touched.
 */

import { createAudioContext, LocalLevel } from "../client/index.js";

/** @type {AudioContext | null} */
let context = null;
let sinkId = "";

/** @returns {AudioContext} */
export function audioContext() {
  context ??= createAudioContext();
  if (context.state !== "running") void context.resume();
  return context;
}

/** Lets the page's own tones come out of this speaker, where the browser can. @param {string} deviceId "" is the default */
export function routeTones(deviceId) {
  sinkId = deviceId;
  const routed = /** @type {{setSinkId?: (id: string) => Promise<void>} | null} */ (/** @type {unknown} */ (context));
  void routed?.setSinkId?.(sinkId).catch(() => {});
}

/**
 * Measures a stream. A context that may not or cannot run (no sound device) measures nothing, and holds up nothing.
 *
 * @param {MediaStream} stream
 * @returns {LocalLevel}
 */
export function measure(stream) {
  try {
    return new LocalLevel(audioContext(), stream);
  } catch {
    // Firefox refuses a stream whose rate is not the context's (NotSupportedError): measure at the device's own rate.
    const own = new AudioContext({ latencyHint: 0.01 });
    void own.resume();
    return new LocalLevel(own, stream);
  }
}

/** Frequencies in hertz, one after the other. */
const TONES = { join: [523, 784], leave: [587, 392], test: [392, 523, 659, 784] };
const NOTE_S = 0.13;
const LOUDNESS = 0.12;

/**
 * Plays a short melody: soft sine tones that overlap a little.
 *
 * @param {keyof typeof TONES} name
 */
export function playTone(name) {
  const output = audioContext();
  routeTones(sinkId);
  TONES[name].forEach((frequency, index) => {
    const startS = output.currentTime + 0.02 + index * NOTE_S;
    const gain = output.createGain();
    gain.gain.setValueAtTime(0, startS);
    gain.gain.linearRampToValueAtTime(LOUDNESS, startS + 0.015);
    gain.gain.exponentialRampToValueAtTime(0.0001, startS + NOTE_S * 2);
    const oscillator = output.createOscillator();
    oscillator.frequency.value = frequency;
    oscillator.connect(gain).connect(output.destination);
    oscillator.start(startS);
    oscillator.stop(startS + NOTE_S * 2);
  });
}
