/** The microphones and speakers of this machine, and what changes when one is plugged in or out. No DOM here. */

/** @typedef {{id: string, label: string, groupId: string}} Device `id` "" is the system's default */

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

  /** @param {(change: {defaultMoved: boolean}) => void} onChange after each change; `defaultMoved`: another microphone is the system's default now */
  constructor(onChange) {
    this.#onChange = onChange;
    navigator.mediaDevices?.addEventListener("devicechange", () => void this.refresh());
  }

  /** Asks the browser. Without permission there are no ids and no names, and so nothing to choose from. */
  async refresh() {
    const all = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    const before = this.#defaultGroup;
    this.#defaultGroup = all.find(({ kind, deviceId }) => kind === "audioinput" && deviceId === DEFAULT_ID)?.groupId ?? "";
    this.microphones = named(all, "audioinput");
    this.speakers = named(all, "audiooutput");
    this.#onChange({ defaultMoved: before !== "" && before !== this.#defaultGroup });
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
