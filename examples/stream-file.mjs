#!/usr/bin/env node
// Streams an audio file as a livestream: ffmpeg cuts it into MP3 clips as fast as it would be played, and each is sent.
//
//   TOKEN=… node examples/stream-file.mjs http://localhost:3000 demo music.flac
//
// TOKEN is an ID token of the livestream's artist; the demo prints one. Node 22 or later (Node 20: --experimental-websocket).

import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdtemp, readFile, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Streamer } from "../clients/js/index.js";

const SECONDS = 2; // of a clip: what listeners are behind, at least
const [url, livestream, file] = process.argv.slice(2);
if (!file || !process.env.TOKEN) {
  console.error("usage: TOKEN=… stream-file.mjs URL LIVESTREAM FILE");
  process.exit(2);
}

const streamer = new Streamer({
  url,
  livestream,
  // In an app: `({ expired }) => user.getIdToken(expired)`, since a Firebase token is valid for an hour.
  token: process.env.TOKEN,
  onState(state, reason) {
    console.error(state, reason);
    if (state === "refused") process.exit(1); // for good: nothing to come back to
  },
  onClip(clip, outcome) {
    // The server has the clip only when it is "sent"; it is kept, and sent again, until then.
    console.error(`clip ${clip.number}:`, outcome);
  },
});

// Each clip is a file of its own: whole MP3 frames without a header, so that clips joined are an MP3 again.
const folder = await mkdtemp(join(tmpdir(), "clips-"));
const encode = ["-vn", "-c:a", "libmp3lame", "-b:a", "128k", "-reservoir", "0"];
const bare = ["-segment_format_options", "write_xing=0:id3v2_version=0"];
const cut = ["-f", "segment", ...bare, "-segment_time", SECONDS, "-segment_list", "pipe:1", join(folder, "%06d.mp3")];
const ffmpeg = spawn("ffmpeg", ["-nostdin", "-loglevel", "error", "-re", "-i", file, ...encode, ...cut], {
  stdio: ["ignore", "pipe", "inherit"],
});
process.on("exit", () => {
  ffmpeg.kill();
  rmSync(folder, { recursive: true, force: true });
});
const ended = new Promise((resolve, reject) => ffmpeg.on("error", reject).on("close", resolve));

// ffmpeg prints the name of each clip that is finished.
for await (const name of createInterface({ input: ffmpeg.stdout })) {
  const clip = join(folder, name);
  streamer.send(await readFile(clip), SECONDS);
  await unlink(clip);
}
const status = await ended;
await streamer.end(); // waits for the last clips; then the livestream ends, for everybody
if (streamer.waiting > 0) {
  console.error(`${streamer.waiting} clips were not sent: is ${url} the server's address?`);
  process.exit(1);
}
process.exit(status);
