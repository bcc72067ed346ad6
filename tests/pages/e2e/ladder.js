// @ts-check
/**
 * A ladder of tones, which goes round for ever: what a microphone of the tests hears, and what must come out at a
 * listener's, rung by rung.
 */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const RATE = 48_000;
const RUNGS = 14;
const RUNG_SECONDS = 0.25;
/** Tones this far apart are told from each other even when the listener plays 4 % faster to catch up. */
const RATIO = 1.2;
const LOWEST_HZ = 300;

/** How long one round is. */
export const ROUND_SECONDS = RUNGS * RUNG_SECONDS;

/** The ladder as a wav file, so many rounds. */
export function ladderWav(rounds = 1) {
  const count = rounds * ROUND_SECONDS * RATE;
  const file = Buffer.alloc(44 + count * 2);
  file.write("RIFF");
  file.writeUInt32LE(36 + count * 2, 4);
  file.write("WAVEfmt ", 8);
  file.writeUInt32LE(16, 16);
  file.writeUInt16LE(1, 20);
  file.writeUInt16LE(1, 22);
  file.writeUInt32LE(RATE, 24);
  file.writeUInt32LE(RATE * 2, 28);
  file.writeUInt16LE(2, 32);
  file.writeUInt16LE(16, 34);
  file.write("data", 36);
  file.writeUInt32LE(count * 2, 40);
  let phase = 0;
  for (let at = 0; at < count; at++) {
    const rung = Math.floor(at / (RUNG_SECONDS * RATE)) % RUNGS;
    phase += (2 * Math.PI * LOWEST_HZ * RATIO ** rung) / RATE;
    file.writeInt16LE(Math.round(12_000 * Math.sin(phase)), 44 + at * 2);
  }
  return file;
}

/** The same as the app's recorder writes it: AAC in an MP4 container. */
export const ladderM4a = () => encoded("m4a", "-c:a", "aac", "-b:a", "128k");

/**
 * One round of the ladder as ffmpeg writes it.
 * @param {string} kind the file's ending @param {...string} how
 */
export function encoded(kind, ...how) {
  return ffmpeg(["-i", "ladder.wav", "-t", how.includes("-t") ? "3600" : String(ROUND_SECONDS)], kind, how);
}

/**
 * Two rounds of the ladder, cut into clips of a second which are encoded one by one, as an app records them.
 * @param {string} kind @param {...string} how
 */
export function clips(kind, ...how) {
  return mixedClips([[kind, ...how]]);
}

/** Kinds of clips that other clients send, with ffmpeg's arguments. */
export const KINDS = [
  ["wav"],
  ["m4a", "-c:a", "aac", "-b:a", "128k"],
  ["m4a", "-c:a", "aac", "-b:a", "128k", "-use_editlist", "0"],
  ["aac", "-c:a", "aac", "-b:a", "128k"],
  ["mp3", "-c:a", "libmp3lame", "-b:a", "128k"],
  ["mp3", "-c:a", "libmp3lame", "-b:a", "128k", "-write_xing", "0"],
  ["ogg", "-c:a", "libopus"],
];

/** The same, in one kind after the other. @param {string[][]} kinds each a file's ending and how it is made */
export function mixedClips(kinds) {
  return Array.from({ length: 2 * ROUND_SECONDS }, (_, second) => {
    const [kind = "", ...how] = kinds[second % kinds.length] ?? [];
    return ffmpeg(["-i", "ladder.wav", "-ss", String(second), "-t", "1"], kind, how);
  });
}

/** @param {string[]} from @param {string} kind @param {string[]} how */
function ffmpeg(from, kind, how) {
  const folder = mkdtempSync(join(tmpdir(), "ladder-"));
  try {
    writeFileSync(join(folder, "ladder.wav"), ladderWav(2));
    execFileSync("ffmpeg", ["-loglevel", "error", ...from, ...how, `out.${kind}`], { cwd: folder });
    return readFileSync(join(folder, `out.${kind}`));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * The rungs that were heard, in their order, each once.
 * @param {{hz: number, level: number}[]} heard a row of short windows
 * @returns {number[]}
 */
export function rungs(heard) {
  /** @type {number[]} */
  const found = [];
  let [run, before] = [0, -1];
  for (const { hz, level } of heard) {
    const place = Math.log(hz / LOWEST_HZ) / Math.log(RATIO);
    const rung = Math.round(place);
    const clear = level > 0.02 && Math.abs(place - rung) < 0.3 && rung >= 0 && rung < RUNGS;
    run = clear && rung === before ? run + 1 : 0;
    before = clear ? rung : -1;
    if (run === 2 && found.at(-1) !== rung) found.push(rung); // three windows of one tone
  }
  return found;
}

/**
 * Where the order breaks: places in the row whose rung is not the one after its predecessor's.
 * @param {number[]} row
 */
export function breaks(row) {
  return row.flatMap((rung, at) => (at > 0 && rung !== ((row[at - 1] ?? 0) + 1) % RUNGS ? [{ at, from: row[at - 1], to: rung }] : []));
}
