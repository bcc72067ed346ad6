// @ts-check
/**
 * What the studio says of the recording of the livestream, and the button that pauses it. Only the server's answers are shown. A
 * pause holds at once. Its end waits for the clip that is being cut: some of that was said in the pause.
 */

import { element, say } from "./ui.js";

/** @typedef {import("/pages/client/outbox.js").RecordingAnswer} Answer */

/** @typedef {"none" | "on" | "pausing" | "paused" | "off"} Going */

/** A clip that comes no later than this after the button was pressed may have been cut before. */
const LATE_MS = 500;
/** The longest clip is cut in this time. */
const CUT_MS = 6_000;

/** @type {Record<Exclude<Going, "none">, {words: string, button: string}>} */
export const WORDS = {
  on: { words: "Your livestream is being recorded, and your listeners are told so.", button: "Pause the recording" },
  pausing: { words: "The recording pauses as soon as the connection is back.", button: "Go on recording" },
  paused: { words: "The recording is paused: what you say now is heard and not recorded.", button: "Go on recording" },
  off: { words: "Your livestream is not being recorded.", button: "" },
};

/** How the recording is going, by an answer; `none`: the server records nothing. @param {Answer} answer @returns {Going} */
export function going(answer) {
  if (answer.recording === undefined) return "none";
  return answer.recording ? "on" : answer.paused ? "paused" : "off";
}

export class Recording {
  #section = element("recording", HTMLElement);
  #words = element("recording-words", HTMLElement);
  #button = element("recording-pause", HTMLButtonElement);
  /** @type {Going} */ #going = "none";
  /** When the streamer asked to go on, if the clip of then is not cut yet. @type {number | null} */
  #pressedAt = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #late;
  #outbox;
  #refuse;

  /** @param {import("/pages/client/outbox.js").Outbox} outbox @param {(why: string) => void} refuse says why something failed */
  constructor(outbox, refuse) {
    this.#outbox = outbox;
    this.#refuse = refuse;
    this.#button.addEventListener("click", () => this.#turn());
  }

  /** Asks how it is going: once the server has given us the air, and after it was said to be otherwise. */
  ask() {
    this.#outbox.record().then((answer) => this.#display(going(answer)), () => {});
  }

  /** The server says whether clips are recorded. @param {boolean} is */
  follow(is) {
    if (is !== (this.#going === "on") && (is || this.#going !== "none")) this.ask();
  }

  /** A clip is on its way: what is cut from now on was said after the button was pressed. */
  clipCut() {
    if (this.#pressedAt === null || performance.now() - this.#pressedAt < LATE_MS) return;
    this.#forget();
    this.#wish(true);
  }

  #forget() {
    clearTimeout(this.#late);
    this.#pressedAt = null;
  }

  /** The livestream is over for this page. */
  end() {
    this.#forget();
    this.#display("none");
  }

  #turn() {
    if (this.#button.getAttribute("aria-disabled") === "true") return;
    if (this.#going === "on") return this.#wish(false);
    this.#pressedAt = performance.now();
    this.#late = setTimeout(() => this.clipCut(), CUT_MS);
    this.#button.setAttribute("aria-disabled", "true");
  }

  /** @param {boolean} is */
  #wish(is) {
    this.#button.setAttribute("aria-disabled", "true");
    this.#outbox.record(is).then((answer) => {
      if (answer.error) this.#refuse(answer.error);
      if (answer.recording !== undefined) this.#display(going(answer));
      else this.#button.setAttribute("aria-disabled", "false");
    }, () => this.#display(is ? this.#going : "pausing"));
  }

  /** @param {Going} next */
  #display(next) {
    this.#going = next;
    this.#section.hidden = next === "none";
    this.#button.setAttribute("aria-disabled", "false");
    if (next === "none") return;
    this.#section.dataset.going = next;
    say(this.#words, WORDS[next].words);
    this.#button.hidden = WORDS[next].button === "";
    say(this.#button, WORDS[next].button);
  }
}
