// @ts-check
/** Audio contexts that the browser has paused. iOS interrupts them for a call, and some cannot be resumed afterwards. */

/** How long a context that is resumed may take to run. */
const RESUME_MS = 1_500;

/**
 * Resumes a context. To be called from a click.
 * @param {BaseAudioContext & {resume: () => Promise<void>}} context
 * @returns {Promise<boolean>} false if a new one is needed
 */
export async function runsAgain(context) {
  // `interrupted` is WebKit's. Its end is not waited for: a new context needs the click.
  if (isStuck(context)) return false;
  await Promise.race([context.resume().catch(() => {}), new Promise((resolve) => setTimeout(resolve, RESUME_MS))]);
  return context.state === "running";
}

/** Whether it is of no use to resume a context. @param {BaseAudioContext} context */
export function isStuck({ state }) {
  return ["interrupted", "closed"].includes(state);
}
