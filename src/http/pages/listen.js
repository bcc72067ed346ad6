// @ts-check
/** The listening page: one button, and what the livestream is doing, in words. */

import { Hearing } from "./hearing.js";
import { isStuck, runsAgain } from "./interruption.js";
import { readLink } from "./link.js";
import { explainSignIn, findAccount, showAccount } from "./signin.js";
import { copyPlayerAddress, offerPlayers } from "./otherplayer.js";
import { Player } from "./player.js";
import { Connection, endpoint } from "/pages/client/connection.js";
import { Place } from "/pages/client/place.js";
import { element, say } from "./ui.js";
import { drawWaves } from "./waves.js";
import { keepAwake, describeLivestream } from "./lockscreen.js";

/** How often a livestream that is not there is asked for again: at first, at most, and when it has been asked for `often` times. */
const ASK_AGAIN_MS = { first: 1_000, most: 5_000, patient: 15_000, often: 120 };
/** From how much needless delay on the listener is offered to jump, and up to which the offer stays. */
const JUMP_SECONDS = { from: 1, to: 0.5 };

/** @typedef {"idle" | "connecting" | "waiting" | "live" | "paused" | "undecodable" | "quiet" | "away" | "reconnecting" | "ended" | "refused"} State */

/** @type {Record<State, {badge: string, state: string, detail: string}>} */
const WORDS = {
  idle: { badge: "Off", state: "Press play to listen", detail: "The sound starts as soon as you do." },
  connecting: { badge: "Joining", state: "Finding the livestream", detail: "One moment." },
  waiting: { badge: "Waiting", state: "Waiting for the streamer", detail: "The livestream has not begun. Leave this page open: the sound starts by itself." },
  live: { badge: "Live", state: "You are listening live", detail: "" },
  paused: { badge: "Paused", state: "The sound is paused", detail: "The browser or a call has paused it. Press play to go on, live." },
  undecodable: { badge: "No sound", state: "This browser cannot play the livestream", detail: "Its sound arrives in a form that cannot be decoded here. Try another browser." },
  quiet: { badge: "No sound", state: "Waiting for the sound", detail: "The streamer is on air, and no sound comes from them just now." },
  away: { badge: "On hold", state: "The streamer is coming back", detail: "Their connection was lost. Stay: the sound returns by itself." },
  reconnecting: { badge: "Joining", state: "Reconnecting", detail: "Your connection was lost. The sound returns by itself." },
  ended: { badge: "Ended", state: "The livestream has ended", detail: "Thank you for listening. If the streamer comes back, so does the sound." },
  refused: { badge: "Off", state: "You cannot listen here", detail: "" },
};

const LINK_OVER = "Thank you for listening. This link has ended with the livestream: ask the streamer for a new one.";
const COMING = "The streamer is on air. Here comes the sound.";

const link = readLink("listen");
/** Listens for people whose link brings no token. */
const account = findAccount({ changed: arrange, renewed: present, signedOut: explainSignIn });
/** Whether the link's pass or token has been refused, so that the account's is shown instead. */
let linkOver = false;
const page = document.body;
const title = element("title", HTMLElement);
/** The livestream's name: the title of its document, which the server has written, or else its id. */
const livestreamName = (title.dataset.known !== undefined && title.textContent) || link.livestream;
const artist = document.getElementById("artist")?.textContent ?? "";
const cover = /** @type {HTMLImageElement | null} */ (document.getElementById("cover"));
const playButton = element("play", HTMLButtonElement);
const volume = element("volume", HTMLInputElement);
const jump = element("jump", HTMLButtonElement);

/** @type {State} */
let state = "idle";
/** @type {string | null} */
let shown = null;
/** @type {AudioContext | null} */
let context = null;
/** @type {Player | null} */
let player = null;
/** @type {Connection | null} */
let connection = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let askAgain;
let asked = 0;
let refusal = "";
/** The token that the server was shown last. */
let shownToken = "";
let wasLive = false;
let hostAway = false;
/** Whether the server has let this connection in: sound that is still in hand proves no livestream. */
let admitted = false;
const hearing = new Hearing();
/** Where this listener is in the livestream: after an outage it hears what it missed. */
let place = new Place();
/** Whether the next clip follows an outage, and whether clips before it are lost for this listener. */
let returning = false;
let missed = false;

/** @param {State} next @param {string} [detail] */
function show(next, detail = WORDS[next].detail) {
  if (next === state && detail === shown) return;
  shown = detail;
  state = next;
  page.dataset.state = next;
  say(element("state", HTMLElement), WORDS[next].state);
  say(element("detail", HTMLElement), detail);
  say(element("badge", HTMLElement), WORDS[next].badge);
  const on = next !== "idle" && next !== "refused" && next !== "paused";
  playButton.setAttribute("aria-label", on ? "Stop" : "Play");
  document.title = `${next === "live" ? "● " : ""}${livestreamName || "Listen"} · Castaway`;
  describeLivestream({ title: livestreamName, words: [artist, WORDS[next].state].filter(Boolean).join(" · "), cover: cover?.src, playing: on, play: () => void (state === "paused" ? goOn() : play()), stop });
}

