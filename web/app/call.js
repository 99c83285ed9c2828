/** The page of a room: people, sound, the link, mute and leave. */

import { copy } from "./clipboard.js";
import { box, button, input, setIcon } from "./elements.js";
import { roomLink } from "./links.js";
import { showError, showNotice } from "./notices.js";
import { People } from "./people.js";
import { Playback } from "./playback.js";
import { TEXT } from "./text.js";

/** @typedef {import("../client/index.js").AntiphonClient} AntiphonClient */
/** @typedef {import("../client/index.js").Room} Room */
/** @typedef {import("./microphone.js").Microphone} Microphone */

export class Call {
  #client;
  #microphone;
  #playback = new Playback();
  /** @type {People | null} */
  #people = null;

  /**
   * @param {AntiphonClient} client
   * @param {Microphone} microphone
   */
  constructor(client, microphone) {
    this.#client = client;
    this.#microphone = microphone;
    button("mute").addEventListener("click", () => void this.#toggleMute());
    button("leave-room").addEventListener("click", () => void client.leaveRoom().catch(() => {}));
    button("copy-link").addEventListener("click", () => void this.#copyLink());
  }

  /** @param {Room} room */
  enter(room) {
    room.on("trackadded", ({ stream }) => this.#playback.add(stream));
    room.on("trackremoved", ({ stream }) => this.#playback.remove(stream));
    room.on("participantjoined", ({ participant }) => showNotice(TEXT.joined(participant.username)));
    room.on("participantleft", ({ participant }) => showNotice(TEXT.left(participant.username)));
    room.on("participantchanged", ({ participant }) => participant.isLocal && this.updateMute());
    this.#people = new People(room, () => this.#microphone.level);
    box("current-room-id").textContent = room.id;
    input("room-id").value = room.id;
    history.replaceState(null, "", roomLink("", room.id));
    this.#show(true);
    this.updateMute();
    box("room-heading").focus();
  }

  leave() {
    this.#people?.close();
    this.#people = null;
    this.#playback.clear();
    this.#show(false);
    box("lobby-heading").focus();
  }

  /** Shows the mute button as things are: there is none without a microphone. */
  updateMute() {
    const muted = this.#client.muted;
    button("mute").hidden = !this.#microphone.granted;
    button("mute").dataset["muted"] = String(muted); // for the eye; the name says it to everyone else
    box("mute-label").textContent = muted ? TEXT.unmute : TEXT.mute;
    setIcon("mute-icon", muted ? "icon-mic-off" : "icon-mic");
    this.#microphone.setMuted(muted);
  }

  async #toggleMute() {
    await this.#client.setMuted(!this.#client.muted);
    this.updateMute();
  }

  async #copyLink() {
    const room = this.#client.room;
    if (!room) return;
    const link = roomLink(location.origin, room.id);
    if (await copy(link)) showNotice(TEXT.linkCopied);
    else showError(TEXT.copyByHand(link));
  }

  /** @param {boolean} inRoom */
  #show(inRoom) {
    box("lobby").hidden = inRoom;
    box("room").hidden = !inRoom;
    this.#microphone.moveTo(inRoom);
  }
}
