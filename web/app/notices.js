/** What the page tells people: one error that stays until it is dismissed or outdated, and short notices that go by themselves. */

import { box, button } from "./elements.js";

/** What an error is about: what goes well again takes its own error away, and no other. @typedef {"call" | "microphone"} Topic */

/** A short notice stays this long. */
const TOAST_MS = 3000;

/** @type {ReturnType<typeof setTimeout> | undefined} */
let toastTimer;
/** @type {Topic} */
let shownTopic = "call";

/**
 * Shows an error, announced at once by screen readers.
 *
 * @param {string} sentence
 * @param {Topic} [topic]
 */
export function showError(sentence, topic = "call") {
  shownTopic = topic;
  box("alert").hidden = false;
  // Emptied first, so that the same sentence twice is announced twice.
  box("alert-text").textContent = "";
  box("alert-text").textContent = sentence;
}

/** @param {Topic} topic */
export function clearError(topic) {
  if (topic === shownTopic) hideError();
}

function hideError() {
  box("alert").hidden = true;
  box("alert-text").textContent = "";
}

/**
 * Shows something that is good to know and goes away.
 *
 * @param {string} sentence
 */
export function showNotice(sentence) {
  const toast = box("toast");
  toast.textContent = sentence;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => toast.replaceChildren(), TOAST_MS);
}

export function initNotices() {
  button("alert-dismiss").addEventListener("click", hideError);
}
