// One daemon (two nodes on a cluster), one double of Google, and the clients of one test: what a test file begins with.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, afterEach, before, describe } from "node:test";
import { Client, TRANSPORTS } from "./client.js";
import { clustered, newCluster } from "./cluster.js";
import { Google } from "./google.js";
import { program } from "./programs.js";
import { eventually, Server } from "./server.js";
import { Wire } from "./wire.js";

/** A few seconds of speech, as a phone would record them. */
export const speech = readFileSync(program("CASTAWAY_AUDIO"));

/** A clip of `bytes` bytes that differs from every other `number`. */
export function clip(number, bytes = 1_000) {
  const made = Buffer.alloc(bytes, number % 251);
  made.writeUInt32BE(number);
  return made;
}

let names = 0;

export class World {
  #clients = [];
  #wires = [];
  #servers = [];
  transports = ["websocket"];
  cluster = newCluster();

  static async start(environment) {
    const world = new World();
    world.google = await Google.shared();
    const node = () => Server.start(world.google, { ...world.cluster.node(), ...environment });
    world.server = await node();
    // Where listeners come to.
    world.listenersNode = clustered ? await node() : world.server;
    return world;
  }

  /** A name that no other test has. */
  name(stem) {
    names += 1;
    return `${stem}-${process.pid}-${names}`;
  }

  /** A livestream in Firestore, and its owner. */
  async livestream() {
    const [id, user] = [this.name("livestream"), this.name("streamer")];
    await this.google.livestream(id, user);
    return { id, user };
  }

  async client(role, { user = this.name("guest"), livestream, url, ...options } = {}) {
    const token = "token" in options ? options.token : await this.google.token(user);
    const server = role === "listener" ? this.listenersNode : this.server;
    const client = new Client(url ?? server.url, role, {
      transports: this.transports,
      ...options,
      token,
      livestream,
    });
    client.user = user;
    this.#clients.push(client);
    return client;
  }

  /** A streamer of `livestream` that was accepted. */
  async streamer(livestream, options = {}) {
    const client = await this.client("streamer", { user: livestream.user, livestream: livestream.id, ...options });
    assert.equal(await client.next("success"), `User ${livestream.user} connected as streamer to livestream ${livestream.id}.`);
    return client;
  }

  /** A listener of `livestream` that was accepted. */
  async listener(livestream, options = {}) {
    const client = await this.client("listener", { livestream: livestream.id, ...options });
    assert.equal(await client.next("success"), `User ${client.user} connected as listener to livestream ${livestream.id}.`);
    return client;
  }

  /** A new livestream with its streamer and `count` listeners. */
  async onAir(count = 1) {
    const livestream = await this.livestream();
    livestream.streamer = await this.streamer(livestream);
    livestream.listeners = [];
    while (livestream.listeners.length < count) livestream.listeners.push(await this.listener(livestream));
    livestream.listener = livestream.listeners[0];
    return livestream;
  }

  /** Waits until the streamer was told of so many listeners: a node hears a heartbeat later who listens on another. */
  async counted(livestream, count) {
    const told = ({ name, value }) => name === "state" && value.listeners === count;
    if (clustered) await eventually(() => livestream.streamer.journal.some(told), "the listeners are counted");
  }

  async wire(server = this.server) {
    const wire = await Wire.to(server.url);
    this.#wires.push(wire);
    return wire;
  }

  /** Another daemon beside the world's own. */
  async another(environment, state) {
    const server = await Server.start(this.google, { ...this.cluster.node(), ...environment }, state);
    this.#servers.push(server);
    return server;
  }

  /** Waits until Firestore says `connected` of livestream `id`. */
  async flag(id, connected, ms) {
    const is = async () => (await this.google.document(id))?.streamerConnected === connected;
    await eventually(is, `streamerConnected of ${id} is ${connected}`, ms);
  }

  /** Prints what every client heard, and what every daemon counted and logged. */
  async explain() {
    for (const client of this.#clients) {
      console.log(`--- ${client.socket.nsp} of ${client.user} heard ${client.heard()}`);
    }
    for (const server of new Set([this.server, this.listenersNode, ...this.#servers])) {
      const counted = await server.counted().catch((error) => error.message);
      const logged = server.log.split("\n").slice(-40).join("\n");
      console.log(`--- ${server.url} counted\n${counted}\n--- ${server.url} logged\n${logged}`);
    }
  }

  /** Ends what the test started, and checks what every client must have seen. */
  async sweep() {
    const clients = this.#clients.splice(0);
    try {
      clients.forEach((client) => client.close());
    } finally {
      this.#wires.splice(0).forEach((wire) => wire.close());
      await Promise.all(this.#servers.splice(0).map((server) => server.stop("SIGKILL")));
      await this.google.heal();
    }
  }

  async stop() {
    await this.server.stop("SIGKILL");
    if (clustered) await this.listenersNode.stop("SIGKILL");
  }
}

/** Declares `tests(world)` once, on a world of its own. */
export function inAWorld(title, environment, tests) {
  describe(title, () => {
    const world = new World();
    before(async () => Object.assign(world, await World.start(environment)));
    afterEach(async (context) => {
      try {
        if (!context.passed) await world.explain();
      } finally {
        await world.sweep();
      }
    });
    after(() => world.stop());
    tests(world);
  });
}

/** Declares `tests(world)` for each transport that the run is about, all against one daemon. */
export function onEveryTransport(title, environment, tests) {
  const only = process.env.CASTAWAY_TRANSPORT;
  const wanted = Object.entries(TRANSPORTS).filter(([, [first, second]]) => !only || (first === only && !second));
  inAWorld(title, environment, (world) => {
    for (const [name, transports] of wanted) {
      describe(`over ${name}`, () => {
        before(() => (world.transports = transports));
        tests(world);
      });
    }
  });
}

/** A refusal is: accepted, the event `error` with `text`, then DISCONNECT. */
export async function refused(client, text) {
  assert.equal(await client.next("error"), text);
  assert.equal(await client.next("disconnect"), "io server disconnect");
  assert.deepEqual(client.names(), ["connect", "error", "disconnect"]);
}
