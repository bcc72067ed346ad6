// Child processes: every one that a test starts is ended with it, whatever happens, and says its first words in time.

import { spawn } from "node:child_process";
import { once } from "node:events";

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

export class Child {
  /** Starts `program` with nothing of this environment but what a daemon needs, and `env`. */
  constructor(program, args, env, cwd = undefined) {
    this.output = "";
    this.process = spawn(program, args, {
      cwd,
      env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    running.add(this.process);
    this.exited = once(this.process, "exit").then(([code, signal]) => {
      running.delete(this.process);
      return { code, signal };
    });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        this.output += text;
        this.heard?.();
      });
    }
  }

  /** The first match of `pattern` in what the process printed. */
  async says(pattern, ms = 15_000) {
    const deadline = AbortSignal.timeout(ms);
    for (;;) {
      const match = this.output.match(pattern);
      if (match) return match;
      const more = new Promise((resolve) => (this.heard = () => resolve(true)));
      const late = once(deadline, "abort").then(() => false);
      if (!(await Promise.race([more, late, this.exited.then(() => false)]))) {
        throw new Error(`never printed ${pattern}:\n${this.output}`);
      }
    }
  }

  /** From now on it keeps this process from nothing: it is ended with it. */
  unref() {
    for (const handle of [this.process, ...this.process.stdio]) handle.unref();
  }

  /** Sends `signal` and waits for the end. */
  async stop(signal = "SIGTERM") {
    this.process.kill(signal);
    return this.exited;
  }
}
