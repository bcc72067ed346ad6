// The daemon as a process, on free ports, with the short times that tests want.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Child } from "./children.js";
import { program } from "./programs.js";
import { settings } from "./settings.js";

export class Server {
  /** Starts the daemon against `google`; `environment` wins over the short times; `state` outlives a restart. */
  static async start(google, environment = {}, state = undefined) {
    const server = new Server();
    server.keep = state !== undefined;
    server.state = state ?? mkdtempSync(join(tmpdir(), "castaway-state-"));
    server.child = new Child(program("CASTAWAY_DAEMON"), ["serve"], {
      ...settings.daemon,
      ...google.environment,
      STATE_DIRECTORY: server.state,
      ...environment,
    });
    const [, url, health] = await server.child.says(new RegExp(settings.addresses, "m"));
    return Object.assign(server, { url, health });
  }

  /** Everything that the daemon printed. */
  get log() {
    return this.child.output;
  }

  get pid() {
    return this.child.process.pid;
  }

  /** Waits until `/readyz` says yes. */
  async ready() {
    await eventually(async () => (await fetch(`${this.health}/readyz`)).ok, "the daemon is ready");
  }

  /** The sum of a metric's samples whose line contains `part`. */
  async metric(name, part = "") {
    const text = await (await fetch(`${this.health}/metrics`)).text();
    return text
      .split("\n")
      .filter((line) => line.startsWith(name) && line.includes(part))
      .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }

  /** The samples that are not zero, but for a histogram's buckets. */
  async counted() {
    const text = await (await fetch(`${this.health}/metrics`)).text();
    const lines = text.split("\n").filter((line) => line.startsWith("castaway_") && !line.includes("_bucket{"));
    return lines.filter((line) => !line.endsWith(" 0")).join("\n");
  }

  async stop(signal = "SIGTERM") {
    const how = await this.child.stop(signal);
    if (!this.keep) rmSync(this.state, { recursive: true, force: true });
    return how;
  }
}

/** Asks again until `holds` is true. */
export async function eventually(holds, what, ms = 8_000) {
  const end = Date.now() + ms;
  for (;;) {
    const answer = await holds();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`not in ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
