// examples/stream-file.mjs is run as an app developer would run it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Child } from "./harness/children.js";
import { test } from "./harness/cluster.js";
import { inAWorld } from "./harness/world.js";

const EXAMPLE = fileURLToPath(new URL("../../../examples/stream-file.mjs", import.meta.url));
const SECONDS = 5;

// A busy machine must not take the example's connection for lost.
inAWorld("the example that streams a file", { CASTAWAY_SERVER__PING_TIMEOUT: "5s" }, (world) => {
  const folder = mkdtempSync(join(tmpdir(), "castaway-example-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const tone = join(folder, "tone.wav");
  execFileSync("ffmpeg", ["-loglevel", "error", "-f", "lavfi", "-i", `sine=duration=${SECONDS}`, tone]);

  const run = (token, livestream, url = world.server.url) => {
    const args = ["--experimental-websocket", EXAMPLE, url, livestream, tone];
    return new Child(process.execPath, args, { TOKEN: token, TMPDIR: folder });
  };

  test("is heard whole, and ends the livestream", async () => {
    const livestream = await world.livestream();
    const example = run(await world.google.token(livestream.user), livestream.id);
    await example.says(/^live/m);
    const listener = await world.listener(livestream);
    assert.equal(await listener.next("disconnect", 30_000), "io server disconnect");
    assert.equal((await example.exited).code, 0, example.output);
    const clips = listener.journal.filter(({ name }) => name === "audio").map(({ value }) => value);
    assert.equal(clips.length, 3);
    const heard = join(folder, "heard.mp3");
    writeFileSync(heard, Buffer.concat(clips));
    const probe = ["-v", "error", "-count_packets", "-show_entries", "stream=nb_read_packets,sample_rate", "-of", "json", heard];
    const [{ nb_read_packets: packets, sample_rate: rate }] = JSON.parse(execFileSync("ffprobe", probe)).streams;
    const seconds = (packets * 1_152) / rate;
    assert.ok(seconds >= SECONDS && seconds < SECONDS + 0.2, `${seconds} s`);
    assert.deepEqual(readdirSync(folder).filter((name) => name.startsWith("clips-")), []);
  });

  test("says why it was refused, and fails", async () => {
    const livestream = await world.livestream();
    const example = run(await world.google.token("somebody else"), livestream.id);
    assert.equal((await example.exited).code, 1);
    assert.match(example.output, /User is not authorized to livestream in this room\./);
  });

  test("says that nothing was sent, and fails", async () => {
    const wire = await world.wire();
    wire.cut({ stay: true });
    const example = run("no token", "nowhere", wire.url);
    assert.equal((await example.exited).code, 1);
    assert.match(example.output, /3 clips were not sent/);
  });
});
