/**
 * A room as this client sees it: who is in it, who publishes, who is muted, and everyone's sound.
 *
 * Knows the server's messages about a room. How people are heard is behind {@link Hearing}; what this client sends is the
 * client's.
 */

import { ConnectionPerPerson } from "./consumers.js";
import { ParticipantEvent, TrackEvent, TypedEventTarget } from "./events.js";
import { RemoteLevel } from "./levels.js";
import { Subscription } from "./subscription.js";

/** @typedef {import("./signaling.js").Signaling} Signaling */
/** @typedef {import("./messages.js").ServerMessage} ServerMessage */
/** @typedef {import("./messages.js").Person} Person */
/** @typedef {import("./consumers.js").Hearing} Hearing */
/** @typedef {import("./errors.js").AntiphonError} AntiphonError */
/** @typedef {import("./quality.js").Quality} Quality */

/**
 * How people are heard: all on one connection, or each on one of their own. The first costs less for everybody, and is the default.
 *
 * @typedef {"subscription" | "connections"} HearingKind
 */

/** One person in a room. The fields change; `participantchanged` tells when. */
export class Participant {
  /** Publishes: others can hear this person. */
  publishing = false;
  muted = false;
  /**
   * How good the connection is on which this person is heard here, or for the local participant, on which the microphone is sent; null while
   * unknown, and while {@link AntiphonClient.statistics} does not measure. @type {Quality | null}
   */
  quality = null;
  /** What this person says, ready for `audio.srcObject`; null while nothing is received. @type {MediaStream | null} */
  stream = null;
  /** @type {RemoteLevel | null} */
  #level = null;

  /**
   * @param {Person} person
   * @param {boolean} isLocal this client itself
   */
  constructor(person, isLocal) {
    /** @readonly */ this.userId = person.user_id;
    /** @readonly */ this.username = person.username;
    /** @readonly */ this.isLocal = isLocal;
    this.muted = person.muted ?? false;
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

/**
 * @extends {TypedEventTarget<{
 *   participantjoined: ParticipantEvent, participantleft: ParticipantEvent, participantchanged: ParticipantEvent,
 *   trackadded: TrackEvent, trackremoved: TrackEvent}>}
 */
export class Room extends TypedEventTarget {
  /** @type {Map<string, Participant>} */
  #participants = new Map();
  #localUserId;
  #hearing;

  /**
   * @internal
   * @param {object} options
   * @param {string} options.id
   * @param {string} options.localUserId
   * @param {Person[]} options.people
   * @param {Signaling} options.signaling
   * @param {RTCIceServer[]} options.iceServers
   * @param {HearingKind} options.hearing
   * @param {(error: AntiphonError) => void} options.onError
   */
  constructor({ id, localUserId, people, signaling, iceServers, hearing, onError }) {
    super();
    /** @readonly */ this.id = id;
    this.#localUserId = localUserId;
    for (const person of people) this.#add(person);
    /** @type {Hearing} */
    this.#hearing = new (hearing === "connections" ? ConnectionPerPerson : Subscription)(signaling, iceServers, {
      onTrack: (userId, track, receiver) => this.#onTrack(userId, track, receiver),
      onTrackEnded: (userId) => this.#onTrackEnded(userId),
      onError,
    });
  }

  /** Everyone in the room, this client included, in the order in which they came. */
  get participants() {
    return [...this.#participants.values()];
  }

  /** This client. @returns {Participant} */
  get local() {
    return /** @type {Participant} */ (this.#participants.get(this.#localUserId));
  }

  /** @param {string} userId */
  participant(userId) {
    return this.#participants.get(userId) ?? null;
  }

  /**
   * Hear somebody or not, without anybody knowing: while not, the server sends nothing of them. It holds while that person is in the room.
   *
   * @param {string} userId
   * @param {boolean} subscribed
   */
  setSubscribed(userId, subscribed) {
    this.#hearing.setSubscribed(userId, subscribed);
  }

  /**
   * New ICE credentials for what is heard, for when the network has changed.
   *
   * @internal
   */
  restartIce() {
    this.#hearing.restartIce();
  }

  /** The connections on which people are heard, for statistics. */
  get connections() {
    return this.#hearing.connections();
  }

  /**
   * @internal
   * @param {ServerMessage} message
   */
  onMessage(message) {
    this.#hearing.onMessage(message);
    switch (message.type) {
      case "user_joined":
        this.#join(message);
        break;
      case "user_left":
        this.#leave(message.user_id);
        break;
      case "new_publisher":
        this.#publishes(message);
        break;
      case "publisher_closed":
        this.#publishesNoMore(message.user_id);
        break;
      case "user_muted":
        this.change(message.user_id, { muted: message.muted });
        break;
      case "room_moved":
        for (const { userId } of this.participants) this.#publishesNoMore(userId);
        break;
      default:
        break;
    }
  }

  /**
   * @internal
   * @param {string} userId
   * @param {Partial<Pick<Participant, "muted" | "publishing" | "quality">>} change
   */
  change(userId, change) {
    const participant = this.#participants.get(userId);
    if (!participant) return;
    const { muted, publishing, quality } = participant;
    Object.assign(participant, change);
    if (participant.muted === muted && participant.publishing === publishing && participant.quality === quality) return;
    this.dispatchEvent(new ParticipantEvent("participantchanged", participant));
  }

  /**
   * Whose track this is.
   *
   * @internal
   * @param {string | null} trackId
   * @returns {string | undefined}
   */
  ownerOf(trackId) {
    return this.participants.find(({ stream }) => stream?.getTracks().some(({ id }) => id === trackId))?.userId;
  }

  /** @internal */
  close() {
    this.#hearing.close();
  }

  /** @param {Person} person */
  #add(person) {
    const participant = new Participant(person, person.user_id === this.#localUserId);
    this.#participants.set(person.user_id, participant);
    return participant;
  }

  /** @param {Person} person */
  #join(person) {
    if (this.#participants.has(person.user_id)) return;
    this.dispatchEvent(new ParticipantEvent("participantjoined", this.#add(person)));
  }

  /** @param {string} userId */
  #leave(userId) {
    const participant = this.#participants.get(userId);
    if (!participant || participant.isLocal) return;
    this.#hearing.remove(userId);
    this.#participants.delete(userId);
    this.dispatchEvent(new ParticipantEvent("participantleft", participant));
  }

  /** @param {Person} person */
  #publishes(person) {
    if (person.user_id === this.#localUserId) return;
    this.#join(person);
    this.change(person.user_id, { publishing: true });
    this.#hearing.add(person.user_id);
  }

  /** @param {string} userId */
  #publishesNoMore(userId) {
    this.#hearing.remove(userId);
    this.change(userId, { publishing: false });
  }

  /**
   * @param {string} userId
   * @param {MediaStreamTrack} track
   * @param {RTCRtpReceiver} receiver
   */
  #onTrack(userId, track, receiver) {
    const participant = this.#participants.get(userId);
    if (!participant) return;
    const stream = new MediaStream([track]);
    participant.receive(stream, receiver);
    this.dispatchEvent(new TrackEvent("trackadded", participant, stream));
    this.dispatchEvent(new ParticipantEvent("participantchanged", participant));
  }

  /** @param {string} userId */
  #onTrackEnded(userId) {
    const participant = this.#participants.get(userId);
    const stream = participant?.stream;
    if (!participant || !stream) return;
    participant.receive(null, null);
    this.dispatchEvent(new TrackEvent("trackremoved", participant, stream));
    this.dispatchEvent(new ParticipantEvent("participantchanged", participant));
  }
}
