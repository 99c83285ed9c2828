/**
 * Hearing the room over one connection (`subscribe`): the server offers, again and again, who is in which section.
 *
 *     asked ── first offer ──▶ connected ── next offer ──▶ connected ── ...
 *       ▲                          │
 *       └──── Backoff ◀────────────┴── broken, closed by the server, answer refused
 *
 * Sections are used again for other people, with the same MediaStreamTrack. So whose voice a track carries is told by the
 * offer alone: a person is heard from the moment when an offer that names them was applied (before the server sends anything), until
 * they stop publishing or an offer gives the section to somebody else.
 */

import { Backoff, DELAYS_MS } from "./backoff.js";
import { Connection } from "./connection.js";
import { AntiphonError, serverError } from "./errors.js";

/** @typedef {import("./signaling.js").Signaling} Signaling */
/** @typedef {import("./messages.js").ServerMessage} ServerMessage */
/** @typedef {import("./consumers.js").Hearing} Hearing */
/** @typedef {import("./consumers.js").HearingListener} HearingListener */
/** @typedef {import("./consumers.js").Held} Held */

/**
 * @template {import("./messages.js").ServerMessageType} T
 * @typedef {import("./messages.js").Received<T>} Received
 */

/** Without an offer this long after asking for one, it is asked for again. */
export const OFFER_DEADLINE_MS = 15_000;

/** Requests whose refusal means that there is no subscription. */
const ESSENTIAL = new Set(["subscribe", "subscription_answer"]);
/** Refusals that mean that this client is in no room: there is nothing to hear. */
const OVER = new Set(["not_in_room", "not_registered"]);

/** @typedef {{consumerId: string, userId: string}} Heard */

/** One connection to hear on, for as long as it holds. */
class Line {
  /** Session id of its offers; a new one means another connection. @readonly */
  session;
  /** @readonly @type {Connection} */
  connection;
  /** Who is in which section according to the last offer that was applied. @type {Map<string, Heard>} by mid */
  offered = new Map();
  /** Offers are applied one after the other. @type {Promise<void>} */
  applied = Promise.resolve();

  /**
   * @param {string} session
   * @param {Connection} connection
   */
  constructor(session, connection) {
    this.session = session;
    this.connection = connection;
  }
}

/** @implements {Hearing} */
export class Subscription {
  #signaling;
  #iceServers;
  #listener;
  #backoff = new Backoff();
  #closed = false;
  /** The application knows that it does not work at the moment. */
  #reported = false;
  /** @type {Line | null} */
  #line = null;
  /** Until the first offer, or until the next attempt. @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {Set<string>} */
  #publishing = new Set();
  /** @type {Set<string>} */
  #unwanted = new Set();
  /** Who is wanted again; a server that did not hear of it has to be told once more. @type {Set<string>} */
  #wantedAgain = new Set();
  /** Who is heard, as the listener was told. @type {Map<string, Heard>} by mid */
  #heard = new Map();

  /**
   * @param {Signaling} signaling
   * @param {RTCIceServer[]} iceServers
   * @param {HearingListener} listener
   */
  constructor(signaling, iceServers, listener) {
    this.#signaling = signaling;
    this.#iceServers = iceServers;
    this.#listener = listener;
    this.#subscribe();
  }

  /** @param {string} userId */
  add(userId) {
    this.#publishing.add(userId);
    this.#tell();
  }

  /** @param {string} userId */
  remove(userId) {
    this.#publishing.delete(userId);
    this.#tell();
  }

