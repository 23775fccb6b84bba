// Asks for a token where the controller wants one.

import { hasToken, setToken } from "./api.js";
import { fill, h } from "./dom.js";

/** Shows the question in `main`; `onGiven` is called with nothing, once there is a token. */
export function askForToken(main, why, onGiven) {
  const input = h("input", {
    id: "token-value",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "token-why",
  });
  const form = h(
    "form",
    {
      class: "panel ask",
      onsubmit: (event) => {
        event.preventDefault();
        if (!input.value.trim()) return;
        setToken(input.value);
        onGiven();
      },
    },
    h("h1", {}, "This controller wants a token"),
    h(
      "p",
      { id: "token-why" },
      hasToken()
        ? `The controller says: ${why}.`
        : "A token of its reader_token_file, or Keystone's (openstack token issue).",
    ),
    h("label", { for: "token-value" }, "Token"),
    input,
    h("button", { type: "submit", class: "primary" }, "Show the cloud"),
    h("p", { class: "muted" }, "It stays in this tab, and goes to this controller only."),
  );
  setToken("");
  fill(main, form);
  input.focus();
}
