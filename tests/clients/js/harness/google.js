// Google's double, a process: the keys, accounts, token grants and documents that the daemon is pointed at.

import { Child } from "./children.js";
import { program } from "./programs.js";

const LIVES_UNTIL_HEALED = 100_000;
const FIRST = "-----BEGIN PRIVATE KEY-----";
const LAST = "-----END PRIVATE KEY-----";

let shared;

export class Google {
  /** One double for all suites of a process: to make its keys takes long. */
  static shared() {
    return (shared ??= Google.start());
  }

  static async start() {
    const google = new Google();
    google.child = new Child(program("CASTAWAY_GOOGLE_DOUBLE"), [], {});
    const [line] = await google.child.says(/^\{.*\}$/m, 60_000);
    const { admin, environment } = JSON.parse(line);
    google.child.unref();
    const pem = environment.PRIVATE_KEY.replaceAll("\\n", "\n");
    // As deployments of the original have it: no first and last line, and literal \n.
    const body = pem.replace(FIRST, "").replace(LAST, "").trim().replaceAll("\n", "\\n");
    return Object.assign(google, { admin, pem, environment: { ...environment, PRIVATE_KEY: body } });
  }

  /** A service account's JSON file. */
  get serviceAccount() {
    return {
      type: "service_account",
      project_id: this.environment.PROJECT_ID,
      private_key: this.pem,
      client_email: this.environment.CLIENT_EMAIL,
      token_uri: this.environment.CASTAWAY_GOOGLE__TOKEN_URL,
    };
  }

  /** What no log may hold. */
  get secrets() {
    return { "the API key": this.environment.IDENTITY_SERVER_API_KEY, "the private key": this.pem.split("\n")[1] };
  }

  async #admin(method, path, body) {
    const answer = await fetch(this.admin + path, {
      method,
      headers: { "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    const text = await answer.text();
    if (answer.status === 404) return undefined;
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  /** Makes the document `livestreams/{id}`, owned by `user`; `more` may have `record`. */
  livestream(id, user, more = {}) {
    return this.#admin("PUT", `/livestreams/${id}`, { artistId: user, streamerConnected: false, ...more });
  }

  /** An ID token of `user`: "valid", "expired", "foreign" (another project's) or "forged" (signed by another key) … */
  async token(user, kind = "valid") {
    return (await this.#admin("POST", "/tokens", { user, kind })).token;
  }

  /** From now on `user` is "disabled" or "deleted". */
  account(user, state) {
    return this.#admin("PUT", `/users/${user}`, { state });
  }

  /** The fields of `livestreams/{id}`, or undefined when there is no such document. */
  document(id) {
    return this.#admin("GET", `/livestreams/${id}`);
  }

  /**
   * Until `heal`, calls of `endpoint` ("keys", "lookup", "token", "read", "write") go wrong: `{ fault: "status", status }`,
   * `{ fault: "closed" }`, `{ fault: "garbage" }`, or are answered late: `{ fault: "slow", ms }`.
   */
  trouble(endpoint, how) {
    return this.#admin("POST", "/faults", { endpoint, times: LIVES_UNTIL_HEALED, ...how });
  }

  /** All is well again. */
  heal() {
    return this.#admin("DELETE", "/faults");
  }

  /** How many calls each endpoint has had. */
  calls() {
    return this.#admin("GET", "/calls");
  }
}
