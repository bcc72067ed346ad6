// @ts-check
/** What the control page says: pure functions of what the API answers. */

import { counted } from "../ui.js";

/** @typedef {import("./api.js").Node} Node */

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A whole number with its thousands apart. @param {number} count */
export const number = (count) => count.toLocaleString("en");

/** A time span, in its two largest units. @param {number} seconds */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < MINUTE) return `${whole} s`;
  if (whole < HOUR) return `${Math.floor(whole / MINUTE)} min`;
  if (whole < DAY) return `${Math.floor(whole / HOUR)} h ${Math.floor((whole % HOUR) / MINUTE)} min`;
  return `${Math.floor(whole / DAY)} d ${Math.floor((whole % DAY) / HOUR)} h`;
}

/** The time since then; a dash if it has not begun. @param {string | null} since RFC 3339 @param {number} now in ms */
export function sinceWords(since, now) {
  return since === null ? "–" : span((now - Date.parse(since)) / 1000);
}

/** A data rate. @param {number} bytesPerSecond */
export function rate(bytesPerSecond) {
  const kilobits = (bytesPerSecond * 8) / 1000;
  return kilobits >= 10_000 ? `${(kilobits / 1000).toFixed(1)} Mbit/s` : `${number(Math.round(kilobits))} kbit/s`;
}

/** An amount of data. @param {number} bytes */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/**
 * How old something on the page is, and whether that is too old.
 * @param {number | null} at when it was answered, in ms; null: never
 * @param {number} now in ms
 * @param {number} staleAfterMs
 */
export function freshness(at, now, staleAfterMs) {
  if (at === null) return { words: "not asked yet", isStale: false };
  const isStale = now - at > staleAfterMs;
  const words = `updated ${span((now - at) / 1000)} ago`;
  return { words: isStale ? `stale: ${words}` : words, isStale };
}

/** How a livestream is going. @param {Pick<import("./api.js").Livestream, "state" | "recording">} livestream */
export function livestreamState({ state, recording }) {
  if (recording === "on") return `${state}, recorded`;
  return recording === "paused" ? `${state}, recording paused` : state;
}

/** What a node does. @param {Node} node */
export function nodeState(node) {
  if (!node.answers) return "does not answer";
  const degraded = node.degraded?.length ? `; degraded: ${node.degraded.join(", ")}` : "";
  if (node.draining) {
    const left = `${counted(node.streamers ?? 0, "streamer")} and ${counted(node.listeners ?? 0, "listener")} left`;
    return `drains: ${left}, ${span(node.seconds_left ?? 0)} to go${degraded}`;
  }
  return `${node.ready ? "ready" : "not ready"}${degraded}`;
}

/** The nodes that an answer lacks, as a sentence; empty if none. @param {string[]} nodes @param {string} what is missing */
export function missingWords(nodes, what) {
  if (nodes.length === 0) return "";
  return `No answer from ${nodes.join(", ")}: ${nodes.length === 1 ? "its" : "their"} ${what} are missing here.`;
}

/** Lengths of a ban that the page offers, in seconds. */
const LENGTHS = /** @type {Record<string, number>} */ ({ hour: HOUR, day: DAY, week: 7 * DAY, month: 30 * DAY });

/**
 * The end of a ban, as the API takes it: null for none.
 * @param {string} choice `forever`, a length, or `time`
 * @param {string} time a local time, for `time`
 * @param {number} now the server's, in ms
 * @returns {string | null}
 * @throws {RangeError} with words for the operator
 */
export function banEnd(choice, time, now) {
  if (choice === "forever") return null;
  const length = LENGTHS[choice];
  const end = length === undefined ? Date.parse(time) : now + length * 1000;
  if (Number.isNaN(end)) throw new RangeError("Say when the ban ends, or choose another end.");
  if (end <= now) throw new RangeError("The end of the ban must be in the future.");
  return `${new Date(end).toISOString().slice(0, 19)}Z`;
}

/** A time, for people. @param {string | null} until RFC 3339 */
export function untilWords(until) {
  if (until === null) return "until it is removed";
  return `until ${new Date(until).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" })}`;
}

/** Which part of all is shown. @param {number} offset @param {number} count on the page @param {number} total */
export function pageWords(offset, count, total) {
  return count === 0 ? "none" : `${number(offset + 1)}–${number(offset + count)} of ${number(total)}`;
}
