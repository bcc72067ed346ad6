// @ts-check
/** What a studio that is reloaded in mid-show needs to know, kept for this tab alone. */

/** How long after its last sign of life a show is taken up again; a tab that is restored on another day stays off air. */
const FRESH_MS = 120_000;

/** @typedef {{since: number, source: "microphone" | "file", length: string, clean: boolean, device: string}} Show */

export class Resumption {
  /** When the show went on air, in milliseconds since 1970; null when no show was on. @type {number | null} */
  since = null;
  /** @type {Show["source"]} */ source = "microphone";
  length = "1";
  clean = true;
  device = "";

  /** @param {string} livestream */
  constructor(livestream) {
    this.key = `castaway.show.${livestream}`;
    try {
      const { seen = 0, ...show } = JSON.parse(sessionStorage.getItem(this.key) ?? "{}");
      const [navigation] = performance.getEntriesByType("navigation");
      const reloaded = navigation instanceof PerformanceNavigationTiming && navigation.type === "reload";
      if (reloaded && Date.now() - seen < FRESH_MS) Object.assign(this, show);
    } catch {
      // storage is off: a reload begins a new show
    }
  }

  /** @param {Show} show */
  remember(show) {
    Object.assign(this, show);
    this.touch();
  }

  /** The show is still on. */
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
