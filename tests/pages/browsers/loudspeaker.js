// @ts-check
/** A loudspeaker that nobody hears: without one, Firefox's audio clock stands still. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { COMMAND_MS, found, within } from "./tab.js";

/** @returns {Promise<{close: () => Promise<void>} | null>} null if PulseAudio is not installed */
export async function openLoudspeaker() {
  const binary = found("pulseaudio");
  if (!binary) return null;
  const folder = mkdtempSync(join(tmpdir(), "castaway-loudspeaker-"));
  const socket = join(folder, "socket");
  const modules = ["module-null-sink", `module-native-protocol-unix socket=${socket} auth-anonymous=1`];
  const child = spawn(
    binary,
    ["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", ...modules.flatMap((it) => ["--load", it])],
    { stdio: "ignore", env: { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder } },
  );
  const ready = async () => {
    while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 100));
  };
  await within(COMMAND_MS, "PulseAudio starts", ready());
  process.env.PULSE_SERVER = `unix:${socket}`;
  return {
    async close() {
      child.kill();
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
