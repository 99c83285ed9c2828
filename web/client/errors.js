/**
 * The one error type of the library, and every code that it can have.
 *
 * `code` is for programs: `switch (error.code)` is checked by tsc against {@link ErrorCode}. `message` is a sentence that an
 * application may show to people as it is; it says what happened and what to do.
 */

/**
 * What can go wrong on this side of the socket, and what to do about it.
 *
 * - `unreachable`: the WebSocket could not be opened. Check the address and the network
 * - `disconnected`: the socket was lost while something was under way, or there is none. Once the state is no longer `reconnecting`, ask again
 * - `already_connected`: `connect` was called twice
 * - `timeout`: the server did not answer a request in time. Ask again
 * - `taken_over`: another tab or page went on with this session (it had its resume token). This client is disconnected
 * - `ended_by_server`: the server closed the connection for a reason, which the sentence says
 * - `bad_server_message`: the server said something that does not fit the protocol
 * - `server_error`: the server refused with a code that this version does not know; `serverCode` has it
 * - `connection_failed`: no media connection to the server could be made, or it broke for good. Often a firewall: UDP must be let through
 * - `superseded`: a newer call of the same kind, or leaving the room, ended this one. Nothing to do
 * - `unsupported`: this browser has no WebRTC
 *
 * @typedef {"unreachable" | "disconnected" | "already_connected" | "timeout" | "taken_over" | "ended_by_server" | "bad_server_message"
 *   | "server_error" | "connection_failed" | "superseded" | "unsupported"} ClientErrorCode
 */

/** Every code of the server's `error` (control/SIGNALING.md says what each means; a test compares). */
export const SERVER_ERROR_CODES = Object.freeze(
  /** @type {const} */ ([
    "invalid_message",
    "unknown_type",
    "rate_limited",
    "not_registered",
    "already_registered",
    "invalid_username",
    "not_in_room",
    "already_in_room",
    "room_not_found",
    "room_full",
    "too_many_rooms",
    "too_many_consumers",
    "publisher_not_found",
    "not_publishing",
    "consumer_not_found",
    "not_subscribed",
    "already_answered",
    "invalid_sdp",
    "invalid_candidate",
    "connection_failed",
    "shard_full",
    "shard_unavailable",
    "unauthorized",
  ]),
);

/** @typedef {(typeof SERVER_ERROR_CODES)[number]} ServerErrorCode */
/** @typedef {ClientErrorCode | ServerErrorCode} ErrorCode */

/**
 * @typedef {object} ErrorDetails
 * @property {string | null | undefined} [request] type of the message that was refused
 * @property {string | null} [serverCode] the server's code, where it is not one of {@link SERVER_ERROR_CODES}
 * @property {boolean} [fatal]
 * @property {boolean} [retrying]
 * @property {unknown} [cause]
 */

/** An expected failure, with a code for programs and a sentence for people. */
export class AntiphonError extends Error {
  /**
   * @param {ErrorCode} code
   * @param {string} message a sentence for people
   * @param {ErrorDetails} [details]
   */
  constructor(code, message, details = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "AntiphonError";
    /** @readonly @type {ErrorCode} */
    this.code = code;
    /** Type of the client message that caused it, where one did. @readonly @type {string | null} */
    this.request = details.request ?? null;
    /** The server's own code of a `server_error`. @readonly @type {string | null} */
    this.serverCode = details.serverCode ?? null;
    /** The connection has ended with it: the state is `disconnected`, and only `connect` helps. @readonly */
    this.fatal = details.fatal ?? false;
    /** The library goes on trying by itself: nothing to do but perhaps to show it. @readonly */
    this.retrying = details.retrying ?? false;
  }

  /**
   * Any thrown value as an AntiphonError; one that is already is returned unchanged.
   *
   * @param {unknown} thrown
   * @param {ErrorCode} code used for foreign errors
   * @param {string} message used for foreign errors
   * @returns {AntiphonError}
   */
  static from(thrown, code, message) {
    return thrown instanceof AntiphonError ? thrown : new AntiphonError(code, message, { cause: thrown });
  }

  /**
   * The same error, marked.
   *
   * @param {{fatal?: boolean, retrying?: boolean}} marks
   * @returns {AntiphonError}
   */
  as({ fatal = this.fatal, retrying = this.retrying }) {
    const { code, message, request, serverCode, cause } = this;
    return new AntiphonError(code, message, { request, serverCode, cause, fatal, retrying });
  }
}

/**
 * What the server refused.
 *
 * @param {{code: string, message: string, request?: string | undefined}} message its `error`
 * @returns {AntiphonError}
 */
export function serverError({ code, message, request }) {
  const known = SERVER_ERROR_CODES.find((one) => one === code);
  // Made here out of a frame that could not be read.
  const own = code === "bad_server_message" ? code : null;
  return new AntiphonError(known ?? own ?? "server_error", message, { request, serverCode: known || own ? null : code });
}

/** The error of everything that was interrupted by a newer call or by leaving. */
export function superseded() {
  return new AntiphonError("superseded", "This was replaced by something newer.");
}

/** The error of everything that needs a socket while there is none. */
export function disconnected() {
  return new AntiphonError("disconnected", "There is no connection to the server now. Try again once there is one.");
}
