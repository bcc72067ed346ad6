// @ts-check
/**
 * The question before each act. It stays open, with what was entered, until the act is done or given up, and says what
 * went wrong.
 */

import { element, say } from "../ui.js";
import { banEnd } from "./words.js";

/**
 * What is asked, and what a "yes" does.
 * @typedef {object} Wanted
 * @property {string} title a question
 * @property {string} hint what the act does, and what it does not do
 * @property {string} yes the text of the button
 * @property {("whom" | "text" | "reason" | "until")[]} [fields]
 * @property {(values: Values) => Promise<string>} act resolves with what has become so
 *
 * @typedef {{kind: string, id: string, text: string, reason: string, until: string | null}} Values
 */

const FIELDS = /** @type {const} */ (["whom", "text", "reason", "until"]);

export class Question {
  #dialog = element("question", HTMLDialogElement);
  #form = element("question-form", HTMLFormElement);
  #error = element("question-error", HTMLElement);
  #yes = element("question-yes", HTMLButtonElement);
  #no = element("question-no", HTMLButtonElement);
  #end = element("ban-end", HTMLSelectElement);
  /** @type {Wanted | null} */ #wanted = null;
  /** @type {Element | null} */ #asked = null;
  #isBusy = false;
  #now;
  #done;
  #failed;

  /**
   * @param {() => number} now the server's time, in ms
   * @param {(words: string) => void} done an act was done
   * @param {(error: unknown) => boolean} failed whether the page deals with this failure itself
   */
  constructor(now, done, failed) {
    this.#now = now;
    this.#done = done;
    this.#failed = failed;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#act();
    });
    this.#no.addEventListener("click", () => this.#dialog.close());
    this.#end.addEventListener("change", () => this.#revealTime());
    this.#dialog.addEventListener("close", () => this.#returnFocus());
    // What is under way cannot be called back: its outcome is waited for.
    this.#dialog.addEventListener("cancel", (event) => this.#isBusy && event.preventDefault());
  }

  /** @param {Wanted} wanted */
  ask(wanted) {
    if (this.#dialog.open) return;
    this.#wanted = wanted;
    this.#asked = document.activeElement;
    this.#form.reset();
    say(element("question-title", HTMLElement), wanted.title);
    say(element("question-hint", HTMLElement), wanted.hint);
    say(this.#yes, wanted.yes);
    for (const field of FIELDS) {
      const part = element(`question-${field}`, HTMLFieldSetElement);
      part.hidden = part.disabled = !wanted.fields?.includes(field);
    }
    this.#revealTime();
    this.#say("");
    this.#dialog.showModal();
    const first = this.#form.querySelector("fieldset:not([hidden]) :is(input, select)");
    if (first instanceof HTMLElement) first.focus();
    else this.#no.focus();
  }

  /** Gives the question up, as when the page is closed. */
  close() {
    this.#dialog.close();
  }

  #revealTime() {
    element("ban-time-row", HTMLElement).hidden = this.#end.value !== "time";
  }

  /** @param {string} words */
  #say(words) {
    say(this.#error, words);
    this.#error.hidden = words === "";
  }

  /** @param {boolean} isBusy */
  #busy(isBusy) {
    this.#isBusy = isBusy;
    for (const button of [this.#yes, this.#no]) button.setAttribute("aria-disabled", String(isBusy));
  }

  async #act() {
    const wanted = this.#wanted;
    if (this.#isBusy || !wanted) return;
    this.#say("");
    this.#busy(true);
    try {
      const words = await wanted.act(this.#values(wanted.fields ?? []));
      this.#busy(false);
      this.#dialog.close();
      this.#done(words);
    } catch (error) {
      this.#busy(false);
      if (this.#failed(error)) return;
      this.#say(error instanceof Error ? error.message : String(error));
    }
  }

  /** @param {readonly string[]} fields @returns {Values} */
  #values(fields) {
    const text = (/** @type {string} */ id) => element(id, HTMLInputElement).value.trim();
    const id = text("ban-id");
    if (fields.includes("whom") && !id) throw new RangeError("Enter the id of the user or the livestream.");
    return {
      kind: element("ban-kind", HTMLSelectElement).value,
      id,
      text: text("kick-text"),
      reason: text("ban-reason"),
      until: fields.includes("until") ? banEnd(this.#end.value, text("ban-time"), this.#now()) : null,
    };
  }

  /** The browser returns the focus itself, unless the element is gone. */
  #returnFocus() {
    if (this.#dialog.open) return; // the browser told of the last question's end after the next was asked
    const asked = this.#asked;
    [this.#asked, this.#wanted] = [null, null];
    if (asked instanceof HTMLElement && asked.checkVisibility()) asked.focus({ preventScroll: true });
    else element("livestreams-title", HTMLElement).focus({ preventScroll: true });
  }
}
