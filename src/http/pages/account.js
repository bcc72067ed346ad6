// @ts-check
/**
 * An account of the app, by Firebase's REST API: signed in by e-mail and password, and kept on this device until it is signed
 * out. Its ID token is renewed before it expires. Only where the server names the Firebase project (`http.firebase`).
 */

/** How long Firebase may take to answer. */
const ANSWER_MS = 10_000;
/** How long before its end a token is renewed, and how long before its end it is no longer shown. */
const RENEW_MS = 5 * 60_000;
const STALE_MS = 60_000;
/** When a renewal that Firebase did not answer is tried again. */
const AGAIN_MS = 30_000;
const KEY = "castaway.account";

const SIGNED_OUT = "You have been signed out. Sign in again to go on.";

/** Firebase's words for what a person can mend. */
const PROBLEMS = /** @type {Record<string, string>} */ ({
  INVALID_LOGIN_CREDENTIALS: "E-mail address or password is wrong.",
  INVALID_PASSWORD: "E-mail address or password is wrong.",
  EMAIL_NOT_FOUND: "E-mail address or password is wrong.",
  INVALID_EMAIL: "That is no e-mail address.",
  MISSING_EMAIL: "Enter your e-mail address first.",
  MISSING_PASSWORD: "Enter your password.",
  USER_DISABLED: "This account has been disabled.",
  USER_NOT_FOUND: "This account is no longer there.",
  TOO_MANY_ATTEMPTS_TRY_LATER: "There were too many attempts. Wait a while, or choose a new password.",
  RESET_PASSWORD_EXCEED_LIMIT: "There were too many requests for a new password. Try again later.",
  OPERATION_NOT_ALLOWED: "The app does not let people sign in by password.",
  PASSWORD_LOGIN_DISABLED: "The app does not let people sign in by password.",
});
const SECOND_FACTOR = "This account asks for a second factor, which this page does not offer. Open the link that the app gives you.";
const UNREACHABLE = "The sign-in service does not answer. Check your connection, and try again.";
const MISCONFIGURED = "The sign-in service refuses this page. Tell the people who run it:";

/** `permanent`: asking again changes nothing. */
class Refused extends Error {
  /** @param {string} message @param {boolean} permanent */
  constructor(message, permanent) {
    super(message);
    this.permanent = permanent;
  }
}

/**
 * @typedef {object} Project
 * @property {string} key its web API key
 * @property {string} accounts base address of the Identity Toolkit
 * @property {string} tokens base address of the token service
 */

/** @typedef {{email: string, refreshToken: string}} Kept what outlives the page */

export class Account {
  /** @type {Kept | null} */ #kept = null;
  /** The ID token, and until when it is good, in milliseconds since 1970. @type {{idToken: string, got: number, until: number} | null} */
  #current = null;
  /** @type {Promise<string> | null} */ #renewing = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #due;

  /**
   * @param {Project} project
   * @param {object} on
   * @param {() => void} on.changed signed in or out
   * @param {(idToken: string) => void} on.renewed the token before it expires soon
   * @param {(why: string) => void} on.signedOut by Firebase, not by the person
   * @param {Storage | null} storage null where there is none
   */
  constructor(project, on, storage) {
    this.project = project;
    this.on = on;
    this.storage = storage;
    this.#recall();
  }

  get signedIn() {
    return this.#kept !== null;
  }

  /** The e-mail address of the account that is signed in, or an empty string. */
  get email() {
    return this.#kept?.email ?? "";
  }

  /** @param {string} email @param {string} password */
  async signIn(email, password) {
    const url = `${this.project.accounts}/accounts:signInWithPassword`;
    const answer = await this.#ask(url, JSON.stringify({ email, password, returnSecureToken: true }), "application/json");
    if (!answer.idToken || !answer.refreshToken) throw new Refused(answer.mfaPendingCredential ? SECOND_FACTOR : UNREACHABLE, true);
    this.#keep({ email: answer.email ?? email, refreshToken: answer.refreshToken });
    this.#got(answer.idToken, answer.expiresIn);
    this.on.changed();
  }

