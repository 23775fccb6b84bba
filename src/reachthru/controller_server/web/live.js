// Keeps what is shown true: asks again after news, now and then, and when the line is back.

import { Events } from "./events.js";
import { plural, words } from "./format.js";

const NEWS_WAIT_MS = 200; // what happens together is asked for together
const PAUSE_MS = 1000; // between two questions, however much happens
const TICK_MS = 2000; // between two questions while something goes on that nobody tells of
const PERIOD_MS = 10_000; // what is no news: when a guest was last seen, how quick it was
const SAY_MS = 5000;

const STATES = {
  connecting: "Connecting",
  live: "Live",
  lost: "Reconnecting",
  refused: "Needs a token",
};

export class Live {
  /** `refresh()` asks for what is shown anew and never raises; `goesOn()`: it will soon change. */
  constructor(refresh, goesOn) {
    this.refresh = refresh;
    this.goesOn = goesOn;
    this.state = "";
    this.wasLost = false;
    this.timer = 0;
    this.askedAt = 0;
    this.busy = false;
    this.again = false;
    this.faults = [];
    this.events = new Events({
      onEvent: (kind, data) => this.#heard(kind, data),
      onState: (state) => this.#show(state),
    });
    setInterval(() => this.#tick(), TICK_MS);
    document.addEventListener("visibilitychange", () => this.#due(0));
  }

  start() {
    this.events.stop();
    this.events.start();
  }

  #heard(kind, data) {
    if (kind === "fault") this.#say(data);
    this.#due(NEWS_WAIT_MS);
  }

  #tick() {
    const age = performance.now() - this.askedAt;
    if (this.goesOn() || age >= PERIOD_MS) this.#due(0);
  }

  #due(wait) {
    if (document.hidden || this.state === "refused") return;
    if (this.busy) {
      this.again = true;
      return;
    }
    if (this.timer) return;
    const pause = this.askedAt + PAUSE_MS - performance.now();
    this.timer = setTimeout(() => this.#ask(), Math.max(wait, pause));
  }

  async #ask() {
    this.timer = 0;
    this.busy = true;
    await this.refresh();
    this.busy = false;
    this.askedAt = performance.now();
    if (this.again) {
      this.again = false;
      this.#due(NEWS_WAIT_MS);
    }
  }

  #show(state) {
    if (state === this.state) return;
    this.state = state;
    const shown = document.getElementById("live");
    shown.dataset.state = state;
    document.getElementById("live-text").textContent = STATES[state];
    if (state === "lost") {
      this.wasLost = true;
      say("The connection to the controller is lost; trying again.");
    } else if (state === "live" && this.wasLost) {
      this.wasLost = false;
      say("The connection to the controller is back.");
      this.#due(0);
    }
  }

  /** A storm is one sentence, not a thousand. */
  #say(fault) {
    this.faults.push(fault);
    if (this.saying) return;
    this.saying = setTimeout(
      () => {
        this.saying = 0;
        const told = this.faults.splice(0);
        const raised = told.filter((item) => item.status === "raised");
        const cleared = told.length - raised.length;
        const parts = [];
        if (raised.length === 1) {
          const where = raised[0].instance_name || raised[0].host;
          parts.push(`New fault: ${words(raised[0].kind)}, ${where}.`);
        } else if (raised.length) parts.push(`${plural(raised.length, "new fault")}.`);
        if (cleared) parts.push(`${plural(cleared, "fault")} cleared.`);
        say(parts.join(" "));
      },
      this.saidAt && performance.now() - this.saidAt < SAY_MS ? SAY_MS : 100,
    );
    this.saidAt = performance.now();
  }
}

/** To whoever listens to the page. */
export function say(text) {
  document.getElementById("said").textContent = text;
}
