// The operator's acts, as the real client meets them: on one node, or on three that share a Redis.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { clustered, test } from "./harness/cluster.js";
import { eventually } from "./harness/server.js";
import { clip, inAWorld, refused } from "./harness/world.js";

const TOKEN = "0123456789abcdef0123456789abcdef";
const ENVIRONMENT = { CASTAWAY_API__TOKEN: `ops:${TOKEN}`, CASTAWAY_SERVER__DRAIN_TIME: "500ms" };
const BANNED = "Banned by the operator of this service.";
const REFUSED = { ok: false, error: BANNED };

/** Asks a node; the status, and the answer as JSON. */
async function ask(node, method, path, body) {
  const answer = await fetch(`${node.health}/api/v1${path}`, {
    method,
    headers: { authorization: ["Bearer", TOKEN].join(" "), ...(body && { "content-type": "application/json" }) },
    body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  return { status: answer.status, answer: text ? JSON.parse(text) : undefined };
}

inAWorld("an operator", ENVIRONMENT, (world) => {
  const state = mkdtempSync(join(tmpdir(), "castaway-state-"));
  after(() => rmSync(state, { recursive: true, force: true }));

  /** Three nodes, or one: the last of them keeps its state over a restart. */
  async function nodes() {
    const own = await world.another(ENVIRONMENT, state);
    await own.ready();
    const all = clustered ? [world.server, world.listenersNode, own] : [own];
    // Until nothing is left of the nodes of the test before.
    const known = async (node) => (await ask(node, "GET", "/nodes")).answer.nodes;
    const settled = async () => {
      const lists = await Promise.all(all.map(known));
      return lists.every((nodes) => nodes.length === all.length && nodes.every((it) => it.answers));
    };
    await eventually(settled, "the nodes know each other", 20_000);
    return all;
  }

  test("bans a streamer, who stays out after a restart", async () => {
    const all = await nodes();
    const [here, there] = [all[0], all.at(-1)];
    const livestream = await world.livestream();
    const token = await world.google.token(livestream.user);
    const streamer = await world.streamer(livestream, { url: here.url, token });
    const listener = await world.listener(livestream, { url: there.url });
    assert.equal((await streamer.uploadWith(clip(1), { id: "one" })).ok, true);
    assert.equal((await listener.next("audio")).readUInt32BE(), 1);
    const ban = await ask(there, "PUT", `/bans/user/${livestream.user}`, { reason: "noise" });
    assert.equal(ban.status, 201);
    assert.equal(await streamer.next("error"), BANNED);
    // Its open socket, until the DISCONNECT that follows.
    const answers = await Promise.all([
      streamer.uploadWith(clip(1), { id: "one" }),
      streamer.uploadWith(clip(2), { id: "two" }),
      streamer.ask("token", await world.google.token(livestream.user)),
    ]);
    assert.deepEqual(answers, [REFUSED, REFUSED, REFUSED]);
    assert.equal(await streamer.next("disconnect"), "io server disconnect");
    assert.equal(await listener.next("disconnect"), "io server disconnect");
    assert.equal(listener.unread("audio"), 0);
    await world.flag(livestream.id, false);
    await there.stop();
    const again = await world.another(ENVIRONMENT, state);
    await again.ready();
    for (const node of [...all.slice(0, -1), again]) {
      for (const back of [token, await world.google.token(livestream.user)]) {
        for (const role of ["streamer", "listener"]) {
          const options = { user: livestream.user, livestream: livestream.id, url: node.url, token: back };
          await refused(await world.client(role, options), BANNED);
        }
      }
    }
    assert.equal((await ask(again, "DELETE", `/bans/user/${livestream.user}`)).status, 204);
    await world.streamer(livestream, { url: again.url });
  });

  test("kicks a streamer, from any node", async () => {
    const all = await nodes();
    const [here, there] = [all[0], all.at(-1)];
    const livestream = await world.livestream();
    const streamer = await world.streamer(livestream, { url: here.url });
    const listener = await world.listener(livestream, { url: there.url });
    const kick = () => ask(there, "DELETE", `/livestreams/${livestream.id}/streamer`);
    const { status, answer } = await kick();
    assert.deepEqual([status, answer], [200, { users: [livestream.user] }]);
    assert.equal(await streamer.next("error"), "Disconnected by the operator of this service.");
    assert.equal(await streamer.next("disconnect"), "io server disconnect");
    assert.equal(streamer.socket.active, false, "the client does not connect again by itself");
    assert.equal((await kick()).status, 409);
    const again = await world.streamer(livestream, { url: there.url });
    await again.upload(clip(3));
    assert.equal((await listener.next("audio")).readUInt32BE(), 3);
  });

  test("drains a node, whose clients come back", async () => {
    const all = await nodes();
    const node = all.at(-1);
    const livestream = await world.livestream();
    const streamer = await world.streamer(livestream, { url: node.url });
    const listener = await world.listener(livestream, { url: node.url });
    const { status, answer } = await ask(all[0], "GET", "/nodes");
    assert.deepEqual([status, answer.nodes.length], [200, all.length]);
    const name = answer.nodes.find((it) => it.livestreams === 1 && it.listeners === 1).name;
    assert.equal((await ask(all[0], "POST", `/drain?node=${name}`)).answer.draining, true);
    for (const client of [listener, streamer]) {
      assert.match(await client.next("disconnect"), /^transport (close|error)$/);
      assert.equal(client.socket.active, true, "the client connects again by itself");
    }
    const left = async () => {
      const { answer } = await ask(all[0], "POST", `/drain?node=${name}`);
      return answer.streamers + answer.listeners === 0;
    };
    await eventually(left, "nobody is left");
    assert.equal((await ask(all[0], "DELETE", `/drain?node=${name}`)).answer.draining, false);
    // Sooner or later, since they asked meanwhile, and were refused for now.
    const success = (client, role) =>
      eventually(
        () => client.journal.filter(({ value }) => `${value}`.endsWith(`connected as ${role} to livestream ${livestream.id}.`)).length === 2,
        `the ${role} is back`,
      );
    await Promise.all([success(streamer, "streamer"), success(listener, "listener")]);
  });
});
