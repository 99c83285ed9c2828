/** What the tab's title says of the call: a person sees it while looking at another page. No DOM here. */

import { TEXT } from "./text.js";

/**
 * @param {object} call
 * @param {import("../client/client.js").ClientState} call.state
 * @param {number} call.people in the room
 * @param {boolean} call.muted
 * @param {boolean} call.deafened
 * @returns {string}
 */
export function titleOf({ state, people, muted, deafened }) {
  const parts = [];
  if (people > 0) {
    if (state !== "in_room") parts.push(TEXT.status[state]);
    else if (deafened) parts.push(TEXT.titleDeafened);
    else if (muted) parts.push(TEXT.muted);
    parts.push(TEXT.titlePeople(people));
  }
  return [...parts, "Antiphon"].join(" · ");
}
