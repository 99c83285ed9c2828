/**
 * One signaling socket: opens it, keeps it alive, sends below the server's limit, and pairs requests with their answers.
 *
 * Knows the protocol's form, not its meaning: rooms and media are the client's. The protocol has no request ids; an answer
 * is known by its type (and for consumers by the person), an `error` by its `request` field, and the server answers requests
 * of one type in order.
 */

import { AntiphonError, superseded } from "./errors.js";
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
 * ({@link CloseEvent}, once).
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
  /** @type {unknown} */
  #sendTimer = null;
  /** @type {unknown} */
  #keepaliveTimer = null;
  #heardAtMs = 0;
  #closed = false;

  /** @param {Partial<Surroundings>} [surroundings] */
  constructor(surroundings = {}) {
    super();
    this.#surroundings = { ...BROWSER, ...surroundings };
    this.#pacer = new Pacer(this.#surroundings.now());
  }

  /**
   * Opens the socket. Call once.
   *
   * @param {string} url as {@link socketUrl} gives it
   * @returns {Promise<void>}
   * @throws {AntiphonError} `unreachable`
   */
  open(url) {
    return new Promise((resolve, reject) => {
      const unreachable = (/** @type {unknown} */ cause) =>
        new AntiphonError("unreachable", "The server cannot be reached. Check the address and your network.", { cause });
      let opened = false;
      try {
        this.#socket = this.#surroundings.openSocket(url);
      } catch (cause) {
        reject(unreachable(cause));
        return;
      }
      this.#socket.addEventListener("open", () => {
        opened = true;
        this.#heardAtMs = this.#surroundings.now();
        this.#schedulePing();
        resolve();
      });
      this.#socket.addEventListener("message", (event) => this.#onFrame(event.data));
      this.#socket.addEventListener("close", (event) => {
        if (!opened) reject(unreachable(null));
        this.#finish(closeError(event.code, event.reason));
      });
    });
  }

  /**
   * Sends without waiting for an answer. After the socket is gone this does nothing: `close` has told so.
   *
   * @param {ClientMessage} message
   * @param {{background?: boolean, wanted?: () => boolean}} [options] see {@link Pacer.push}
   */
  send(message, options = {}) {
    if (this.#closed || !this.#socket) return;
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
   * @returns {Promise<Received<T>>}
   * @throws {AntiphonError} the server's error, `timeout`, `superseded` (by the signal) or `disconnected`
   */
  request(message, expected, { matches = () => true, signal } = {}) {
    if (this.#closed || !this.#socket) return Promise.reject(disconnected());
    if (signal?.aborted) return Promise.reject(superseded());
    return new Promise((resolve, reject) => {
      /** @type {Pending} */
      const pending = { request: message.type, expected, matches, resolve, reject, timer: null };
      pending.timer = this.#surroundings.setTimer(() => {
        this.#settle(pending);
        reject(new AntiphonError("timeout", "The server did not answer in time. Try again.", { request: message.type }));
      }, REQUEST_DEADLINE_MS);
      signal?.addEventListener("abort", () => {
        this.#settle(pending);
        reject(superseded());
      });
      this.#pending.push(pending);
      this.send(message);
    });
  }

  /** Closes the socket; a clean close is a leave at once. Requests under way are rejected. */
  close() {
    this.#socket?.close(1000);
    this.#finish(null);
  }

  /** @param {unknown} data */
  #onFrame(data) {
    if (this.#closed) return;
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
      this.request({ type: "ping" }, "pong").catch(() => {}); // a request, so that nobody else takes its pong
      this.#keepaliveTimer = this.#surroundings.setTimer(() => {
        if (this.#heardAtMs >= sentAtMs) this.#schedulePing();
        else this.#lose();
      }, PONG_DEADLINE_MS);
    }, PING_INTERVAL_MS - PONG_DEADLINE_MS);
  }

  #lose() {
    this.#socket?.close(4000, "no answer to ping");
    this.#finish(new AntiphonError("disconnected", "The connection to the server was lost."));
  }

  /** @param {AntiphonError | null} error */
  #finish(error) {
    if (this.#closed) return;
    this.#closed = true;
    this.#surroundings.clearTimer(this.#keepaliveTimer);
    this.#surroundings.clearTimer(this.#sendTimer);
    this.#pacer.clear();
    for (const pending of [...this.#pending]) {
      this.#settle(pending);
      pending.reject(error ?? disconnected());
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

/**
 * @param {Received<"error">} message
 * @returns {AntiphonError}
 */
export function serverError(message) {
  return new AntiphonError(message.code, message.message, { request: message.request });
}

function disconnected() {
  return new AntiphonError("disconnected", "There is no connection to the server.");
}

/**
 * @param {number} code of the WebSocket close event (RFC 6455 7.4.1)
 * @param {string} reason
 * @returns {AntiphonError}
 */
function closeError(code, reason) {
  if (code === 1001 || code === 1012) return new AntiphonError("disconnected", "The server was stopped or restarted.");
  if (code === 1008 || code === 1009 || code === 1013) {
    return new AntiphonError("disconnected", `The server ended the connection${reason ? `: ${reason}` : "."}`);
  }
  return new AntiphonError("disconnected", "The connection to the server was lost.");
}
