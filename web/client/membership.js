/**
 * What a client is to the others: the room it is in, the microphone that it sends there, and whether that is muted.
 *
 * The microphone and the mute outlive rooms, and the room outlives sockets: `restore` and `restored` bring a session that was lost back to
 * what it was, whatever the server has kept of it.
 */

import { AntiphonError, superseded } from "./errors.js";
import { leaveReason } from "./events.js";
import { Muting } from "./muting.js";
import { Publishing } from "./publishing.js";
import { Room } from "./room.js";
import { PASSING } from "./session.js";
import { SilenceWatch } from "./silence.js";

/** @typedef {import("./messages.js").ServerMessage} ServerMessage */
/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./events.js").LeaveReason} LeaveReason */
/** @typedef {import("./messages.js").Received<"room_joined">} RoomJoined */

/**
 * @typedef {object} MembershipListener
 * @property {(room: Room) => void} onEntered
 * @property {(room: Room, reason: LeaveReason) => void} onLeft
 * @property {(error: AntiphonError) => void} onError something failed of which no caller waits
 */

export class Membership {
  #hearing;
  #listener;
  /** @type {Session | null} */
  #session = null;
  /** @type {Room | null} */
  #room = null;
  /** The socket is gone, and the server will be told or asked again. */
  #away = false;
  /** The server has said, on this socket, that this client is in a room. */
  #told = false;
  /** The network has changed while the server could not be told. */
  #movedAway = false;
  /** The room was left while the server could not be told. */
  #leftAway = false;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  /** @type {Publishing | null} */
  #publishing = null;
  /** The last switching of the microphone. @type {Promise<void>} */
  #switched = Promise.resolve();
  #muting;
  #silence;

