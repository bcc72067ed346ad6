// @ts-check
/** The table of livestreams: one page of them, in the order that the server gives. */

import { element, say } from "../ui.js";
import { draw, plot } from "./plots.js";
import { button, cell, fillTexts, sync } from "./table.js";
import { livestreamState, missingWords, number, pageWords, rate, sinceWords } from "./words.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./api.js").Livestream} Livestream */

/** Livestreams on a page. */
const PAGE = 50;

export class Livestreams {
  #body = element("livestreams-rows", HTMLElement);
  #sort = element("sort", HTMLSelectElement);
  #earlier = element("earlier", HTMLButtonElement);
  #later = element("later", HTMLButtonElement);
  #offset = 0;
  #total = 0;
  /** When they were answered, in ms. @type {number | null} */ at = null;
  #history;
  #choose;

  /**
   * @param {import("./plots.js").History} history
   * @param {(id: string) => void} choose shows one
   * @param {() => void} hurry asks for the page at once
   */
  constructor(history, choose, hurry) {
    this.#history = history;
    this.#choose = choose;
    const turn = (/** @type {number} */ offset) => {
      this.#offset = offset;
      hurry();
    };
    this.#sort.addEventListener("change", () => turn(0));
    for (const [control, by] of /** @type {const} */ ([[this.#earlier, -PAGE], [this.#later, PAGE]])) {
      control.addEventListener("click", () => {
        if (control.getAttribute("aria-disabled") !== "true") turn(Math.max(0, this.#offset + by));
      });
    }
  }

  /** @param {Api} api @param {number} now in ms */
  async refresh(api, now) {
    const asked = [this.#sort.value, this.#offset].join();
    const query = { sort: this.#sort.value, offset: String(this.#offset), limit: String(PAGE) };
    const answer = /** @type {import("./api.js").Livestreams} */ (await api.get(["livestreams"], query));
    // Another page was chosen meanwhile: it is asked for already.
    if (api.isClosed || asked !== [this.#sort.value, this.#offset].join()) return;
    this.at = now;
    this.#total = answer.total;
    for (const it of answer.livestreams) {
      this.#history.add(it.id, { at: now, listeners: it.listeners, rate: it.bytes_per_second });
    }
    this.#display(answer, api.now());
    // The page has emptied since.
    if (answer.livestreams.length === 0 && this.#offset > 0) {
      this.#offset = Math.max(0, Math.ceil(this.#total / PAGE) - 1) * PAGE;
      await this.refresh(api, now);
    }
  }

  /** @param {import("./api.js").Livestreams} answer @param {number} serverNow in ms */
  #display({ livestreams, total, unanswered }, serverNow) {
    sync(this.#body, livestreams, ({ id }) => id, (id) => this.#row(id), (row, it) => this.#fill(row, it, serverNow));
    const isEmpty = total === 0;
    element("livestreams-none", HTMLElement).hidden = !isEmpty;
    element("livestreams-table", HTMLElement).hidden = isEmpty;
    element("pages", HTMLElement).hidden = total <= PAGE;
    say(element("page-words", HTMLElement), pageWords(this.#offset, livestreams.length, total));
    say(element("livestreams-count", HTMLElement), isEmpty ? "" : number(total));
    this.#earlier.setAttribute("aria-disabled", String(this.#offset === 0));
    this.#later.setAttribute("aria-disabled", String(this.#offset + livestreams.length >= total));
    const missing = element("unanswered", HTMLElement);
    say(missing, missingWords(unanswered, "livestreams, listeners and bytes"));
    missing.hidden = unanswered.length === 0;
  }

  /** @param {string} id */
  #row(id) {
    const row = document.createElement("tr");
    const name = cell("th");
    const open = button(id, () => this.#choose(id));
    open.className = "link";
    open.title = "Show its sockets, end it, ban it";
    name.append(open);
    row.append(name, cell("td", "state-cell"), cell("td", "wide"), cell("td", "wide"), cell("td", "wide"));
    for (const field of ["listeners", "rate"]) {
      const measured = cell("td", "measured");
      measured.dataset.field = field;
      measured.append(document.createElement("span"), plot());
      row.append(measured);
    }
    row.append(cell("td", "wide number"));
    return row;
  }

  /** @param {HTMLTableRowElement} row @param {Livestream} it @param {number} serverNow */
  #fill(row, it, serverNow) {
    row.dataset.state = it.state;
    fillTexts(row, [null, livestreamState(it), it.streamer ?? "–", it.node ?? "–", sinceWords(it.since, serverNow), null, null, number(it.clips_dropped)]);
    const values = { listeners: number(it.listeners), rate: rate(it.bytes_per_second) };
    for (const measured of row.querySelectorAll("td.measured")) {
      const field = /** @type {"listeners" | "rate"} */ (/** @type {HTMLElement} */ (measured).dataset.field);
      const [text, picture] = measured.children;
      if (text) say(text, values[field]);
      if (picture instanceof SVGElement) draw(picture, this.#history.of(it.id), field, this.at ?? 0);
    }
  }

  /** Puts the focus where the livestream is shown, or above. @param {string} id */
  focus(id) {
    const rows = /** @type {HTMLTableRowElement[]} */ ([...this.#body.children]);
    const open = rows.find((row) => row.dataset.key === id)?.querySelector("button");
    (open ?? element("livestreams-title", HTMLElement)).focus();
  }

  /** Forgets them: the next operator may be another one. */
  clear() {
    this.#body.replaceChildren();
    this.at = null;
    this.#offset = 0;
  }
}
