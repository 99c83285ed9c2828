/**
 * The conversation with the server, over one socket after another: opens it, keeps it alive, sends below the server's limit, and
 * pairs requests with their answers.
 *
 *     closed ── open() ──▶ open ── lost ──▶ held ── open() ──▶ open and held ── release() ──▶ open
 *        ▲                   └────── close() ─┴────────── close() ──┘
 *
 * While it is held, only what is marked `handshake` is sent: whoever keeps the session says who it is first, and what others say waits
 * behind that. Without a socket what they say is dropped, and what they ask for is rejected with `disconnected`; they can wait for
 * {@link Signaling.available}.
 *
 * Knows the protocol's form, not its meaning: rooms and media are the client's. The protocol has no request ids; an answer
 * is known by its type (and for consumers by the person), an `error` by its `request` field, and the server answers requests
 * of one type in order.
 */

import { AntiphonError, disconnected, serverError, superseded } from "./errors.js";
import { CloseEvent, MessageEvent, TypedEventTarget } from "./events.js";
import { decodeServerMessage, encodeClientMessage } from "./messages.js";
import { Pacer } from "./pacer.js";
import { BROWSER } from "./surroundings.js";

/** @typedef {import("./messages.js").ClientMessage} ClientMessage */
/** @typedef {import("./messages.js").ServerMessage} ServerMessage */
/** @typedef {import("./messages.js").ServerMessageType} ServerMessageType */
/** @typedef {import("./surroundings.js").Surroundings} Surroundings */

/**
 * @template {ServerMessageType} T
 * @typedef {import("./messages.js").Received<T>} Received
 */

/** The server is asked for a sign of life this often. */
export const PING_INTERVAL_MS = 20_000;
/** A socket on which nothing arrives for this long after a ping is lost. */
export const PONG_DEADLINE_MS = 10_000;
/** A socket that is not open after this time cannot be opened. */
export const OPEN_DEADLINE_MS = 10_000;
/** When the network has changed, the server must answer within this time, or the socket is lost. */
export const PROBE_DEADLINE_MS = 3000;
/** Closing with this code tells the server that this client will be back (SIGNALING.md, "When a socket ends"). */
export const COMING_BACK = 4000;
/** A request that is not answered in this time fails with `timeout`. */
export const REQUEST_DEADLINE_MS = 15_000;

/**
 * @typedef {object} Pending
 * @property {string} request
 * @property {ServerMessageType} expected
 * @property {(message: any) => boolean} matches
 * @property {(message: any) => void} resolve
 * @property {(error: AntiphonError) => void} reject
 * @property {unknown} timer
 */

/**
 * Events: `message` ({@link MessageEvent}, also for answers; not for errors that rejected a request) and `close`
 * ({@link CloseEvent}, once for each socket).
 *
 * @extends {TypedEventTarget<{message: MessageEvent, close: CloseEvent}>}
 */
export class Signaling extends TypedEventTarget {
  #surroundings;
  #pacer;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Pending[]} */
  #pending = [];
  /** @type {{resolve: () => void, reject: (error: AntiphonError) => void}[]} */
  #waiting = [];
  /** @type {unknown} */
  #sendTimer = null;
  /** @type {unknown} */
  #keepaliveTimer = null;
  #heardAtMs = 0;
  #held = false;
  /** What waits for {@link release}. @type {(() => void)[]} */
  #heldBack = [];
  #closed = false;

  /** @param {Partial<Surroundings>} [surroundings] */
  constructor(surroundings = {}) {
    super();
    this.#surroundings = { ...BROWSER, ...surroundings };
    this.#pacer = new Pacer(this.#surroundings.now());
  }

