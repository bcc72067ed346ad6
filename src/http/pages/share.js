// @ts-check
/** The link for listeners: shown, copied, sent. */

import { listenAddress } from "./link.js";
import { element, say } from "./ui.js";

export class Share {
  #field = element("share", HTMLInputElement);
  #copy = element("copy", HTMLButtonElement);

  /** @param {import("./link.js").Link} link */
  constructor(link) {
    this.display(link);
    if (!link.guest) say(element("share-note", HTMLElement), "Listeners sign in on the page, with a token of their own.");
    this.#copy.addEventListener("click", () => void this.#copyLink());
    const send = element("send", HTMLButtonElement);
    send.hidden = !navigator.share;
    send.addEventListener("click", () => void navigator.share({ title: "Castaway", url: this.#field.value }).catch(() => {}));
  }

  /** @param {import("./link.js").Link} link */
  display(link) {
    this.#field.value = listenAddress(link);
  }

  async #copyLink() {
    this.#field.select();
    say(this.#copy, (await copied(this.#field.value)) ? "Copied" : "Copy it by hand");
    setTimeout(() => say(this.#copy, "Copy"), 3_000);
  }
}

/** Whether the selected text reached the clipboard: plain HTTP has only the old way. @param {string} text */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return document.execCommand("copy");
  }
}
