// @ts-check
/** The link for listeners: shown, copied, sent. It carries a listening pass, which the server gives to a studio on air. */

import { listenAddress } from "./link.js";
import { copyField, element, say } from "./ui.js";

const WORDS = {
  before: "The link appears here when you go live.",
  ready: "Anybody who opens this link hears you, without an account, until the livestream ends.",
  over: "The link ended with the livestream. Going live again makes a new one.",
};
/** How long to wait after no answer, or one that says to try later. */
const AGAIN_MS = 10_000;

export class Share {
  #field = element("share", HTMLInputElement);
  #copy = element("copy", HTMLButtonElement);
  #send = element("send", HTMLButtonElement);
  #qr = element("qr", HTMLDetailsElement);
  /** The link that the QR code shows. */
  #drawn = "";
  /** When to ask for a pass, in milliseconds since 1970. */
  #due = 0;

  constructor() {
    this.#copy.addEventListener("click", () => void copyField(this.#field, this.#copy));
    this.#qr.addEventListener("toggle", () => void this.#draw());
    this.#send.addEventListener("click", () => void navigator.share({ title: "Castaway", url: this.#field.value }).catch(() => {}));
    this.#display("", WORDS.before);
  }

  /**
   * Asks for a pass, if there is none that lasts. To be called now and then while on air.
   * @param {string} livestream
   * @param {import("/pages/client/connection.js").Connection} connection
   */
  async renew(livestream, connection) {
    const now = Date.now();
    if (now < this.#due || !connection.joined) return;
    this.#due = now + AGAIN_MS;
    const answer = await connection.ask(AGAIN_MS, "invite", {}).catch(() => null);
    if (answer?.ok) {
      this.#due = now + (answer.expiresAt * 1000 - now) / 2;
      this.#display(listenAddress(livestream, answer.pass), WORDS.ready);
    } else if (answer && !this.#field.value) {
      const limited = answer.retryAfterMs;
      if (!limited) this.#due = Number.POSITIVE_INFINITY;
      this.#display("", limited ? WORDS.before : `${answer.error} Listeners need an account.`);
    }
  }

  /** The livestream has ended, and its passes with it. */
  end() {
    this.#due = 0;
    if (this.#field.value) this.#display("", WORDS.over);
  }

  /** @param {string} address @param {string} words */
  #display(address, words) {
    this.#field.value = address;
    this.#send.hidden = address === "" || !navigator.share;
    this.#qr.hidden = address === "";
    say(element("share-note", HTMLElement), words);
    void this.#draw();
  }

  /** Draws the QR code of the link, if it is to be seen and shows another one. */
  async #draw() {
    const link = this.#field.value;
    if (!this.#qr.open || link === this.#drawn) return;
    this.#drawn = link;
    const at = element("qr-code", HTMLElement);
    at.replaceChildren();
    if (!link) return;
    const picture = await qrCode(link);
    // Another link may have come meanwhile.
    if (this.#drawn !== link) return;
    if (picture) at.append(picture);
    else this.#drawn = "";
    say(element("qr-note", HTMLElement), picture ? "A phone's camera opens the link." : "The server could not draw it. Close and open this to try again.");
  }
}

/** The QR code of a text, drawn by the server; null if it does not answer. @param {string} text */
async function qrCode(text) {
  try {
    const answer = await fetch("/studio/qr", { method: "POST", body: text, signal: AbortSignal.timeout(AGAIN_MS) });
    if (!answer.ok) return null;
    const picture = new DOMParser().parseFromString(await answer.text(), "image/svg+xml").documentElement;
    return picture instanceof SVGElement ? document.importNode(picture, true) : null;
  } catch {
    return null;
  }
}
