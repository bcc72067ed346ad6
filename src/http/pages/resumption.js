// @ts-check
/** What a studio that is reloaded in the middle of a livestream needs to know, kept for this tab alone. */

/** How long after its last sign of life a livestream is taken up again; a tab that is restored on another day stays off air. */
const FRESH_MS = 120_000;

/** @typedef {{since: number, source: "microphone" | "file", length: string, clean: boolean, device: string}} Settings */

export class Resumption {
  /** When the livestream went on air, in milliseconds since 1970; null when none was. @type {number | null} */
  since = null;
  /** @type {Settings["source"]} */ source = "microphone";
  length = "1";
  clean = true;
  device = "";

  /** @param {string} livestream */
  constructor(livestream) {
    this.key = `castaway.livestream.${livestream}`;
    try {
      const { seen = 0, ...settings } = JSON.parse(sessionStorage.getItem(this.key) ?? "{}");
      const [navigation] = performance.getEntriesByType("navigation");
      const reloaded = navigation instanceof PerformanceNavigationTiming && navigation.type === "reload";
      if (reloaded && Date.now() - seen < FRESH_MS) Object.assign(this, settings);
    } catch {
      // storage is off: a reload begins a new livestream
    }
  }

  /** @param {Settings} settings */
  remember(settings) {
    Object.assign(this, settings);
    this.touch();
  }

  /** The livestream is still on. */
  touch() {
    if (this.since === null) return;
    const { since, source, length, clean, device } = this;
    try {
      sessionStorage.setItem(this.key, JSON.stringify({ since, source, length, clean, device, seen: Date.now() }));
    } catch {
      // as above
    }
  }

  forget() {
    this.since = null;
    try {
      sessionStorage.removeItem(this.key);
    } catch {
      // as above
    }
  }
}
