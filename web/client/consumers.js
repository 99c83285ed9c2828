/**
 * Hearing the room over one connection per person who publishes (`create_consumer`).
 *
 * It fulfils {@link Hearing}, behind which a room does not know how its people are heard.
 */

import { Backoff } from "./backoff.js";
import { Connection } from "./connection.js";
import { AntiphonError, serverError } from "./errors.js";

/** @typedef {import("./signaling.js").Signaling} Signaling */
/** @typedef {import("./messages.js").ServerMessage} ServerMessage */
/** @typedef {NonNullable<import("./messages.js").Received<"room_joined">["resumed"]>} Held */

/**
 * How a room hears its people.
 *
 * @typedef {object} Hearing
 * @property {(userId: string) => void} add this person publishes: hear them
 * @property {(userId: string) => void} remove this person publishes no longer
 * @property {(message: ServerMessage) => void} onMessage every message of the server; takes what concerns it
 * @property {(userId: string, subscribed: boolean) => void} setSubscribed hear this person, or not for the time being
 * @property {(held: Held) => void} resume the socket was lost and the session goes on: what the server has kept; `add` and `remove` have told
 *   who publishes now
 * @property {() => void} restartIce the network has changed: new ICE credentials for every connection
 * @property {() => void} close
 * @property {() => {userId: string | null, peerConnection: RTCPeerConnection}[]} connections userId null: several people
 */

/**
 * What a Hearing tells.
 *
 * @typedef {object} HearingListener
 * @property {(userId: string, track: MediaStreamTrack, receiver: RTCRtpReceiver) => void} onTrack
 * @property {(userId: string) => void} onTrackEnded
 * @property {(error: AntiphonError) => void} onError somebody cannot be heard
 */

/** Refusals that mean "no longer there": a notice about it is on its way, and nothing is to be done. */
const GONE = new Set(["not_publishing", "publisher_not_found", "not_in_room", "superseded"]);

/** Closed by the server for these reasons, it is not asked for again by this client. */
const FINAL_REASONS = new Set(["replaced", "closed"]);

/** One person's connection. */
class Consumer {
  /** @type {string | null} */
  consumerId = null;
  closed = false;
  backoff = new Backoff();
  /** @type {Connection | null} */
  connection = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  retryTimer;
  /** @param {string} userId */
  constructor(userId) {
    this.userId = userId;
  }
}

/** @implements {Hearing} */
export class ConnectionPerPerson {
  /** @type {Set<string>} */
  #publishing = new Set();
  /** @type {Set<string>} */
  #unwanted = new Set();
  #signaling;
  #iceServers;
  #listener;
  /** @type {Map<string, Consumer>} by user id */
  #consumers = new Map();

  /**
   * @param {Signaling} signaling
   * @param {RTCIceServer[]} iceServers
   * @param {HearingListener} listener
   */
  constructor(signaling, iceServers, listener) {
    this.#signaling = signaling;
    this.#iceServers = iceServers;
    this.#listener = listener;
  }

