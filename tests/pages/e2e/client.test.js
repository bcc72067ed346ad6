// @ts-check
/** The client package: its README's examples run against a server, and what is packed is what it needs. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { WebSocket } from "ws";

import { Listener, Streamer } from "../../../clients/js/index.js";
import { Network, Server } from "./stage.js";

const PACKAGE = new URL("../../../clients/js/", import.meta.url);
const MOST_BYTES = 9 * 1024;

Object.assign(globalThis, { WebSocket });

/** @type {Server} */ let server;
/** @type {Network} */ let network;
let [streamerToken, guestToken] = ["", ""];

before(async () => {
  server = await Server.start();
  network = await Network.to(server.port);
  const token = (/** @type {string} */ address) => new URLSearchParams(new URL(address).hash.slice(1)).get("token") ?? "";
  [streamerToken, guestToken] = [token(server.studio), token(server.listen)];
});

after(async () => {
  network?.close();
  await server?.stop();
});

/** Resolves once `test` holds; asked again at every event. */
class Waiting {
  /** @type {{test: () => boolean, resolve: () => void}[]} */ #waiting = [];
  /** @param {() => boolean} test @returns {Promise<void>} */
  until(test) {
    return test() ? Promise.resolve() : new Promise((resolve) => this.#waiting.push({ test, resolve }));
  }
  /** @param {number} [_happened] */
  look(_happened) {
    for (const { test, resolve } of this.#waiting) if (test()) resolve();
  }
}

const address = () => `http://127.0.0.1:${network.port}`;

test("the README's examples stream clips and hear them", { timeout: 60_000 }, async () => {
  const readme = readFileSync(new URL("README.md", PACKAGE), "utf8");
  const [stream = "", listen = ""] = [...readme.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code ?? "");
  const heard = /** @type {Uint8Array[]} */ ([]);
  const waiting = new Waiting();
  /** @param {string} code @param {string} tail @param {Record<string, unknown>} given */
  const run = (code, tail, given) => {
    assert.ok(code.trim().split("\n").length <= 12, "an example has about ten lines");
    const body = code
      .replace(/^import .*\n/m, "")
      .replace("https://media.example", address())
      .replace("my-livestream", "demo");
    const names = Object.keys(given);
    return new Function(...names, `return (async () => {${body}\n${tail}})()`)(...Object.values(given));
  };
  const quiet = { log() {} };
  const first = new Streamer({ url: address(), livestream: "demo", token: streamerToken, onState: () => waiting.look() });
  first.send(new Uint8Array([0]), 1);
  const listener = await run(listen, "return listener", {
    Listener,
    console: quiet,
    user: { getIdToken: async () => guestToken },
    play: (/** @type {Uint8Array} */ clip) => waiting.look(heard.push(clip)),
  });
  await waiting.until(() => heard.length === 1);
  const clips = [1, 2, 3].map((number) => new Uint8Array([number, number]));
  await run(stream, "", { Streamer, console: quiet, clips, user: { getIdToken: async () => streamerToken } });
  await waiting.until(() => heard.length === 4);
  assert.deepEqual(heard.map((clip) => clip[0]), [0, 1, 2, 3]);
  await waiting.until(() => first.state === "refused");
  listener.close();
});

test("a clip sent during an outage arrives after it, once", { timeout: 60_000 }, async () => {
  const heard = /** @type {number[]} */ ([]);
  const states = /** @type {string[]} */ ([]);
  let answered = 0;
  const waiting = new Waiting();
  const streamer = new Streamer({
    url: address(),
    livestream: "demo",
    token: streamerToken,
    onState: (state) => waiting.look(states.push(state)),
    onClip: () => waiting.look(answered++),
  });
  await waiting.until(() => streamer.state === "live");
  const listener = new Listener({
    url: `http://127.0.0.1:${server.port}`,
    livestream: "demo",
    token: guestToken,
    onClip: (clip) => waiting.look(heard.push(clip[0] ?? 0)),
    onState: () => waiting.look(),
  });
  await waiting.until(() => listener.state === "live");
  streamer.send(new Uint8Array([1]), 1);
  await waiting.until(() => heard.length === 1 && answered === 1);
  network.cut();
  await waiting.until(() => streamer.state === "offline");
  streamer.send(new Uint8Array([2]), 1);
  streamer.send(new Uint8Array([3]), 1);
  assert.equal(streamer.waiting, 2);
  network.mend();
  streamer.hurry();
  await waiting.until(() => heard.length === 3);
  assert.deepEqual(heard, [1, 2, 3]);
  await streamer.end();
  await waiting.until(() => listener.state === "ended");
  listener.close();
  assert.deepEqual(states, ["live", "offline", "live", "ended"]);
});

test("a listener that was away hears all that it missed, once", { timeout: 60_000 }, async () => {
  const heard = /** @type {number[]} */ ([]);
  const resumed = /** @type {import("../../../clients/js/place.js").Resumed[]} */ ([]);
  const waiting = new Waiting();
  const onState = () => waiting.look();
  const streamer = new Streamer({ url: `http://127.0.0.1:${server.port}`, livestream: "demo", token: streamerToken, onState });
  await waiting.until(() => streamer.state === "live");
  const listener = new Listener({
    url: address(),
    livestream: "demo",
    token: guestToken,
    onState,
    onClip: (clip, about) => {
      assert.ok(about && Math.abs(Date.now() - about.sentAt) < 60_000);
      waiting.look(heard.push(clip[0] ?? 0));
    },
    onResumed: (it) => waiting.look(resumed.push(it)),
  });
  await waiting.until(() => listener.state === "live");
  let number = 0;
  const send = (/** @type {number} */ clips) => {
    for (const last = number + clips; number < last; ) streamer.send(new Uint8Array([++number]), 1);
  };
  send(2);
  await waiting.until(() => heard.length === 2);
  for (const missed of [3, 2]) {
    network.cut();
    await waiting.until(() => listener.state === "offline");
    send(missed);
    network.mend();
    listener.hurry();
    await waiting.until(() => heard.length === number);
    send(1);
    await waiting.until(() => heard.length === number);
  }
  assert.deepEqual(heard, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(resumed.map((it) => it.recovered), [true, true]);
  await streamer.end();
  await waiting.until(() => listener.state === "ended");
});

test("a streamer's pass admits a listener, until the livestream ends", { timeout: 60_000 }, async () => {
  const waiting = new Waiting();
  const onState = () => waiting.look();
  const streamer = new Streamer({ url: address(), livestream: "demo", token: streamerToken, onState });
  await waiting.until(() => streamer.state === "live");
  const { ok, pass = "", expiresAt = 0 } = await streamer.invite(60);
  assert.equal(ok, true);
  assert.ok(Math.abs(expiresAt - Date.now() / 1000 - 60) < 5, `${expiresAt}`);
  assert.match((await streamer.record()).error ?? "", /not recorded on this server/);
  assert.match((await streamer.invite(0)).error ?? "", /^expiresIn must be a whole number of seconds/);
  const heard = /** @type {number[]} */ ([]);
  const guest = { url: address(), livestream: "demo", token: pass, onState, onClip: (/** @type {Uint8Array} */ clip) => waiting.look(heard.push(clip[0] ?? 0)) };
  const listener = new Listener(guest);
  await waiting.until(() => listener.state === "live");
  streamer.send(new Uint8Array([5]), 1);
  await waiting.until(() => heard.length === 1);
  await streamer.end();
  await waiting.until(() => listener.state === "ended");
  const late = new Listener(guest);
  await waiting.until(() => late.state === "refused");
});

test("a client that is refused is told why, and stays away", { timeout: 30_000 }, async () => {
  const reason = await new Promise((resolve) => {
    new Streamer({ url: address(), livestream: "demo", token: "wrong", onState: (state, why) => state === "refused" && resolve(why) });
  });
  assert.equal(reason, "Id token is invalid.");
});

test("the package has its code, its types, its licence, and little weight", () => {
  execFileSync("node_modules/.bin/tsc", ["--project", new URL("tsconfig.json", PACKAGE).pathname]);
  try {
    const [packed] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: PACKAGE, encoding: "utf8" }));
    const files = packed.files.map((/** @type {{path: string}} */ it) => it.path).sort();
    const modules = ["connection", "index", "outbox", "place", "wire"];
    const wanted = ["LICENSE", "README.md", "package.json", ...modules.map((it) => `${it}.js`), ...modules.map((it) => `types/${it}.d.ts`)];
    assert.deepEqual(files, wanted.sort());
    const code = modules.map((it) => readFileSync(new URL(`${it}.js`, PACKAGE)));
    const weight = gzipSync(Buffer.concat(code)).length;
    assert.ok(weight < MOST_BYTES, `${weight} bytes`);
    const types = readFileSync(new URL("types/index.d.ts", PACKAGE), "utf8");
    assert.match(types, /class Streamer/);
    assert.match(types, /class Listener/);
  } finally {
    rmSync(new URL("types", PACKAGE), { recursive: true, force: true });
  }
});
