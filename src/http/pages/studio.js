// @ts-check
/** The studio: a source of sound, a button to go live, and what becomes of each clip. */

import { ClipList } from "./cliplist.js";
import { readLink } from "./link.js";
import { Meter } from "./meter.js";
import { OnAir, WORDS as SOUND } from "./onair.js";
import { Outbox } from "/pages/client/outbox.js";
import { Recording } from "./recording.js";
import { Resumption } from "./resumption.js";
import { Share } from "./share.js";
import { Connection, endpoint } from "/pages/client/connection.js";
import { explainSignIn, findAccount, showAccount } from "./signin.js";
import { Source, hasMicrophone, microphoneTrouble } from "./source.js";
import { clock, counted, element, say } from "./ui.js";

/** @typedef {"off" | "connecting" | "live" | "reconnecting" | "ending" | "ended" | "refused"} State */

/** @type {Record<State, {badge: string, state: string, detail: string, button: string}>} */
const WORDS = {
  off: { badge: "Off air", state: "Off air", detail: "Nobody hears you yet.", button: "Go live" },
  connecting: { badge: "Joining", state: "Going live", detail: "Asking the server for the air.", button: "Cancel" },
  live: { ...SOUND.starting, button: "End the livestream" },
  reconnecting: { badge: "Offline", state: "Connection lost", detail: "Go on speaking: it is kept, and sent when the network is back.", button: "End the livestream" },
  ending: { badge: "On air", state: "Ending the livestream", detail: "The last words are on their way.", button: "End the livestream" },
  ended: { badge: "Off air", state: "The livestream is over", detail: "Well done.", button: "Go live again" },
  refused: { badge: "Off air", state: "You are off air", detail: "", button: "Go live again" },
};

const link = readLink("studio");
/** Streams for people whose link brings no token. */
const account = findAccount({ changed: arrange, renewed: present, signedOut });
const page = document.body;
const liveButton = element("live", HTMLButtonElement);
const muteButton = element("mute", HTMLButtonElement);
const testButton = element("test", HTMLButtonElement);
const device = element("device", HTMLSelectElement);
const clean = element("clean", HTMLInputElement);
const length = element("length", HTMLSelectElement);
const fileInput = element("file-input", HTMLInputElement);
let filePlayer = element("file-player", HTMLAudioElement);
const refusalLine = element("refusal", HTMLElement);
const endDialog = element("end-dialog", HTMLDialogElement);

const share = new Share();
const resumption = new Resumption(link.livestream);
const meter = new Meter();
const clips = new ClipList();
const source = new Source({
  level: (it) => meter.take(it),
  clip: (clip) => {
    air?.made(performance.now(), clip.peak);
    clips.made(clip);
    outbox.push(clip);
    recording.clipCut();
  },
  changed: () => tellSound(),
  parted: replaceFilePlayer,
});
const outbox = new Outbox({
  settled: (clip, outcome) => {
    clips.settled(clip, outcome);
    if (outcome.kind === "refused" || outcome.kind === "waiting") refuse(outcome.error);
    if (outcome.kind === "lost") refuse("The network was away for too long: the oldest words were given up.");
    if (outcome.kind === "sent") {
      if (warned) refuse("");
      warned = false;
      air?.sent(performance.now(), clip.peak ?? 0);
      if (outcome.listeners !== null) listeners(outcome.listeners);
      tellSound();
    }
  },
});

const recording = new Recording(outbox, refuse);

/** @type {State} */
let state = "off";
/** @type {Connection | null} */
let connection = null;
/** @type {WakeLockSentinel | null} */
let awake = null;
/** Done when the livestream before is put away. */
let resting = Promise.resolve();
/** When this livestream went on air, in milliseconds since 1970. */
let since = 0;
/** What is known of the sound of this livestream. @type {OnAir | null} */
let air = null;
let accepted = false;
/** Whether the chosen file cannot be played. */
let fileBroken = false;
let refusal = "";
/** Whether the server has warned of silence, and no clip was sent since. */
let warned = false;
/** The token that the server was shown last. */
let shownToken = "";