  /**
   * Opens a socket: the first one, or another one when the one before is lost.
   *
   * @param {string} url as {@link socketUrl} gives it
   * @returns {Promise<void>}
   * @throws {AntiphonError} `unreachable`; `disconnected` after `close`
   */
  open(url) {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw disconnected();
      const socket = this.#openSocket(url);
      this.#socket = socket;
      const deadline = this.#surroundings.setTimer(() => {
        reject(unreachable(null));
        this.#drop(socket, unreachable(null));
      }, OPEN_DEADLINE_MS);
      socket.addEventListener("open", () => {
        this.#surroundings.clearTimer(deadline);
        if (socket !== this.#socket) return;
        this.#heardAtMs = this.#surroundings.now();
        this.#schedulePing();
        resolve();
      });
      socket.addEventListener("message", (event) => socket === this.#socket && this.#onFrame(event.data));
      socket.addEventListener("close", (event) => {
        this.#surroundings.clearTimer(deadline);
        reject(unreachable(null));
        if (socket === this.#socket) this.#finish(closeError(event.code, event.reason));
      });
    });
  }

  /** The session goes on: everyone may send again. */
  release() {
    this.#held = false;
    for (const send of this.#heldBack.splice(0)) send();
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  /**
   * Waits until messages can be sent: at once, or when a lost session goes on.
   *
   * @returns {Promise<void>}
   * @throws {AntiphonError} `disconnected` when it does not go on
   */
  available() {
    if (this.#closed) return Promise.reject(disconnected());
    if (this.#socket && !this.#held) return Promise.resolve();
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /**
   * Sends without waiting for an answer. Without a socket this does nothing: `close` has told so.
   *
   * @param {ClientMessage} message
   * @param {{background?: boolean, wanted?: () => boolean, handshake?: boolean}} [options] see {@link Pacer.push}
   */
  send(message, { handshake = false, ...options } = {}) {
    if (!this.#socket) return;
    if (this.#held && !handshake) {
      this.#heldBack.push(() => this.send(message, options));
      return;
    }
    this.#pacer.push(encodeClientMessage(message), options);
    this.#drain();
  }

  /**
   * Sends and waits for the answer.
   *
   * @template {ServerMessageType} T
   * @param {ClientMessage} message
   * @param {T} expected type of the answer
   * @param {object} [options]
   * @param {(answer: Received<T>) => boolean} [options.matches] tells answers of the same type apart
   * @param {AbortSignal} [options.signal] ends the waiting; only for requests that the server may leave unanswered
   *   when something newer replaces them, because an answer that comes all the same is taken for the next one's
   * @param {boolean} [options.handshake] sent even while held
   * @param {number} [options.deadlineMs]
   * @returns {Promise<Received<T>>}
   * @throws {AntiphonError} the server's error, `timeout`, `superseded` (by the signal) or `disconnected`
   */
  request(message, expected, { matches = () => true, signal, handshake = false, deadlineMs = REQUEST_DEADLINE_MS } = {}) {
    if (!this.#socket) return Promise.reject(disconnected());
    if (signal?.aborted) return Promise.reject(superseded());
    return new Promise((resolve, reject) => {
      /** @type {Pending} */
      const pending = { request: message.type, expected, matches, resolve, reject, timer: null };
      pending.timer = this.#surroundings.setTimer(() => {
        this.#settle(pending);
        reject(new AntiphonError("timeout", "The server did not answer in time. Try again.", { request: message.type }));
      }, deadlineMs);
      signal?.addEventListener("abort", () => {
        this.#settle(pending);
        reject(superseded());
      });
      this.#pending.push(pending);
      this.send(message, { handshake });
    });
  }

  /** The network may be another one: if the server does not answer soon, the socket is lost. */
  probe() {
    const socket = this.#socket;
    if (socket?.readyState !== 1 /* OPEN */) return;
    const sentAtMs = this.#surroundings.now();
    this.request({ type: "ping" }, "pong", { handshake: true }).catch(() => {});
    this.#surroundings.setTimer(() => {
      if (socket === this.#socket && this.#heardAtMs < sentAtMs) this.#drop(socket, lost());
    }, PROBE_DEADLINE_MS);
  }

  /** Gives this socket up and means to come back with another one. @param {AntiphonError} error why */
  drop(error) {
    if (this.#socket) this.#drop(this.#socket, error);
  }

  /** Closes the socket for good; a clean close is a leave at once. Requests under way are rejected. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket?.close(1000);
    if (this.#socket) this.#finish(null);
    for (const { reject } of this.#waiting.splice(0)) reject(disconnected());
  }

  /** @param {string} url */
  #openSocket(url) {
    try {
      return this.#surroundings.openSocket(url);
    } catch (cause) {
      throw unreachable(cause);
    }
  }

  /** @param {unknown} data */
  #onFrame(data) {
    this.#heardAtMs = this.#surroundings.now();
    let message;
    try {
      message = decodeServerMessage(data);
    } catch (thrown) {
      const error = AntiphonError.from(thrown, "bad_server_message", "The server sent something this page does not understand.");
      message = /** @type {ServerMessage} */ ({ type: "error", code: error.code, message: error.message });
    }
    if (message === null) return;
    const answered = message.type === "error" ? this.#rejectPending(message) : this.#resolvePending(message);
    if (message.type === "error" && answered) return;
    this.dispatchEvent(new MessageEvent(message));
  }

  /** @param {ServerMessage} message */
  #resolvePending(message) {
    const pending = this.#pending.find((one) => one.expected === message.type && one.matches(message));
    if (!pending) return false;
    this.#settle(pending);
    pending.resolve(message);
    return true;
  }

  /** @param {Received<"error">} message */
  #rejectPending(message) {
    const pending = this.#pending.find(
      (one) => one.request === message.request && (message.publisher_user_id === undefined || one.matches(message)),
    );
    if (!pending) return false;
    this.#settle(pending);
    pending.reject(serverError(message));
    return true;
  }

  /** @param {Pending} pending */
  #settle(pending) {
    this.#pending = this.#pending.filter((other) => other !== pending);
    this.#surroundings.clearTimer(pending.timer);
  }

  #drain() {
    if (this.#socket?.readyState !== 1 /* OPEN */) return;
    for (const frame of this.#pacer.take(this.#surroundings.now())) this.#socket.send(frame);
    const waitMs = this.#pacer.waitMs;
    if (waitMs === null || this.#sendTimer !== null) return;
    this.#sendTimer = this.#surroundings.setTimer(() => {
      this.#sendTimer = null;
      this.#drain();
    }, waitMs);
  }

  #schedulePing() {
    this.#keepaliveTimer = this.#surroundings.setTimer(() => {
      const sentAtMs = this.#surroundings.now();
      this.request({ type: "ping" }, "pong", { handshake: true }).catch(() => {}); // a request, so that nobody else takes its pong
      this.#keepaliveTimer = this.#surroundings.setTimer(() => {
        if (this.#heardAtMs >= sentAtMs) this.#schedulePing();
        else this.drop(lost());
      }, PONG_DEADLINE_MS);
    }, PING_INTERVAL_MS - PONG_DEADLINE_MS);
  }

  /**
   * @param {WebSocket} socket
   * @param {AntiphonError} error
   */
  #drop(socket, error) {
    socket.close(COMING_BACK, "coming back");
    if (socket === this.#socket) this.#finish(error);
  }

  /** The socket is gone. @param {AntiphonError | null} error */
  #finish(error) {
    this.#socket = null;
    this.#held = true;
    this.#surroundings.clearTimer(this.#keepaliveTimer);
    this.#surroundings.clearTimer(this.#sendTimer);
    this.#sendTimer = null;
    this.#pacer.clear();
    this.#heldBack.length = 0;
    for (const pending of [...this.#pending]) {
      this.#settle(pending);
      pending.reject(disconnected());
    }
    this.dispatchEvent(new CloseEvent(error));
  }
}

