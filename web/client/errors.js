/**
 * The one error type of the library.
 *
 * `code` is stable and snake_case: either one of the server's (control/SIGNALING.md) or one of {@link ClientErrorCode}.
 * `message` is a sentence that an application may show to people as it is.
 */

/**
 * What can go wrong on this side of the socket.
 *
 * - `unreachable`: the WebSocket could not be opened
 * - `disconnected`: the socket was lost or closed while something was under way, or there is none
 * - `already_connected`: `connect` was called twice
 * - `timeout`: the server did not answer a request in time
 * - `bad_server_message`: the server said something that does not fit the protocol
 * - `connection_failed`: no media connection to the server could be made, or it broke
 * - `superseded`: a newer call of the same kind, or leaving the room, ended this one
 * - `unsupported`: this browser has no WebRTC
 *
 * @typedef {"unreachable" | "disconnected" | "already_connected" | "timeout" | "bad_server_message" | "connection_failed"
 *   | "superseded" | "unsupported"} ClientErrorCode
 */

/** An expected failure, with a code for programs and a sentence for people. */
export class AntiphonError extends Error {
  /**
   * @param {ClientErrorCode | string} code
   * @param {string} message a sentence for people
   * @param {{request?: string | null | undefined, cause?: unknown}} [details] `request`: type of the message that was refused
   */
  constructor(code, message, details = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "AntiphonError";
    /** @readonly */
    this.code = code;
    /** Type of the client message that caused it, where one did. @readonly @type {string | null} */
    this.request = details.request ?? null;
  }

  /**
   * Any thrown value as an AntiphonError; one that is already is returned unchanged.
   *
   * @param {unknown} thrown
   * @param {ClientErrorCode} code used for foreign errors
   * @param {string} message used for foreign errors
   * @returns {AntiphonError}
   */
  static from(thrown, code, message) {
    return thrown instanceof AntiphonError ? thrown : new AntiphonError(code, message, { cause: thrown });
  }
}

/** The error of everything that was interrupted by a newer call or by leaving. */
export function superseded() {
  return new AntiphonError("superseded", "This was replaced by something newer.");
}
