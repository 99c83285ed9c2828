/** Every sentence that the page makes by itself, in one place. */

/** @type {Record<import("../client/client.js").ClientState, string>} */
export const STATUS = {
  disconnected: "Disconnected",
  connecting: "Connecting",
  connected: "Connected",
  in_room: "In room",
  reconnecting: "Reconnecting",
};

export const TEXT = {
  mute: "Mute",
  unmute: "Unmute",
  you: "(you)",
  microphoneOn: "Microphone on",
  muted: "Muted",
  listening: "Listening only",
  connecting: "Connecting …",
  linkCopied: "Link copied",
  connectFirst: "Connect first.",
  enterName: "Enter your name first.",
  enterRoom: "Enter the ID of a room, or paste its link.",
  invitation: "You are invited to a room. Say who you are, then join.",
  roomMoved: "The room moves to another server. One moment …",
  /** @param {string} name */
  joined: (name) => `${name} joined`,
  /** @param {string} name */
  left: (name) => `${name} left`,
  /** @param {string} link */
  copyByHand: (link) => `This browser did not let the page copy. The link is ${link}`,
  /** @param {number} count */
  people: (count) => (count === 1 ? "1 person here" : `${count} people here`),
  /** @param {number} seconds */
  draining: (seconds) => `The server stops in ${Math.round(seconds)} seconds. You will have to connect again.`,
};

/** Why there is no microphone, by the name of the DOMException (Media Capture and Streams 9.2). @type {Record<string, string>} */
export const MICROPHONE_ERRORS = {
  NotAllowedError: "The browser was not allowed to use your microphone. Allow it in the address bar, then ask again.",
  SecurityError: "The browser was not allowed to use your microphone. Allow it in the address bar, then ask again.",
  NotFoundError: "No microphone was found. Plug one in, then ask again.",
  NotReadableError: "Your microphone is in use by another program. Close that one, then ask again.",
  AbortError: "Your microphone could not be started. Close other programs that use it, then ask again.",
  InsecureContext: "Browsers give the microphone only to pages opened through https or on localhost.",
  Ended: "Your microphone was unplugged or taken away. Ask for it again.",
  Other: "Your microphone could not be started.",
};
