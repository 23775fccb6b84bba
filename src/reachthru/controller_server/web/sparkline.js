// How quickly a guest answered of late: a picture, and the same in words.

import { h, svg } from "./dom.js";
import { exact, interval, milliseconds, plural, relative } from "./format.js";

const WIDTH = 600;
const HEIGHT = 96;

/** samples: [{at, ms}], the oldest first. */
export function sparkline(samples) {
  if (samples.length < 2) {
    const what = samples.length
      ? `The only sample so far: ${milliseconds(samples[0].ms)}.`
      : "No sample yet: agents report every few seconds; older agents report none.";
    return h("p", { class: "empty" }, what);
  }
  const values = samples.map((sample) => sample.ms);
  const sorted = [...values].sort((a, b) => a - b);
  const highest = sorted.at(-1);
  const median = sorted[Math.floor(sorted.length / 2)];
  const scale = niceAbove(highest);
  const text =
    `Slowest answers in ${plural(samples.length, "report")}: last ${milliseconds(values.at(-1))}, ` +
    `median ${milliseconds(median)}, highest ${milliseconds(highest)}.`;
  return h(
    "figure",
    { class: "spark" },
    h(
      "div",
      { class: "axis", "aria-hidden": "true" },
      h("span", {}, interval(scale)),
      h("span", {}, "0 ms"),
    ),
    picture(samples, scale, text),
    h(
      "figcaption",
      {},
      h(
        "time",
        { datetime: samples[0].at, "data-exact": exact(samples[0].at) },
        relative(samples[0].at),
      ),
      h(
        "span",
        { class: "stats" },
        stat("last", values.at(-1)),
        stat("median", median),
        stat("highest", highest),
      ),
      h("span", {}, "now"),
    ),
  );
}

const stat = (name, ms) => h("span", {}, `${name} `, h("strong", {}, milliseconds(ms)));

function picture(samples, scale, text) {
  const times = samples.map((sample) => Date.parse(sample.at));
  const from = times[0];
  const span = Math.max(1, times.at(-1) - from);
  const points = samples.map((sample, index) => [
    ((times[index] - from) / span) * WIDTH,
    HEIGHT - 2 - (sample.ms / scale) * (HEIGHT - 6),
  ]);
  const runs = withoutGaps(points, times);
  const line = runs.map(
    (run) => `M${run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`,
  );
  const area = runs.map(
    (run, index) =>
      `${line[index]}L${run.at(-1)[0].toFixed(1)} ${HEIGHT}L${run[0][0].toFixed(1)} ${HEIGHT}Z`,
  );
  return svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": text,
    },
    svg("path", { class: "area", d: area.join("") }),
    svg("path", { class: "line", d: line.join("") }),
  );
}

/** Where nothing came for long, nothing is drawn: silence is no quick answer. */
function withoutGaps(points, times) {
  const steps = times.slice(1).map((time, index) => time - times[index]);
  const usual = [...steps].sort((a, b) => a - b)[Math.floor(steps.length / 2)];
  const runs = [[points[0]]];
  for (let index = 1; index < points.length; index++) {
    if (steps[index - 1] > usual * 4 + 2000) runs.push([]);
    runs.at(-1).push(points[index]);
  }
  return runs;
}

function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 0.1)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}
