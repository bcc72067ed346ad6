// The wire contract against Google's emulators; see `run`.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { Client } from "../clients/js/harness/client.js";
import { Server, eventually } from "../clients/js/harness/server.js";
import { Livestreams, PROJECT, Users, startAuth, startFirestore } from "./google.mjs";

const directory = mkdtempSync(join(tmpdir(), "castaway-emulators-"));
const running = [];
const clients = [];

const firestore = await startFirestore(process.env.FIRESTORE_EMULATOR_JAR).then(kept);
const auth = await startAuth(directory, process.env.FIREBASE_TOOLS).then(kept);
const users = new Users(auth.host);
const livestreams = new Livestreams(firestore.host);
/** What a daemon needs to find the emulators. */
const google = {
  environment: {
    PROJECT_ID: PROJECT,
    IDENTITY_SERVER_API_KEY: "any",
    FIRESTORE_EMULATOR_HOST: firestore.host,
    FIREBASE_AUTH_EMULATOR_HOST: auth.host,
  },
};
let daemon;
let log = "";

function kept(emulator) {
  running.push(emulator.child);
  return emulator;
}

async function startDaemon() {
  const state = join(directory, "state");
  mkdirSync(state, { recursive: true });
  const environment = { CASTAWAY_LIVESTREAM__GRACE: "2s", CASTAWAY_GOOGLE__CACHE_TTL: "100ms" };
  daemon = await Server.start(google, environment, state);
}

async function stopDaemon(signal) {
  const how = await daemon.stop(signal);
  log += daemon.log;
  return how;
}

/** A client as the shipped app's library: WebSocket only, identity in two headers. It does not come back by itself. */
function connect(role, token, livestream) {
  const client = new Client(daemon.url, role, { token, livestream, reconnection: false });
  clients.push(client);
  return client;
}

/** Goes without a word. */
function vanish(client) {
  client.socket.io.engine.transport.ws.terminate();
}

let count = 0;

/** A new livestream and its artist. */
async function makeLivestream() {
  const artist = await users.signUp();
  const id = `livestream-${(count += 1)}`;
  await livestreams.put(id, artist);
  return { artist, id };
}

/** A new livestream that is live. */
async function live() {
  const { artist, id } = await makeLivestream();
  const streamer = connect("streamer", artist.token, id);
  await streamer.next("success");
  await livestreams.says(id, true);
  return { artist, id, streamer };
}

async function refused(client, text) {
  await client.next("connect");
  assert.equal(await client.next("error"), text);
  await client.next("disconnect");
}

/** An unsigned token that differs from `token` in its claims. */
function altered(token, change) {
  const [header, claims] = token.split(".");
  const said = { ...JSON.parse(Buffer.from(claims, "base64url")), ...change };
  return `${header}.${Buffer.from(JSON.stringify(said)).toString("base64url")}.`;
}

