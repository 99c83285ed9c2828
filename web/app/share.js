/** Handing on the room's link: copied everywhere, shared where the system has a sheet for that. */

import { copy } from "./clipboard.js";
import { button } from "./elements.js";
import { roomLink } from "./links.js";
import { showError, showNotice } from "./notices.js";
import { TEXT } from "./text.js";

/** @param {() => string | null} roomId of the room one is in */
export function initSharing(roomId) {
  const link = () => roomLink(location.origin, roomId() ?? "");
  button("copy-link").addEventListener("click", () => void copyLink(link()));
  button("share-link").hidden = typeof navigator.share !== "function";
  button("share-link").addEventListener("click", () => {
    // Closed without having shared (AbortError) is no failure.
    navigator.share({ title: TEXT.shareTitle, url: link() }).catch(() => {});
  });
}

/** @param {string} link */
async function copyLink(link) {
  if (await copy(link)) showNotice(TEXT.linkCopied);
  else showError(TEXT.copyByHand(link));
}
