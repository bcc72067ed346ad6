// @ts-check
/** One livestream with its sockets, and the acts on it. */

import { element, say } from "../ui.js";
import { Failure } from "./api.js";
import { draw, plot } from "./plots.js";
import { button, cell, fillTexts, found, sync } from "./table.js";
import { livestreamState, missingWords, number, rate, sinceWords, size } from "./words.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./api.js").Details} Shown */
/** @typedef {import("./api.js").Socket} Socket */
/** @typedef {import("./question.js").Wanted} Wanted */

export class Details {
  #section = element("details", HTMLElement);
  #body = element("sockets-rows", HTMLElement);
  #search = element("sockets-search", HTMLInputElement);
  #plots = { listeners: plot(), rate: plot() };
  /** The livestream that is shown; empty for none. */
  #id = "";
  /** @type {Shown | null} */ #shown = null;
  /** When it was answered, in ms. @type {number | null} */ at = null;
  #history;
  #ask;
  #ban;
  #api;

  /**
   * @param {import("./plots.js").History} history
   * @param {() => Api} api
   * @param {(wanted: Wanted) => void} ask
   * @param {(kind: "user" | "livestream", id: string) => void} ban asks whether to
   * @param {(id: string) => void} closed it is no longer shown
   */
  constructor(history, api, ask, ban, closed) {
    this.#history = history;
    this.#api = api;
    this.#ask = ask;
    this.#ban = ban;
    element("plot-listeners", HTMLElement).append(this.#plots.listeners);
    element("plot-rate", HTMLElement).append(this.#plots.rate);
    this.#search.addEventListener("input", () => this.#listSockets());
    element("details-close", HTMLButtonElement).addEventListener("click", () => {
      const id = this.#id;
      this.close();
      closed(id);
    });
    for (const [name, act] of /** @type {[string, () => void][]} */ ([
      ["end", () => this.#end()],
      ["kick", () => this.#kick()],
      ["ban-streamer", () => this.#shown?.streamer && this.#ban("user", this.#shown.streamer)],
      ["ban-livestream", () => this.#ban("livestream", this.#id)],
    ])) {
      const control = element(name, HTMLButtonElement);
      control.addEventListener("click", () => control.getAttribute("aria-disabled") !== "true" && act());
    }
  }

  get isOpen() {
    return this.#id !== "";
  }

  /** @param {string} id */
  open(id) {
    if (id !== this.#id) this.close();
    this.#id = id;
    this.#section.hidden = false;
    say(element("details-title", HTMLElement), id);
    say(element("details-words", HTMLElement), "");
    element("details-title", HTMLElement).focus({ preventScroll: true });
    this.#section.scrollIntoView({ block: "start" });
  }

  close() {
    this.#section.hidden = true;
    this.#id = "";
    [this.#shown, this.at] = [null, null];
    this.#search.value = "";
    this.#body.replaceChildren();
    for (const fact of this.#section.querySelectorAll("dd[id]")) say(fact, "–");
    this.#enable(false);
  }

  /** @param {Api} api @param {number} now in ms */
  async refresh(api, now) {
    const id = this.#id;
    /** @type {Shown | null} */ let answer = null;
    try {
      answer = await api.get(["livestreams", id]);
    } catch (error) {
      if (!(error instanceof Failure) || error.status !== 404) throw error;
    }
    if (api.isClosed || id !== this.#id) return;
    this.at = now;
    if (answer) this.#display(answer, now, api.now());
    else this.#isGone();
  }

  /** @param {boolean} isThere whether the livestream is there to be ended */
  #enable(isThere) {
    const streamer = this.#shown?.streamer ?? "";
    const possible = { end: isThere, kick: isThere && Boolean(this.#shown?.node), "ban-streamer": Boolean(streamer) };
    for (const [name, isPossible] of Object.entries(possible)) {
      element(name, HTMLButtonElement).setAttribute("aria-disabled", String(!isPossible));
    }
  }

  /** It stays on the page, since its streamer may have to be banned. */
  #isGone() {
    say(element("details-words", HTMLElement), "This livestream is over, or nobody has come to it yet. The numbers are the last known.");
    if (this.#shown) this.#shown = { ...this.#shown, sockets: [], node: null };
    say(element("fact-state", HTMLElement), "not there");
    this.#listSockets();
    this.#enable(false);
  }

  /** @param {Shown} it @param {number} now @param {number} serverNow */
  #display(it, now, serverNow) {
    this.#shown = it;
    say(element("details-words", HTMLElement), missingWords(it.unanswered, "sockets"));
    for (const [name, text] of Object.entries({
      state: livestreamState(it),
      streamer: it.streamer ?? "–",
      node: it.node ?? "–",
      since: sinceWords(it.since, serverNow),
      listeners: number(it.listeners),
      rate: rate(it.bytes_per_second),
      clips: number(it.clips),
      drops: number(it.clips_dropped),
      in: size(it.bytes_in),
      out: size(it.bytes_out),
    })) {
      say(element(`fact-${name}`, HTMLElement), text);
    }
    this.#history.add(it.id, { at: now, listeners: it.listeners, rate: it.bytes_per_second });
    const samples = this.#history.of(it.id);
    for (const field of /** @type {const} */ (["listeners", "rate"])) draw(this.#plots[field], samples, field, now);
    this.#listSockets(serverNow);
    this.#enable(true);
  }

  #listSockets(serverNow = this.#api().now()) {
    const sockets = this.#shown?.sockets ?? [];
    const { shown, words } = found(sockets, this.#search.value, (it) => `${it.role} ${it.user} ${it.id} ${it.node} ${it.transport ?? ""}`);
    say(element("sockets-count", HTMLElement), sockets.length === 0 ? "" : number(sockets.length));
    say(element("sockets-words", HTMLElement), words);
    element("sockets-table", HTMLElement).hidden = shown.length === 0;
    sync(this.#body, shown, (it) => `${it.role} ${it.id}`, (key) => this.#row(key), (row, it) => {
      fillTexts(row, [it.user, it.role, it.node, it.transport ?? "–", sinceWords(it.since, serverNow), `${number(it.lag_ms)} ms`, number(it.clips_dropped), null]);
    });
  }

  /** @param {string} key role and id */
  #row(key) {
    const row = document.createElement("tr");
    row.append(cell("th"), cell(), cell("td", "wide"), cell("td", "wide"), cell("td", "wide"), cell("td", "wide number"), cell("td", "wide number"));
    const socket = () => this.#shown?.sockets.find((it) => `${it.role} ${it.id}` === key);
    const acts = cell("td", "acts");
    for (const [text, act] of /** @type {[string, (it: Socket) => void][]} */ ([
      ["Disconnect…", (it) => this.#disconnect(it)],
      ["Ban…", (it) => this.#ban("user", it.user)],
    ])) {
      const control = button(text, () => {
        const it = socket();
        if (it) act(it);
      });
      const user = socket()?.user ?? "";
      control.setAttribute("aria-label", `${text} ${user}`);
      acts.append(control);
    }
    row.append(acts);
    return row;
  }

  #end() {
    const id = this.#id;
    this.#ask({
      title: `End ${id} for everybody?`,
      hint: "Its streamer and its listeners are told that it is over. Nobody is kept out: the streamer can go live again.",
      yes: "End it",
      act: async () => {
        await this.#api().ask("POST", ["livestreams", id, "end"]);
        return `The livestream ${id} is over.`;
      },
    });
  }

  #kick() {
    const id = this.#id;
    this.#ask({
      title: `Kick the streamer of ${id}?`,
      hint: "Its socket is closed for good, and the livestream waits for the grace period. To keep the user out, ban it.",
      yes: "Kick",
      fields: ["text"],
      act: async ({ text }) => {
        const { answer } = await this.#api().ask("DELETE", ["livestreams", id, "streamer"], { query: text ? { text } : {} });
        return kickedWords(answer);
      },
    });
  }

  /** @param {Socket} socket */
  #disconnect(socket) {
    this.#ask({
      title: `Disconnect the ${socket.role} ${socket.user}?`,
      hint: "This socket is closed for good, in both roles. The user can come back with another one; to keep it out, ban it.",
      yes: "Disconnect",
      fields: ["text"],
      act: async ({ text }) => {
        const { answer } = await this.#api().ask("DELETE", ["sockets", socket.id], { query: text ? { text } : {} });
        return kickedWords(answer);
      },
    });
  }
}

/** @param {{users?: string[]} | null} answer */
function kickedWords(answer) {
  return `Disconnected: ${answer?.users?.join(", ") ?? "the socket"}.`;
}
