/**
 * The client of an Antiphon server: one session, at most one room, one microphone.
 *
 *     disconnected ── connect ──▶ connecting ──▶ connected ◀── createRoom, joinRoom, leaveRoom ──▶ in_room
 *          ▲                          │             │  ▲                                          │  ▲
 *          │                          │             └──┴──────── lost ──▶ reconnecting ◀── lost ──┴──┘
 *          └── close, refused, taken over by another tab ─┴───────────────────────────────────────┘
 *
 * A lost connection is made again by the library: the room stays, media goes on, and an application has nothing to do.
 * Every failure of a call rejects its promise and is an `error` event as well, so an application may listen in one place.
 */

import { AntiphonError, disconnected, serverError } from "./errors.js";
import {
  AnnouncementEvent,
  DisconnectedEvent,
  DrainingEvent,
  ErrorEvent,
  ReconnectedEvent,
  ReconnectingEvent,
  RoomJoinedEvent,
  RoomLeftEvent,
  RoomMovedEvent,
  StateChangeEvent,
  TypedEventTarget,
} from "./events.js";
import { Membership } from "./membership.js";
import { Session } from "./session.js";
import { socketUrl } from "./signaling.js";
import { StatisticsCollector } from "./statistics.js";

/** @typedef {"disconnected" | "connecting" | "connected" | "in_room" | "reconnecting"} ClientState */
/** @typedef {import("./messages.js").ServerMessage} ServerMessage */
/** @typedef {import("./room.js").Room} Room */
/** @typedef {import("./session.js").Token} Token */
/** @typedef {import("./surroundings.js").Surroundings} Surroundings */

/**
 * @typedef {object} ConnectOptions
 * @property {Token} [token] what the operator requires of clients (a JWT), or a function that gives a fresh one for each attempt
 * @property {string} [resumeToken] {@link AntiphonClient.resumeToken} of a page that ended without goodbye, to take its session over
 */

/**
 * Refusals that are not shown when nobody waits for them. Those of connections come too late, for one that was given up or
 * replaced: what takes its place is tried again by itself, and reported when that does not help. So is muting.
 */
const QUIET_REQUESTS = new Set([
  "create_publisher",
  "publish_audio",
  "close_publisher",
  "publisher_ice_candidate",
  "create_consumer",
  "consumer_answer",
  "close_consumer",
  "subscribe",
  "subscription_answer",
  "subscription_ice_candidate",
  "set_subscribed",
  "close_subscription",
  "restart_ice",
  "consumer_ice_candidate",
  "set_muted",
  "ping",
]);

/**
 * @extends {TypedEventTarget<{
 *   statechange: StateChangeEvent, reconnecting: ReconnectingEvent, reconnected: ReconnectedEvent, disconnected: DisconnectedEvent,
 *   error: ErrorEvent, roomjoined: RoomJoinedEvent, roomleft: RoomLeftEvent, roommoved: RoomMovedEvent, draining: DrainingEvent,
 *   announcement: AnnouncementEvent}>}
 */
export class AntiphonClient extends TypedEventTarget {
  #surroundings;
  /** @type {ClientState} */
  #state = "disconnected";
  /** @type {Session | null} */
  #session = null;
  /** Why the connection was lost. @type {AntiphonError} */
  #lostBy = disconnected();
  #membership;
  /** @type {StatisticsCollector | null} */
  #statistics = null;

