// @ts-check
/**
 * The operator's API, as the page asks it: each request has a time limit, and each failure says what helps.
 *
 * The token travels in a header alone. It is in no address, no log line and no message of a failure.
 */

import { span } from "./words.js";

/** How long the server may take: longer than the API itself allows a request and its nodes. */
const TIMEOUT_MS = 15_000;

/**
 * @typedef {{id: string, state: "waiting" | "live" | "reconnecting", streamer: string | null, node: string | null,
 *   since: string | null, sequence: number, listeners: number, clips: number, bytes_in: number, bytes_out: number,
 *   clips_dropped: number, bytes_per_second: number, recording: "on" | "paused" | "off"}} Livestream
 * @typedef {{livestreams: Livestream[], total: number, unanswered: string[]}} Livestreams
 * @typedef {{id: string, role: "streamer" | "listener", user: string, node: string, transport?: string, since: string,
 *   clips_dropped: number, lag_ms: number}} Socket
 * @typedef {Livestream & {sockets: Socket[], unanswered: string[]}} Details
 * @typedef {{name: string, answers: boolean, version: string | null, ready: boolean | null, draining: boolean | null,
 *   degraded: string[] | null, livestreams: number | null, streamers: number | null, listeners: number | null,
 *   seconds_left: number | null}} Node
 * @typedef {{kind: "user" | "livestream", id: string, until: string | null, reason: string}} Ban
 */

/** A request without success. The message is for the operator. */
export class Failure extends Error {
  /**
   * @param {string} message
   * @param {number} [status] 0: no answer
   * @param {number} [retryAfterMs]
   */
  constructor(message, status = 0, retryAfterMs = 0) {
    super(message);
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether another token is needed. */
  get isOfToken() {
    return this.status === 401;
  }
}

const WRONG_TOKEN =
  "This token is wrong, or no longer valid. Enter one of the credential castaway.api.token, without its name and the colon.";

/**
 * What an answer without success comes to.
 * @param {number} status
 * @param {string} detail of the problem document; empty if there is none
 * @param {number} retryAfter in seconds; 0 if unsaid
 */
export function failureOf(status, detail, retryAfter) {
  if (status === 401) return new Failure(WRONG_TOKEN, status);
  if (status === 429) {
    const wait = retryAfter || 60;
    return new Failure(`Too many wrong tokens came from your address. The server listens again in ${span(wait)}.`, status, wait * 1000);
  }
  const said = detail ? `${detail[0]?.toUpperCase()}${detail.slice(1)}.` : `It answered with the status ${status}.`;
  return new Failure(status >= 500 ? `The server could not do this. ${said}` : said, status, retryAfter * 1000);
}

/** What no answer comes to. @param {unknown} error @param {boolean} isAct */
export function silenceOf(error, isAct) {
  const isLate = error instanceof Error && error.name === "TimeoutError";
  const what = isLate ? `The server did not answer within ${TIMEOUT_MS / 1000} s.` : "The server cannot be reached.";
  return new Failure(isAct ? `${what} It may have been done all the same: look before you try again.` : what);
}

export class Api {
  #token;
  #closed = new AbortController();
  /** The server's clock, less this one's, in milliseconds. */
  #skew = 0;

  /** @param {string} token */
  constructor(token) {
    this.#token = token;
  }

  /** The time by the server's clock, in milliseconds. */
  now() {
    return Date.now() + this.#skew;
  }

  get isClosed() {
    return this.#closed.signal.aborted;
  }

  /** Breaks off what is being read. */
  close() {
    this.#closed.abort();
  }

  /**
   * Asks, and resolves with the status and the answer.
   * @param {"GET" | "POST" | "PUT" | "DELETE"} method
   * @param {string[]} path its parts, as they are
   * @param {{query?: Record<string, string>, body?: unknown}} [more]
   * @returns {Promise<{status: number, answer: any}>}
   */
  async ask(method, path, { query = {}, body } = {}) {
    // No header can hold anything else, and no such token is valid.
    if (!/^[\x21-\x7e]+$/.test(this.#token)) throw new Failure(WRONG_TOKEN, 401);
    const isAct = method !== "GET";
    const parameters = new URLSearchParams(query).toString();
    const address = `/api/v1/${path.map(encodeURIComponent).join("/")}${parameters && `?${parameters}`}`;
    const limit = AbortSignal.timeout(TIMEOUT_MS);
    let response, text;
    try {
      response = await fetch(address, {
        method,
        headers: {
          authorization: ["Bearer", this.#token].join(" "),
          ...(body !== undefined && { "content-type": "application/json" }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: isAct ? limit : AbortSignal.any([limit, this.#closed.signal]),
      });
      text = await response.text();
    } catch (error) {
      throw silenceOf(error, isAct);
    }
    const date = Date.parse(response.headers.get("date") ?? "");
    if (!Number.isNaN(date)) this.#skew = date - Date.now();
    const answer = parsed(text);
    if (response.ok) return { status: response.status, answer };
    const detail = typeof answer?.detail === "string" ? answer.detail : "";
    throw failureOf(response.status, detail, Number(response.headers.get("retry-after")) || 0);
  }

  /** @param {string[]} path @param {Record<string, string>} [query] */
  async get(path, query = {}) {
    return (await this.ask("GET", path, { query })).answer;
  }
}

/** @param {string} text @returns {any} null for what is no JSON */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
