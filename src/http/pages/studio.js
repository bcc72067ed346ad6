// @ts-check
/** The studio: a source of sound, a button to go live, and what becomes of each clip. */

import { ClipList } from "./cliplist.js";
import { listenAddress, readLink } from "./link.js";
import { Meter } from "./meter.js";
import { Outbox } from "./outbox.js";
import { Connection, endpoint } from "./socket.js";
import { Source, hasMicrophone, microphoneTrouble } from "./source.js";
import { askForLink, clock, element, say } from "./ui.js";

/** @typedef {"off" | "connecting" | "live" | "reconnecting" | "ending" | "ended" | "refused"} State */

/** @type {Record<State, {badge: string, state: string, detail: string, button: string}>} */
const WORDS = {
  off: { badge: "Off air", state: "Off air", detail: "Nobody hears you yet.", button: "Go live" },
  connecting: { badge: "Joining", state: "Going live", detail: "Asking the server for the air.", button: "Cancel" },
  live: { badge: "On air", state: "You are live", detail: "Everything you say is heard.", button: "End the show" },
  reconnecting: { badge: "Offline", state: "Connection lost", detail: "Go on speaking: it is kept, and sent when the network is back.", button: "End the show" },
  ending: { badge: "On air", state: "Ending the show", detail: "The last words are on their way.", button: "End the show" },
  ended: { badge: "Off air", state: "The show is over", detail: "Well done.", button: "Go live again" },
  refused: { badge: "Off air", state: "You are off air", detail: "", button: "Go live again" },
};

const link = readLink("studio");
const page = document.body;
const liveButton = element("live", HTMLButtonElement);
const muteButton = element("mute", HTMLButtonElement);
const testButton = element("test", HTMLButtonElement);
const device = element("device", HTMLSelectElement);
const clean = element("clean", HTMLInputElement);
const length = element("length", HTMLSelectElement);
const fileInput = element("file-input", HTMLInputElement);
const filePlayer = element("file-player", HTMLAudioElement);
const refusalLine = element("refusal", HTMLElement);

const meter = new Meter();
const clips = new ClipList();
const source = new Source({
  level: (it) => meter.take(it),
  clip: (clip) => {
    clips.made(clip);
    outbox.push(clip);
  },
  microphoneGone: () => refuse("The microphone was taken away. Choose another."),
});
const outbox = new Outbox({
  settled: (clip, outcome) => {
    clips.settled(clip, outcome);
    if (outcome.kind === "refused" || outcome.kind === "waiting") refuse(outcome.error);
    if (outcome.kind === "lost") refuse("The network was away for too long: the oldest words were given up.");
    if (outcome.kind === "sent" && outcome.listeners !== null) listeners(outcome.listeners);
  },
});

/** @type {State} */
let state = "off";
/** @type {Connection | null} */
let connection = null;
/** @type {WakeLockSentinel | null} */
let awake = null;
/** Done when the show before is put away. */
let resting = Promise.resolve();
let since = 0;
let accepted = false;
let refusal = "";
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
  document.title = `${next === "live" ? "● " : ""}Studio · ${link.livestream || "Castaway"}`;
}

/** A button that is disabled would lose the keyboard's place. @param {boolean} is */
function busy(is) {
  liveButton.setAttribute("aria-disabled", String(is));
}

const onAir = () => state === "live" || state === "reconnecting" || state === "ending" || state === "connecting";

/** What was refused, and why. @param {string} why */
function refuse(why) {
  refusalLine.hidden = why === "";
  say(refusalLine, why);
}

const chosen = () => (page.querySelector("input[name=source]:checked")?.getAttribute("value") === "file" ? "file" : "microphone");

/** Opens the source that is chosen. @returns {Promise<boolean>} whether there is one */
async function openSource() {
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
    refuse(chosen() === "file" ? "This file could not be opened." : microphoneTrouble(error));
    return false;
  }
}

/** The microphones' names are told only once one is open. */
async function listDevices() {
  const known = (await navigator.mediaDevices.enumerateDevices()).filter((it) => it.kind === "audioinput" && it.deviceId !== "default");
  const wish = device.value;
  const usual = new Option("The usual one", "");
  device.replaceChildren(usual, ...known.map((it, index) => new Option(it.label || `Microphone ${index + 1}`, it.deviceId)));
  device.value = known.some((it) => it.deviceId === wish) ? wish : "";
}

