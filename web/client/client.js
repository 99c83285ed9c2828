/**
 * The client of an Antiphon server: one socket, at most one room, one microphone.
 *
 *     disconnected ── connect ──▶ connecting ──▶ connected ── createRoom, joinRoom ──▶ in_room
 *          ▲                          │             │  ▲                                  │
 *          └── close, lost socket ────┴─────────────┘  └──────────── leaveRoom ───────────┤
 *          └──────────────────────────────── close, lost socket ──────────────────────────┘
 *
 * Every failure of a call rejects its promise and is an `error` event as well, so an application may listen in one place.
 */

import { AntiphonError, superseded } from "./errors.js";
import {
  DisconnectedEvent,
  DrainingEvent,
  ErrorEvent,
  RoomJoinedEvent,
  RoomLeftEvent,
  RoomMovedEvent,
  StateChangeEvent,
  TypedEventTarget,
} from "./events.js";
import { Muting } from "./muting.js";
import { Publishing } from "./publishing.js";
import { Room } from "./room.js";
import { serverError, Signaling, socketUrl } from "./signaling.js";
import { StatisticsCollector } from "./statistics.js";

/** @typedef {"disconnected" | "connecting" | "connected" | "in_room" | "reconnecting"} ClientState */
/** @typedef {import("./messages.js").ServerMessage} ServerMessage */

/**
 * @template {import("./messages.js").ServerMessageType} T
 * @typedef {import("./messages.js").Received<T>} Received
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
 *   statechange: StateChangeEvent, disconnected: DisconnectedEvent, error: ErrorEvent, roomjoined: RoomJoinedEvent,
 *   roomleft: RoomLeftEvent, roommoved: RoomMovedEvent, draining: DrainingEvent}>}
 */