  /**
   * @param {import("./room.js").HearingKind} hearing
   * @param {Partial<import("./surroundings.js").Surroundings>} surroundings
   * @param {MembershipListener} listener
   */
  constructor(hearing, surroundings, listener) {
    this.#silence = new SilenceWatch({ connections: () => this.#watched(), onSilent: () => this.restartIce(), surroundings });
    this.#hearing = hearing;
    this.#listener = listener;
    this.#muting = new Muting({
      onChange: (muted) => this.#onMuted(muted),
      onRefused: (error) => listener.onError(error.as({ retrying: true })),
    });
  }

  get room() {
    return this.#room;
  }

  get muted() {
    return this.#muting.muted;
  }

  /** Of the microphone. */
  get peerConnection() {
    return this.#publishing?.peerConnection ?? null;
  }

  /** Rooms are entered in this session from now on. @param {Session} session */
  begin(session) {
    this.#session = session;
  }

  /** The session has ended, and with it the room. */
  end() {
    this.#closeRoom("disconnected");
    this.#session = null;
    this.#away = false;
    this.#leftAway = false;
  }

  // ---------------------------------------------------------------------------------------------- calls

  /**
   * @param {Extract<import("./messages.js").ClientMessage, {type: "create_room" | "join_room"}>} message
   * @param {Session} session
   * @returns {Promise<Room>}
   */
  async enter(message, session) {
    try {
      // The room itself is made by onMessage, before any message that follows is read.
      await session.signaling.request(message, "room_joined");
    } catch (thrown) {
      const error = AntiphonError.from(thrown, "disconnected", "The room could not be entered.");
      if (error.code !== "disconnected") throw error;
      await session.signaling.available();
      // Whether the server had let this client in before the socket was lost is known now. Making a second room would do harm.
      if (!this.#room && message.type === "join_room") return this.enter(message, session);
      if (!this.#room) throw error;
    }
    if (!this.#room) throw superseded();
    return this.#room;
  }

  /** @param {Session} session */
  async leave(session) {
    try {
      if (!this.#away) await session.signaling.request({ type: "leave_room" }, "room_left");
    } catch (error) {
      if (!this.#away) throw error;
    }
    if (!this.#away) return;
    // The server is told when it can be.
    this.#leftAway = this.#room !== null;
    this.#closeRoom("left");
  }

  /** @param {MediaStreamTrack | null} track */
  async publish(track) {
    this.#track = track;
    if (track && this.#publishing?.peerConnection) await this.#publishing.replaceTrack(track);
    else await this.#startPublishing();
  }

  unpublish() {
    this.#track = null;
    if (!this.#publishing) return;
    this.#stopPublishing();
    this.#session?.signaling.send({ type: "close_publisher" });
  }

  /** @param {boolean} muted */
  async setMuted(muted) {
    this.#muting.set(muted);
    await this.#switched;
  }

  async #startPublishing() {
    const [room, session, track] = [this.#room, this.#session, this.#track];
    if (!room || !session || !track) return;
    this.#stopPublishing();
    const publishing = new Publishing({
      signaling: session.signaling,
      iceServers: session.iceServers,
      track,
      muted: this.#muting.muted,
      onChange: (live) => room.change(room.local.userId, { publishing: live }),
      onError: (error) => this.#listener.onError(error),
    });
    this.#publishing = publishing;
    await publishing.start();
  }

  /** Where nobody waits for it. */
  #startPublishingSoon() {
    this.#startPublishing().catch((thrown) => {
      const error = AntiphonError.from(thrown, "connection_failed", "Your microphone could not be published.");
      // Whoever keeps the session says so when that has ended.
      if (error.code !== "superseded" && error.code !== "disconnected") this.#listener.onError(error);
    });
  }

  #stopPublishing() {
    this.#publishing?.stop();
    this.#publishing = null;
    this.#room?.change(this.#room.local.userId, { publishing: false });
  }

  /** @param {boolean} muted */
  #onMuted(muted) {
    this.#switched = this.#publishing?.setMuted(muted) ?? Promise.resolve();
    this.#room?.change(this.#room.local.userId, { muted });
  }

  // ---------------------------------------------------------------------------------------------- what the server says

  /** @param {ServerMessage} message */
  onMessage(message) {
    if (message.type === "registered") this.#told = false;
    if (message.type === "room_joined") this.#onRoomJoined(message);
    else if (message.type === "room_left") this.#closeRoom(leaveReason(message.reason));
    else this.#room?.onMessage(message);
    if (message.type === "publisher_ice_candidate") this.#publishing?.addCandidate(message.candidate);
    if (message.type === "publisher_closed" && message.user_id === this.#session?.userId) this.#publishing?.onClosedByServer();
    if (message.type === "room_moved") this.#publishing?.renew();
    if (message.type === "user_muted" && message.user_id === this.#session?.userId) this.#muting.told(message.muted);
    if (message.type === "error" && message.request === "set_muted") this.#muting.onError(message);
  }

  /** @param {RoomJoined} message */
  #onRoomJoined(message) {
    const session = this.#session;
    this.#told = true;
    if (!session || session.userId === null || this.#leftAway) return;
    if (this.#away && this.#room?.id === message.room_id) {
      this.#room.reconcile(message, session.userId);
      return;
    }
    this.#closeRoom("left");
    this.#room = new Room({
      id: message.room_id,
      localUserId: session.userId,
      people: message.participants,
      signaling: session.signaling,
      iceServers: session.iceServers,
      hearing: this.#hearing,
      onError: (error) => this.#listener.onError(error),
    });
    this.#silence.start();
    this.#listener.onEntered(this.#room);
    this.#muting.enter(session.signaling);
    this.#room.change(session.userId, { muted: this.#muting.muted });
    this.#startPublishingSoon();
  }

  /** @param {LeaveReason} reason */
  #closeRoom(reason) {
    const room = this.#room;
    if (!room) return;
    this.#silence.stop();
    this.#stopPublishing();
    this.#room = null;
    this.#muting.leave();
    room.close();
    this.#listener.onLeft(room, reason);
  }

  // ---------------------------------------------------------------------------------------------- lost and found

  /** The socket is gone. */
  lost() {
    this.#away = true;
  }

  /**
   * Registered again: makes it so that the server has this client in its room, and in no other.
   *
   * @param {Session} session
   * @throws {AntiphonError} when it makes sense to try again
   */
  async restore({ signaling }) {
    if (this.#leftAway && this.#told) await signaling.request({ type: "leave_room" }, "room_left", { handshake: true });
    this.#leftAway = false;
    if (!this.#room || this.#told) return;
    const room_id = this.#room.id;
    try {
      await signaling.request({ type: "join_room", room_id }, "room_joined", { handshake: true });
      await signaling.request({ type: "ping" }, "pong", { handshake: true }); // behind all that is said about the room
    } catch (thrown) {
      const error = AntiphonError.from(thrown, "disconnected", "The room could not be entered again.");
      if (PASSING.has(error.code)) throw error;
      this.#closeRoom("not_found");
      this.#listener.onError(error);
    }
  }

  /** The network is another one: every connection looks for its way anew, and goes on meanwhile. */
  restartIce() {
    this.#movedAway = this.#away;
    if (this.#away) return;
    void this.#publishing?.restartIce();
    this.#room?.restartIce();
  }

  /** Connections for one person each are not watched: they are many, and nobody's default. */
  #watched() {
    const [own, room] = [this.#publishing, this.#room];
    const somebody = room?.participants.some(({ isLocal, publishing, muted, heard, stream }) => !isLocal && publishing && !muted && heard && stream);
    const all = (room?.connections ?? []).filter(({ userId }) => userId === null).map((one) => ({ ...one, expected: somebody ?? false }));
    return own?.peerConnection ? [...all, { peerConnection: own.peerConnection, expected: own.established && !this.muted }] : all;
  }

  /** Everyone may send again. @param {Session} session */
  restored({ signaling }) {
    this.#away = false;
    const room = this.#room;
    if (!room) return;
    const held = room.settle();
    if (held) this.#muting.resume();
    else this.#muting.enter(signaling);
    this.#restorePublishing(signaling, held);
    if (held && this.#movedAway) this.restartIce();
    this.#movedAway = false;
  }

  /**
   * @param {import("./signaling.js").Signaling} signaling
   * @param {RoomJoined["resumed"] | null} held
   */
  #restorePublishing(signaling, held) {
    if (!this.#track) {
      if (held?.publishing) signaling.send({ type: "close_publisher" });
    } else if (!this.#publishing) {
      this.#startPublishingSoon();
    } else if (!held) {
      this.#publishing.renew();
    } else if (!held.publishing) {
      this.#publishing.onClosedByServer();
    }
  }
}