/** @param {State} next @param {string} [detail] */
function show(next, detail = WORDS[next].detail) {
  state = next;
  page.dataset.state = next;
  say(element("state", HTMLElement), WORDS[next].state);
  say(element("detail", HTMLElement), detail);
  say(element("badge", HTMLElement), WORDS[next].badge);
  say(liveButton, WORDS[next].button);
  busy(next === "ending");
  length.disabled = onAir();
  document.title = `Studio · ${link.livestream || "Castaway"}`;
  delete page.dataset.sound;
  arrange();
  tellSound();
}

/** Says what becomes of the sound: nothing else may claim that the livestream is heard. */
function tellSound() {
  if (!air || (state !== "live" && state !== "reconnecting")) return;
  const connected = state === "live";
  const verdict = air.verdict(performance.now(), source.circumstances, connected);
  page.dataset.sound = verdict;
  if (connected) {
    say(element("badge", HTMLElement), SOUND[verdict].badge);
    say(element("state", HTMLElement), SOUND[verdict].state);
  }
  const kept = !connected && (verdict === "heard" || verdict === "starting");
  say(element("detail", HTMLElement), kept ? WORDS.reconnecting.detail : SOUND[verdict].detail);
  document.title = `${connected && verdict === "heard" ? "● " : ""}Studio · ${link.livestream || "Castaway"}`;
}

/** A button that is disabled would lose the keyboard's place. @param {boolean} is */
function busy(is) {
  const unusable = chosen() === "file" && fileBroken && !onAir();
  liveButton.setAttribute("aria-disabled", String(is || unusable));
}

const onAir = () => state === "live" || state === "reconnecting" || state === "ending" || state === "connecting";

/** What was refused, and why. @param {string} why */
function refuse(why) {
  refusalLine.hidden = why === "";
  say(refusalLine, why);
}

const chosen = () => (page.querySelector("input[name=source]:checked")?.getAttribute("value") === "file" ? "file" : "microphone");

/** How often a source was opened. */
let openings = 0;

/** Opens the source that is chosen. @returns {Promise<boolean>} whether there is one */
async function openSource() {
  const opening = ++openings;
  try {
    if (chosen() === "file") {
      if (!filePlayer.src) {
        refuse("Choose an audio file first.");
        return false;
      }
      await source.useFile(filePlayer);
    } else {
      await source.useMicrophone({ deviceId: device.value, clean: clean.checked });
      await listDevices();
    }
    refuse("");
    testButton.hidden = true;
    return true;
  } catch (error) {
    if (opening !== openings) return source.ready; // another was chosen meanwhile
    fileBroken = chosen() === "file";
    refuse(fileBroken ? "This browser cannot play that file. Choose another: MP3, M4A (AAC), WAV, FLAC and Ogg usually work." : microphoneTrouble(error));
    if (fileBroken) source.drop();
    return false;
  } finally {
    busy(state === "ending");
  }
}

/** A media element stays with its audio graph for ever: the file goes on in another one. */
function replaceFilePlayer() {
  const before = filePlayer;
  const [at, playing] = [before.currentTime, !before.paused || state === "live"];
  const fresh = /** @type {HTMLAudioElement} */ (before.cloneNode(true));
  before.pause();
  before.replaceWith(fresh);
  filePlayer = fresh;
  fresh.addEventListener("loadedmetadata", () => (fresh.currentTime = at), { once: true });
  void openSource().then((ready) => (ready && playing ? fresh.play() : undefined)).catch(() => {});
}

/** The microphones' names are told only once one is open. */
async function listDevices() {
  const known = (await navigator.mediaDevices.enumerateDevices()).filter((it) => it.kind === "audioinput" && it.deviceId !== "default");
  const wish = device.value;
  const usual = new Option("The usual one", "");
  device.replaceChildren(usual, ...known.map((it, index) => new Option(it.label || `Microphone ${index + 1}`, it.deviceId)));
  device.value = known.some((it) => it.deviceId === wish) ? wish : "";
}

/** @param {boolean} [again] after a reload in the middle of a livestream: the air comes first, the sound when it can be had */
async function goLive(again = false) {
  busy(true);
  await resting;
  const ready = source.ready || (await openSource());
  busy(false);
  if (!ready && !again) return;
  if (ready) refuse("");
  clips.clear();
  accepted = false;
  show("connecting");
  connect();
}

