// @ts-check
/** The bans: listed, added, removed. */

import { element, say } from "../ui.js";
import { button, cell, fillTexts, found, sync } from "./table.js";
import { number, untilWords } from "./words.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./api.js").Ban} Ban */

const ELSEWHERE = " The other nodes follow as soon as Redis answers.";

export class Bans {
  #body = element("bans-rows", HTMLElement);
  #search = element("bans-search", HTMLInputElement);
  /** @type {Ban[]} */ #bans = [];
  /** When they were answered, in ms. @type {number | null} */ at = null;
  #api;
  #ask;

  /** @param {() => Api} api @param {(wanted: import("./question.js").Wanted) => void} ask */
  constructor(api, ask) {
    this.#api = api;
    this.#ask = ask;
    this.#search.addEventListener("input", () => this.#display());
    element("ban", HTMLButtonElement).addEventListener("click", () => this.#askWhom());
  }

  /** @param {Api} api @param {number} now in ms */
  async refresh(api, now) {
    const { bans } = /** @type {{bans: Ban[]}} */ (await api.get(["bans"]));
    if (api.isClosed) return;
    this.at = now;
    this.#bans = bans;
    this.#display();
  }

  /** Asks whether to ban this user or livestream. @param {"user" | "livestream"} kind @param {string} id */
  askAbout(kind, id) {
    const ends = kind === "user" ? "Its livestreams end, its sockets are closed, and it is kept out." : "It ends, and nobody can join it.";
    this.#ask({
      title: `Ban the ${kind} ${id}?`,
      hint: `${ends} On all nodes, and after restarts.`,
      yes: "Ban",
      fields: ["reason", "until"],
      act: ({ reason, until }) => this.#ban(kind, id, reason, until),
    });
  }

  #askWhom() {
    this.#ask({
      title: "Ban a user or a livestream?",
      hint: "Livestreams that it concerns end, and it is kept out: on all nodes, and after restarts.",
      yes: "Ban",
      fields: ["whom", "reason", "until"],
      act: ({ kind, id, reason, until }) => this.#ban(kind, id, reason, until),
    });
  }

  /** @param {string} kind @param {string} id @param {string} reason @param {string | null} until */
  async #ban(kind, id, reason, until) {
    const { status } = await this.#api().ask("PUT", ["bans", kind, id], { body: { reason, ...(until && { until }) } });
    return `Banned: the ${kind} ${id}, ${untilWords(until)}.${status === 202 ? ELSEWHERE : ""}`;
  }

  #display() {
    const { shown, words } = found(this.#bans, this.#search.value, (it) => `${it.kind} ${it.id} ${it.reason}`);
    element("bans-table", HTMLElement).hidden = shown.length === 0;
    element("bans-none", HTMLElement).hidden = this.#bans.length > 0;
    say(element("bans-count", HTMLElement), this.#bans.length === 0 ? "" : number(this.#bans.length));
    say(element("bans-words", HTMLElement), words);
    sync(this.#body, shown, (it) => `${it.kind} ${it.id}`, (key) => this.#row(key), (row, it) => {
      fillTexts(row, [it.id, it.kind, untilWords(it.until), it.reason || "–", null]);
    });
  }

  /** @param {string} key kind and id */
  #row(key) {
    const row = document.createElement("tr");
    const [kind = "", ...rest] = key.split(" ");
    const id = rest.join(" ");
    const acts = cell("td", "acts");
    const remove = button("Remove…", () =>
      this.#ask({
        title: `Remove the ban of the ${kind} ${id}?`,
        hint: "It is admitted again, on all nodes.",
        yes: "Remove the ban",
        act: async () => {
          const { status } = await this.#api().ask("DELETE", ["bans", kind, id]);
          return `No longer banned: the ${kind} ${id}.${status === 202 ? ELSEWHERE : ""}`;
        },
      }),
    );
    remove.setAttribute("aria-label", `Remove… the ban of the ${kind} ${id}`);
    acts.append(remove);
    row.append(cell("th"), cell(), cell(), cell("td", "reason"), acts);
    return row;
  }

  clear() {
    this.#body.replaceChildren();
    [this.#bans, this.at] = [[], null];
    this.#search.value = "";
  }
}
