// The daemon stops, crashes and starts: no flag stays behind, and clients come back by themselves.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "./harness/cluster.js";
import { clip, inAWorld, onEveryTransport } from "./harness/world.js";

/** Runs `scene` with a state directory that outlives a daemon. */
async function withState(scene) {
  const state = mkdtempSync(join(tmpdir(), "castaway-state-"));
  try {
    await scene(state);
  } finally {
    // The world stops its daemons later: they may write meanwhile.
    rmSync(state, { recursive: true, force: true, maxRetries: 10 });
  }
}

onEveryTransport("the daemon", {}, (world) => {
  const scene = async (server) => {
    const livestream = await world.livestream();
    const [near, far] = [await world.wire(server), await world.wire(server)];
    livestream.streamer = await world.streamer(livestream, { url: near.url });
    livestream.listener = await world.listener(livestream, { url: far.url });
    await world.flag(livestream.id, true);
    return { livestream, near, far };
  };

  /** Streamer and listener are on `server` again, and hear each other. */
  const together = async ({ livestream, near, far }, server) => {
    near.plug(server.url);
    far.plug(server.url);
    near.mend();
    assert.equal(await livestream.streamer.next("success"), `User ${livestream.user} connected as streamer to livestream ${livestream.id}.`);
    far.mend();
    assert.match(await livestream.listener.next("success"), / connected as listener to livestream /);
    livestream.streamer.emit("upload", clip(8));
    assert.equal((await livestream.listener.next("audio")).readUInt32BE(), 8);
    await world.flag(livestream.id, true);
  };

  test("clears the flag at SIGTERM, and clients return", async () => {
    await withState(async (state) => {
      const first = await world.another({}, state);
      const it = await scene(first);
      it.near.open = it.far.open = false;
      const { code } = await first.stop("SIGTERM");
      assert.equal(code, 0);
      for (const client of [it.livestream.streamer, it.livestream.listener]) {
        assert.match(await client.next("disconnect"), /^transport (close|error)$/);
      }
      await world.flag(it.livestream.id, false);
      await together(it, await world.another({}, state));
    });
  });

  test("clears a crash's flag, and its clients return", async () => {
    await withState(async (state) => {
      const first = await world.another({}, state);
      const it = await scene(first);
      it.near.open = it.far.open = false;
      await first.stop("SIGKILL");
      assert.equal((await world.google.document(it.livestream.id)).streamerConnected, true);
      const second = await world.another({}, state);
      await world.flag(it.livestream.id, false);
      await together(it, second);
    });
  });
});

inAWorld("a stop", {}, (world) => {
  test("does not wait for a client that stalls", async () => {
    await withState(async (state) => {
      const server = await world.another({ CASTAWAY_SERVER__SHUTDOWN_TIMEOUT: "2s" }, state);
      const wire = await world.wire(server);
      const livestream = await world.livestream();
      await world.streamer(livestream, { url: wire.url });
      wire.freeze();
      const began = Date.now();
      const { code } = await server.stop("SIGTERM");
      assert.equal(code, 0);
      assert.ok(Date.now() - began < 5_000);
      await world.flag(livestream.id, false);
    });
  });

  test("leaves another daemon's flag alone", async () => {
    const server = await world.another({});
    const livestream = await world.onAir(1);
    await world.flag(livestream.id, true);
    await server.stop("SIGTERM");
    assert.equal((await world.google.document(livestream.id)).streamerConnected, true);
  });
});
