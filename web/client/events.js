/**
 * Events of the library: one class each, so that an editor knows the fields of every event.
 */

/** @typedef {import("./errors.js").AntiphonError} AntiphonError */
/** @typedef {import("./client.js").ClientState} ClientState */
/** @typedef {import("./room.js").Room} Room */
/** @typedef {import("./participant.js").Participant} Participant */
/** @typedef {import("./messages.js").ServerMessage} ServerMessage */
/** @typedef {import("./quality.js").Quality} Quality */

/**
 * An EventTarget that knows its events. `addEventListener` works as everywhere; `on` is the typed way.
 *
 * @template {Record<string, Event>} Events
 */
export class TypedEventTarget extends EventTarget {
  /**
   * Calls `listener` for each event of this type until the returned function is called.
   *
   * @template {keyof Events & string} T
   * @param {T} type
   * @param {(event: Events[T]) => void} listener
   * @returns {() => void} ends it
   */
  on(type, listener) {
    const target = /** @type {EventListener} */ (/** @type {unknown} */ (listener));
    this.addEventListener(type, target);
    return () => this.removeEventListener(type, target);
  }
}

/** `statechange`: the client is in another state. */
export class StateChangeEvent extends Event {
  /**
   * @param {ClientState} state
   * @param {ClientState} previous
   */
  constructor(state, previous) {
    super("statechange");
    /** @readonly */ this.state = state;
    /** @readonly */ this.previous = previous;
  }
}

/**
 * `reconnecting`: the connection to the server is lost and is made again in `delayMs`. Once for each attempt; rooms stay, and media goes on
 * as long as the server keeps this client.
 */
export class ReconnectingEvent extends Event {
  /**
   * @param {number} attempt 1 for the first
   * @param {number} delayMs until this attempt begins; news of the network may shorten it
   * @param {AntiphonError} error why the connection was lost
   */
  constructor(attempt, delayMs, error) {
    super("reconnecting");
    /** @readonly */ this.attempt = attempt;
    /** @readonly */ this.delayMs = delayMs;
    /** @readonly */ this.error = error;
  }
}

/**
 * `reconnected`: everything is as it was. `resumed`: the server had kept this client, nobody noticed and media never stopped; else this client
 * has registered, joined its room and published again.
 */
export class ReconnectedEvent extends Event {
  /** @param {boolean} resumed */
  constructor(resumed) {
    super("reconnected");
    /** @readonly */ this.resumed = resumed;
  }
}

/** `disconnected`: the connection has ended for good and everything is closed. `error` says why; null after `close()`. */
export class DisconnectedEvent extends Event {
  /** @param {AntiphonError | null} error */
  constructor(error) {
    super("disconnected");
    /** @readonly */ this.error = error;
  }
}

/** `error`: something failed. Failures of a call that returned a promise arrive here as well. */
export class ErrorEvent extends Event {
  /** @param {AntiphonError} error */
  constructor(error) {
    super("error");
    /** @readonly */ this.error = error;
  }
}

/** `roomjoined`: this client is in `room`. */
export class RoomJoinedEvent extends Event {
  /** @param {Room} room */
  constructor(room) {
    super("roomjoined");
    /** @readonly */ this.room = room;
  }
}

/**
 * Why a room was left.
 *
 * - `left`: asked for, or another room was entered
 * - `removed`: the operator has taken this person out
 * - `room_closed`: the operator has ended the room
 * - `server_draining`: its media server was emptied, and there was no other
 * - `not_found`: the connection was lost, and when it came back there was no such room any more, or no place in it
 * - `disconnected`: the connection has ended
 *
 * @typedef {"left" | "removed" | "room_closed" | "server_draining" | "not_found" | "disconnected"} LeaveReason
 */

/** @type {LeaveReason[]} */
const LEAVE_REASONS = ["removed", "room_closed", "server_draining"];

/** `roomleft`: this client is no longer in `room`. */
export class RoomLeftEvent extends Event {
  /**
   * @param {Room} room
   * @param {LeaveReason} reason
   */
  constructor(room, reason) {
    super("roomleft");
    /** @readonly */ this.room = room;
    /** @readonly */ this.reason = reason;
  }
}

/**
 * The reason that the server gives; one that this version does not know is the operator's as well.
 *
 * @param {string | undefined} reason
 * @returns {LeaveReason}
 */
export function leaveReason(reason) {
  if (reason === undefined) return "left";
  return LEAVE_REASONS.find((known) => known === reason) ?? "removed";
}

/** `roommoved`: the server moves the room; media pauses and comes back by itself. */
export class RoomMovedEvent extends Event {
  /** @param {string} reason */
  constructor(reason) {
    super("roommoved");
    /** @readonly */ this.reason = reason;
  }
}

/** `announcement`: the operator tells the people of this room, or everybody, something. Plain text, to be shown as text. */
export class AnnouncementEvent extends Event {
  /** @param {string} message */
  constructor(message) {
    super("announcement");
    /** @readonly */ this.message = message;
  }
}

/** `draining`: the server will stop in `deadlineSeconds`. */
export class DrainingEvent extends Event {
  /** @param {number} deadlineSeconds */
  constructor(deadlineSeconds) {
    super("draining");
    /** @readonly */ this.deadlineSeconds = deadlineSeconds;
  }
}

/**
 * `participantjoined`, `participantleft`, and `participantchanged` (muted, publishing, heard, its stream or its
 * quality became something else).
 */
export class ParticipantEvent extends Event {
  /**
   * @param {"participantjoined" | "participantleft" | "participantchanged"} type
   * @param {Participant} participant
   */
  constructor(type, participant) {
    super(type);
    /** @readonly */ this.participant = participant;
  }
}

/** `trackadded`, `trackremoved`: a participant's sound can be played from `stream`, or no longer. */
export class TrackEvent extends Event {
  /**
   * @param {"trackadded" | "trackremoved"} type
   * @param {Participant} participant
   * @param {MediaStream} stream holds this one track; made for `audio.srcObject`
   */
  constructor(type, participant, stream) {
    super(type);
    /** @readonly */ this.participant = participant;
    /** @readonly */ this.stream = stream;
  }
}

/** `sample` of the statistics: every connection was measured. */
export class SampledEvent extends Event {
  constructor() {
    super("sample");
  }
}

/** `qualitychanged` of the statistics: somebody's connection became better or worse. `userId` null: the own microphone. */
export class QualityEvent extends Event {
  /**
   * @param {string | null} userId
   * @param {Quality | null} quality null: no longer known
   */
  constructor(userId, quality) {
    super("qualitychanged");
    /** @readonly */ this.userId = userId;
    /** @readonly */ this.quality = quality;
  }
}

/** `message` of Signaling: the server said something. */
export class MessageEvent extends Event {
  /** @param {ServerMessage} message */
  constructor(message) {
    super("message");
    /** @readonly */ this.message = message;
  }
}

/** `close` of Signaling: the socket is gone. `error` is null when this side closed it. */
export class CloseEvent extends Event {
  /** @param {AntiphonError | null} error */
  constructor(error) {
    super("close");
    /** @readonly */ this.error = error;
  }
}