export class AntiphonClient extends TypedEventTarget {
  /** @type {ClientState} */
  #state = "disconnected";
  /** @type {Signaling | null} */
  #signaling = null;
  /** @type {string | null} */
  #userId = null;
  /** @type {RTCIceServer[]} */
  #iceServers = [];
  /** @type {Room | null} */
  #room = null;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  /** @type {Publishing | null} */
  #publishing = null;
  /** The last switching of the microphone. @type {Promise<void>} */
  #switched = Promise.resolve();
  #muting = new Muting({
    onChange: (muted) => this.#onMuted(muted),
    onRefused: (error) => this.#report(error),
  });
  /** @type {StatisticsCollector | null} */
  #statistics = null;
  #hearing;

  /**
   * @param {object} [options]
   * @param {import("./room.js").HearingKind} [options.hearing] one connection for everybody who is heard, or one for each
   */
  constructor({ hearing = "subscription" } = {}) {
    super();
    this.#hearing = hearing;
  }

  get state() {
    return this.#state;
  }

  /** Id of this client on the server; null while disconnected. */
  get userId() {
    return this.#userId;
  }

  /** The room this client is in. */
  get room() {
    return this.#room;
  }

  /** Nothing of the microphone reaches anybody: asked for, or the server has not yet taken it back. */
  get muted() {
    return this.#muting.muted;
  }

  /** Every media connection: `userId` is the one person heard on it; null for the own microphone, and where several are. */
  get connections() {
    const own = this.#publishing?.peerConnection;
    /** @type {import("./statistics.js").MeasuredConnection[]} */
    const all = own ? [{ direction: "send", userId: null, peerConnection: own }] : [];
    return all.concat((this.#room?.connections ?? []).map((one) => ({ direction: "receive", ...one })));
  }

  /**
   * Connects and registers.
   *
   * @param {string} url of the server (`https://host`) or of its socket (`wss://host/ws`)
   * @param {string} username 1 to 64 characters
   * @param {object} [options]
   * @param {string} [options.token] a JWT, where the operator lets in nobody without one
   * @returns {Promise<void>}
   * @throws {AntiphonError} `unreachable`, `already_connected`, `invalid_username`, `unauthorized`, ...
   */
  connect(url, username, { token } = {}) {
    return this.#reporting(this.#connect(url, username, token));
  }

  /** Makes a room and enters it. @returns {Promise<Room>} */
  createRoom() {
    return this.#reporting(this.#enter({ type: "create_room" }));
  }

  /**
   * Enters a room.
   *
   * @param {string} roomId
   * @returns {Promise<Room>}
   * @throws {AntiphonError} `room_not_found`, `room_full`, `already_in_room`, ...
   */
  joinRoom(roomId) {
    return this.#reporting(this.#enter({ type: "join_room", room_id: roomId }));
  }

  /** Leaves the room; the microphone stays and is published in the next one. */
  leaveRoom() {
    return this.#reporting(this.#leave());
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
    this.#track = "getAudioTracks" in source ? (source.getAudioTracks()[0] ?? null) : source;
    if (this.#track && this.#publishing?.peerConnection) return this.#reporting(this.#publishing.replaceTrack(this.#track));
    return this.#reporting(this.#startPublishing());
  }

  /** Stops sending the microphone, in this room and in later ones. */
  unpublish() {
    this.#track = null;
    if (!this.#publishing) return;
    this.#stopPublishing();
    this.#signaling?.send({ type: "close_publisher" });
  }

  /**
   * While muted nothing of the microphone leaves this machine, and the others are told. Holds across rooms. A server that
   * refuses is told again until it agrees; meanwhile {@link muted} is true, and `participantchanged` of the local participant
   * tells of each change.
   *
   * @param {boolean} muted
   * @returns {Promise<void>} when the microphone is on or off
   */
  async setMuted(muted) {
    this.#muting.set(muted);
    await this.#switched;
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

  /** Leaves and disconnects. The client can connect again. */
  close() {
    this.#signaling?.close();
  }

  // ---------------------------------------------------------------------------------------------- calls

  /**
   * @param {string} url
   * @param {string} username
   * @param {string} [token]
   */
  async #connect(url, username, token) {
    if (this.#signaling) throw new AntiphonError("already_connected", "You are connected already.");
    const address = socketUrl(url);
    const signaling = new Signaling();
    this.#signaling = signaling;
    signaling.on("message", (event) => this.#onMessage(event.message));
    signaling.on("close", (event) => this.#onClose(signaling, event.error));
    this.#setState("connecting");
    try {
      await signaling.open(address);
      const registered = await signaling.request({ type: "register", username, ...(token && { token }) }, "registered");
      this.#userId = registered.user_id;
      this.#iceServers = registered.ice_servers ?? [];
      this.#setState("connected");
    } catch (error) {
      signaling.close();
      throw error;
    }
  }

  /**
   * @param {Extract<import("./messages.js").ClientMessage, {type: "create_room" | "join_room"}>} message
   * @returns {Promise<Room>}
   */
  async #enter(message) {
    const signaling = await this.#requireSignaling();
    // The room itself is made by #onMessage, before any message that follows is read.
    await signaling.request(message, "room_joined");
    if (!this.#room) throw superseded();
    return this.#room;
  }

  async #leave() {
    const signaling = await this.#requireSignaling();
    await signaling.request({ type: "leave_room" }, "room_left");
  }

  #makeStatistics() {
    const statistics = new StatisticsCollector({
      connections: () => this.connections,
      whoIsHeard: (trackId) => this.#room?.ownerOf(trackId),
    });
    statistics.on("qualitychanged", ({ userId, quality }) => this.#room?.change(userId ?? this.#room.local.userId, { quality }));
    return statistics;
  }

  async #requireSignaling() {
    if (!this.#signaling || this.#state === "connecting") {
      throw new AntiphonError("disconnected", "Connect to the server first.");
    }
    return this.#signaling;
  }

  async #startPublishing() {
    const [room, signaling, track] = [this.#room, this.#signaling, this.#track];
    if (!room || !signaling || !track) return;
    this.#stopPublishing();
    const publishing = new Publishing({
      signaling,
      iceServers: this.#iceServers,
      track,
      muted: this.#muting.muted,
      onChange: (live) => room.change(room.local.userId, { publishing: live }),
      onError: (error) => this.#report(error),
    });
    this.#publishing = publishing;
    await publishing.start();
  }

  /** @param {boolean} muted */
  #onMuted(muted) {
    this.#switched = this.#publishing?.setMuted(muted) ?? Promise.resolve();
    this.#room?.change(this.#room.local.userId, { muted });
  }

  #stopPublishing() {
    this.#publishing?.stop();
    this.#publishing = null;
    this.#room?.change(this.#room.local.userId, { publishing: false });
  }

  // ---------------------------------------------------------------------------------------------- what the server says

  /** @param {ServerMessage} message */
  #onMessage(message) {
    switch (message.type) {
      case "room_joined":
        this.#onRoomJoined(message);
        return;
      case "room_left":
        this.#closeRoom();
        this.#setState("connected");
        return;
      case "publisher_ice_candidate":
        this.#publishing?.addCandidate(message.candidate);
        return;
      case "server_draining":
        this.dispatchEvent(new DrainingEvent(message.deadline_s));
        return;
      case "error":
        if (message.request === "set_muted") this.#muting.onError(message);
        this.#room?.onMessage(message);
        if (!QUIET_REQUESTS.has(message.request ?? "")) this.#report(serverError(message));
        return;
      default:
        this.#room?.onMessage(message);
    }
    if (message.type === "publisher_closed" && message.user_id === this.#userId) this.#publishing?.onClosedByServer();
    if (message.type === "room_moved") this.#onRoomMoved(message.reason);
  }

  /** @param {Received<"room_joined">} message */
  #onRoomJoined(message) {
    const signaling = this.#signaling;
    if (!signaling || this.#userId === null) return;
    this.#closeRoom();
    this.#room = new Room({
      id: message.room_id,
      localUserId: this.#userId,
      people: message.participants,
      signaling,
      iceServers: this.#iceServers,
      hearing: this.#hearing,
      onError: (error) => this.#report(error),
    });
    this.#setState("in_room");
    this.dispatchEvent(new RoomJoinedEvent(this.#room));
    this.#muting.enter(signaling);
    this.#room.change(this.#userId, { muted: this.#muting.muted });
    // Failures arrive as `error` events: entering the room has succeeded.
    this.#reporting(this.#startPublishing()).catch(() => {});
  }

  /** @param {string} reason */
  #onRoomMoved(reason) {
    this.dispatchEvent(new RoomMovedEvent(reason));
    this.#reporting(this.#startPublishing()).catch(() => {});
  }

  /**
   * @param {Signaling} signaling
   * @param {AntiphonError | null} error
   */
  #onClose(signaling, error) {
    if (signaling !== this.#signaling) return;
    const wasConnected = this.#userId !== null;
    this.#closeRoom();
    this.#signaling = null;
    this.#userId = null;
    this.#setState("disconnected");
    if (wasConnected) this.dispatchEvent(new DisconnectedEvent(error));
  }

  #closeRoom() {
    const room = this.#room;
    if (!room) return;
    this.#stopPublishing();
    this.#room = null;
    this.#muting.leave();
    room.close();
    this.dispatchEvent(new RoomLeftEvent(room));
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
