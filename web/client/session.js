/**
 * One registration with the server, kept over as many sockets as it takes.
 *
 *     new ── start() ──▶ up ── socket lost ──▶ away ── open, register, restore ──▶ up
 *      └── refused ──────┴──── close(), refused, taken over ─┴──▶ ended
 *
 * It knows who this client is and how to come back; what there is to restore in a room is the listener's. Resuming and registering
 * anew are one message: the server takes the resume token or makes a new session (SIGNALING.md, "When a socket ends"). A ping behind
 * it is answered when everything has been said about the state that the session is in.
 */

import { AntiphonError, superseded } from "./errors.js";
import { Reconnection } from "./reconnection.js";
import { Signaling } from "./signaling.js";
import { BROWSER } from "./surroundings.js";

/** @typedef {import("./messages.js").ServerMessage} ServerMessage */
/** @typedef {import("./surroundings.js").NetworkNews} NetworkNews */
/** @typedef {import("./surroundings.js").Surroundings} Surroundings */

/** @typedef {string | (() => string | Promise<string>)} Token */

/**
 * @typedef {object} SessionListener
 * @property {(message: ServerMessage) => void} onMessage
 * @property {(error: AntiphonError) => void} onLost the socket is gone, and another one will be opened
 * @property {(attempt: number, delayMs: number) => void} onWaiting before each attempt
 * @property {() => Promise<void>} restore registered again: make everything as it was. What it throws fails this attempt
 * @property {(resumed: boolean) => void} onRestored everyone may send again; resumed: it is the same session
 * @property {() => void} onNetwork the network is another one
 * @property {(error: AntiphonError | null) => void} onEnded once, also when `start` fails; null after `close`
 */

/** Refusals that may be over at the next attempt; what else the server refuses, it would refuse again. */
export const PASSING = new Set(["unreachable", "disconnected", "timeout", "rate_limited", "shard_unavailable", "ended_by_server", "bad_server_message"]);

export class Session {
  /** @readonly */ signaling;
  /** Always the newest ones; the array stays the same. @readonly @type {RTCIceServer[]} */
  iceServers = [];
  /** @type {string | null} */
  userId = null;
  /** With it, a session can be resumed for some seconds after its socket broke. @type {string | null} */
  resumeToken;
  #url;
  #username;
  #token;
  #listener;
  #reconnection;
  #stopWatching;
  /** Why the last socket was closed. @type {AntiphonError | null} */
  #closedBy = null;
  /** @type {"new" | "up" | "away" | "ended"} */
  #state = "new";

  /**
   * @param {object} options
   * @param {string} options.url of the socket
   * @param {string} options.username
   * @param {Token | undefined} [options.token] asked for before each attempt, if it is a function
   * @param {string | undefined} [options.resumeToken] of an earlier session
   * @param {Partial<Surroundings>} [options.surroundings]
   * @param {SessionListener} listener
   */
  constructor({ url, username, token, resumeToken, surroundings: given = {} }, listener) {
    const surroundings = { ...BROWSER, ...given };
    this.#url = url;
    this.#username = username;
    this.#token = token;
    this.resumeToken = resumeToken ?? null;
    this.#listener = listener;
    this.signaling = new Signaling(surroundings);
    this.signaling.on("message", ({ message }) => this.#onMessage(message));
    this.signaling.on("close", ({ error }) => this.#onClose(error));
    this.#reconnection = new Reconnection({
      surroundings,
      onWaiting: (attempt, delayMs) => listener.onWaiting(attempt, delayMs),
      onAttempt: () => void this.#attempt(),
    });
    this.#stopWatching = surroundings.watchNetwork((news) => this.#onNetwork(news));
  }

  get ended() {
    return this.#state === "ended";
  }

  /**
   * Connects for the first time.
   *
   * @throws {AntiphonError} it has ended then
   */
  async start() {
    try {
      await this.#register();
      if (this.#state === "new") this.#state = "up";
    } catch (thrown) {
      if (this.ended) throw superseded(); // by close()
      const failed = AntiphonError.from(thrown, "unreachable", "The server cannot be reached.");
      // A server that closes the socket at once says why; the requests under way know only that it is closed.
      const error = (failed.code === "disconnected" ? (this.#closedBy ?? failed) : failed).as({ fatal: true });
      this.#end(error);
      throw error;
    }
  }

  /** Says goodbye. */
  close() {
    this.#end(null);
  }

  async #attempt() {
    try {
      const resumed = await this.#register();
      await this.#listener.restore();
      if (this.#state !== "away") return;
      this.#state = "up";
      this.#reconnection.succeeded();
      this.signaling.release();
      this.#listener.onRestored(resumed);
    } catch (thrown) {
      const error = AntiphonError.from(thrown, "unreachable", "The server cannot be reached.");
      if (!PASSING.has(error.code)) this.#end(error.as({ fatal: true }));
      this.signaling.drop(error);
      this.#reconnection.failed();
    }
  }

  /** @returns {Promise<boolean>} whether the session is the one of the resume token */
  async #register() {
    const { signaling } = this;
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    await signaling.open(this.#url);
    const registered = signaling.request(
      {
        type: "register",
        username: this.#username,
        ...(this.resumeToken === null ? {} : { resume_token: this.resumeToken }),
        ...(token === undefined ? {} : { token }),
      },
      "registered",
      { handshake: true },
    );
    // Answered behind all that the server says about a session that it resumes.
    const told = this.resumeToken === null ? null : signaling.request({ type: "ping" }, "pong", { handshake: true });
    told?.catch(() => {});
    const { resumed = false } = await registered;
    await told;
    return resumed;
  }

  /** @param {ServerMessage} message */
  #onMessage(message) {
    if (message.type === "registered") {
      this.userId = message.user_id;
      this.resumeToken = message.resume_token ?? null;
      this.iceServers.splice(0, Infinity, ...(message.ice_servers ?? []));
    }
    this.#listener.onMessage(message);
  }

  /** @param {AntiphonError | null} error */
  #onClose(error) {
    this.#closedBy = error;
    if (error?.code === "taken_over") this.#end(error.as({ fatal: true }));
    if (this.#state !== "up") return; // an attempt finds out by itself
    this.#state = "away";
    this.#listener.onLost(error ?? new AntiphonError("disconnected", "The connection to the server was lost."));
    this.#reconnection.lost();
  }

  /** @param {NetworkNews} news */
  #onNetwork(news) {
    if (news === "offline") {
      this.#reconnection.offline();
      return;
    }
    this.#reconnection.hurry();
    this.signaling.probe();
    if (news !== "visible") this.#listener.onNetwork();
  }

  /** @param {AntiphonError | null} error */
  #end(error) {
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#stopWatching();
    this.#reconnection.stop();
    this.signaling.close();
    this.#listener.onEnded(error);
  }
}
