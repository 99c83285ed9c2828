/** One person in a room, as an application shows them. */

import { RemoteLevel } from "./levels.js";

/** @typedef {import("./messages.js").Person} Person */
/** @typedef {import("./quality.js").Quality} Quality */

/** One person in a room. The fields change; `participantchanged` tells when. */
export class Participant {
  /** Publishes: others can hear this person. */
  publishing = false;
  muted = false;
  /**
   * How good the connection is on which this person is heard, or for the local participant, on which the microphone is sent; null while
   * unknown, and while {@link AntiphonClient.statistics} does not measure.
   *
   * @type {Quality | null}
   */
  quality = null;
  /** What this person says, ready for `audio.srcObject`; null while nothing is received. @type {MediaStream | null} */
  stream = null;
  /** False: this client does not want to hear this person; see {@link setHeard}. */
  heard = true;
  /** @type {RemoteLevel | null} */
  #level = null;
  #onHeard;

  /**
   * @internal
   * @param {Person} person
   * @param {boolean} isLocal this client itself
   * @param {(heard: boolean) => void} onHeard
   */
  constructor(person, isLocal, onHeard) {
    /** Changes only for the local participant: when a lost session could not be resumed, the server knows this client by another id. */
    this.userId = person.user_id;
    /** @readonly */ this.username = person.username;
    /** @readonly */ this.isLocal = isLocal;
    this.muted = person.muted ?? false;
    this.#onHeard = onHeard;
  }

  /**
   * Mutes this person for this client alone: the server sends nothing of them until they are to be heard again. Nobody else is told.
   *
   * @param {boolean} heard
   */
  setHeard(heard) {
    this.#onHeard(heard);
  }

  /**
   * How loud this remote person is now.
   *
   * @param {number} nowMs `performance.now()`
   * @returns {number} linear, 0..1; 0 for the local participant, whose microphone is the application's
   */
  level(nowMs) {
    return this.#level?.read(nowMs) ?? 0;
  }

  /**
   * @internal
   * @param {MediaStream | null} stream
   * @param {RTCRtpReceiver | null} receiver
   */
  receive(stream, receiver) {
    this.stream = stream;
    this.#level = receiver && new RemoteLevel(receiver);
  }
}
