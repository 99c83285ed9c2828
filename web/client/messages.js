/**
 * Every message of signaling protocol version 1, as data and as types.
 *
 * The two tables below are the only place that names fields: the types are derived from them, the decoder checks what the
 * server says against {@link SERVER_MESSAGES}, and tests hold both to the examples of control/SIGNALING.md.
 */

import { AntiphonError } from "./errors.js";

/** Protocol versions that this library speaks. */
export const PROTOCOL_VERSION = 1;

/** Longest server message that is read, in UTF-16 units. A room's whole SDP stays far below. */
export const MAX_MESSAGE_LENGTH = 1024 * 1024;

/**
 * Checks one JSON value. Throws a plain Error that says what was expected; `where` is the path to the value.
 *
 * @template T
 * @typedef {(value: unknown, where: string) => T} Reader
 */

/** @type {Reader<string>} */
const string = (value, where) => {
  if (typeof value !== "string") throw new Error(`${where} is not a string`);
  return value;
};

/** @type {Reader<number>} */
const number = (value, where) => {
  if (typeof value !== "number") throw new Error(`${where} is not a number`);
  return value;
};

/** @type {Reader<boolean>} */
const boolean = (value, where) => {
  if (typeof value !== "boolean") throw new Error(`${where} is not true or false`);
  return value;
};

/**
 * A field that may be missing or null; either way the message then lacks it.
 *
 * @template T
 * @param {Reader<T>} reader
 * @returns {Reader<T | undefined>}
 */
const optional = (reader) => (value, where) => (value === undefined || value === null ? undefined : reader(value, where));

/**
 * @template T
 * @param {Reader<T>} reader
 * @returns {Reader<T[]>}
 */
const list = (reader) => (value, where) => {
  if (!Array.isArray(value)) throw new Error(`${where} is not a list`);
  return value.map((item, index) => reader(item, `${where}[${index}]`));
};

/**
 * One of two shapes.
 *
 * @template A, B
 * @param {Reader<A>} first
 * @param {Reader<B>} second
 * @returns {Reader<A | B>}
 */
const either = (first, second) => (value, where) => {
  try {
    return first(value, where);
  } catch {
    return second(value, where);
  }
};

/**
 * Fields that may be undefined as fields that may be missing.
 *
 * @template T
 * @typedef {{[K in keyof T as undefined extends T[K] ? never : K]: T[K]}
 *   & {[K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>}} Loose
 */

/**
 * An object with these fields; others are dropped, because the server may add some.
 *
 * @template {Record<string, Reader<any>>} F
 * @param {F} fields
 * @returns {Reader<Loose<{[K in keyof F]: ReturnType<F[K]>}>>}
 */
const object = (fields) => (value, where) => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`${where} is not an object`);
  const given = /** @type {Record<string, unknown>} */ (value);
  const entries = Object.entries(fields).map(([name, reader]) => [name, reader(given[name], `${where}.${name}`)]);
  const read = Object.fromEntries(entries.filter(([, field]) => field !== undefined));
  return /** @type {any} */ (read); // what the readers returned, by construction
};

const person = object({ user_id: string, username: string, muted: optional(boolean) });
const iceServer = object({ urls: either(string, list(string)), username: optional(string), credential: optional(string) });
const heard = object({ consumer_id: string, publisher_user_id: string });
const held = object({ publishing: boolean, muted: boolean, consumers: list(heard), subscribed: optional(boolean) });
const subscribedTrack = object({ mid: string, consumer_id: string, user_id: string, track_id: string, kind: string });

