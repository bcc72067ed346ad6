// @ts-check
/** What became of each clip: a strip of marks, a sentence, and a table of the latest. */

import { counted, element, say } from "./ui.js";

const MARKS = 120;
const ROWS = 30;

export class ClipList {
  #strip = element("strip", HTMLElement);
  #rows = element("clip-rows", HTMLElement);
  #words = element("clips-words", HTMLElement);
  /** @type {Map<number, {mark: HTMLElement, answer: HTMLElement}>} */ #shown = new Map();
  #count = { sent: 0, refused: 0, lost: 0 };

  clear() {
    this.#strip.replaceChildren();
    this.#rows.replaceChildren();
    this.#shown.clear();
    this.#count = { sent: 0, refused: 0, lost: 0 };
    this.#tell();
  }

  /** @param {{number: number, bytes: Uint8Array}} clip */
  made({ number, bytes }) {
    const mark = document.createElement("i");
    const row = document.createElement("tr");
    const [name, size, answer] = [document.createElement("th"), document.createElement("td"), document.createElement("td")];
    name.scope = "row";
    name.textContent = String(number + 1);
    size.textContent = `${(bytes.length / 1024).toFixed(1)} KB`;
    answer.textContent = "no answer yet";
    row.append(name, size, answer);
    this.#strip.append(mark);
    this.#rows.prepend(row);
    this.#shown.set(number, { mark, answer });
    while (this.#strip.childElementCount > MARKS) this.#strip.firstElementChild?.remove();
    while (this.#rows.childElementCount > ROWS) this.#rows.lastElementChild?.remove();
    this.#shown.delete(number - MARKS);
  }

  /** @param {{number: number}} clip @param {import("/pages/client/outbox.js").Outcome} outcome */
  settled({ number }, outcome) {
    const shown = this.#shown.get(number);
    if (shown) {
      shown.mark.className = outcome.kind;
      shown.answer.textContent = inWords(outcome);
    }
    if (outcome.kind !== "waiting") this.#count[outcome.kind]++;
    this.#tell();
  }

  #tell() {
    const { sent, refused, lost } = this.#count;
    say(element("sent", HTMLElement), String(sent));
    const parts = [`${counted(sent, "clip")} delivered`];
    if (refused > 0) parts.push(`${refused} refused`);
    if (lost > 0) parts.push(`${lost} given up`);
    say(this.#words, sent + refused + lost === 0 ? "Each clip of your livestream, and what became of it, appears here." : `${parts.join(", ")}.`);
  }
}

/** @param {import("/pages/client/outbox.js").Outcome} outcome */
function inWords(outcome) {
  if (outcome.kind === "sent") {
    const heard = outcome.listeners === null ? "" : ` · ${counted(outcome.listeners, "listener")}`;
    return `${Math.round(outcome.ms)} ms${heard}`;
  }
  if (outcome.kind === "lost") return "given up";
  return outcome.kind === "refused" ? outcome.error : `${outcome.error} Sent again.`;
}
