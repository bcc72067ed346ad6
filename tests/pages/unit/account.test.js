// @ts-check
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { Account } from "../../../src/http/pages/account.js";

const PROJECT = { key: "key", accounts: "https://accounts.example/v1", tokens: "https://tokens.example/v1" };
const MINUTE = 60_000;

/** What Firebase answers next, and what it was asked. @type {{answers: any[], asked: {url: URL, body: string, referrer: string | undefined}[]}} */
let firebase = { answers: [], asked: [] };
/** @type {any[][]} */
let happened = [];
/** @type {Map<string, string>} */
let stored = new Map();

const storage = /** @type {Storage} */ (
  /** @type {unknown} */ ({
    getItem: (/** @type {string} */ key) => stored.get(key) ?? null,
    setItem: (/** @type {string} */ key, /** @type {string} */ value) => stored.set(key, value),
    removeItem: (/** @type {string} */ key) => stored.delete(key),
  })
);

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  [firebase, happened, stored] = [{ answers: [], asked: [] }, [], new Map()];
  mock.method(globalThis, "fetch", async (/** @type {string} */ url, /** @type {RequestInit} */ { body, referrerPolicy }) => {
    firebase.asked.push({ url: new URL(url), body: String(body), referrer: referrerPolicy });
    const answer = firebase.answers.shift();
    if (answer instanceof Error) throw answer;
    const { refusal, status = refusal ? 400 : 200, ...rest } = answer;
    return new Response(JSON.stringify(refusal ? { error: { message: refusal } } : rest), { status });
  });
});

const account = () =>
  new Account(
    PROJECT,
    {
      changed: () => happened.push(["changed"]),
      renewed: (idToken) => happened.push(["renewed", idToken]),
      signedOut: (why) => happened.push(["signed out", why]),
    },
    storage,
  );

const token = (/** @type {string} */ id_token) => ({ id_token, refresh_token: "kept", expires_in: "3600" });

async function signedIn() {
  firebase.answers.push({ idToken: "first", refreshToken: "kept", expiresIn: "3600", email: "ada@example.com" });
  const it = account();
  await it.signIn("ada@example.com", "secret");
  return it;
}

/** Lets answers arrive. */
const settle = async () => {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  await new Promise((resolve) => setImmediate(resolve));
};

test("signing in asks Firebase once, and keeps no password", async () => {
  const it = await signedIn();
  assert.equal(await it.token(), "first");
  assert.equal(firebase.asked.length, 1);
  assert.equal(firebase.asked[0]?.url.href, "https://accounts.example/v1/accounts:signInWithPassword?key=key");
  assert.equal(firebase.asked[0]?.referrer, "origin");
  assert.ok(![...stored.values()].join().includes("secret"));
  assert.deepEqual(happened, [["changed"]]);
});

test("an account is known again after a reload", async () => {
  await signedIn();
  const again = account();
  assert.equal(again.email, "ada@example.com");
  firebase.answers.push(token("second"));
  assert.equal(await again.token(), "second");
  assert.match(firebase.asked[1]?.body ?? "", /refresh_token=kept/);
});

test("a token is renewed five minutes before its end", async () => {
  const it = await signedIn();
  firebase.answers.push(token("second"));
  mock.timers.tick(55 * MINUTE - 1);
  assert.equal(firebase.asked.length, 1);
  mock.timers.tick(1);
  await settle();
  assert.deepEqual(happened.at(-1), ["renewed", "second"]);
  assert.equal(await it.token(), "second");
});

test("a renewal that is not answered is tried again", async () => {
  const it = await signedIn();
  firebase.answers.push(new Error("no network"), { refusal: "BACKEND_ERROR", status: 503 }, token("second"));
  mock.timers.tick(55 * MINUTE);
  await settle();
  assert.ok(it.signedIn);
  for (let more = 0; more < 2; more++) {
    mock.timers.tick(MINUTE / 2);
    await settle();
  }
  assert.deepEqual(happened.at(-1), ["renewed", "second"]);
});

test("renewals at once are one request", async () => {
  const it = await signedIn();
  mock.timers.setTime(Date.now() + 60 * MINUTE);
  firebase.asked.length = 0;
  firebase.answers = [token("second"), token("third")];
  const [one, other] = await Promise.all([it.token(), it.token()]);
  assert.equal(one, other);
  assert.equal(firebase.asked.length, 1);
});

test("an account that is gone is signed out, and says why", async () => {
  const it = await signedIn();
  mock.timers.setTime(Date.now() + 60 * MINUTE);
  firebase.answers = [{ refusal: "USER_DISABLED" }, { refusal: "USER_DISABLED" }];
  await assert.rejects(it.token());
  assert.ok(!it.signedIn);
  assert.equal(stored.size, 0);
  assert.match(happened.at(-1)?.[1], /disabled.*Sign in again/);
});

test("a token that the server takes for expired is replaced once", async () => {
  const it = await signedIn();
  assert.ok(!it.expired("first"), "it is new");
  mock.timers.tick(2 * MINUTE);
  assert.ok(!it.expired("another"));
  assert.ok(it.expired("first"));
  firebase.answers.push(token("second"));
  assert.equal(await it.token(), "second");
  assert.ok(!it.expired("second"));
});

test("refusals are told in words, and an outage as one", async () => {
  const it = account();
  for (const [answer, words] of /** @type {[any, RegExp][]} */ ([
    [{ refusal: "INVALID_LOGIN_CREDENTIALS" }, /is wrong/],
    [{ refusal: "TOO_MANY_ATTEMPTS_TRY_LATER : Access is disabled" }, /too many attempts/],
    [{ refusal: "API key not valid. Please pass a valid API key." }, /Tell the people who run it: API key not valid/],
    [{ refusal: "INTERNAL", status: 500 }, /does not answer/],
    [{ mfaPendingCredential: "x" }, /second factor/],
    [new Error("no network"), /does not answer/],
  ])) {
    firebase.answers = [answer];
    await assert.rejects(it.signIn("ada@example.com", "x"), words);
    assert.ok(!it.signedIn);
  }
});

test("a new password is promised to every address", async () => {
  firebase.answers = [{ email: "ada@example.com" }, { refusal: "EMAIL_NOT_FOUND" }, { refusal: "RESET_PASSWORD_EXCEED_LIMIT" }];
  await account().resetPassword("ada@example.com");
  await account().resetPassword("nobody@example.com");
  await assert.rejects(account().resetPassword("ada@example.com"), /too many requests/);
});

test("signing out in another page signs out here", async () => {
  const it = await signedIn();
  stored.clear();
  it.elsewhere("another.key");
  assert.ok(it.signedIn);
  it.elsewhere("castaway.account");
  assert.ok(!it.signedIn);
  await assert.rejects(it.token(), /signed out/);
});
