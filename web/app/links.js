/** Links to rooms: `https://host/?room=<id>`. No DOM here. */

/**
 * The link that opens the page with this room filled in.
 *
 * @param {string} origin
 * @param {string} roomId
 * @returns {string}
 */
export function roomLink(origin, roomId) {
  return `${origin}/?room=${encodeURIComponent(roomId)}`;
}

/**
 * The access token of an invitation. It stands in the fragment, which browsers send to no server and write into no log.
 *
 * @param {string} fragment `location.hash`
 * @returns {string} "" when there is none
 */
export function tokenFrom(fragment) {
  return new URLSearchParams(fragment.replace(/^#/, "")).get("token") ?? "";
}

/**
 * The room that someone means: an id, a whole link, or a part of one, with space around it as it gets pasted.
 *
 * @param {string} text
 * @returns {string} "" when there is none
 */
export function roomIdFrom(text) {
  const trimmed = text.trim();
  const inLink = /[?&]room=([^&#\s]*)/.exec(trimmed)?.[1];
  if (inLink === undefined) return trimmed;
  try {
    return decodeURIComponent(inLink).trim();
  } catch {
    return inLink; // a lone % is no encoding
  }
}