/** Reloaded in the middle of a livestream: the server keeps it for a while, so it goes on with the same choices. */
function takeUpAgain() {
  const { source: kind, length: seconds, clean: cleaned, device: microphone } = resumption;
  element("source-file", HTMLInputElement).checked = kind === "file";
  [length.value, clean.checked] = [seconds, cleaned];
  if (microphone) device.append(new Option("The one before", microphone, true, true));
  showSource();
  void goLive(true);
}

function connect() {
  refusal = "";
  connection = new Connection({
    url: endpoint(location),
    namespace: "/streamer",
    auth: () => (link.token ? wishes(link.token) : (account?.token() ?? Promise.reject(new Error("no account"))).then(wishes)),
    on: { event: take, left, lost, joined: () => (joinedNow = true) },
  });
}

/** What the server is told at each connect. @param {string} idToken */
function wishes(idToken) {
  shownToken = idToken;
  return { idToken, livestreamId: link.livestream, features: ["warnings"] };
}

/** Shows the server a fresh token, in time for a lost connection. @param {string} idToken */
function present(idToken) {
  if (link.token) return;
  shownToken = idToken;
  connection?.emit("token", idToken);
}

/** Firebase no longer knows the account. @param {string} why */
function signedOut(why) {
  explainSignIn(why);
  if (state === "connecting" && !accepted) giveUp();
}

/** Shows what belongs to a streamer who may stream, or what is missing. A livestream goes on whatever the account does. */
function arrange() {
  const may = Boolean(link.livestream && (link.token || account?.signedIn));
  element("no-link", HTMLElement).hidden = may || (link.livestream !== "" && account !== null);
  element("desk", HTMLElement).hidden = !may && !onAir();
  showAccount(account, !link.livestream || link.token ? "neither" : !account?.signedIn ? "form" : onAir() ? "neither" : "account");
}

/** Whether the namespace was joined and its verdict is still to come. */
let joinedNow = false;

/** @param {string} name @param {any} value */
function take(name, value) {
  if (name === "success" && joinedNow) {
    joinedNow = false;
    void begin();
  } else if (name === "state" && value) {
    listeners(value.listeners ?? null);
    recording.follow(value.recording === true);
  } else if (name === "warning" && value?.kind === "silence") {
    warned = true;
    refuse(`Nothing has reached the server for ${counted(value.seconds, "second")}: your listeners hear nothing.`);
  } else if (name === "error") {
    refusal = String(value);
    if (accepted && !/^Upload /.test(refusal)) refuse(refusal); // an upload's refusal comes with its answer
    else if (!accepted) say(element("detail", HTMLElement), refusal);
  }
}

/** The server has given us the air, at first or again. */
async function begin() {
  const again = accepted;
  accepted = true;
  const way = connection;
  if (!again) {
    since = resumption.since ?? Date.now();
    resumption.remember({ since, source: chosen(), length: length.value, clean: clean.checked, device: device.value });
    air = new OnAir(performance.now(), Number(length.value) * 1000);
    if (source.ready && chosen() === "file") void filePlayer.play().catch(() => {});
    await source.record(Number(length.value));
    void stayAwake();
  }
  if (state === "connecting" || state === "reconnecting") show("live");
  if (way) void share.renew(link.livestream, way);
  if (way) outbox.open((timeoutMs, name, ...args) => way.ask(timeoutMs, name, ...args));
  recording.ask();
}

function lost() {
  joinedNow = false;
  outbox.shut();
  if (accepted && state !== "ending") show("reconnecting");
  else if (!accepted) show("connecting", refusal || "The server does not answer. Trying again.");
}

/** The server has ended it: not let in, or taken over elsewhere. */
function left() {
  connection = null;
  outbox.shut();
  if (refusal && link.token && shownToken !== link.token) return connect(); // a fresh one came while the old one was refused
  if (/has expired/.test(refusal) && !link.token && account?.expired(shownToken)) return connect();
  resting = rest();
  refuse("");
  show("refused", refusal || "The server has ended the livestream.");
}

/** Before the air was given there is nothing to end; afterwards one tap must not end it for everybody. */
function askToEnd() {
  if (state !== "connecting" || accepted) return endDialog.showModal();
  giveUp();
}

function giveUp() {
  connection?.close();
  connection = null;
  resting = rest();
  show("off");
}

