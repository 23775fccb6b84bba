// Server-sent events, read with fetch: EventSource could not send a token.

import { ApiError, ask } from "./api.js";

const SILENCE_MS = 40_000; // the controller says that it lives each 15 s
const RETRY_MS = [500, 1000, 2000, 5000, 10_000];
const HIDDEN_MS = 30_000; // a browser has six connections to a server, for all of its tabs

export class Events {
  /** onEvent(kind, data); onState("live" | "connecting" | "lost" | "refused"). */
  constructor({ onEvent, onState }) {
    this.onEvent = onEvent;
    this.onState = onState;
    this.lastId = "";
    this.failures = 0;
    this.abort = null;
    this.timer = 0;
    document.addEventListener("visibilitychange", () => this.#visibility());
  }

  start() {
    clearTimeout(this.timer);
    if (this.abort === null) this.#follow();
  }

  stop() {
    clearTimeout(this.timer);
    this.abort?.abort();
    this.abort = null;
  }

  #visibility() {
    clearTimeout(this.hidden);
    if (document.hidden) this.hidden = setTimeout(() => this.stop(), HIDDEN_MS);
    else this.start();
  }

  async #follow() {
    const abort = (this.abort = new AbortController());
    this.onState(this.failures ? "lost" : "connecting");
    try {
      await this.#read(abort);
      throw new ApiError("The stream ended.", 0);
    } catch (error) {
      if (this.abort !== abort) return; // it was stopped
      this.abort = null;
      const refused = error instanceof ApiError && [401, 403].includes(error.status);
      this.onState(refused ? "refused" : "lost");
      if (refused) return;
      const wait = RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)];
      this.timer = setTimeout(() => this.start(), wait * (0.75 + Math.random() / 2));
    }
  }

  async #read(abort) {
    const headers = { Accept: "text/event-stream" };
    if (this.lastId) headers["Last-Event-ID"] = this.lastId;
    const goOn = () => {
      clearTimeout(this.silence);
      this.silence = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    // `abort` may be pulled by our own watch: then it is as if the line had broken.
    goOn();
    try {
      const answer = await ask("v1/events", headers, abort.signal);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      let first = true;
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        goOn();
        if (first) {
          first = false;
          this.failures = 0;
          this.onState("live");
        }
        const blocks = (rest + value).split("\r\n\r\n");
        rest = blocks.pop();
        for (const block of blocks) this.#take(block);
      }
    } finally {
      clearTimeout(this.silence);
    }
  }

  #take(block) {
    let kind = "message";
    const data = [];
    for (const line of block.split("\r\n")) {
      const [name, value] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)];
      if (name === "id") this.lastId = value;
      else if (name === "event") kind = value;
      else if (name === "data") data.push(value);
    }
    if (data.length) this.onEvent(kind, JSON.parse(data.join("\n")));
  }
}
