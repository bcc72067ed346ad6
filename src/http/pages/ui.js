// @ts-check
/** The few things that both pages do to their documents. */

/**
 * The element with this id, of this class.
 * @template {Element} T
 * @param {string} id
 * @param {new (...args: any[]) => T} kind
 * @returns {T}
 */
export function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/** Sets text only when it changes, so that a screen reader is not told twice. @param {Element} at @param {string} text */
export function say(at, text) {
  if (at.textContent !== text) at.textContent = text;
}

/** Copies a field to the clipboard, and says so on the button. @param {HTMLInputElement} field @param {HTMLElement} button */
export async function copyField(field, button) {
  field.select();
  const link = field.value;
  say(button, link ? ((await copied(link)) ? "Copied" : "Copy it by hand") : "No link yet");
  setTimeout(() => say(button, "Copy"), 3_000);
}

/** Whether the selected text reached the clipboard: plain HTTP has only the old way. @param {string} text */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return document.execCommand("copy");
  }
}

/** @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** Minutes and seconds. @param {number} seconds */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = String(whole % 60).padStart(2, "0");
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}
