// @ts-check
/** The nodes, and their drains. */

import { counted, element } from "../ui.js";
import { button, cell, fillTexts, sync } from "./table.js";
import { nodeState, number } from "./words.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./api.js").Node} Node */

export class Nodes {
  #body = element("nodes-rows", HTMLElement);
  /** @type {Node[]} */ #nodes = [];
  /** When they were answered, in ms. @type {number | null} */ at = null;
  #api;
  #ask;

  /** @param {() => Api} api @param {(wanted: import("./question.js").Wanted) => void} ask */
  constructor(api, ask) {
    this.#api = api;
    this.#ask = ask;
  }

  /** Whether one drains, so that what is left changes by the second. */
  get isDraining() {
    return this.#nodes.some((node) => node.draining);
  }

  /** @param {Api} api @param {number} now in ms */
  async refresh(api, now) {
    const { nodes } = /** @type {{nodes: Node[]}} */ (await api.get(["nodes"]));
    if (api.isClosed) return;
    this.at = now;
    this.#nodes = nodes;
    sync(this.#body, nodes, ({ name }) => name, (name) => this.#row(name), (row, node) => {
      row.dataset.state = !node.answers ? "away" : node.draining ? "draining" : node.ready ? "ready" : "unready";
      const count = (/** @type {number | null} */ it) => (it === null ? "–" : number(it));
      fillTexts(row, [node.name, nodeState(node), count(node.streamers), count(node.listeners), node.version ?? "–", null]);
      const act = row.querySelector("button");
      if (!act) return;
      act.textContent = node.draining ? "Undo the drain" : "Drain…";
      act.setAttribute("aria-label", `${act.textContent} ${node.name}`);
      act.setAttribute("aria-disabled", String(!node.answers));
    });
  }

  /** @param {string} name */
  #row(name) {
    const row = document.createElement("tr");
    const acts = cell("td", "acts");
    acts.append(
      button("Drain…", () => {
        const node = this.#nodes.find((it) => it.name === name);
        if (node?.answers) this.#ask(this.#wanted(name, node.draining === true));
      }),
    );
    row.append(cell("th"), cell("td", "node-state"), cell("td", "wide number"), cell("td", "wide number"), cell("td", "wide"), acts);
    return row;
  }

  /** @param {string} name @param {boolean} isDraining @returns {import("./question.js").Wanted} */
  #wanted(name, isDraining) {
    if (isDraining) {
      return {
        title: `Undo the drain of ${name}?`,
        hint: "The node is ready again and admits clients.",
        yes: "Undo the drain",
        act: async () => {
          await this.#api().ask("DELETE", ["drain"], { query: { node: name } });
          return `${name} admits clients.`;
        },
      };
    }
    const isAlone = this.#nodes.filter((it) => it.answers && it.ready && it.name !== name).length === 0;
    const alone = isAlone ? " No other node is ready: they find none until the drain is undone." : "";
    return {
      title: `Drain ${name}?`,
      hint: `It admits nobody from now on. Its clients are sent away over server.drain_time, streamers last, and connect again elsewhere.${alone}`,
      yes: "Drain",
      act: async () => {
        const { answer } = await this.#api().ask("POST", ["drain"], { query: { node: name } });
        return `${name} drains: ${counted(answer.streamers, "streamer")} and ${counted(answer.listeners, "listener")} are left.`;
      },
    };
  }

  clear() {
    this.#body.replaceChildren();
    [this.#nodes, this.at] = [[], null];
  }
}