  /**
   * @param {string} userId
   * @param {boolean} subscribed
   */
  setSubscribed(userId, subscribed) {
    if (this.#unwanted.has(userId) !== subscribed) return;
    const [to, from] = subscribed ? [this.#wantedAgain, this.#unwanted] : [this.#unwanted, this.#wantedAgain];
    to.add(userId);
    from.delete(userId);
    this.#signaling.send({ type: "set_subscribed", user_id: userId, subscribed });
  }

  /** The server repeats an offer that the lost socket may have swallowed. @param {Held} held */
  resume({ subscribed }) {
    if (!subscribed || !this.#line) {
      this.#subscribe();
      return;
    }
    for (const userId of this.#unwanted) this.#signaling.send({ type: "set_subscribed", user_id: userId, subscribed: false });
    for (const userId of this.#wantedAgain) this.#signaling.send({ type: "set_subscribed", user_id: userId, subscribed: true });
  }

  /** @param {ServerMessage} message */
  onMessage(message) {
    switch (message.type) {
      case "subscription_offer":
        this.#onOffer(message);
        break;
      case "subscription_ice_candidate":
        this.#line?.connection.addCandidate(message.candidate);
        break;
      case "subscription_closed":
        // Where there is no connection, it is about one that was given up while the next was asked for.
        if (this.#line) this.#lost(new AntiphonError("connection_failed", "The media connection to the server broke."));
        break;
      case "error":
        this.#onError(message);
        break;
      case "room_moved":
        this.#subscribe();
        break;
      case "user_left":
        this.#unwanted.delete(message.user_id);
        this.#wantedAgain.delete(message.user_id);
        break;
      default:
        break;
    }
  }

  /** Asks for new ICE credentials, for when the network has changed; nothing is heard less meanwhile. */
  restartIce() {
    if (this.#line) this.#signaling.send({ type: "restart_ice", target: "subscription" });
  }

  close() {
    this.#closed = true;
    this.#drop();
  }

  connections() {
    return this.#line ? [{ userId: null, peerConnection: this.#line.connection.peerConnection }] : [];
  }

  // ---------------------------------------------------------------------------------------------- the connection

  #subscribe() {
    if (this.#closed) return;
    this.#drop();
    this.#backoff.started(performance.now());
    this.#signaling.send({ type: "subscribe" });
    for (const userId of this.#unwanted) this.#signaling.send({ type: "set_subscribed", user_id: userId, subscribed: false });
    const late = new AntiphonError("timeout", "The server did not offer a media connection in time.", { request: "subscribe" });
    this.#timer = setTimeout(() => this.#lost(late), OFFER_DEADLINE_MS);
  }

  /** @param {Received<"subscription_offer">} offer */
  #onOffer(offer) {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    const line = this.#lineOf(offer.sdp);
    line.applied = line.applied.then(() => this.#apply(line, offer));
  }

  /**
   * The connection that an offer is for: the one there is, or a new one in its place.
   *
   * @param {string} sdp
   * @returns {Line}
   */
  #lineOf(sdp) {
    const session = /^o=\S+ (\S+)/m.exec(sdp)?.[1] ?? "";
    if (this.#line?.session === session) return this.#line;
    this.#drop();
    /** @type {Line} */
    const line = new Line(
      session,
      new Connection({
        iceServers: this.#iceServers,
        onCandidate: (candidate) =>
          this.#signaling.send({ type: "subscription_ice_candidate", candidate }, { background: true, wanted: () => this.#line === line }),
        onTroubled: () => this.restartIce(),
        onFailed: (error) => this.#lost(error, line),
      }),
    );
    this.#line = line;
    return line;
  }

  /**
   * @param {Line} line
   * @param {Received<"subscription_offer">} offer
   */
  async #apply(line, { revision, sdp: offered, tracks }) {
    if (this.#line !== line) return;
    try {
      const sdp = await line.connection.answer(offered);
      if (this.#line !== line) return;
      line.offered = new Map(tracks.map(({ mid, consumer_id, user_id }) => [mid, { consumerId: consumer_id, userId: user_id }]));
      this.#tell();
      this.#signaling.send({ type: "subscription_answer", revision, sdp });
      line.connection.flushCandidates();
    } catch (thrown) {
      this.#lost(AntiphonError.from(thrown, "connection_failed", "The people in the room cannot be heard."), line);
    }
  }

  /** @param {Received<"error">} error */
  #onError({ request, code, message }) {
    if (!ESSENTIAL.has(request ?? "") || this.#closed) return;
    if (OVER.has(code) || code === "unauthorized") this.#drop();
    if (code === "unauthorized") this.#listener.onError(serverError({ code, message, request }));
    else if (!OVER.has(code)) this.#lost(serverError({ code, message, request }));
  }

  /**
   * @param {AntiphonError} error
   * @param {Line | null} [line] where it was noticed; only the one in use matters
   */
  #lost(error, line = this.#line) {
    if (this.#closed || line !== this.#line) return;
    this.#drop();
    const delayMs = this.#backoff.broke(performance.now());
    // Without this connection nobody is heard: it is tried as long as the room lasts, and told once that it does not help.
    if (delayMs === null && !this.#reported) this.#listener.onError(error);
    this.#reported = delayMs === null;
    this.#timer = setTimeout(() => this.#subscribe(), delayMs ?? DELAYS_MS.at(-1));
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#line?.connection.close();
    this.#line = null;
    this.#tell();
  }

  // ---------------------------------------------------------------------------------------------- who is heard

  /** Brings the listener to what is: first who is heard no longer, then who is new, because a track may be in both. */
  #tell() {
    const offered = this.#line?.offered ?? new Map();
    for (const [mid, { consumerId, userId }] of [...this.#heard]) {
      if (offered.get(mid)?.consumerId === consumerId && this.#publishing.has(userId)) continue;
      this.#heard.delete(mid);
      this.#listener.onTrackEnded(userId);
    }
    const missing = [...offered].filter(([mid, { userId }]) => !this.#heard.has(mid) && this.#publishing.has(userId));
    if (!this.#line || missing.length === 0) return;
    const receivers = new Map(this.#line.connection.peerConnection.getTransceivers().map(({ mid, receiver }) => [mid, receiver]));
    for (const [mid, heard] of missing) {
      const receiver = receivers.get(mid);
      if (!receiver) continue;
      this.#heard.set(mid, heard);
      this.#listener.onTrack(heard.userId, receiver.track, receiver);
    }
  }
}
