/**
 * How loud someone is, as a number that a meter can show.
 *
 * Levels are linear amplitudes, 0 (silence) to 1 (full scale, 0 dBov). {@link meterPosition} makes them a position that grows
 * with loudness as people hear it.
 */

/** The quietest level a meter shows; a quiet room is around -60 dBov. */
export const FLOOR_DB = -60;
/** A remote level that was not renewed for this long is silence: the sender stopped (muted, DTX, gone). */
export const STALE_MS = 500;
/** A level above this is somebody speaking: -45 dBov. */
export const SPEAKING_LEVEL = 10 ** (-45 / 20);

/**
 * Where a meter stands for a level.
 *
 * @param {number} level linear, 0..1
 * @returns {number} 0..1, linear in decibels above {@link FLOOR_DB}
 */
export function meterPosition(level) {
  if (!(level > 0)) return 0;
  return Math.min(1, Math.max(0, 1 - (20 * Math.log10(level)) / FLOOR_DB));
}

/**
 * Root mean square of samples.
 *
 * @param {ArrayLike<number>} samples -1..1
 * @returns {number} 0..1; full-scale square wave is 1
 */
export function rms(samples) {
  let sum = 0;
  for (let index = 0; index < samples.length; index += 1) sum += (samples[index] ?? 0) ** 2;
  return samples.length === 0 ? 0 : Math.sqrt(sum / samples.length);
}

/** Rises at once and falls slowly, so that speech does not flicker. */
export class Smoother {
  #value = 0;
  #lastMs = 0;

  /** @param {number} [fallPerS] how far the position falls in a second */
  constructor(fallPerS = 2) {
    this.fallPerS = fallPerS;
  }

  /**
   * @param {number} position 0..1
   * @param {number} nowMs any monotonic clock
   * @returns {number} 0..1
   */
  next(position, nowMs) {
    const fallen = this.#value - ((nowMs - this.#lastMs) / 1000) * this.fallPerS;
    this.#lastMs = nowMs;
    this.#value = Math.max(position, fallen, 0);
    return this.#value;
  }
}

/**
 * Level of a remote track, from the audio level that came with its packets (RFC 6464). Works while nothing plays the track.
 */
export class RemoteLevel {
  #receiver;
  #lastRtpTimestamp = -1;
  #renewedMs = -Infinity;

  /** @param {Pick<RTCRtpReceiver, "getSynchronizationSources">} receiver */
  constructor(receiver) {
    this.#receiver = receiver;
  }

  /**
   * @param {number} nowMs any monotonic clock
   * @returns {number} linear, 0..1
   */
  read(nowMs) {
    const source = this.#receiver.getSynchronizationSources()[0];
    if (!source) return 0;
    // The browsers' own timestamps have different origins; whether the packet is another one is the same in all.
    if (source.rtpTimestamp !== this.#lastRtpTimestamp) {
      this.#lastRtpTimestamp = source.rtpTimestamp;
      this.#renewedMs = nowMs;
    }
    return nowMs - this.#renewedMs > STALE_MS ? 0 : (source.audioLevel ?? 0);
  }
}

/** Level of a local stream, measured with WebAudio because not every browser has it in its statistics. */
export class LocalLevel {
  #source;
  #analyser;
  #samples;

  /**
   * @param {AudioContext} context running; see {@link createAudioContext}
   * @param {MediaStream} stream
   */
  constructor(context, stream) {
    this.#analyser = context.createAnalyser();
    this.#analyser.fftSize = 1024;
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#source = context.createMediaStreamSource(stream);
    this.#source.connect(this.#analyser);
  }

  /** @returns {number} linear, 0..1, over the last 21 ms */
  read() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    return rms(this.#samples);
  }

  close() {
    this.#source.disconnect();
  }
}

/**
 * An AudioContext for conversation: 10 ms latency, 48 kHz, the rate of Opus.
 *
 * @returns {AudioContext}
 */
export function createAudioContext() {
  return new AudioContext({ latencyHint: 0.01, sampleRate: 48_000 });
}
