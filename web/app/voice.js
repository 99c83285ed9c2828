/** Whether this person speaks and hears: mute, push-to-talk and deafen, and how they depend on each other. No DOM here. */

/** @typedef {Pick<import("../client/index.js").AntiphonClient, "muted" | "setMuted">} Muteable */

export class Voice {
  #client;
  #onChange;
  /** Nobody is heard; whoever hears nobody is not heard either. */
  deafened = false;
  /** The key for push-to-talk is held. */
  talking = false;
  /** What deafening found, and what it leaves behind. */
  #mutedBefore = false;

  /**
   * @param {Muteable} client
   * @param {() => void} onChange `muted`, `deafened` or `talking` is another
   */
  constructor(client, onChange) {
    this.#client = client;
    this.#onChange = onChange;
  }

  get muted() {
    return this.#client.muted;
  }

  async toggleMute() {
    this.talking = false;
    if (this.deafened) this.deafened = false;
    await this.#setMuted(!this.#client.muted);
  }

  async toggleDeafen() {
    this.talking = false;
    this.deafened = !this.deafened;
    if (this.deafened) this.#mutedBefore = this.#client.muted;
    await this.#setMuted(this.deafened || this.#mutedBefore);
  }

  /** The key goes down: who is muted is heard until it goes up. @returns {boolean} whether the key was taken */
  startTalking() {
    if (this.talking) return true;
    if (!this.#client.muted || this.deafened) return false;
    this.talking = true;
    void this.#setMuted(false);
    return true;
  }

  stopTalking() {
    if (!this.talking) return;
    this.talking = false;
    void this.#setMuted(true);
  }

  /** Another call begins with open ears; muted stays as it is. */
  reset() {
    this.stopTalking();
    if (this.deafened) void this.toggleDeafen();
  }

  /** @param {boolean} muted */
  async #setMuted(muted) {
    const switched = this.#client.setMuted(muted);
    this.#onChange();
    await switched;
    this.#onChange();
  }
}
