/**
 * What the page tells people: one error that stays until it is dismissed or outdated, short notices that go by themselves, and what
 * only screen readers need to be told because the eye sees it anyway.
 */

import { box, button } from "./elements.js";

/** What an error is about: what goes well again takes its own error away, and no other. @typedef {"call" | "microphone"} Topic */

/** A short notice stays this long. */
const TOAST_MS = 3500;
/** So many notices stand below each other; an older one makes room. */
const TOASTS = 3;
/** What was announced is taken away after this time, so that nobody finds it on the page later. */
const ANNOUNCED_MS = 5000;

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
 * Shows something that is good to know and goes away; screen readers say it when they have time.
 *
 * @param {string} sentence
 */
export function showNotice(sentence) {
  const toasts = box("toast");
  while (toasts.childElementCount >= TOASTS) toasts.firstElementChild?.remove();
  append(toasts, sentence, "toast", TOAST_MS);
}

/**
 * Tells screen readers what the page shows to the eye by itself.
 *
 * @param {string} sentence
 */
export function announce(sentence) {
  append(box("announcer"), sentence, "", ANNOUNCED_MS);
}

/**
 * @param {HTMLElement} parent
 * @param {string} sentence
 * @param {string} className
 * @param {number} lifeMs
 */
function append(parent, sentence, className, lifeMs) {
  const line = document.createElement("p");
  line.className = className;
  line.dir = "auto"; // it may begin with a name
  line.textContent = sentence;
  parent.append(line);
  setTimeout(() => line.remove(), lifeMs);
}

export function initNotices() {
  button("alert-dismiss").addEventListener("click", hideError);
}
