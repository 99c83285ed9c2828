/** The page of a room: people, sound, mute, deafen and leave. */

import { box, button, setIcon } from "./elements.js";
import { initKeys } from "./keys.js";
import { roomLink } from "./links.js";
import { announce, showNotice } from "./notices.js";
import { People } from "./people.js";
import { PersonMenu } from "./person-menu.js";
import { initSharing } from "./share.js";
import { playTone } from "./sound.js";
import { TEXT } from "./text.js";
import { Voice } from "./voice.js";
import { WakeLock } from "./wake.js";

/** @typedef {import("../client/index.js").AntiphonClient} AntiphonClient */
/** @typedef {import("../client/index.js").Participant} Participant */
/** @typedef {import("../client/index.js").Room} Room */
/** @typedef {import("./microphone.js").Microphone} Microphone */
/** @typedef {import("./playback.js").Mix} Mix */
/** @typedef {import("./playback.js").Playback} Playback */
/** @typedef {import("./settings.js").Settings} Settings */

/**
 * @typedef {object} CallParts
 * @property {AntiphonClient} client
 * @property {Microphone} microphone
 * @property {Playback} playback
 * @property {Settings} settings
 * @property {() => void} onChange something that the tab's title tells is another
 */

export class Call {
  #parts;
  #voice;
  #menu = new PersonMenu((person, change) => this.#setMix(person, change));
  #wakeLock = new WakeLock();
  /** @type {People | null} */
  people = null;
  /** @type {(() => void)[]} */
  #subscriptions = [];

  /** @param {CallParts} parts */
  constructor(parts) {
    this.#parts = parts;
    const { client } = parts;
    this.#voice = new Voice(client, () => this.showVoice());
    button("mute").addEventListener("click", () => void this.#toggleMute());
    button("deafen").addEventListener("click", () => void this.#toggleDeafen());
    button("leave-room").addEventListener("click", () => void client.leaveRoom().catch(() => {}));
    initSharing(() => client.room?.id ?? null);
    initKeys({
      active: () => client.room !== null,
      onMute: () => !button("mute").hidden && void this.#toggleMute(),
      onDeafen: () => void this.#toggleDeafen(),
      onTalk: () => !button("mute").hidden && this.#voice.startTalking(),
      onTalkEnd: () => this.#voice.stopTalking(),
    });
  }

  get deafened() {
    return this.#voice.deafened;
  }

  /** @param {Room} room */
  enter(room) {
    const { client, playback, microphone } = this.#parts;
    this.people = new People({
      room,
      localLevel: () => microphone.level,
      onOptions: (person, opener) => this.#menu.open(person, playback.mix(person.userId), opener),
    });
    this.#subscriptions = [
      room.on("trackadded", ({ participant, stream }) => playback.add(participant.userId, stream)),
      room.on("trackremoved", ({ participant }) => playback.remove(participant.userId)),
      room.on("participantjoined", ({ participant }) => this.#onJoined(participant)),
      room.on("participantleft", ({ participant }) => this.#onLeft(participant)),
      room.on("participantchanged", ({ participant }) => participant.isLocal && this.showVoice()),
      announceMuting(room),
    ];
    box("current-room-id").textContent = room.id;
    history.replaceState(null, "", roomLink("", room.id));
    client.statistics().localLevel = () => microphone.rawLevel;
    this.#wakeLock.hold();
    this.#show(true);
    this.showVoice();
    box("room-heading").focus();
  }

  leave() {
    for (const end of this.#subscriptions) end();
    this.#voice.reset();
    this.#menu.close();
    this.people?.close();
    this.people = null;
    this.#parts.playback.clear();
    this.#parts.client.statistics().stop();
    this.#wakeLock.release();
    this.#show(false);
    box("lobby-heading").focus();
  }

  /** Shows mute and deafen as things are: nobody can mute without a microphone. */
  showVoice() {
    const { client, microphone, playback, onChange } = this.#parts;
    const { deafened, talking } = this.#voice;
    const muted = client.muted;
    button("mute").hidden = !microphone.granted;
    button("mute").dataset["off"] = String(muted); // for the eye; the name says it to everyone else
    box("mute-label").textContent = muted ? TEXT.unmute : TEXT.mute;
    setIcon("mute-icon", muted ? "icon-mic-off" : "icon-mic");
    button("deafen").dataset["off"] = String(deafened);
    box("deafen-label").textContent = deafened ? TEXT.undeafen : TEXT.deafen;
    setIcon("deafen-icon", deafened ? "icon-sound-off" : "icon-sound");
    box("talk-hint").hidden = !microphone.granted || deafened || !(muted || talking);
    box("talk-hint").dataset["talking"] = String(talking);
    microphone.setMuted(muted);
    playback.setDeafened(deafened);
    onChange();
  }

  async #toggleMute() {
    await this.#voice.toggleMute();
    announce(this.#parts.client.muted ? TEXT.youMuted : TEXT.youUnmuted);
  }

  async #toggleDeafen() {
    await this.#voice.toggleDeafen();
    announce(this.#voice.deafened ? TEXT.youDeafened : TEXT.youUndeafened);
  }

  /** @param {Participant} person */
  #onJoined(person) {
    showNotice(TEXT.joined(person.username));
    if (this.#parts.settings.values.callSounds) playTone("join");
    this.#parts.onChange();
  }

  /** @param {Participant} person */
  #onLeft(person) {
    showNotice(TEXT.left(person.username));
    if (this.#parts.settings.values.callSounds) playTone("leave");
    this.#menu.forget(person);
    this.#parts.onChange();
  }

  /**
   * @param {Participant} person
   * @param {Partial<Mix>} change
   */
  #setMix(person, change) {
    const { playback } = this.#parts;
    playback.setMix(person.userId, change);
    if (change.muted !== undefined) person.setHeard(!change.muted); // what is not to be heard need not be sent
    this.people?.tile(person)?.setMix(playback.mix(person.userId));
  }

  /** @param {boolean} inRoom */
  #show(inRoom) {
    box("lobby").hidden = inRoom;
    box("room").hidden = !inRoom;
    document.body.classList.toggle("in-room", inRoom);
    this.#parts.microphone.moveTo(inRoom);
  }
}

/**
 * Tells screen readers who was muted: the eye sees it on the tile.
 *
 * @param {Room} room
 * @returns {() => void} ends it
 */
function announceMuting(room) {
  const muted = new Set(room.participants.filter((person) => person.muted));
  return room.on("participantchanged", ({ participant }) => {
    if (participant.isLocal || participant.muted === muted.has(participant)) return;
    if (participant.muted) muted.add(participant);
    else muted.delete(participant);
    announce(participant.muted ? TEXT.theyMuted(participant.username) : TEXT.theyUnmuted(participant.username));
  });
}
