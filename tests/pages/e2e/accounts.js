// @ts-check
/**
 * Firebase's accounts: the real Auth emulator, if CASTAWAY_AUTH_EMULATOR names its address (tests/emulators does), or else a
 * double of the calls that the pages and the server make. And a daemon that takes its tokens.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { BINARY } from "./stage.js";

/** The Auth emulator takes a project with this prefix for its own. */
const PROJECT = "demo-castaway";
const KEY = "any-key";
const DOUBLE = new URL("../../../target/debug/examples/google-double", import.meta.url).pathname;

/** @typedef {{localId: string, email: string, password: string, disabled: boolean}} User */

/** As the Auth emulator's: not signed. @param {User} user @param {number} number tells tokens of a second apart */
function tokenOf(user, number) {
  const part = (/** @type {object} */ it) => Buffer.from(JSON.stringify(it)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: `https://securetoken.google.com/${PROJECT}`, aud: PROJECT, sub: user.localId, user_id: user.localId, auth_time: now, iat: now, exp: now + 3600, number };
  return `${part({ alg: "none", typ: "JWT" })}.${part(claims)}.`;
}

/** Its answers: a body, or the word of a refusal. */
class Double {
  /** @type {User[]} */ users = [];
  #tokens = 0;

  /** @param {string} path @param {any} body @returns {object | string} */
  answer(path, body) {
    const user = this.users.find((it) => [it.email, it.localId].includes(body.email ?? body.localId ?? body.refresh_token));
    if (path.endsWith("accounts:signUp")) {
      const made = { localId: `user-${this.users.length}`, email: body.email, password: body.password, disabled: false };
      this.users.push(made);
      return { localId: made.localId };
    }
    if (path.endsWith("accounts:lookup")) {
      const named = body.localId?.[0] ?? JSON.parse(Buffer.from(String(body.idToken).split(".")[1] ?? "", "base64url").toString()).sub;
      return { users: this.users.filter(({ localId }) => localId === named).map(({ localId, disabled }) => ({ localId, disabled, validSince: "0" })) };
    }
    if (path.endsWith("accounts:update") && user) {
      user.disabled = body.disableUser;
      return {};
    }
    if (path.endsWith("accounts:sendOobCode")) return user ? { email: user.email } : "EMAIL_NOT_FOUND";
    if (path.endsWith("accounts:signInWithPassword")) {
      if (!user || user.password !== body.password) return "INVALID_LOGIN_CREDENTIALS";
      if (user.disabled) return "USER_DISABLED";
      return { idToken: tokenOf(user, this.#tokens++), refreshToken: user.localId, expiresIn: "3600", email: user.email, localId: user.localId };
    }
    if (path.endsWith("/token") && user) {
      return user.disabled ? "USER_DISABLED" : { id_token: tokenOf(user, this.#tokens++), refresh_token: user.localId, expires_in: "3600" };
    }
    return "INVALID_REFRESH_TOKEN";
  }
}

/** @returns {Promise<{host: string, close: () => void}>} */
async function startDouble() {
  const double = new Double();
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += chunk;
    const form = request.headers["content-type"]?.includes("urlencoded");
    const body = form ? Object.fromEntries(new URLSearchParams(text)) : JSON.parse(text || "{}");
    const path = new URL(request.url ?? "/", "http://double").pathname;
    const answer = request.method === "OPTIONS" ? {} : double.answer(path, body);
    const refused = typeof answer === "string";
    response.writeHead(refused ? 400 : 200, { "content-type": "application/json", "access-control-allow-origin": "*", "access-control-allow-headers": "*" });
    response.end(JSON.stringify(refused ? { error: { code: 400, message: answer } } : answer));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return { host: `127.0.0.1:${typeof address === "object" && address ? address.port : 0}`, close: () => server.close() };
}

/** @param {string} program @param {string[]} args @param {Record<string, string>} environment */
function start(program, args, environment) {
  const child = spawn(program, args, { env: { PATH: process.env.PATH, HOME: process.env.HOME, ...environment }, stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: /** @type {import("node:stream").Readable} */ (child.stdout) })[Symbol.asyncIterator]();
  return {
    /** The next line that the pattern matches. @param {RegExp} pattern */
    async says(pattern) {
      for (;;) {
        const { value, done } = await lines.next();
        if (done) throw new Error(`${program} never printed ${pattern}`);
        const found = String(value).match(pattern);
        if (found) return found;
      }
    },
    async stop() {
      child.kill();
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    },
  };
}

/**
 * A daemon whose pages sign people in, with a livestream of each user that is made.
 * @param {(state: string) => Record<string, string>} [more] of its environment; `state`: its state directory
 */
export async function startDaemon(more = () => ({})) {
  const emulator = process.env.CASTAWAY_AUTH_EMULATOR;
  const auth = emulator ? { host: emulator, close() {} } : await startDouble();
  const google = start(DOUBLE, ["--project", PROJECT], {});
  const { admin, environment } = JSON.parse((await google.says(/^\{.*\}$/))[0]);
  const state = mkdtempSync(join(tmpdir(), "castaway-accounts-"));
  const daemon = start(BINARY, ["serve"], {
    ...environment,
    STATE_DIRECTORY: state,
    FIREBASE_AUTH_EMULATOR_HOST: auth.host,
    CASTAWAY_SERVER__LISTEN: "127.0.0.1:0",
    CASTAWAY_SERVER__HEALTH_LISTEN: "127.0.0.1:0",
    CASTAWAY_HTTP__PAGES: "true",
    CASTAWAY_HTTP__FIREBASE: JSON.stringify({ apiKey: KEY, authDomain: `${PROJECT}.firebaseapp.com`, projectId: PROJECT }),
    CASTAWAY_LISTENER__PASSES: "streamers",
    CASTAWAY_LOG__FORMAT: "plain",
    CASTAWAY_LOG__LEVEL: "warn",
    ...more(state),
  });
  const [, url = ""] = await daemon.says(/^castaway: clients on (http:\S+),/);
  /** @param {string} path @param {object} body @param {Record<string, string>} headers */
  const ask = async (path, body, headers) => {
    const address = `http://${auth.host}/identitytoolkit.googleapis.com/v1/${path}`;
    const answer = await fetch(address, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
    return /** @type {Promise<any>} */ (answer.json());
  };
  return {
    url,
    state,
    /** A user with a livestream of that name. @param {string} email @param {string} password @param {string} livestream */
    async makeUser(email, password, livestream) {
      const { localId } = await ask("accounts:signUp", { email, password, returnSecureToken: true }, { "x-goog-api-key": KEY });
      await fetch(`${admin}/livestreams/${livestream}`, { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify({ artistId: localId }) });
      return localId;
    },
    /** @param {string} localId */
    async disable(localId) {
      await ask(`projects/${PROJECT}/accounts:update`, { localId, disableUser: true }, { authorization: "Bearer owner" });
    },
    async stop() {
      await daemon.stop();
      await google.stop();
      auth.close();
      rmSync(state, { recursive: true, force: true });
    },
  };
}