  /** @param {string} userId */
  add(userId) {
    this.#end(userId);
    this.#publishing.add(userId);
    if (this.#unwanted.has(userId)) return;
    const consumer = new Consumer(userId);
    this.#consumers.set(userId, consumer);
    void this.#start(consumer);
  }

  /** @param {string} userId */
  remove(userId) {
    this.#publishing.delete(userId);
    this.#end(userId);
  }

  /**
   * @param {string} userId
   * @param {boolean} subscribed
   */
  setSubscribed(userId, subscribed) {
    if (this.#unwanted.has(userId) !== subscribed) return;
    if (subscribed) this.#unwanted.delete(userId);
    else this.#unwanted.add(userId);
    const consumerId = this.#consumers.get(userId)?.consumerId;
    if (subscribed && this.#publishing.has(userId)) this.add(userId);
    if (subscribed) return;
    this.#end(userId);
    if (consumerId) this.#signaling.send({ type: "close_consumer", consumer_id: consumerId });
  }

  /** @param {Held} held */
  resume({ consumers: held }) {
    for (const { userId, consumerId, connection } of [...this.#consumers.values()]) {
      const kept = held.some(({ consumer_id }) => consumer_id === consumerId) && connection?.up;
      // Without a connection one is being made, or waits for its time.
      if (connection && !kept) this.add(userId);
    }
    for (const { consumer_id, publisher_user_id } of held) {
      if (!this.#consumers.has(publisher_user_id)) this.#signaling.send({ type: "close_consumer", consumer_id });
    }
  }

  restartIce() {
    for (const { consumerId } of this.#consumers.values()) {
      if (consumerId) this.#signaling.send({ type: "restart_ice", target: "consumer", consumer_id: consumerId });
    }
  }

  /** @param {string} userId */
  #end(userId) {
    const consumer = this.#consumers.get(userId);
    if (!consumer) return;
    this.#consumers.delete(userId);
    consumer.closed = true;
    clearTimeout(consumer.retryTimer);
    this.#closeConnection(consumer);
  }

  /** @param {ServerMessage} message */
  onMessage(message) {
    if (message.type === "user_left") this.#unwanted.delete(message.user_id);
    if (message.type === "consumer_created") void this.#onOfferedAgain(message);
    if (message.type === "consumer_ice_candidate") this.#byId(message.consumer_id)?.connection?.addCandidate(message.candidate);
    if (message.type === "error") this.#onError(message);
    if (message.type !== "consumer_closed") return;
    const consumer = this.#byId(message.consumer_id);
    if (!consumer) return;
    if (FINAL_REASONS.has(message.reason)) this.#end(consumer.userId);
    else this.#lost(consumer, new AntiphonError("connection_failed", "The media connection to the server broke."));
  }

  /**
   * An answer that the server did not take: no connection will come of it.
   *
   * @param {import("./messages.js").Received<"error">} message
   */
  #onError({ request, consumer_id, code, message }) {
    if (request !== "consumer_answer" || consumer_id === undefined) return;
    const consumer = this.#byId(consumer_id);
    if (!consumer) return;
    if (code !== "consumer_not_found") this.#signaling.send({ type: "close_consumer", consumer_id });
    this.#lost(consumer, serverError({ code, message, request }));
  }

  /**
   * New ICE credentials for a connection there is. The offer of a new one is waited for in {@link ConnectionPerPerson.#start}, which knows
   * it only later.
   *
   * @param {import("./messages.js").Received<"consumer_created">} offer
   */
  async #onOfferedAgain({ consumer_id, sdp: offered }) {
    const consumer = this.#byId(consumer_id);
    const connection = consumer?.connection;
    if (!consumer || !connection) return;
    try {
      const sdp = await connection.answer(offered);
      if (consumer.connection === connection) this.#signaling.send({ type: "consumer_answer", consumer_id, sdp });
    } catch (thrown) {
      const error = AntiphonError.from(thrown, "connection_failed", "Someone in the room cannot be heard.");
      if (consumer.connection === connection) this.#lost(consumer, error);
    }
  }

  close() {
    for (const userId of [...this.#consumers.keys()]) this.#end(userId);
  }

  connections() {
    return [...this.#consumers.values()].flatMap(({ userId, connection }) =>
      connection ? [{ userId, peerConnection: connection.peerConnection }] : [],
    );
  }

  /** @param {Consumer} consumer */
  async #start(consumer) {
    const { userId } = consumer;
    try {
      consumer.backoff.started(performance.now());
      const created = await this.#signaling.request({ type: "create_consumer", publisher_user_id: userId }, "consumer_created", {
        matches: (answer) => answer.publisher_user_id === userId,
      });
      // Whoever is gone meanwhile took the consumer along, and a newer one for the same person replaced it.
      if (consumer.closed) return;
      consumer.consumerId = created.consumer_id;
      consumer.connection = this.#connect(consumer, created.consumer_id);
      const sdp = await consumer.connection.answer(created.sdp);
      if (consumer.closed) return;
      this.#signaling.send({ type: "consumer_answer", consumer_id: created.consumer_id, sdp });
      consumer.connection.flushCandidates();
    } catch (thrown) {
      const error = AntiphonError.from(thrown, "connection_failed", "Someone in the room cannot be heard.");
      if (consumer.closed) return;
      if (GONE.has(error.code)) this.#end(userId);
      else if (error.code === "disconnected") this.#startWhenAvailable(consumer);
      else this.#lost(consumer, error);
    }
  }

  /** @param {Consumer} consumer */
  #startWhenAvailable(consumer) {
    this.#closeConnection(consumer);
    this.#signaling.available().then(
      () => consumer.closed || void this.#start(consumer),
      () => {}, // the room is closed by whoever keeps the session
    );
  }

  /**
   * @param {Consumer} consumer
   * @param {string} consumerId
   * @returns {Connection}
   */
  #connect(consumer, consumerId) {
    /** @type {Connection} */
    const connection = new Connection({
      iceServers: this.#iceServers,
      onCandidate: (candidate) =>
        this.#signaling.send(
          { type: "consumer_ice_candidate", consumer_id: consumerId, candidate },
          { background: true, wanted: () => consumer.connection === connection },
        ),
      onTrack: (track, receiver) => this.#listener.onTrack(consumer.userId, track, receiver),
      onTroubled: () => this.#signaling.send({ type: "restart_ice", target: "consumer", consumer_id: consumerId }),
      onFailed: (error) => {
        this.#signaling.send({ type: "close_consumer", consumer_id: consumerId });
        this.#lost(consumer, error);
      },
    });
    return connection;
  }

  /**
   * @param {Consumer} consumer
   * @param {AntiphonError} error
   */
  #lost(consumer, error) {
    if (consumer.closed) return;
    this.#closeConnection(consumer);
    const delayMs = consumer.backoff.broke(performance.now());
    if (delayMs === null) {
      this.#end(consumer.userId);
      this.#listener.onError(error);
      return;
    }
    consumer.retryTimer = setTimeout(() => void this.#start(consumer), delayMs);
  }

  /** @param {Consumer} consumer */
  #closeConnection(consumer) {
    if (!consumer.connection) return;
    consumer.connection.close();
    consumer.connection = null;
    consumer.consumerId = null;
    this.#listener.onTrackEnded(consumer.userId);
  }

  /** @param {string} consumerId */
  #byId(consumerId) {
    return [...this.#consumers.values()].find((consumer) => consumer.consumerId === consumerId);
  }
}
