/** The offline page: says so in the browser's language, and loads what was asked for as soon as that may work. */

import { OFFLINE } from "./text.js";

const language = navigator.languages.map((tag) => tag.toLowerCase().split("-")[0] ?? "").find((tag) => tag in OFFLINE) ?? "en";
const texts = OFFLINE[language];
document.documentElement.lang = language;
for (const [name, text] of Object.entries(texts ?? {})) {
  const element = document.getElementById(`offline-${name}`);
  if (element) element.textContent = text;
}

// The address is still that of the page that was asked for.
document.getElementById("offline-retry")?.addEventListener("click", () => location.reload());
addEventListener("online", () => location.reload());