async function play() {
  if (connection || !mayListen()) return;
  if (context && isStuck(context)) dropContext();
  openContext();
  place = new Place(); // who presses play wants to hear what is live
  wasLive = false;
  asked = 0;
  connect("connecting");
}

/** From a click, which the browser wants before there is sound. */
function openContext() {
  context ??= new AudioContext({ sampleRate: 48_000, latencyHint: "playback" });
  context.onstatechange = hear;
  player ??= new Player(context, { sound: placed, trouble });
  hearing.reset();
  setVolume();
  keepAwake(true);
  void context.resume();
}

function dropContext() {
  player?.stop();
  player = null;
  void context?.close().catch(() => {});
  context = null;
}

/** Whether a paused context is being asked to go on. */
let goingOn = false;

/** Goes on after the browser has paused the sound: with a new context where the one before is lost. */
async function goOn() {
  const paused = context;
  if (!paused || goingOn) return;
  goingOn = true;
  keepAwake(true);
  const runs = await runsAgain(paused);
  goingOn = false;
  if (runs || context !== paused || state !== "paused") return;
  dropContext();
  openContext();
}

function stop() {
  clearTimeout(askAgain);
  connection?.close();
  connection = null;
  admitted = false;
  player?.stop();
  keepAwake(false);
  void context?.suspend();
  listeners(null);
  recorded(false);
  show("idle");
}

/** @param {State} meanwhile */
function connect(meanwhile) {
  refusal = "";
  show(meanwhile);
  connection = new Connection({
    url: endpoint(location),
    namespace: "/listener",
    auth: () => (brought() ? wishes(brought()) : (account?.token() ?? Promise.reject(new Error("no account"))).then(wishes)),
    on: { event: take, left, lost },
  });
}

/** The pass or token that the link has brought; empty if the account's token is to be shown. */
const brought = () => (linkOver ? "" : link.token);

/** Whether there is something to show to the server. */
const mayListen = () => Boolean(link.livestream && (brought() || account?.signedIn));

/** What the server is told at each connect. @param {string} idToken */
function wishes(idToken) {
  shownToken = idToken;
  return { ...place.wishes, idToken, livestreamId: link.livestream };
}

/** Shows the server a fresh token, in time for a lost connection. @param {string} idToken */
function present(idToken) {
  if (brought()) return;
  shownToken = idToken;
  connection?.emit("token", idToken);
}

/** Shows what belongs to a listener who may listen, or what is missing. */
function arrange() {
  const may = mayListen();
  if (!may && connection) stop();
  element("no-link", HTMLElement).hidden = may || (link.livestream !== "" && account !== null);
  element("stage", HTMLElement).hidden = !may;
  element("controls", HTMLElement).hidden = !may;
  showAccount(account, !link.livestream || brought() ? "neither" : account?.signedIn ? "account" : "form");
  if (may && state === "refused") show("idle");
}

/** @param {string} name @param {any} value */
function take(name, value) {
  if (name === "clip" && value?.bytes instanceof Uint8Array) {
    if (place.take(value)) hearClip(value.bytes);
  } else if (name === "audio" && value instanceof Uint8Array) {
    hearClip(value); // from a server of old, during an upgrade
  } else if (name === "success") {
    asked = 0;
    admitted = true;
    wasLive = true;
    hostAway = false;
    begin();
  } else if (name === "state" && value) {
    follow(value);
  } else if (name === "error") {
    refusal = String(value);
  } else if (name === "gap" || (name === "resumed" && value?.recovered === false)) {
    missed = true;
    trouble("missed");
  }
}

/** @param {Uint8Array} clip */
function hearClip(clip) {
  if (returning) player?.returned(!missed);
  returning = false;
  missed = false;
  player?.take(clip);
}

/** How the livestream is going, as the server tells. @param {{state?: string, listeners?: number, recording?: boolean}} told */
function follow(told) {
  listeners(told.listeners ?? null);
  recorded(told.recording === true);
  const back = told.state === "live" && hostAway;
  hostAway = told.state === "reconnecting";
  if (hostAway) {
    returning = true;
    show("away");
  } else if (back) {
    begin();
  } else if (told.state === "ended") {
    show("ended");
  } else if (told.state === "waiting") {
    show("waiting");
  }
}

