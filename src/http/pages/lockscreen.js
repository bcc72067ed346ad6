// @ts-check
/**
 * The livestream on the lock screen. Browsers show a page there, and let it sound behind a lock, while a media element plays; the
 * sound itself comes from the audio graph, so a silent loop plays beside it.
 */

/** @type {HTMLAudioElement | null} */
let silence = null;

/** Ten seconds of nothing: some browsers take what is shorter for a notification's sound. */
function silentFile() {
  const [rate, seconds] = [8_000, 10];
  const size = rate * seconds;
  const file = new DataView(new ArrayBuffer(44 + size));
  const word = (/** @type {number} */ at, /** @type {string} */ text) => [...text].forEach((it, i) => file.setUint8(at + i, it.charCodeAt(0)));
  word(0, "RIFF");
  file.setUint32(4, 36 + size, true);
  word(8, "WAVEfmt ");
  file.setUint32(16, 16, true);
  file.setUint16(20, 1, true);
  file.setUint16(22, 1, true);
  file.setUint32(24, rate, true);
  file.setUint32(28, rate, true);
  file.setUint16(32, 1, true);
  file.setUint16(34, 8, true);
  word(36, "data");
  file.setUint32(40, size, true);
  new Uint8Array(file.buffer).fill(128, 44);
  return new Blob([file.buffer], { type: "audio/wav" });
}

/** @param {boolean} on to be called from a click the first time */
export function keepAwake(on) {
  if (on && !silence) {
    silence = new Audio(URL.createObjectURL(silentFile()));
    silence.loop = true;
    const session = /** @type {{audioSession?: {type: string}}} */ (navigator).audioSession;
    if (session) session.type = "playback";
  }
  if (on) void silence?.play().catch(() => {});
  else silence?.pause();
}

/**
 * @param {object} livestream
 * @param {string} livestream.title
 * @param {string} livestream.words
 * @param {string} [livestream.cover] a picture's address
 * @param {boolean} livestream.playing
 * @param {() => void} livestream.play
 * @param {() => void} livestream.stop
 */
export function describeLivestream({ title, words, cover, playing, play, stop }) {
  const session = navigator.mediaSession;
  if (!session) return;
  session.metadata = new MediaMetadata({
    title: title || "Castaway",
    artist: words,
    artwork: [cover ? { src: cover } : { src: "/pages/icons/icon-512.png", sizes: "512x512", type: "image/png" }],
  });
  session.playbackState = playing ? "playing" : "none";
  session.setActionHandler("play", play);
  session.setActionHandler("pause", stop);
  session.setActionHandler("stop", stop);
}
