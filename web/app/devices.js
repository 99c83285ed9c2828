/** The microphones and speakers of this machine, and what changes when one is plugged in or out. No DOM here. */

/** @typedef {{id: string, label: string, groupId: string}} Device `id` "" is the system's default */

/**
 * @typedef {object} DevicesChange
 * @property {boolean} defaultMoved another microphone is the system's default now
 * @property {(id: string) => boolean} appeared whether this microphone was not there before
 */

/** Chromium lists the system's choices a second time under these ids. */
const DEFAULT_ID = "default";
const ALIASES = new Set([DEFAULT_ID, "communications"]);

export class Devices {
  /** @type {Device[]} */
  microphones = [];
  /** @type {Device[]} */
  speakers = [];
  /** The device behind the system's default microphone, where the browser says so. */
  #defaultGroup = "";
  #onChange;

  /** @param {(change: DevicesChange) => void} onChange after each look */
  constructor(onChange) {
    this.#onChange = onChange;
    navigator.mediaDevices?.addEventListener("devicechange", () => void this.refresh());
  }

  /** @param {string} id */
  hasMicrophone(id) {
    return this.microphones.some((device) => device.id === id);
  }

  /** Asks the browser. Without permission there are no ids and no names, and so nothing to choose from. */
  async refresh() {
    const all = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    const before = this.#defaultGroup;
    const known = new Set(this.microphones.map(({ id }) => id));
    this.#defaultGroup = all.find(({ kind, deviceId }) => kind === "audioinput" && deviceId === DEFAULT_ID)?.groupId ?? "";
    this.microphones = named(all, "audioinput");
    this.speakers = named(all, "audiooutput");
    this.#onChange({
      defaultMoved: before !== "" && before !== this.#defaultGroup,
      appeared: (id) => !known.has(id) && this.hasMicrophone(id),
    });
  }
}

/**
 * The devices of one kind that have an id and are no alias of another.
 *
 * @param {MediaDeviceInfo[]} all
 * @param {MediaDeviceKind} kind
 * @returns {Device[]}
 */
export function named(all, kind) {
  return all
    .filter((device) => device.kind === kind && device.deviceId !== "" && !ALIASES.has(device.deviceId))
    .map(({ deviceId, label, groupId }) => ({ id: deviceId, label, groupId }));
}