  /** Lets Firebase send the message by which a person chooses a new password. @param {string} email */
  async resetPassword(email) {
    const body = JSON.stringify({ requestType: "PASSWORD_RESET", email });
    await this.#ask(`${this.project.accounts}/accounts:sendOobCode`, body, "application/json").catch((error) => {
      // Whether an address has an account is told to nobody.
      if (error.code !== "EMAIL_NOT_FOUND") throw error;
    });
  }

  signOut() {
    this.#forget();
    this.on.changed();
  }

  /** An ID token that is good for a while. @returns {Promise<string>} */
  async token() {
    const current = this.#current;
    if (current && Date.now() < current.until - STALE_MS) return current.idToken;
    return this.#renew();
  }

  /**
   * The server takes this token for expired: the clocks differ, or the account's tokens were revoked.
   * @param {string} idToken
   * @returns {boolean} whether another may be had
   */
  expired(idToken) {
    const current = this.#current;
    if (!this.#kept || current?.idToken !== idToken || Date.now() - current.got < STALE_MS) return false;
    this.#current = null;
    return true;
  }

  /** Another page has signed in or out. @param {string | null} key */
  elsewhere(key) {
    if (key !== KEY && key !== null) return;
    const before = this.#kept?.refreshToken;
    this.#recall();
    if (this.#kept?.refreshToken === before) return;
    this.#current = null;
    clearTimeout(this.#due);
    this.on.changed();
  }

  #renew() {
    this.#renewing ??= this.#exchange().finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }

  async #exchange() {
    const kept = this.#kept;
    if (!kept) throw new Refused(SIGNED_OUT, true);
    const body = new URLSearchParams({ grant_type: "refresh_token", refresh_token: kept.refreshToken }).toString();
    try {
      const answer = await this.#ask(`${this.project.tokens}/token`, body, "application/x-www-form-urlencoded");
      // Signed out, or in as another, meanwhile.
      if (this.#kept !== kept) return this.token();
      if (answer.refresh_token) this.#keep({ ...kept, refreshToken: answer.refresh_token });
      return this.#got(answer.id_token, answer.expires_in);
    } catch (error) {
      if (error instanceof Refused && error.permanent && this.#kept === kept) {
        this.#forget();
        this.on.changed();
        this.on.signedOut(`${error.message} ${SIGNED_OUT}`);
      }
      throw error;
    }
  }

  /** @param {string} idToken @param {string} seconds its lifetime */
  #got(idToken, seconds) {
    const lifetime = Number(seconds) * 1000 || 0;
    this.#current = { idToken, got: Date.now(), until: Date.now() + lifetime };
    this.#renewIn(Math.max(lifetime - RENEW_MS, lifetime / 2));
    return idToken;
  }

  /** @param {number} ms */
  #renewIn(ms) {
    clearTimeout(this.#due);
    this.#due = setTimeout(() => {
      this.#renew().then(
        (idToken) => this.on.renewed(idToken),
        () => this.#kept && this.#renewIn(AGAIN_MS),
      );
    }, ms);
  }

  /** @param {Kept} kept */
  #keep(kept) {
    this.#kept = kept;
    try {
      this.storage?.setItem(KEY, JSON.stringify(kept));
    } catch {
      // storage is full or off: signed in until the page is closed
    }
  }

  #forget() {
    this.#kept = null;
    this.#current = null;
    clearTimeout(this.#due);
    try {
      this.storage?.removeItem(KEY);
    } catch {
      // as above
    }
  }

  #recall() {
    try {
      const { email, refreshToken } = JSON.parse(this.storage?.getItem(KEY) ?? "{}");
      this.#kept = typeof refreshToken === "string" && refreshToken ? { email: String(email ?? ""), refreshToken } : null;
    } catch {
      this.#kept = null;
    }
  }

  /** @param {string} url @param {string} body @param {string} type @returns {Promise<any>} */
  async #ask(url, body, type) {
    /** @type {Response} */ let response;
    /** @type {any} */ let answer;
    try {
      response = await fetch(`${url}?${new URLSearchParams({ key: this.project.key })}`, {
        method: "POST",
        headers: { "content-type": type },
        body,
        credentials: "omit",
        // An API key may be restricted to pages of this origin.
        referrerPolicy: "origin",
        signal: AbortSignal.timeout(ANSWER_MS),
      });
      answer = await response.json();
    } catch {
      throw new Refused(UNREACHABLE, false);
    }
    if (response.ok) return answer;
    const said = String(answer?.error?.message ?? response.status);
    const code = said.split(/[ :]/)[0] ?? "";
    const known = PROBLEMS[code];
    const temporary = response.status >= 500 || response.status === 429 || code === "TOO_MANY_ATTEMPTS_TRY_LATER";
    throw Object.assign(new Refused(known ?? (temporary ? UNREACHABLE : `${MISCONFIGURED} ${said}`), !temporary), { code });
  }
}
