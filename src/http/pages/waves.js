// @ts-check
/** The sea at the foot of the listening page: it swells with the sound. Decoration; still for who asks for less motion. */

/** A crest is up to 1.45 times as high as `calm` and `swell` say: all are within the canvas. */
const LAYERS = [
  { colour: "--sea-far", height: 0.86, length: 1.1, speed: 0.4, calm: 0.03, swell: 0.06 },
  { colour: "--sea-mid", height: 0.76, length: 0.74, speed: -0.55, calm: 0.026, swell: 0.085 },
  { colour: "--sea-near", height: 0.6, length: 0.52, speed: 0.8, calm: 0.02, swell: 0.035 },
];

/**
 * @param {HTMLCanvasElement} canvas
 * @param {() => number} level 0 to 1, asked at each frame
 */
export function drawWaves(canvas, level) {
  const pen = canvas.getContext("2d");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let colours = [""];
  let swell = 0;
  let time = 0;
  let before = 0;
  let frame = 0;

  const recolour = () => {
    const style = getComputedStyle(canvas);
    colours = LAYERS.map((it) => style.getPropertyValue(it.colour).trim());
  };

  const resize = () => {
    const scale = Math.min(2, devicePixelRatio);
    canvas.width = Math.round(canvas.clientWidth * scale);
    canvas.height = Math.round(canvas.clientHeight * scale);
  };

  const paint = () => {
    if (!pen) return;
    const { width, height } = canvas;
    pen.clearRect(0, 0, width, height);
    LAYERS.forEach((layer, index) => {
      const reach = height * (layer.calm + layer.swell * swell);
      const middle = height * (1 - layer.height);
      const bend = (2 * Math.PI) / (layer.length * Math.max(width, height * 1.6));
      pen.beginPath();
      pen.moveTo(0, height);
      for (let x = 0; x <= width + 8; x += 8) {
        const phase = x * bend + time * layer.speed + index * 2;
        pen.lineTo(x, middle - reach * (Math.sin(phase) + 0.45 * Math.sin(phase * 2.3 + time * 0.6)));
      }
      pen.lineTo(width, height);
      pen.closePath();
      pen.fillStyle = colours[index] ?? "";
      pen.fill();
    });
  };

  /** @param {number} now */
  const step = (now) => {
    const passed = Math.min(0.1, (now - before) / 1000);
    before = now;
    time += passed;
    const wish = Math.min(1, level());
    swell += (wish - swell) * (wish > swell ? 0.25 : 0.05);
    paint();
    frame = requestAnimationFrame(step);
  };

  const begin = () => {
    cancelAnimationFrame(frame);
    recolour();
    resize();
    if (still.matches) paint();
    else frame = requestAnimationFrame(step);
  };

  new ResizeObserver(begin).observe(canvas);
  still.addEventListener("change", begin);
  dark.addEventListener("change", begin);
}