/** The server has ended it: the livestream is over, or has not begun, or we are not let in. */
function left() {
  connection = null;
  admitted = false;
  recorded(false);
  if (refusal && brought() && shownToken !== link.token) return connect(state); // a fresh one came while the old one was refused
  if (/has expired/.test(refusal) && !brought() && account?.expired(shownToken)) return connect(state);
  if (refusal && !/has not started/.test(refusal)) {
    keepAwake(false);
    if (state === "ended" && /pass has ended/.test(refusal)) return show("ended", LINK_OVER);
    show("refused", refusal);
    return offerAccount();
  }
  if (!refusal) wasLive = false; // the livestream's own end
  const meanwhile = refusal ? (wasLive ? "away" : state === "ended" ? "ended" : "waiting") : "ended";
  if (meanwhile === "away" && asked > 30) wasLive = false;
  returning = true;
  show(meanwhile);
  listeners(null);
  const wait = wasLive ? ASK_AGAIN_MS.first : Math.min(asked < ASK_AGAIN_MS.often ? ASK_AGAIN_MS.most : ASK_AGAIN_MS.patient, ASK_AGAIN_MS.first * 1.3 ** asked);
  asked++;
  askAgain = setTimeout(() => connect(meanwhile), wait * (0.8 + 0.4 * Math.random()));
}

/** A link whose pass or token no longer counts: an account may do instead. */
function offerAccount() {
  if (!account || !brought() || !/has ended|has expired/.test(refusal)) return;
  linkOver = true;
  arrange();
  if (account.signedIn) connect("connecting");
  else explainSignIn(refusal);
}

function lost() {
  admitted = false;
  returning = true;
  if (SOUNDING.includes(state)) show("reconnecting");
}

function placed() {
  hearing.played();
  hear();
  tellDelay();
}

/** The streamer is on air: what is said next depends on the sound. */
function begin() {
  if ((player?.inHand ?? 0) === 0) show("connecting", COMING);
  hear();
}

/** States in which it is the sound that decides what is said. @type {State[]} */
const SOUNDING = ["connecting", "live", "paused", "undecodable", "quiet"];

/** Says what is heard: nothing else may claim it. */
function hear() {
  if (!player || !admitted || hostAway) return;
  const inHand = player.inHand;
  if (!SOUNDING.includes(state) && !(inHand > 0 && player.running)) return;
  const verdict = hearing.verdict(performance.now(), { running: player.running, inHand });
  if (state === "connecting" && verdict === "live" && inHand === 0) return; // it is still to come
  show(verdict);
}

/** @param {"late" | "lost" | "broken" | "missed"} what */
function trouble(what) {
  page.dataset[what] = String(Number(page.dataset[what] ?? 0) + 1);
  if (what === "broken") hearing.broken();
}

/** @param {number | null} count */
function listeners(count) {
  say(element("listeners", HTMLElement), count === null ? "–" : String(count));
}

/** Says whether the livestream is recorded. @param {boolean} is */
function recorded(is) {
  element("recorded", HTMLElement).hidden = !is;
}

function setVolume() {
  const share = volume.valueAsNumber / 100;
  volume.style.setProperty("--share", `${volume.value}%`);
  player?.volume.gain.setTargetAtTime(share ** 2, player.context.currentTime, 0.02);
}

const samples = new Float32Array(1024);
/** What is heard now, 0 to 1. */
function level() {
  if (!player) return 0;
  player.analyser.getFloatTimeDomainData(samples);
  const loud = Math.sqrt(samples.reduce((sum, it) => sum + it * it, 0) / samples.length);
  page.style.setProperty("--level", Math.min(1, loud * 4).toFixed(3));
  return Math.min(1, loud * 4);
}

/** Says how far behind the listener is, and offers to jump. */
function tellDelay() {
  const behind = state === "live" ? player?.behind : null;
  say(element("behind", HTMLElement), behind == null ? "–" : `${behind.toFixed(1)} s`);
  const lead = state === "live" ? (player?.lead ?? 0) : 0;
  jump.hidden = lead < (jump.hidden ? JUMP_SECONDS.from : JUMP_SECONDS.to);
}

setInterval(() => {
  hear();
  tellDelay();
}, 250);

playButton.addEventListener("click", () => {
  if (state === "paused") void goOn();
  else if (state === "idle" || state === "refused") void play();
  else stop();
});
jump.addEventListener("click", () => {
  player?.jump();
  tellDelay();
});
volume.addEventListener("input", setVolume);
addEventListener("online", () => connection?.hurry());
addEventListener("hashchange", () => {
  const fresh = readLink("listen");
  if (fresh.livestream !== link.livestream) return location.reload();
  if (!fresh.token || fresh.token === link.token) return;
  Object.assign(link, fresh);
  linkOver = false;
  arrange();
  offerPlayers(link);
  if (state === "refused") void play();
  else connection?.emit("token", fresh.token);
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && connection && context?.state !== "running") void context?.resume();
});

say(title, livestreamName || "Listen");
cover?.addEventListener("error", () => cover.remove());
if (cover?.complete && cover.naturalWidth === 0) cover.remove();
drawWaves(element("waves", HTMLCanvasElement), level);
setVolume();
offerPlayers(link);
copyPlayerAddress();
show("idle");
arrange();
