// How fast the webviews are, in Chromium outside the editor: `node bench/webview.mjs`. Needs dist/ (npm run build).
import { pathToFileURL } from "node:url";
import { open, start } from "../test/webview/harness/harness.mjs";

const size = { width: 1280, height: 900 };
const frames = 120;

/** From the message with the view model to the frame that shows it. */
async function draw(harness, state) {
  const page = await harness.page("schedule", "dark", size);
  const took = await page.evaluate(async (message) => {
    const started = performance.now();
    window.tell(message);
    await new Promise((done) => {
      const look = () => (document.querySelector(".bars canvas")?.width > 300 ? requestAnimationFrame(() => setTimeout(done)) : requestAnimationFrame(look));
      look();
    });
    return performance.now() - started;
  }, { kind: "start", translations: null, state });
  return { page, took };
}

/** Milliseconds between frames while the rows are dragged, sorted. */
function drag(page) {
  return page.evaluate(async (count) => {
    const bars = document.querySelector(".bars");
    const { left, top } = bars.getBoundingClientRect();
    const fire = (type, x, y) => bars.dispatchEvent(new PointerEvent(type, { clientX: left + x, clientY: top + y, buttons: 1, pointerId: 1, bubbles: true }));
    bars.setPointerCapture = () => undefined;
    fire("pointerdown", 700, 300);
    const times = [];
    let last = await new Promise(requestAnimationFrame);
    for (let at = 0; at < count; at++) {
      fire("pointermove", 700 - 4 * at, 300 - 2 * at);
      const now = await new Promise(requestAnimationFrame);
      times.push(now - last);
      last = now;
    }
    fire("pointerup", 0, 0);
    return times.sort((a, b) => a - b);
  }, frames);
}

/** From the slider's event to the frame with the new numbers, sorted. */
async function slide(harness, state) {
  const page = await harness.page("budget", "dark", { width: 300, height: 720 });
  await start(page, state);
  return page.evaluate(async () => {
    const slider = document.querySelector("input[type=range]");
    const times = [];
    for (let at = 0; at < 60; at++) {
      const started = performance.now();
      slider.value = String(Number(slider.min) + ((Number(slider.max) - Number(slider.min)) * ((at * 37) % 60)) / 60);
      slider.dispatchEvent(new Event("input"));
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      times.push(performance.now() - started);
    }
    return times.sort((a, b) => a - b);
  });
}

const median = (sorted) => sorted[Math.floor(sorted.length / 2)];

export async function measureWebviews(options = {}) {
  const harness = await open(options);
  try {
    const large = harness.state("large.schedule");
    const { page, took } = await draw(harness, large);
    const perSecond = {};
    for (const zooms of [0, 4, 9]) {
      await page.evaluate(([presses]) => {
        document.querySelector(".chart").focus();
        const press = (key) => document.querySelector(".chart").dispatchEvent(new KeyboardEvent("keydown", { key }));
        press("0");
        for (let at = 0; at < presses; at++) press("+");
      }, [zooms]);
      const times = await drag(page);
      perSecond[`${Math.round(1.5 ** zooms)}×`] = { median: 1000 / median(times), slowest: 1000 / times[Math.floor(times.length * 0.95)] };
    }
    const slider = await slide(harness, harness.state("generated.budget"));
    return {
      browser: harness.version,
      operators: large.picture.operators.length,
      liveRanges: large.picture.bars.reduce((sum, { segments }) => sum + segments.length, 0),
      drawMs: took,
      framesPerSecond: perSecond,
      sliderMs: { median: median(slider), slowest: slider.at(-1) },
    };
  } finally {
    await harness.close();
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { browser, operators, liveRanges, drawMs, framesPerSecond, sliderMs } = await measureWebviews();
  const lines = [
    `Chromium ${browser}; ${operators} operators, ${liveRanges} live ranges, ${size.width} × ${size.height}`,
    `schedule panel, first picture   ${drawMs.toFixed(0)} ms   (target 500)`,
    ...Object.entries(framesPerSecond).map(([zoom, fps]) => `schedule panel, pan at ${zoom.padEnd(4)}    ${fps.median.toFixed(0)} frames/s, 95% of frames at least ${fps.slowest.toFixed(0)}   (target 30)`),
    `slider to updated view          ${sliderMs.median.toFixed(0)} ms median, ${sliderMs.slowest.toFixed(0)} ms slowest   (target 50)`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}