const tests = {
  async "a user who signed up streams, and is heard"() {
    const { artist, id, streamer } = await live();
    const fan = await users.signUp();
    const listener = connect("listener", fan.token, id);
    assert.equal(await listener.next("success"), `User ${fan.id} connected as listener to livestream ${id}.`);
    for (const bytes of [1, 4096, 300_000]) {
      const clip = randomBytes(bytes);
      streamer.emit("upload", clip);
      assert.equal(await streamer.next("success"), `Packet received from user ${artist.id}`);
      assert.deepEqual(await listener.next("audio"), clip);
    }
    streamer.leave();
    await listener.next("disconnect");
    await livestreams.says(id, false);
  },

  async "the streamer is told its name and its livestream, and the document keeps its other fields"() {
    const { artist, id } = await makeLivestream();
    const streamer = connect("streamer", artist.token, id);
    assert.equal(await streamer.next("success"), `User ${artist.id} connected as streamer to livestream ${id}.`);
    await livestreams.says(id, true);
    assert.deepEqual(await livestreams.get(id), { artistId: artist.id, streamerConnected: true, title: "a talk" });
    streamer.leave();
    await livestreams.says(id, false);
  },

  async "who leaves out the token or the livestream is told"() {
    const { artist, id } = await makeLivestream();
    for (const role of ["streamer", "listener"]) {
      await refused(connect(role, undefined, id), "Id token not provided.");
      await refused(connect(role, artist.token, undefined), "Livestream id not provided.");
    }
  },

  async "a livestream that is missing, another's or not live is refused in the contract's words"() {
    const { artist, id } = await makeLivestream();
    const other = await users.signUp();
    const unauthorized = "User is not authorized to livestream in this room.";
    await refused(connect("streamer", other.token, id), unauthorized);
    await refused(connect("streamer", artist.token, "missing"), unauthorized);
    await refused(connect("listener", other.token, "missing"), "Livestream missing does not exist.");
    await refused(connect("listener", other.token, id), `Livestream ${id} has not started.`);
    await refused(connect("listener", other.token, "a/b"), "Livestream a/b does not exist.");
    assert.equal(await livestreams.get("missing"), undefined);
  },

  async "a bad or expired token is refused for what it is"() {
    const { artist, id } = await makeLivestream();
    for (const role of ["streamer", "listener"]) {
      await refused(connect(role, "junk", id), "Id token is invalid.");
      await refused(connect(role, altered(artist.token, { aud: "another" }), id), "Id token is invalid.");
      const past = Math.floor(Date.now() / 1000) - 3600;
      await refused(connect(role, altered(artist.token, { exp: past }), id), "Id token has expired.");
    }
  },

  async "a disabled or deleted user does not become a streamer"() {
    for (const fate of ["disable", "delete"]) {
      const { artist, id } = await makeLivestream();
      await users[fate](artist);
      await refused(connect("streamer", artist.token, id), "Id token is invalid.");
      assert.equal((await livestreams.get(id)).streamerConnected, false);
    }
  },

  async "a document that is deleted while it is live is not created again"() {
    const { artist, id, streamer } = await live();
    await livestreams.delete(id);
    streamer.emit("upload", randomBytes(100));
    assert.equal(await streamer.next("success"), `Packet received from user ${artist.id}`);
    streamer.leave();
    // What another livestream shows in Firestore was written after this one's end.
    const after = await live();
    after.streamer.leave();
    await livestreams.says(after.id, false);
    assert.equal(await livestreams.get(id), undefined);
  },

  async "a streamer who vanishes is waited for, and then the livestream ends"() {
    const { artist, id, streamer } = await live();
    const fan = await users.signUp();
    const listener = connect("listener", fan.token, id);
    await listener.next("success");
    vanish(streamer);
    const again = connect("streamer", artist.token, id);
    await again.next("success");
    const clip = randomBytes(1000);
    again.emit("upload", clip);
    assert.deepEqual(await listener.next("audio"), clip);
    vanish(again);
    await listener.next("disconnect", 10_000);
    await livestreams.says(id, false);
  },

  async "a running livestream goes on while Firestore hangs, and ends as intended"() {
    const { artist, id, streamer } = await live();
    const next = await makeLivestream();
    const listener = connect("listener", artist.token, id);
    await listener.next("success");
    firestore.child.process.kill("SIGSTOP");
    try {
      const clip = randomBytes(1000);
      streamer.emit("upload", clip);
      assert.deepEqual(await listener.next("audio"), clip);
      streamer.leave();
      await listener.next("disconnect");
      // The attempts at this end hang in the emulator, and land whenever it wakes.
      const late = connect("streamer", next.artist.token, next.id);
      await late.next("connect");
      assert.equal(await late.next("error", 6_000), "Service is temporarily unavailable, try again.");
      await late.next("disconnect");
    } finally {
      firestore.child.process.kill("SIGCONT");
    }
    await livestreams.says(id, false);
    const again = connect("streamer", next.artist.token, next.id);
    await again.next("success", 10_000);
    again.leave();
    await livestreams.says(next.id, false);
  },

  async "after kill -9 the next start clears what was left connected"() {
    const { artist, id } = await live();
    const ended = await live();
    ended.streamer.leave();
    await livestreams.says(ended.id, false);
    await stopDaemon("SIGKILL");
    assert.equal((await livestreams.get(id)).streamerConnected, true);
    await startDaemon();
    await livestreams.says(id, false);
    const again = connect("streamer", artist.token, id);
    await again.next("success");
    await livestreams.says(id, true);
    again.leave();
    await livestreams.says(id, false);
  },

  async "a stop clears what is connected, though a document is gone"() {
    // More than there are calls at once: they share some.
    const [gone, ...all] = await Promise.all(Array.from({ length: 40 }, live));
    await livestreams.delete(gone.id);
    const { code } = await stopDaemon("SIGTERM");
    assert.equal(code, 0);
    for (const { id } of all) assert.equal((await livestreams.get(id)).streamerConnected, false, id);
    assert.equal(await livestreams.get(gone.id), undefined);
    await startDaemon();
  },

  async "a recording becomes its streamer's upload, and what is there stays"() {
    const [bucket, podcasts, state] = ["bucket", "podcasts", "recorder"].map((name) => join(directory, name));
    mkdirSync(state);
    const recorded = { CASTAWAY_RECORDING__URL: `file://${bucket}`, CASTAWAY_RECORDING__PODCAST: `file://${podcasts}` };
    const { artist, id } = await makeLivestream();
    const register = async (act) => {
      const server = await Server.start(google, recorded, state);
      try {
        await act(server);
        const registered = () => server.metric("castaway_recording_podcasts_total");
        await eventually(async () => (await registered()) === 1, "it is registered", 20_000);
      } finally {
        await server.stop();
        log += server.log;
      }
    };
    await register(async ({ url }) => {
      const streamer = new Client(url, "streamer", { token: artist.token, livestream: id, reconnection: false });
      clients.push(streamer);
      await streamer.next("success");
      // One frame of MP3.
      streamer.emit("upload", Buffer.concat([Buffer.from([0xff, 0xfb, 0x90, 0x44]), Buffer.alloc(413, 7)]));
      await streamer.next("success");
      streamer.leave();
    });
    const [[upload, fields]] = Object.entries(await livestreams.uploads());
    const filepath = readdirSync(podcasts).find((name) => name.endsWith(".mp3"));
    assert.deepEqual(fields, { userId: artist.id, filetype: "podcast", filepath, durationInMinutes: "0" });
    // A node that died before it noted what it had done; meanwhile the document is another one.
    const theirs = { userId: { stringValue: "somebody" } };
    await livestreams.putUpload(upload, theirs);
    const notes = readdirSync(bucket, { recursive: true }).filter((name) => name.endsWith(upload));
    assert.equal(notes.length, 1);
    rmSync(join(bucket, notes[0]));
    await register(async () => {});
    assert.deepEqual(await livestreams.uploads(), { [upload]: { userId: "somebody" } });
  },

  async "people sign in on the pages with e-mail and password"() {
    const test = new URL("../pages/e2e/signin.test.js", import.meta.url).pathname;
    const environment = { ...process.env, CASTAWAY_AUTH_EMULATOR: auth.host, CASTAWAY_BINARY: process.env.CASTAWAY_DAEMON };
    await promisify(execFile)("node", ["--test", test], { env: environment, timeout: 240_000 });
  },

  async "no token is in the log"() {
    const all = log + daemon.log;
    assert.match(all, /UNSIGNED TOKENS ARE ACCEPTED/);
    assert.doesNotMatch(all, /eyJ/);
  },
};

let [passed, failed] = [0, 0];
try {
  await startDaemon();
  for (const [name, test] of Object.entries(tests)) {
    try {
      await test();
      for (const client of clients.splice(0)) client.close();
      passed += 1;
      console.log(`ok - ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`not ok - ${name}\n  ${error.stack.replaceAll("\n", "\n  ")}`);
    }
  }
} catch (error) {
  failed += 1;
  console.log(`not ok - the suite starts\n  ${error.stack}`);
} finally {
  await daemon?.stop();
  await Promise.all(running.map((it) => it.stop("SIGKILL")));
}
if (failed > 0) console.log([...running.map((it) => it.output), log, daemon?.log].join("\n"));
rmSync(directory, { recursive: true });
console.log(`${passed} passed, ${failed} failed, 0 skipped`);
process.exit(failed > 0 ? 1 : 0);
