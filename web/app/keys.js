/** The call's keys: M mutes, D deafens, Space held talks. They never take a key from what has the focus. */

/** Input types in which no letters are typed. */
const NO_TEXT = new Set(["checkbox", "radio", "range", "button"]);

/**
 * @typedef {object} Keys
 * @property {() => boolean} active whether there is a call to control
 * @property {() => void} onMute
 * @property {() => void} onDeafen
 * @property {() => boolean} onTalk Space goes down; whether it was taken
 * @property {() => void} onTalkEnd
 */

/** A button that was clicked keeps the focus, and nobody means it by Space then; one that was reached by Tab is meant. */
let focusedByPointer = false;

/** @param {Keys} keys */
export function initKeys({ active, onMute, onDeafen, onTalk, onTalkEnd }) {
  addEventListener("pointerdown", () => (focusedByPointer = true), true);
  addEventListener("keydown", (event) => {
    if (event.key === "Tab") focusedByPointer = false;
    if (!active() || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || takesText(document.activeElement)) return;
    const key = event.key.toLowerCase();
    if (key === "m" && !event.repeat) onMute();
    if (key === "d" && !event.repeat) onDeafen();
    if (event.code === "Space" && !takesSpace(document.activeElement) && onTalk()) event.preventDefault();
  });
  addEventListener("keyup", (event) => {
    if (event.code !== "Space" || !active()) return;
    // A button presses itself when Space goes up.
    if (!takesText(document.activeElement) && !takesSpace(document.activeElement)) event.preventDefault();
    onTalkEnd();
  });
  // The key may go up where this page does not see it.
  addEventListener("blur", onTalkEnd);
}

/** @param {Element | null} focused */
function takesText(focused) {
  if (focused instanceof HTMLInputElement) return !NO_TEXT.has(focused.type);
  return focused instanceof HTMLTextAreaElement || focused instanceof HTMLSelectElement;
}

/** @param {Element | null} focused */
function takesSpace(focused) {
  if (focused instanceof HTMLInputElement) return true;
  const pressable = focused instanceof HTMLButtonElement || focused instanceof HTMLAnchorElement || focused?.tagName === "SUMMARY";
  return pressable && !focusedByPointer;
}
