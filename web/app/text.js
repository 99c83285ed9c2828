/**
 * What the page says, in the language of the browser. The texts themselves stand in text/en.js and text/de.js; index.html has the
 * English ones, for the first paint, and names them: `data-text` for what an element says, `data-text-label` and the like for its
 * attributes.
 */

import { DE } from "./text/de.js";
import { EN } from "./text/en.js";

/** @type {Record<string, typeof EN>} */
const LANGUAGES = { en: EN, de: DE };

/**
 * The first of the wanted languages that there is.
 *
 * @param {readonly string[]} wanted language tags, best first (RFC 5646: "de-AT")
 * @returns {string}
 */
export function chooseLanguage(wanted) {
  const known = wanted.map((tag) => tag.toLowerCase().split("-")[0] ?? "");
  return known.find((tag) => tag in LANGUAGES) ?? "en";
}

export const LANGUAGE = chooseLanguage(globalThis.navigator?.languages ?? []);
export const TEXT = LANGUAGES[LANGUAGE] ?? EN;

/** Attributes that a text may be put into, by the attribute of index.html that names the text. */
const ATTRIBUTES = {
  "data-text-label": "aria-label",
  "data-text-placeholder": "placeholder",
  "data-text-content": "content",
};

/** Puts all texts of index.html into {@link LANGUAGE}. */
export function translatePage() {
  document.documentElement.lang = LANGUAGE;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = fixed(element.getAttribute("data-text"));
  for (const [from, to] of Object.entries(ATTRIBUTES)) {
    for (const element of document.querySelectorAll(`[${from}]`)) element.setAttribute(to, fixed(element.getAttribute(from)));
  }
}

/** @param {string | null} key of a text that is no function */
function fixed(key) {
  const text = /** @type {Record<string, unknown>} */ (TEXT)[key ?? ""];
  if (typeof text !== "string") throw new Error(`There is no text called ${key}.`);
  return text;
}

/**
 * What an error says, in the language of the page where that is known.
 *
 * @param {{code: string, message: string}} error
 * @returns {string}
 */
export function errorText({ code, message }) {
  return TEXT.errors[code] ?? message;
}