/** What the server may say: the reader of each type. */
export const SERVER_MESSAGES = {
  registered: object({
    user_id: string,
    protocol: optional(list(number)),
    resume_token: optional(string),
    resumed: optional(boolean),
    ice_servers: optional(list(iceServer)),
  }),
  room_joined: object({ room_id: string, participants: list(person), resumed: optional(held) }),
  user_joined: object({ user_id: string, username: string }),
  user_left: object({ user_id: string, username: string }),
  room_left: object({ reason: optional(string) }),
  pong: object({}),
  publisher_created: object({ sdp: string }),
  audio_published: object({ track_id: string }),
  new_publisher: object({ user_id: string, username: string }),
  publisher_closed: object({ user_id: string, reason: optional(string) }),
  consumer_created: object({ consumer_id: string, publisher_user_id: string, sdp: string }),
  consumer_closed: object({ consumer_id: string, reason: string }),
  publisher_ice_candidate: object({ candidate: string }),
  consumer_ice_candidate: object({ consumer_id: string, candidate: string }),
  subscription_offer: object({ revision: number, sdp: string, tracks: list(subscribedTrack) }),
  subscription_ice_candidate: object({ candidate: string }),
  subscription_closed: object({ reason: string }),
  user_muted: object({ user_id: string, muted: boolean }),
  room_moved: object({ reason: string }),
  server_draining: object({ deadline_s: number }),
  announcement: object({ message: string }),
  error: object({
    message: string,
    code: string,
    request: optional(string),
    publisher_user_id: optional(string),
    consumer_id: optional(string),
  }),
};

/** What this library may say: the reader of each type (used by tests; types come from it). */
export const CLIENT_MESSAGES = {
  register: object({ username: string, resume_token: optional(string), token: optional(string) }),
  create_room: object({}),
  join_room: object({ room_id: string }),
  leave_room: object({}),
  ping: object({}),
  create_publisher: object({}),
  publish_audio: object({ sdp: string }),
  close_publisher: object({}),
  create_consumer: object({ publisher_user_id: string }),
  consumer_answer: object({ consumer_id: string, sdp: string }),
  close_consumer: object({ consumer_id: string }),
  publisher_ice_candidate: object({ candidate: string }),
  consumer_ice_candidate: object({ consumer_id: string, candidate: string }),
  set_muted: object({ muted: boolean }),
  subscribe: object({}),
  subscription_answer: object({ revision: number, sdp: string }),
  subscription_ice_candidate: object({ candidate: string }),
  set_subscribed: object({ user_id: string, subscribed: boolean }),
  close_subscription: object({}),
  restart_ice: object({ target: string, consumer_id: optional(string) }),
};

/** @typedef {keyof typeof SERVER_MESSAGES} ServerMessageType */
/** @typedef {keyof typeof CLIENT_MESSAGES} ClientMessageType */

/**
 * The message of one type from the server.
 *
 * @template {ServerMessageType} T
 * @typedef {{type: T} & ReturnType<(typeof SERVER_MESSAGES)[T]>} Received
 */

/**
 * The message of one type to the server.
 *
 * @template {ClientMessageType} T
 * @typedef {{type: T} & ReturnType<(typeof CLIENT_MESSAGES)[T]>} Sent
 */

/** @typedef {{[T in ServerMessageType]: Received<T>}[ServerMessageType]} ServerMessage */
/** @typedef {{[T in ClientMessageType]: Sent<T>}[ClientMessageType]} ClientMessage */
/** @typedef {Received<"room_joined">["participants"][number]} Person */

/**
 * Reads one text frame of the server.
 *
 * @param {unknown} data what the WebSocket delivered
 * @returns {ServerMessage | null} null for a type that this version does not know: the server may add some
 * @throws {AntiphonError} `bad_server_message`
 */
export function decodeServerMessage(data) {
  try {
    if (typeof data !== "string") throw new Error("the frame is not text");
    if (data.length > MAX_MESSAGE_LENGTH) throw new Error("the frame is too long");
    const { type } = object({ type: string })(JSON.parse(data), "message");
    if (!Object.hasOwn(SERVER_MESSAGES, type)) return null;
    const read = SERVER_MESSAGES[/** @type {ServerMessageType} */ (type)](JSON.parse(data), type);
    return /** @type {ServerMessage} */ ({ type, ...read });
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : String(cause);
    throw new AntiphonError("bad_server_message", `The server sent something this page does not understand: ${detail}.`, {
      cause,
    });
  }
}

/**
 * One text frame for the server.
 *
 * @param {ClientMessage} message
 * @returns {string}
 */
export function encodeClientMessage(message) {
  return JSON.stringify(message);
}