  /**
   * @param {object} [options]
   * @param {import("./room.js").HearingKind} [options.hearing] one connection for everybody who is heard, or one for each
   * @param {Partial<Surroundings>} [options.surroundings] for tests, and for places that are no browser
   */
  constructor({ hearing = "subscription", surroundings = {} } = {}) {
    super();
    this.#surroundings = surroundings;
    this.#membership = new Membership(hearing, surroundings, {
      onEntered: (room) => this.#onEntered(room),
      onLeft: (room, reason) => this.#onLeft(room, reason),
      onError: (error) => this.#report(error),
    });
  }

  get state() {
    return this.#state;
  }

  /** Id of this client on the server; null while disconnected. */
  get userId() {
    return this.#session?.userId ?? null;
  }

  /**
   * With this secret another page can take the session over within the server's grace (30 s) when this one ends without goodbye: see
   * {@link ConnectOptions}. Another one after each reconnection.
   */
  get resumeToken() {
    return this.#session?.resumeToken ?? null;
  }

  /** The room this client is in. */
  get room() {
    return this.#membership.room;
  }

  /** Nothing of the microphone reaches anybody: asked for, or the server has not yet taken it back. */
  get muted() {
    return this.#membership.muted;
  }

  /** Every media connection: `userId` is the one person heard on it; null for the own microphone, and where several are. */
  get connections() {
    const own = this.#membership.peerConnection;
    /** @type {import("./statistics.js").MeasuredConnection[]} */
    const all = own ? [{ direction: "send", userId: null, peerConnection: own }] : [];
    return all.concat((this.room?.connections ?? []).map((one) => ({ direction: "receive", ...one })));
  }

  /**
   * Connects and registers.
   *
   * @param {string} url of the server (`https://host`) or of its socket (`wss://host/ws`)
   * @param {string} username 1 to 64 characters
   * @param {ConnectOptions} [options]
   * @returns {Promise<void>}
   * @throws {AntiphonError} `unreachable`, `already_connected`, `invalid_username`, `unauthorized`, ...
   */
  connect(url, username, options = {}) {
    return this.#reporting(this.#connect(url, username, options));
  }

  /** Makes a room and enters it. @returns {Promise<Room>} */
  createRoom() {
    return this.#reporting(this.#inSession((session) => this.#membership.enter({ type: "create_room" }, session)));
  }

  /**
   * Enters a room.
   *
   * @param {string} roomId
   * @returns {Promise<Room>}
   * @throws {AntiphonError} `room_not_found`, `room_full`, `already_in_room`, ...
   */
  joinRoom(roomId) {
    return this.#reporting(this.#inSession((session) => this.#membership.enter({ type: "join_room", room_id: roomId }, session)));
  }

  /** Leaves the room, also while reconnecting; the microphone stays and is published in the next one. @returns {Promise<void>} */
  leaveRoom() {
    const [room, session] = [this.room, this.#session];
    if (room && session) return this.#reporting(this.#membership.leave(session));
    return this.#reporting(this.#inSession((connected) => this.#membership.leave(connected)));
  }

  /**
   * Sends this microphone: now if in a room, and in every room entered later, until {@link unpublish}.
   *
   * Called again with another microphone, that one takes the place of the first on the same connection, and nobody notices.
   *
   * @param {MediaStream | MediaStreamTrack} source a stream's first audio track is taken; it stays the caller's to stop
   * @returns {Promise<void>} when others can hear it; at once while in no room
   */
  publish(source) {
    const track = "getAudioTracks" in source ? (source.getAudioTracks()[0] ?? null) : source;
    return this.#reporting(this.#membership.publish(track));
  }

  /** Stops sending the microphone, in this room and in later ones. */
  unpublish() {
    this.#membership.unpublish();
  }

  /**
   * While muted nothing of the microphone leaves this machine, and the others are told. Holds across rooms. A server that
   * refuses is told again until it agrees; meanwhile {@link muted} is true, and `participantchanged` of the local participant
   * tells of each change.
   *
   * @param {boolean} muted
   * @returns {Promise<void>} when the microphone is on or off
   */
  setMuted(muted) {
    return this.#membership.setMuted(muted);
  }

  /**
   * Measures every connection from now on, over all rooms, until the result's `stop()`; `start()` goes on.
   *
   * @returns {StatisticsCollector} the same one each time
   */
  statistics() {
    this.#statistics ??= this.#makeStatistics();
    this.#statistics.start();
    return this.#statistics;
  }

  /** Leaves and disconnects, at once. The client can connect again. */
  close() {
    this.#session?.close();
  }

  // ---------------------------------------------------------------------------------------------- calls

  /**
   * @param {string} url
   * @param {string} username
   * @param {ConnectOptions} options
   */
  async #connect(url, username, { token, resumeToken }) {
    if (this.#session) throw new AntiphonError("already_connected", "You are connected already.");
    /** @type {Session} */
    const session = new Session(
      { url: socketUrl(url), username, token, resumeToken, surroundings: this.#surroundings },
      {
        onMessage: (message) => this.#onMessage(message),
        onLost: (error) => this.#onLost(error),
        onWaiting: (attempt, delayMs) => this.dispatchEvent(new ReconnectingEvent(attempt, delayMs, this.#lostBy)),
        restore: () => this.#membership.restore(session),
        onNetwork: () => this.#membership.restartIce(),
        onRestored: (resumed) => this.#onRestored(session, resumed),
        onEnded: (error) => this.#onEnded(error),
      },
    );
    this.#session = session;
    this.#membership.begin(session);
    this.#setState("connecting");
    await session.start();
    this.#setState(this.room ? "in_room" : "connected");
  }

  /**
   * @template T
   * @param {(session: Session) => Promise<T>} call
   * @returns {Promise<T>}
   */
  async #inSession(call) {
    if (this.#session && (this.#state === "connected" || this.#state === "in_room")) return call(this.#session);
    if (this.#state === "reconnecting") throw disconnected();
    throw new AntiphonError("disconnected", "Connect to the server first.");
  }

  #makeStatistics() {
    const statistics = new StatisticsCollector({
      connections: () => this.connections,
      whoIsHeard: (trackId) => this.room?.ownerOf(trackId),
      surroundings: this.#surroundings,
    });
    statistics.on("qualitychanged", ({ userId, quality }) => this.room?.change(userId ?? this.room.local.userId, { quality }));
    return statistics;
  }

  // ---------------------------------------------------------------------------------------------- what happens

  /** @param {ServerMessage} message */
  #onMessage(message) {
    this.#membership.onMessage(message);
    if (message.type === "room_moved") this.dispatchEvent(new RoomMovedEvent(message.reason));
    if (message.type === "announcement") this.dispatchEvent(new AnnouncementEvent(message.message));
    if (message.type === "server_draining") this.dispatchEvent(new DrainingEvent(message.deadline_s));
    if (message.type === "error" && !QUIET_REQUESTS.has(message.request ?? "")) this.#report(serverError(message));
  }

  /** @param {Room} room */
  #onEntered(room) {
    if (this.#state === "connected") this.#setState("in_room");
    this.dispatchEvent(new RoomJoinedEvent(room));
  }

  /**
   * @param {Room} room
   * @param {import("./events.js").LeaveReason} reason
   */
  #onLeft(room, reason) {
    this.dispatchEvent(new RoomLeftEvent(room, reason));
    if (this.#session && this.#state === "in_room") this.#setState("connected");
  }

  /** @param {AntiphonError} error */
  #onLost(error) {
    this.#lostBy = error;
    this.#membership.lost();
    this.#setState("reconnecting");
  }

  /**
   * @param {Session} session
   * @param {boolean} resumed
   */
  #onRestored(session, resumed) {
    this.#membership.restored(session);
    this.#setState(this.room ? "in_room" : "connected");
    this.dispatchEvent(new ReconnectedEvent(resumed));
  }

  /** @param {AntiphonError | null} error */
  #onEnded(error) {
    const wasConnected = this.#state !== "connecting";
    this.#session = null;
    this.#membership.end();
    this.#setState("disconnected");
    if (!wasConnected) return; // the call that connects is rejected
    if (error) this.#report(error);
    this.dispatchEvent(new DisconnectedEvent(error));
  }

  /** @param {ClientState} state */
  #setState(state) {
    const previous = this.#state;
    if (state === previous) return;
    this.#state = state;
    this.dispatchEvent(new StateChangeEvent(state, previous));
  }

  // ---------------------------------------------------------------------------------------------- failures

  /**
   * Makes a failed call an event as well.
   *
   * @template T
   * @param {Promise<T>} call
   * @returns {Promise<T>}
   */
  async #reporting(call) {
    try {
      return await call;
    } catch (thrown) {
      const error = AntiphonError.from(thrown, "connection_failed", "Something went wrong in this page.");
      if (error.code !== "superseded") this.#report(error);
      throw error;
    }
  }

  /** @param {AntiphonError} error */
  #report(error) {
    this.dispatchEvent(new ErrorEvent(error));
  }
}
