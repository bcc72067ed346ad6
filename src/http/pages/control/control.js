// @ts-check
/**
 * The control page. It is closed until the operator enters a token of the API, which is kept for this tab alone: a reload
 * does not ask again, and another tab does. What is shown says how old it is.
 */

import { element, say } from "../ui.js";
import { Api, Failure } from "./api.js";
import { Bans } from "./bans.js";
import { Details } from "./details.js";
import { Livestreams } from "./livestreams.js";
import { Nodes } from "./nodes.js";
import { History } from "./plots.js";
import { Poll } from "./poll.js";
import { Question } from "./question.js";
import { freshness, span } from "./words.js";

const KEY = "castaway.control";
const TIMES = { everyMs: 2_000, mostMs: 30_000 };
/** Nodes and bans change seldom. */
const SELDOM_MS = 10_000;
/** A part of the page is stale when three answers in a row are missing. */
const STALE_MS = 3 * TIMES.everyMs;
/** How long the outcome of an act stays on the page. */
const SAID_MS = 12_000;

const page = document.body;
const field = element("token", HTMLInputElement);
const said = element("said", HTMLElement);
/** @type {Api | null} */ let api = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */ let saidTimer;
/** Whether an act has changed what is asked for seldom. */
let isChanged = false;

const current = () => {
  if (!api) throw new Failure("The page is closed: enter the token.");
  return api;
};
const history = new History();
const question = new Question(() => current().now(), done, isOfToken);
const ask = question.ask.bind(question);
const bans = new Bans(current, ask);
const nodes = new Nodes(current, ask);
const livestreams = new Livestreams(history, choose, () => poll.hurry());
const details = new Details(history, current, ask, bans.askAbout.bind(bans), (id) => livestreams.focus(id));
const poll = new Poll(round, TIMES, () => document.hidden);

/** The parts of the page: what each is called, how old it may be, and whether it is to be asked for now. */
const PARTS = [
  { name: "livestreams", part: livestreams, staleMs: STALE_MS, isDue: () => true },
  { name: "details", part: details, staleMs: STALE_MS, isDue: () => details.isOpen },
  { name: "nodes", part: nodes, staleMs: SELDOM_MS + STALE_MS, isDue: () => nodes.isDraining || isOld(nodes.at) },
  { name: "bans", part: bans, staleMs: SELDOM_MS + STALE_MS, isDue: () => isOld(bans.at) },
];

/** @param {number | null} at */
function isOld(at) {
  return isChanged || at === null || Date.now() - at >= SELDOM_MS;
}

/** Asks for what is due. One failure does not keep the other parts from being shown. */
async function round() {
  const asked = current();
  const now = Date.now();
  const due = PARTS.filter(({ isDue }) => isDue());
  isChanged = false;
  const outcomes = await Promise.allSettled(due.map(({ part }) => part.refresh(asked, now)));
  if (asked !== api) return;
  const failures = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
  const failure = failures.find((error) => error instanceof Failure && error.isOfToken) ?? failures[0];
  tell(failure);
  tellAges();
  if (failure && !isOfToken(failure)) throw failure;
}

/** Says what keeps the page from being up to date, if anything does. @param {unknown} failure */
function tell(failure) {
  const trouble = element("trouble", HTMLElement);
  const words = failure instanceof Error ? failure.message : "";
  trouble.hidden = words === "";
  say(trouble, words && `${words} The page asks again by itself; what it shows is the last known.`);
}

function tellAges() {
  const now = Date.now();
  const next = poll.nextAt !== null && poll.nextAt - now > TIMES.everyMs ? `, asked again in ${span((poll.nextAt - now) / 1000)}` : "";
  for (const { name, part, staleMs } of PARTS) {
    const { words, isStale } = freshness(part.at, now, staleMs);
    const at = element(`${name}-age`, HTMLElement);
    say(at, isStale ? words + next : words);
    element(name, HTMLElement).toggleAttribute("data-stale", isStale);
  }
}

/** @param {string} id of a livestream */
function choose(id) {
  details.open(id);
  poll.hurry();
}

/** An act was done: its effect is looked for at once. @param {string} words */
function done(words) {
  clearTimeout(saidTimer);
  say(said, words);
  saidTimer = setTimeout(() => say(said, ""), SAID_MS);
  isChanged = true;
  poll.hurry();
}

/** Closes the page if this failure asks for another token. @param {unknown} error */
function isOfToken(error) {
  if (!(error instanceof Failure) || !error.isOfToken) return false;
  close(error.message);
  return true;
}

/** @param {string} words why */
function close(words) {
  poll.stop();
  api?.close();
  api = null;
  store(null);
  question.close();
  details.close();
  for (const part of [livestreams, nodes, bans]) part.clear();
  tell(null);
  say(said, "");
  show("closed");
  refuse(words);
  field.value = "";
  field.focus();
}

/** @param {"closed" | "opening" | "open"} state */
function show(state) {
  page.dataset.state = state;
  element("door", HTMLElement).hidden = state === "open";
  element("room", HTMLElement).hidden = state !== "open";
  element("leave", HTMLElement).hidden = state !== "open";
  element("enter", HTMLButtonElement).setAttribute("aria-disabled", String(state === "opening"));
}

/** @param {string} words */
function refuse(words) {
  const refusal = element("refusal", HTMLElement);
  say(refusal, words);
  refusal.hidden = words === "";
}

/** Opens the page if the server takes the token. @param {string} token */
async function open(token) {
  if (page.dataset.state !== "closed" || !token) return;
  refuse("");
  show("opening");
  const opened = new Api(token);
  try {
    await opened.get(["nodes"]);
  } catch (error) {
    const failure = error instanceof Failure ? error : new Failure(String(error));
    if (failure.isOfToken) store(null);
    show("closed");
    return refuse(failure.message);
  }
  api = opened;
  store(token);
  field.value = "";
  show("open");
  element("livestreams-title", HTMLElement).focus({ preventScroll: true });
  poll.start();
}

/** Keeps the token for this tab, or forgets it. @param {string | null} token */
function store(token) {
  try {
    if (token === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, token);
  } catch {
    // Storage is off: a reload asks for the token again.
  }
}

function stored() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

element("door", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  void open(field.value.trim());
});
element("leave", HTMLButtonElement).addEventListener("click", () => close(""));
document.addEventListener("visibilitychange", () => poll.hurry());
addEventListener("online", () => poll.hurry());
setInterval(tellAges, 1_000);

details.close();
show("closed");
const kept = stored();
if (kept) void open(kept);
else field.focus();
