/** What one can do about a person for oneself: another volume, or not hearing them. Nobody else notices. */

import { box, button, element, input } from "./elements.js";
import { TEXT } from "./text.js";

/** @typedef {import("../client/index.js").Participant} Participant */
/** @typedef {import("./playback.js").Mix} Mix */

/** Space between the menu and what it hangs on, in CSS pixels. */
const GAP_PX = 6;

export class PersonMenu {
  /** @type {Participant | null} */
  #person = null;
  #onChange;

  /** @param {(person: Participant, change: Partial<Mix>) => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
    input("person-volume").addEventListener("input", () => this.#change({ volume: Number(input("person-volume").value) / 100 }));
    input("person-muted").addEventListener("change", () => this.#change({ muted: input("person-muted").checked }));
    button("person-menu-close").addEventListener("click", () => this.close());
  }

  /**
   * @param {Participant} person
   * @param {Mix} mix how the person is heard now
   * @param {HTMLElement} opener
   */
  open(person, mix, opener) {
    this.#person = person;
    box("person-menu-name").textContent = person.username;
    input("person-volume").value = String(Math.round(mix.volume * 100));
    input("person-volume").setAttribute("aria-label", TEXT.volumeOf(person.username));
    input("person-muted").checked = mix.muted;
    this.#show();
    const menu = box("person-menu");
    menu.showPopover();
    place(menu, opener);
    input("person-volume").focus();
  }

  /** The person is gone. @param {Participant} person */
  forget(person) {
    if (person === this.#person) this.close();
  }

  close() {
    this.#person = null;
    const menu = box("person-menu");
    if (menu.matches(":popover-open")) menu.hidePopover();
  }

  /** @param {Partial<Mix>} change */
  #change(change) {
    this.#show();
    if (this.#person) this.#onChange(this.#person, change);
  }

  #show() {
    const percent = Number(input("person-volume").value);
    element("person-volume-value", HTMLOutputElement).value = `${percent} %`;
    input("person-volume").setAttribute("aria-valuetext", `${percent} %`);
    input("person-volume").style.setProperty("--value", `${percent}%`);
  }
}

/**
 * Puts the menu below its opener, or above where there is no room; the stylesheet makes it a sheet at the bottom of a phone.
 *
 * @param {HTMLElement} menu
 * @param {HTMLElement} opener
 */
function place(menu, opener) {
  const at = opener.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const left = Math.min(Math.max(at.right - width, GAP_PX), innerWidth - width - GAP_PX);
  const below = at.bottom + GAP_PX;
  const top = below + height > innerHeight ? Math.max(GAP_PX, at.top - GAP_PX - height) : below;
  menu.style.setProperty("--left", `${Math.round(left)}px`);
  menu.style.setProperty("--top", `${Math.round(top)}px`);
}
