/** Finding the page's elements, with their types. */

/**
 * The element with this id.
 *
 * @template {Element} T
 * @param {string} id
 * @param {{new (): T, prototype: T}} type
 * @returns {T}
 */
export function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`The page has no ${type.name} with the id ${id}.`);
  return found;
}

/** @param {string} id */
export const button = (id) => element(id, HTMLButtonElement);

/** @param {string} id */
export const input = (id) => element(id, HTMLInputElement);

/** @param {string} id */
export const box = (id) => element(id, HTMLElement);

/**
 * Shows another symbol of index.html in a `<use>`.
 *
 * @param {string} id of the `<use>`
 * @param {string} symbol
 */
export function setIcon(id, symbol) {
  element(id, SVGUseElement).setAttribute("href", `#${symbol}`);
}

/**
 * A new icon.
 *
 * @param {string} symbol id of a symbol in index.html
 * @returns {SVGSVGElement}
 */
export function icon(symbol) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.classList.add("icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#${symbol}`);
  svg.append(use);
  return svg;
}

/**
 * Hands a level to the stylesheet as `--level`; one that looks the same costs no new layout.
 *
 * @param {HTMLElement} target
 * @param {number} position 0..1
 */
export function setLevel(target, position) {
  const value = position.toFixed(2);
  if (target.style.getPropertyValue("--level") !== value) target.style.setProperty("--level", value);
}
