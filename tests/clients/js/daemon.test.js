// The daemon's other sides: health, CORS, the names that existing deployments have, and what it never prints.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "./harness/cluster.js";
import { clip, inAWorld, onEveryTransport } from "./harness/world.js";

inAWorld("the health port", {}, (world) => {
  const get = async (path) => fetch(world.server.health + path);

  test("answers GCE's check", async () => {
    const answer = await get("/");
    assert.equal(answer.status, 200);
    assert.equal((await answer.text()).trim(), "Media server is up and running.");
  });

  test("answers /healthz and /readyz", async () => {
    await world.server.ready();
    assert.equal((await get("/healthz")).status, 200);
  });

  test("counts what happens", async () => {
    const livestream = await world.onAir(2);
    await livestream.streamer.upload(clip(1));
    await livestream.listeners[1].next("audio");
    const answer = await get("/metrics");
    assert.match(answer.headers.get("content-type"), /^text\/plain/);
    const text = await answer.text();
    for (const line of text.trim().split("\n")) {
      assert.match(line, /^(# (HELP|TYPE) castaway_|# (HELP|TYPE) process_|castaway_|process_)/);
    }
    assert.ok(!text.includes(livestream.id) && !text.includes(livestream.user), "no id is a label");
  });
});

inAWorld("a browser", {}, (world) => {
  const origin = "https://castaway.example";

  test("may send the two headers from any origin", async () => {
    const answer = await fetch(`${world.server.url}/socket.io/?EIO=4&transport=polling`, {
      method: "OPTIONS",
      headers: {
        origin,
        "access-control-request-method": "GET",
        "access-control-request-headers": "id-token,livestream-id",
      },
    });
    assert.ok(answer.ok);
    assert.ok(["*", origin].includes(answer.headers.get("access-control-allow-origin")));
    const allowed = answer.headers.get("access-control-allow-headers").toLowerCase();
    assert.ok(allowed.includes("id-token") && allowed.includes("livestream-id"), allowed);
  });

  test("may read every answer from any origin", async () => {
    for (const query of ["EIO=4&transport=polling", "EIO=4&transport=polling&sid=unknown"]) {
      const answer = await fetch(`${world.server.url}/socket.io/?${query}`, { headers: { origin } });
      assert.ok(["*", origin].includes(answer.headers.get("access-control-allow-origin")), query);
      await answer.text();
    }
  });
});

inAWorld("the names that existing deployments have", {}, (world) => {
  /** A daemon with `environment` gets an access token: Firestore learns that the livestream is live. */
  async function works(environment) {
    const server = await world.another(environment);
    const livestream = await world.livestream();
    await world.streamer(livestream, { url: server.url });
    await world.flag(livestream.id, true);
  }

  test("key without its first and last line", () => works({}));

  test("key as a full PEM", () => works({ PRIVATE_KEY: world.google.pem }));

  test("key as a full PEM with literal \\n", () =>
    works({ PRIVATE_KEY: world.google.pem.replaceAll("\n", "\\n") }));

  test("service account's JSON file", async () => {
    const directory = mkdtempSync(join(tmpdir(), "castaway-account-"));
    try {
      const file = join(directory, "account.json");
      writeFileSync(file, JSON.stringify(world.google.serviceAccount));
      const none = Object.fromEntries(["PROJECT_ID", "CLIENT_EMAIL", "PRIVATE_KEY"].map((name) => [name, ""]));
      await works({ ...none, GOOGLE_APPLICATION_CREDENTIALS: file });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

onEveryTransport("what the daemon prints", { CASTAWAY_LOG__LEVEL: "trace" }, (world) => {
  test("holds no secret at any level", async () => {
    const livestream = await world.livestream();
    const token = await world.google.token(livestream.user);
    const expired = await world.google.token(livestream.user, "expired");
    const auth = { idToken: token, livestreamId: livestream.id };
    const streamer = await world.streamer(livestream, { token });
    await world.flag(livestream.id, true);
    const listener = await world.client("listener", { token: undefined, auth });
    await listener.next("success");
    const late = await world.client("listener", { token: expired, livestream: livestream.id });
    await late.next("disconnect");
    const renewed = await world.google.token(livestream.user);
    assert.deepEqual(await streamer.ask("token", renewed), { ok: true });
    assert.equal((await streamer.ask("token", expired)).ok, false);
    streamer.leave();
    await listener.next("disconnect");
    await world.flag(livestream.id, false);
    assert.ok(world.server.log.length > 0);
    const secrets = { token, expired, renewed, ...world.google.secrets };
    for (const [name, secret] of Object.entries(secrets)) {
      assert.ok(!world.server.log.includes(secret), `${name} was printed`);
      assert.ok(!world.server.log.includes(secret.split(".").at(-1)), `the end of ${name} was printed`);
    }
  });
});
