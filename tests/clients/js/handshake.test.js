// Who is let in, who is refused, and in which words.

import assert from "node:assert/strict";
import { test } from "./harness/cluster.js";
import { onEveryTransport, refused } from "./harness/world.js";

onEveryTransport("the handshake", {}, (world) => {
  for (const role of ["streamer", "listener"]) {
    test(`${role} without a token is refused first`, async () => {
      const livestream = await world.livestream();
      await refused(await world.client(role, { token: undefined, livestream: livestream.id }), "Id token not provided.");
      await refused(await world.client(role, { token: undefined }), "Id token not provided.");
    });

    test(`${role} without a livestream is refused unverified`, async () => {
      await refused(await world.client(role), "Livestream id not provided.");
      await refused(await world.client(role, { token: "no token" }), "Livestream id not provided.");
    });

    test(`${role} with an invalid token is refused first`, async () => {
      const livestream = world.name("missing");
      const tokens = {
        garbage: "no token",
        "three dots": "a.b.c",
        foreign: await world.google.token("somebody", "foreign"),
        forged: await world.google.token("somebody", "forged"),
      };
      const refusal = async (token) => {
        await refused(await world.client(role, { token, livestream }), "Id token is invalid.");
      };
      await Promise.all(Object.values(tokens).map(refusal));
    });

    test(`${role} with an expired token is told so`, async () => {
      const livestream = await world.livestream();
      const token = await world.google.token(livestream.user, "expired");
      await refused(await world.client(role, { token, livestream: livestream.id }), "Id token has expired.");
    });

    test(`${role} may use the CONNECT payload`, async () => {
      const livestream = await world.onAir(0);
      const user = role === "streamer" ? livestream.user : world.name("guest");
      const auth = { idToken: await world.google.token(user), livestreamId: livestream.id };
      const client = await world.client(role, { token: undefined, auth });
      assert.equal(await client.next("success"), `User ${user} connected as ${role} to livestream ${livestream.id}.`);
    });

    test(`a ${role}'s headers win over its CONNECT payload`, async () => {
      const livestream = await world.onAir(0);
      const auth = { idToken: "no token", livestreamId: "missing" };
      await (role === "streamer" ? world.streamer(livestream, { auth }) : world.listener(livestream, { auth }));
    });

    test(`${role}'s payload of the wrong shape is ignored`, async () => {
      const refusal = async (auth) => {
        await refused(await world.client(role, { token: undefined, auth }), "Id token not provided.");
      };
      await Promise.all([{ idToken: 1, livestreamId: {} }, { idToken: null }, {}].map(refusal));
    });

    test(`${role}'s id of no document costs no call`, async () => {
      const before = (await world.google.calls()).read;
      const hostile = ["..", ".", "a/b", "../x", "__x__", "a\u0000b", "a\nb", "x".repeat(2_000)];
      const refusal = async (livestreamId) => {
        const auth = { idToken: await world.google.token("guest"), livestreamId };
        const client = await world.client(role, { token: undefined, auth });
        const text = await client.next("error");
        if (role === "streamer") assert.equal(text, "User is not authorized to livestream in this room.");
        else assert.match(text, /^Livestream [^]* does not exist\.$/);
        assert.equal(await client.next("disconnect"), "io server disconnect");
      };
      await Promise.all(hostile.map(refusal));
      assert.equal((await world.google.calls()).read, before);
    });
  }

  for (const state of ["disabled", "deleted"]) {
    test(`streamer with a ${state} account is refused`, async () => {
      const livestream = await world.livestream();
      await world.google.account(livestream.user, state);
      const client = await world.client("streamer", { user: livestream.user, livestream: livestream.id });
      await refused(client, "Id token is invalid.");
    });
  }

  test("streamer of a missing document is not authorised", async () => {
    const livestream = world.name("missing");
    const client = await world.client("streamer", { livestream });
    await refused(client, "User is not authorized to livestream in this room.");
    assert.equal(await world.google.document(livestream), undefined);
  });

  test("streamer of another's livestream is not authorised", async () => {
    const livestream = await world.livestream();
    const client = await world.client("streamer", { livestream: livestream.id });
    await refused(client, "User is not authorized to livestream in this room.");
    assert.equal((await world.google.document(livestream.id)).streamerConnected, false);
  });

  test("listener of a missing document is told so", async () => {
    const livestream = world.name("missing");
    await refused(await world.client("listener", { livestream }), `Livestream ${livestream} does not exist.`);
    assert.equal(await world.google.document(livestream), undefined);
  });

  test("listener before the livestream is told so", async () => {
    const livestream = await world.livestream();
    const client = await world.client("listener", { livestream: livestream.id });
    await refused(client, `Livestream ${livestream.id} has not started.`);
  });

  test("streamer and listeners are admitted, the flag set", async () => {
    const livestream = await world.livestream();
    const before = await world.google.document(livestream.id);
    await world.streamer(livestream);
    await world.listener(livestream);
    await world.flag(livestream.id, true);
    assert.deepEqual(await world.google.document(livestream.id), { ...before, streamerConnected: true });
  });

  test("one user may stream and listen twice", async () => {
    const livestream = await world.onAir(0);
    await world.listener(livestream, { user: livestream.user });
    await world.listener(livestream, { user: livestream.user });
  });

  test("listener gets the state in one object", async () => {
    const livestream = await world.onAir(2);
    const states = [await livestream.listeners[1].next("state"), await livestream.streamer.next("state")];
    for (const state of states) {
      assert.equal(state.state, "live");
      assert.equal(typeof state.listeners, "number");
    }
  });
});