async function goLive() {
  busy(true);
  await resting;
  const ready = source.ready || (await openSource());
  busy(false);
  if (!ready) return;
  refuse("");
  clips.clear();
  accepted = false;
  show("connecting");
  connect();
}

function connect() {
  refusal = "";
  connection = new Connection({
    url: endpoint(location),
    namespace: "/streamer",
    auth: () => ({ idToken: (shownToken = link.token), livestreamId: link.livestream }),
    on: { event: take, left, lost, joined: () => (joinedNow = true) },
  });
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
    since = performance.now();
    if (chosen() === "file") void filePlayer.play().catch(() => {});
    await source.record(Number(length.value));
    void stayAwake();
  }
  if (state === "connecting" || state === "reconnecting") show("live");
  if (way) outbox.open((timeoutMs, name, ...args) => way.ask(timeoutMs, name, ...args));
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
  if (refusal && shownToken !== link.token) return connect(); // a fresh one came while the old one was refused
  resting = rest();
  refuse("");
  show("refused", refusal || "The server has ended the show.");
}

async function endShow() {
  if (state === "connecting" && !accepted) {
    connection?.close();
    connection = null;
    return show("off");
  }
  show("ending");
  await source.finish();
  await outbox.drained(3_000);
  connection?.close();
  connection = null;
  outbox.shut();
  await rest();
  show("ended", `Well done: ${clock((performance.now() - since) / 1000)} on air.`);
}

/** Lets go of what being live needs. */
async function rest() {
  filePlayer.pause();
  await source.finish();
  outbox.clear();
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
  if (onAir() && accepted) say(element("elapsed", HTMLElement), clock((performance.now() - since) / 1000));
  say(element("waiting", HTMLElement), String(Math.max(0, outbox.length - (state === "live" ? 1 : 0))));
}, 500);

liveButton.addEventListener("click", () => {
  if (liveButton.getAttribute("aria-disabled") !== "true") void (onAir() ? endShow() : goLive());
});
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
    refuse("");
    if (onAir() || source.ready) {
      source.drop();
      if (chosen() === "microphone" || filePlayer.src) void openSource();
    }
  });
}
fileInput.addEventListener("change", () => {
  const file = fileInput.files?.[0];
  if (!file) return;
  URL.revokeObjectURL(filePlayer.src);
  filePlayer.src = URL.createObjectURL(file);
  filePlayer.hidden = false;
  void openSource().then((ready) => (ready && state === "live" ? filePlayer.play() : undefined));
});
filePlayer.addEventListener("error", () => refuse("This browser cannot play that file."));
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
  share.value = listenAddress(Object.assign(link, { guest: fresh.guest || link.guest }));
  if (state === "refused" && accepted) void goLive();
  else connection?.emit("token", fresh.token);
});
addEventListener("beforeunload", (event) => {
  if (onAir()) event.preventDefault();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && state === "live" && awake?.released !== false) void stayAwake();
});

const share = element("share", HTMLInputElement);
const copyButton = element("copy", HTMLButtonElement);
const sendButton = element("send", HTMLButtonElement);
share.value = listenAddress(link);
if (!link.guest) say(element("share-note", HTMLElement), "Listeners sign in on the page, with a token of their own.");
copyButton.addEventListener("click", async () => {
  share.select();
  await navigator.clipboard?.writeText(share.value).catch(() => {});
  say(copyButton, "Copied");
  setTimeout(() => say(copyButton, "Copy"), 2_000);
});
sendButton.hidden = !navigator.share;
sendButton.addEventListener("click", () => void navigator.share({ title: "Castaway", url: share.value }).catch(() => {}));

say(element("title", HTMLElement), link.livestream);
show("off");
if (!hasMicrophone()) {
  element("insecure", HTMLElement).hidden = false;
  element("source", HTMLElement).hidden = true;
  element("source-file", HTMLInputElement).checked = true;
}
showSource();
if (!link.token || !link.livestream) {
  const form = element("link-form", HTMLFormElement);
  const livestream = form.elements.namedItem("livestream");
  if (livestream instanceof HTMLInputElement) livestream.value = link.livestream;
  element("desk", HTMLElement).hidden = true;
  askForLink(form);
}
