/** The microphone on the page: asking for it, its live level, what to do when it is refused, and what happens when it goes away. */

import { meterPosition, Smoother } from "../client/index.js";
import { Capture, problemOf } from "./capture.js";
import { box, button, setIcon, setLevel } from "./elements.js";
import { everyFrame } from "./frames.js";
import { clearError, showError, showNotice } from "./notices.js";
import { measure } from "./sound.js";
import { TEXT } from "./text.js";

/** @typedef {import("./capture.js").Problem} Problem */
/** @typedef {import("./devices.js").Devices} Devices */
/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("../client/index.js").LocalLevel} LocalLevel */

/** Screen readers are told the level this often; the bars move with every frame. */
const ANNOUNCE_MS = 500;
const PROCESSING = new Set(["echoCancellation", "noiseSuppression", "autoGainControl"]);

/**
 * @typedef {object} MicrophoneEvents
 * @property {(stream: MediaStream) => void} onStream another stream is to be sent
 * @property {() => void} onEnded there is no microphone any more
 */

export class Microphone {
  #events;
  #settings;
  #devices;
  #capture = new Capture(() => void this.#onEnded());
  /** @type {LocalLevel | null} */
  #level = null;
  #smoother = new Smoother();
  #announcedMs = 0;
  #muted = false;
  /** @type {(() => void) | null} */
  #stopDrawing = null;
  /** @type {Problem | null} */
  #problem = null;

  /**
   * @param {Settings} settings
   * @param {Devices} devices
   * @param {MicrophoneEvents} events
   */
  constructor(settings, devices, events) {
    this.#settings = settings;
    this.#devices = devices;
    this.#events = events;
    button("request-microphone").addEventListener("click", () => void this.request());
    button("request-microphone").disabled = false;
    settings.onChange((key) => void this.#onSetting(key));
    void this.#watchPermission();
    if (!window.isSecureContext) this.#problem = "insecure";
    this.#show();
  }

  get granted() {
    return this.#capture.stream !== null;
  }

  /** Name of the device; "" while there is none. */
  get label() {
    return this.#capture.label;
  }

  /** Linear level now, 0..1, also while muted. */
  get rawLevel() {
    return this.#level?.read() ?? 0;
  }

  /** Linear level that others hear, 0..1. */
  get level() {
    return this.#muted ? 0 : this.rawLevel;
  }

  /** Asks the browser; shows the level when it was granted, and the way out when not. */
  async request() {
    button("request-microphone").disabled = true;
    try {
      await this.#open();
    } catch (thrown) {
      this.#setProblem(problemOf(thrown));
    } finally {
      button("request-microphone").disabled = false;
    }
  }

  /** The list of devices is another. @param {import("./devices.js").DevicesChange} change */
  async onDevices({ defaultMoved, appeared }) {
    const { microphone } = this.#settings.values;
    if (!this.granted) {
      // Somebody was told to plug one in, and has done so.
      if (this.#problem === "ended" || this.#problem === "missing") await this.#reopen({ announced: true });
    } else if (microphone === "" ? defaultMoved : appeared(microphone) && this.#capture.deviceId !== microphone) {
      await this.#reopen({ announced: true });
    }
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.#muted = muted;
    this.#show();
  }

  /** The one microphone panel goes where the person is. @param {boolean} inRoom */
  moveTo(inRoom) {
    box(inRoom ? "microphone-in-room" : "microphone-home").append(box("microphone"));
  }

  async #open() {
    const { values } = this.#settings;
    const stream = await this.#capture.open(values, this.#devices.hasMicrophone(values.microphone));
    if (!stream) return;
    this.#level?.close();
    this.#level = measure(stream);
    this.#stopDrawing ??= everyFrame((nowMs) => this.#draw(nowMs));
    this.#problem = null;
    clearError("microphone");
    this.#show();
    this.#events.onStream(stream);
    void this.#devices.refresh(); // the browser names the devices only now
  }

  /**
   * Opens the microphone again, as the settings are now. One that works is kept when the other one does not.
   *
   * @param {{announced: boolean}} options whether to say which one it is
   * @returns {Promise<boolean>}
   */
  async #reopen({ announced }) {
    try {
      await this.#open();
    } catch (thrown) {
      const problem = problemOf(thrown);
      if (this.granted) showError(TEXT.microphoneProblem[problem], "microphone");
      else if (problem !== "missing") this.#setProblem(problem);
      return false;
    }
    if (announced) showNotice(TEXT.usingMicrophone(this.label));
    return true;
  }

  /** @param {string} key of the setting that has changed */
  async #onSetting(key) {
    if (!this.granted) return;
    if (key === "microphone") await this.#reopen({ announced: false });
    if (!PROCESSING.has(key) || (await this.#capture.process(this.#settings.values))) return;
    this.#capture.pause();
    if (!(await this.#reopen({ announced: false }))) await this.#onEnded();
  }

  /** Unplugged: another one takes over, if there is one and the browser may use it. */
  async #onEnded() {
    this.#level?.close();
    this.#level = null;
    this.#stopDrawing?.();
    this.#stopDrawing = null;
    if (await this.#reopen({ announced: true })) return;
    this.#events.onEnded();
    this.#setProblem("ended");
  }

  /** Somebody who was told how to allow the microphone has done so. Not every browser tells. */
  async #watchPermission() {
    try {
      const permission = await navigator.permissions.query({ name: /** @type {PermissionName} */ ("microphone") });
      permission.addEventListener("change", () => {
        if (permission.state === "granted" && this.#problem === "denied" && !this.granted) void this.request();
      });
    } catch {
      // Then the person asks again by the button.
    }
  }

  /** @param {Problem} problem */
  #setProblem(problem) {
    this.#problem = problem;
    showError(TEXT.microphoneProblem[problem], "microphone");
    this.#show();
  }

  #show() {
    const problem = this.granted ? null : this.#problem;
    button("request-microphone").hidden = this.granted;
    box("microphone-hint").hidden = this.granted || problem !== null;
    box("microphone-live").hidden = !this.granted;
    box("microphone-device").textContent = this.label;
    box("microphone-help").hidden = problem === null;
    box("microphone-help-title").textContent = problem && TEXT.microphoneProblem[problem];
    box("microphone-help-steps").replaceChildren(...(problem ? TEXT.microphoneWayOut[problem] : []).map(listItem));
    box("microphone").classList.toggle("muted", this.#muted);
    setIcon("microphone-icon", this.#muted ? "icon-mic-off" : "icon-mic");
  }

  /** @param {number} nowMs */
  #draw(nowMs) {
    const position = this.#smoother.next(meterPosition(this.rawLevel), nowMs);
    const announced = nowMs - this.#announcedMs >= ANNOUNCE_MS;
    if (announced) this.#announcedMs = nowMs;
    for (const bar of [box("microphone-level"), box("settings-level")]) {
      setLevel(bar, position);
      if (announced) bar.setAttribute("aria-valuenow", String(Math.round(position * 100)));
    }
  }
}

/** @param {string} text */
function listItem(text) {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
}
