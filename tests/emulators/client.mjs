// A client that speaks Socket.IO as the shipped app's library does: WebSocket only, identity in two headers.

import { createRequire } from "node:module";
import { join } from "node:path";

const { WebSocket } = createRequire(join(process.env.FIREBASE_TOOLS, "node_modules/"))("ws");

export class Client {
  /** Connects to `/streamer` or `/listener`; what happens is kept in `events`, in order. */
  constructor(base, role, { token, livestream }) {
    this.namespace = `/${role}`;
    this.events = [];
    this.waiting = new Set();
    const headers = {};
    if (token !== undefined) headers["id-token"] = token;
    if (livestream !== undefined) headers["livestream-id"] = livestream;
    this.socket = new WebSocket(`${base.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`, { headers });
    this.socket.on("message", (data, binary) => (binary ? this.attach(data) : this.read(data.toString())));
    this.socket.on("close", () => this.happen("closed"));
    this.socket.on("error", (error) => this.happen("failed", error.message));
  }

  read(packet) {
    if (packet.startsWith("0")) return this.socket.send(`40${this.namespace},`);
    if (packet === "2") return this.socket.send("3");
    const rest = packet.slice(packet.indexOf(",") + 1);
    if (packet.startsWith(`40${this.namespace}`)) return this.happen("connect");
    if (packet.startsWith(`41${this.namespace}`)) return this.happen("disconnect");
    if (packet.startsWith(`44${this.namespace}`)) return this.happen("connect_error", rest);
    if (packet.startsWith(`42${this.namespace}`)) return this.happen(...JSON.parse(rest));
    if (packet.startsWith("45")) this.unfinished = JSON.parse(rest);
    return undefined;
  }

  attach(data) {
    const [event, ...parts] = this.unfinished;
    this.happen(event, ...parts.map((part) => (part?._placeholder ? data : part)));
  }

  happen(event, ...parts) {
    this.events.push({ event, parts });
    for (const wake of this.waiting) wake();
  }

  /** Waits for the next `event`, takes it and what came before it, and returns its one argument. */
  async next(event, limit = 5_000) {
    const end = Date.now() + limit;
    for (;;) {
      const at = this.events.findIndex((it) => it.event === event);
      if (at >= 0) {
        const [found] = this.events.splice(0, at + 1).slice(-1);
        if (found.parts.length > 1) throw new Error(`${event} came with ${found.parts.length} arguments`);
        return found.parts[0];
      }
      if (Date.now() > end) throw new Error(`no ${event} came, but ${JSON.stringify(this.events)}`);
      await new Promise((resolve) => {
        this.waiting.add(resolve);
        setTimeout(resolve, Math.max(1, end - Date.now()));
      });
      this.waiting.clear();
    }
  }

  upload(clip) {
    this.socket.send(`451-${this.namespace},["upload",{"_placeholder":true,"num":0}]`);
    this.socket.send(clip);
  }

  /** Leaves for good, as an app that is closed by its user. */
  leave() {
    this.socket.send(`41${this.namespace},`);
    this.socket.close();
  }

  /** Goes without a word. */
  vanish() {
    this.socket.terminate();
  }
}
