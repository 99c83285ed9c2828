/**
 * The sound of a microphone: opening it, changing to another one, changing how the browser treats it. No DOM here.
 *
 * Only the newest wish counts: what an older one opened meanwhile is stopped again.
 */

/** @typedef {import("./settings.js").Values} Values */
/** @typedef {"denied" | "system" | "missing" | "busy" | "insecure" | "ended" | "failed"} Problem */

const PROCESSING = /** @type {const} */ (["echoCancellation", "noiseSuppression", "autoGainControl"]);

/** By the name of the DOMException (Media Capture and Streams 10.2). @type {Record<string, Problem>} */
const PROBLEMS = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "failed",
  InsecureContext: "insecure",
};

/**
 * @param {unknown} thrown by getUserMedia
 * @returns {Problem}
 */
export function problemOf(thrown) {
  if (!(thrown instanceof Error)) return "failed";
  // Chromium and Firefox say in the message that it was the system and not the person.
  if (thrown.name === "NotAllowedError" && /by system|by the operating system/i.test(thrown.message)) return "system";
  return PROBLEMS[thrown.name] ?? "failed";
}

/**
 * What is asked of the browser: mono at the rate of Opus. A remembered device that is not there is no failure: the default is taken.
 *
 * @param {Readonly<Values>} values
 * @param {boolean} present whether the chosen device is plugged in: merely wished for, Chromium prefers one that is open already
 * @returns {MediaTrackConstraints}
 */
export function constraintsFor(values, present) {
  const processing = Object.fromEntries(PROCESSING.map((key) => [key, values[key]]));
  const device = values.microphone === "" ? {} : { deviceId: { [present ? "exact" : "ideal"]: values.microphone } };
  return { ...device, ...processing, channelCount: 1, sampleRate: 48_000 };
}

export class Capture {
  /** @type {MediaStream | null} */
  stream = null;
  #onEnded;
  #wish = 0;

  /** @param {() => void} onEnded the device went away while it was used */
  constructor(onEnded) {
    this.#onEnded = onEnded;
  }

  get #track() {
    return this.stream?.getAudioTracks()[0] ?? null;
  }

  /** Name of the device; "" while there is none. */
  get label() {
    return this.#track?.label ?? "";
  }

  /** Id of the device; "" while there is none. */
  get deviceId() {
    return this.#track?.getSettings().deviceId ?? "";
  }

  /**
   * Opens the microphone that the settings name, and lets go of the one before only then.
   *
   * @param {Readonly<Values>} values
   * @param {boolean} present whether the chosen device is plugged in
   * @returns {Promise<MediaStream | null>} null when a newer wish came meanwhile
   * @throws what getUserMedia throws; the microphone before stays
   */
  async open(values, present) {
    this.#wish += 1;
    const wish = this.#wish;
    if (!navigator.mediaDevices) throw Object.assign(new Error(), { name: "InsecureContext" });
    const stream = await getMicrophone(values, present);
    if (wish !== this.#wish) {
      stop(stream);
      return null;
    }
    const before = this.stream;
    this.stream = stream;
    stream.getAudioTracks()[0]?.addEventListener("ended", () => this.#ended(stream));
    if (before) stop(before);
    return stream;
  }

  /**
   * Switches echo cancellation and the like while the microphone is open.
   *
   * @param {Readonly<Values>} values
   * @returns {Promise<boolean>} false when this browser wants the microphone opened anew for that
   */
  async process(values) {
    const track = this.#track;
    if (!track) return true;
    try {
      await track.applyConstraints(constraintsFor({ ...values, microphone: "" }, false));
    } catch {
      return false;
    }
    const settings = track.getSettings();
    return PROCESSING.every((key) => settings[key] === undefined || settings[key] === values[key]);
  }

  /** Lets go of the microphone before it is opened anew: Chromium gives one that is open only as it was opened first. */
  pause() {
    if (this.stream) stop(this.stream);
  }

  /** @param {MediaStream} stream */
  #ended(stream) {
    if (stream !== this.stream) return;
    this.stream = null;
    this.#onEnded();
  }
}

/**
 * @param {Readonly<Values>} values
 * @param {boolean} present
 * @returns {Promise<MediaStream>}
 */
async function getMicrophone(values, present) {
  const get = (/** @type {boolean} */ exactly) => navigator.mediaDevices.getUserMedia({ audio: constraintsFor(values, exactly) });
  try {
    return await get(present);
  } catch (thrown) {
    // Pulled out a moment ago: the list of devices does not know it yet.
    if (present && thrown instanceof Error && thrown.name === "OverconstrainedError") return get(false);
    throw thrown;
  }
}

/** @param {MediaStream} stream */
function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}
