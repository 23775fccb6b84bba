// How one change of a fault went, stage by stage.

import { h } from "./dom.js";
import { exact, milliseconds, words } from "./format.js";

const STAGES = {
  last_good: "The last good answer",
  deadline: "An answer was due",
  detected: "Detected by the host agent",
  outbox: "Durable at the host agent",
  controller: "Arrived at a controller",
  stored: "Durable in the database",
};

const name = (stage) =>
  STAGES[stage] ?? (stage.startsWith("sink:") ? `Told to ${stage.slice(5)}` : words(stage));

/** `fault` as of one change. Stages are milliseconds from its detection. */
export function timeline(fault) {
  const stages = Object.entries(fault.stages_ms).sort(([, a], [, b]) => a - b);
  const detected = Date.parse(fault.cleared_at ?? fault.raised_at);
  // What lies long before the detection would leave no room for what came of it.
  const drawn = stages.filter(([stage]) => stage !== "last_good");
  const from = Math.min(0, ...drawn.map(([, ms]) => ms));
  const span = Math.max(1, ...drawn.map(([, ms]) => ms)) - from;
  return h(
    "ol",
    { class: "timeline" },
    stages.map(([stage, ms], index) => {
      const before = index && stages[index - 1][0] !== "last_good" ? stages[index - 1][1] : ms;
      return h(
        "li",
        { class: stage === "detected" ? "detected" : null },
        h("span", { class: "stage" }, name(stage)),
        h(
          "span",
          { class: "at", title: exact(new Date(detected + ms).toISOString()) },
          ms > 0 ? "+" : "",
          milliseconds(ms),
        ),
        stage === "last_good"
          ? h("span", { class: "track", "aria-hidden": "true" })
          : track(before, ms, from, span),
      );
    }),
  );
}

function track(before, ms, from, span) {
  const part = h("span", { class: "step" });
  part.style.insetInlineStart = `${((before - from) / span) * 100}%`;
  part.style.width = `${((ms - before) / span) * 100}%`;
  return h("span", { class: "track", "aria-hidden": "true" }, part);
}
