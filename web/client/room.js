/**
 * A room as this client sees it: who is in it, who publishes, who is muted, and everyone's sound.
 *
 * Knows the server's messages about a room. How people are heard is behind {@link Hearing}; what this client sends is the
 * client's. When a lost session comes back, `reconcile` takes what the server says anew, and `settle` brings this room to it: people who
 * are still there stay the same objects, and events tell of differences only.
 */

import { ConnectionPerPerson } from "./consumers.js";
import { ParticipantEvent, TrackEvent, TypedEventTarget } from "./events.js";
import { Participant } from "./participant.js";
import { Roster } from "./roster.js";
import { Subscription } from "./subscription.js";

/** @typedef {import("./signaling.js").Signaling} Signaling */
/** @typedef {import("./messages.js").ServerMessage} ServerMessage */
/** @typedef {import("./messages.js").Person} Person */
/** @typedef {import("./consumers.js").Hearing} Hearing */
/** @typedef {import("./messages.js").Received<"room_joined">} RoomJoined */
/** @typedef {import("./errors.js").AntiphonError} AntiphonError */

/**
 * How people are heard: all on one connection, or each on one of their own. The first costs less for everybody, and is the default.
 *
 * @typedef {"subscription" | "connections"} HearingKind
 */

/**
 * @extends {TypedEventTarget<{
 *   participantjoined: ParticipantEvent, participantleft: ParticipantEvent, participantchanged: ParticipantEvent,
 *   trackadded: TrackEvent, trackremoved: TrackEvent}>}
 */
export class Room extends TypedEventTarget {
  /** @type {Map<string, Participant>} */
  #participants = new Map();
  #localUserId;
  #signaling;
  #iceServers;
  #kind;
  #onError;
  /** @type {Hearing} */
  #hearing;
  /** What the server has said since the session came back; null once it is settled. @type {Roster | null} */
  #roster = null;
  /** What the server still holds of this client; null when every connection is lost. @type {RoomJoined["resumed"] | null} */
  #held = null;

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
    this.#signaling = signaling;
    this.#iceServers = iceServers;
    this.#kind = hearing;
    this.#onError = onError;
    this.#hearing = this.#makeHearing();
    for (const person of people) this.#add(person);
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
    if (this.#roster) this.#roster.fold(message);
    else this.#follow(message);
  }

  /**
   * The session came back, and the server says who is here: held back, with all that it says next, until {@link settle}.
   *
   * @internal
   * @param {RoomJoined} message with `resumed` if the server has kept the connections of this client
   * @param {string} localUserId
   */
  reconcile({ participants, resumed }, localUserId) {
    const untouched = this.#roster === null || this.#held !== null;
    this.#held = resumed && untouched ? resumed : null;
    this.#roster = new Roster(participants);
    this.#rename(localUserId);
    if (this.#held) return;
    this.#hearing.close();
    this.#hearing = this.#makeHearing();
  }

  /**
   * Everything has been said: becomes what the server says.
   *
   * @internal
   * @returns {RoomJoined["resumed"] | null} what it still holds of this client; null: nothing, every connection is lost
   */
  settle() {
    const [roster, held] = [this.#roster, this.#held];
    if (!roster) return null;
    this.#roster = null;
    for (const { userId } of this.participants) if (!roster.entries.has(userId)) this.#leave(userId);
    for (const [userId, entry] of roster.entries) this.#become(userId, entry, held !== null);
    if (held) this.#hearing.resume(held);
    return held;
  }

  /**
   * @param {string} userId
   * @param {import("./roster.js").Entry} entry
   * @param {boolean} kept what was heard before can still be heard
   */
  #become(userId, { person, publishing, muted, renewed }, kept) {
    if (userId === this.#localUserId) return;
    this.#join(person);
    const heardBefore = kept && !renewed && this.participant(userId)?.publishing;
    this.change(userId, { publishing, muted });
    if (!publishing) this.#hearing.remove(userId);
    else if (!heardBefore) this.#hearing.add(userId);
  }

  /** @param {ServerMessage} message */
  #follow(message) {
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
   * @param {Partial<Pick<Participant, "muted" | "publishing" | "quality" | "heard">>} change
   */
  change(userId, change) {
    const participant = this.#participants.get(userId);
    if (!participant) return;
    const before = { ...participant };
    Object.assign(participant, change);
    const names = /** @type {(keyof typeof change)[]} */ (Object.keys(change));
    if (names.every((name) => participant[name] === before[name])) return;
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

  /** @returns {Hearing} */
  #makeHearing() {
    /** @type {Hearing} */
    const hearing = new (this.#kind === "connections" ? ConnectionPerPerson : Subscription)(this.#signaling, this.#iceServers, {
      onTrack: (userId, track, receiver) => this.#onTrack(userId, track, receiver),
      onTrackEnded: (userId) => this.#onTrackEnded(userId),
      onError: this.#onError,
    });
    for (const { userId, heard } of this.participants) if (!heard) hearing.setSubscribed(userId, false);
    return hearing;
  }

  /** @param {string} userId of the local participant, whom the server may know by another one now */
  #rename(userId) {
    if (userId === this.#localUserId) return;
    const everyone = this.participants;
    this.local.userId = userId;
    this.#localUserId = userId;
    this.#participants = new Map(everyone.map((participant) => [participant.userId, participant]));
  }

  /**
   * @param {Participant} participant
   * @param {boolean} heard
   */
  #setHeard(participant, heard) {
    if (participant.isLocal || this.#participants.get(participant.userId) !== participant) return;
    this.change(participant.userId, { heard });
    this.#hearing.setSubscribed(participant.userId, heard);
  }

  /** @param {Person} person */
  #add(person) {
    const participant = new Participant(person, person.user_id === this.#localUserId, (heard) => this.#setHeard(participant, heard));
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