/**
 * Where the signaling socket of a server is: `http://host:8080`, `https://host/`, `ws://host/ws` all work.
 *
 * @param {string} url
 * @returns {string}
 * @throws {AntiphonError} `unreachable` for what is no address
 */
export function socketUrl(url) {
  let parsed;
  try {
    parsed = new URL(url);
  } catch (cause) {
    throw new AntiphonError("unreachable", `“${url}” is not the address of a server.`, { cause });
  }
  if (parsed.protocol === "http:") parsed.protocol = "ws:";
  if (parsed.protocol === "https:") parsed.protocol = "wss:";
  if (parsed.protocol !== "ws:" && parsed.protocol !== "wss:") {
    throw new AntiphonError("unreachable", `“${url}” is not the address of a server.`);
  }
  if (parsed.pathname === "/") parsed.pathname = "/ws";
  parsed.hash = "";
  return parsed.href;
}

/** @param {unknown} cause */
function unreachable(cause) {
  const sentence = "The server cannot be reached. Check the address and your network.";
  return new AntiphonError("unreachable", sentence, cause === null ? {} : { cause });
}

function lost() {
  return new AntiphonError("disconnected", "The connection to the server was lost.");
}

/**
 * @param {number} code of the WebSocket close event (RFC 6455 7.4.1; 4001 is Antiphon's)
 * @param {string} reason
 * @returns {AntiphonError}
 */
function closeError(code, reason) {
  if (code === 1001 || code === 1012) return new AntiphonError("disconnected", "The server was stopped or restarted.");
  if (code === 4001) return new AntiphonError("taken_over", "This call goes on in another tab.");
  if (code === 1008 || code === 1009 || code === 1013) {
    return new AntiphonError("ended_by_server", `The server ended the connection${reason ? `: ${reason}.` : "."}`);
  }
  return lost();
}