async function endLivestream() {
  endDialog.close();
  if (state !== "live" && state !== "reconnecting") return; // it has ended while the question was asked
  resumption.forget();
  show("ending");
  source.drop(); // at once: the encoder may be slow
  await source.finish();
  await outbox.drained(3_000);
  const [unsent, told] = [outbox.length, connection?.joined === true];
  connection?.close();
  connection = null;
  outbox.shut();
  await (resting = rest());
  const parts = [`${clock((Date.now() - since) / 1000)} on air.`];
  if (unsent > 0) parts.push(`The last ${counted(unsent, "clip")} could not be sent.`);
  if (!told) parts.push("The server could not be told: it ends the livestream by itself soon.");
  show("ended", unsent === 0 && told ? `Well done: ${parts.join(" ")}` : parts.join(" "));
}

/** Lets go of what being live needs, the microphone too. */
async function rest() {
  resumption.forget();
  endDialog.close();
  filePlayer.pause();
  source.drop();
  await source.finish();
  testButton.hidden = false;
  air = null;
  share.end();
  outbox.clear();
  recording.end();
  listeners(null);
  await awake?.release();
  awake = null;
}

async function stayAwake() {
  awake = (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
}

/** @param {number | null} count */
function listeners(count) {
  say(element("listeners", HTMLElement), count === null ? "–" : String(count));
}

setInterval(() => {
  tellSound();
  if (state === "live" && connection) void share.renew(link.livestream, connection);
  resumption.touch();
  if (onAir() && accepted) say(element("elapsed", HTMLElement), clock((Date.now() - since) / 1000));
  say(element("waiting", HTMLElement), String(Math.max(0, outbox.length - (state === "live" ? 1 : 0))));
}, 500);

liveButton.addEventListener("click", () => {
  if (liveButton.getAttribute("aria-disabled") !== "true") void (onAir() ? askToEnd() : goLive());
});
element("end-yes", HTMLButtonElement).addEventListener("click", () => void endLivestream());
element("end-no", HTMLButtonElement).addEventListener("click", () => endDialog.close());
for (const gesture of ["pointerdown", "keydown"]) addEventListener(gesture, () => void source.goOn());
testButton.addEventListener("click", () => void openSource());
for (const control of [device, clean]) control.addEventListener("change", () => source.ready && void openSource());
/** Shows what belongs to the source that is chosen. */
function showSource() {
  element("microphone", HTMLElement).hidden = chosen() !== "microphone";
  element("file", HTMLElement).hidden = chosen() !== "file";
}
for (const choice of page.querySelectorAll("input[name=source]")) {
  choice.addEventListener("change", () => {
    showSource();
    refuse(chosen() === "file" && fileBroken ? refusalLine.textContent ?? "" : "");
    busy(state === "ending");
    const wanted = onAir() || source.ready;
    source.drop();
    if (wanted && (chosen() === "microphone" || filePlayer.src)) void openSource();
  });
}
fileInput.addEventListener("change", () => {
  const file = fileInput.files?.[0];
  if (!file) return;
  URL.revokeObjectURL(filePlayer.src);
  filePlayer.src = URL.createObjectURL(file);
  filePlayer.hidden = false;
  fileBroken = false;
  void openSource().then((ready) => (ready && state === "live" ? filePlayer.play() : undefined));
});
muteButton.addEventListener("click", () => {
  const muted = muteButton.getAttribute("aria-pressed") !== "true";
  muteButton.setAttribute("aria-pressed", String(muted));
  page.toggleAttribute("data-muted", muted);
  meter.muted = muted;
  source.mute(muted);
});
addEventListener("online", () => connection?.hurry());
addEventListener("hashchange", () => {
  const fresh = readLink("studio");
  if (fresh.livestream !== link.livestream) return location.reload();
  if (!fresh.token || fresh.token === link.token) return;
  link.token = fresh.token;
  arrange();
  if (state === "refused" && accepted) void goLive();
  else connection?.emit("token", fresh.token);
});
addEventListener("beforeunload", (event) => {
  if (onAir()) event.preventDefault();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden || !onAir()) return;
  void source.resume();
  if (awake?.released !== false) void stayAwake();
});

say(element("title", HTMLElement), link.livestream);
show("off");
if (!hasMicrophone()) {
  element("insecure", HTMLElement).hidden = false;
  element("source", HTMLElement).hidden = true;
  element("source-file", HTMLInputElement).checked = true;
}
showSource();
if (link.livestream && (link.token || account?.signedIn) && resumption.since !== null) takeUpAgain();
