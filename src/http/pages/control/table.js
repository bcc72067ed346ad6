// @ts-check
/** Tables whose rows stay the same elements while their contents change, so that focus and selection stay too. */

import { say } from "../ui.js";
import { number } from "./words.js";

/** The most rows of a table that the API does not page. */
export const MOST_ROWS = 100;

/**
 * The items that are shown of those that contain a text, and the words for what is not.
 * @template T
 * @param {readonly T[]} items
 * @param {string} wanted
 * @param {(item: T) => string} textOf
 */
export function found(items, wanted, textOf) {
  const text = wanted.trim().toLowerCase();
  const matching = text ? items.filter((item) => textOf(item).toLowerCase().includes(text)) : items;
  const shown = matching.slice(0, MOST_ROWS);
  const rest = matching.length - shown.length;
  const words = rest > 0 ? `${number(shown.length)} of ${number(matching.length)} are shown: search for the others.` : "";
  return { shown, words: matching.length === 0 && text ? "Nothing contains this text." : words };
}

/** A cell with nothing in it. @param {"td" | "th"} [kind] @param {string} [name] its class */
export function cell(kind = "td", name = "") {
  const made = document.createElement(kind);
  if (kind === "th") made.scope = "row";
  if (name) made.className = name;
  return made;
}

/** A button. @param {string} text @param {(event: Event) => void} act */
export function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "button small";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
}

/**
 * Makes the rows of a table those of the items.
 * @template T
 * @param {HTMLElement} body
 * @param {readonly T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(key: string) => HTMLTableRowElement} make an empty row
 * @param {(row: HTMLTableRowElement, item: T) => void} fill
 */
export function sync(body, items, keyOf, make, fill) {
  const focused = document.activeElement;
  const hadFocus = body.contains(focused);
  const rows = /** @type {HTMLTableRowElement[]} */ ([...body.children]);
  const old = new Map(rows.map((row) => [row.dataset.key ?? "", row]));
  const wanted = new Set(items.map(keyOf));
  for (const [key, row] of old) if (!wanted.has(key)) row.remove();
  let at = body.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let row = old.get(key);
    if (!row) {
      row = make(key);
      row.dataset.key = key;
    }
    if (row === at) at = at.nextElementSibling;
    else body.insertBefore(row, at);
    fill(row, item);
  }
  if (!hadFocus || focused === document.activeElement || !(focused instanceof HTMLElement)) return;
  // An element that is moved or removed loses its focus, which must not begin again at the top of the page.
  if (focused.isConnected) focused.focus({ preventScroll: true });
  else body.closest("section")?.querySelector("h2")?.focus({ preventScroll: true });
}

/** Sets the texts of a row's cells; null leaves one as it is. @param {HTMLTableRowElement} row @param {(string | null)[]} texts */
export function fillTexts(row, texts) {
  for (const [index, text] of texts.entries()) {
    const at = row.cells[index];
    if (at && text !== null) say(at, text);
  }
}
