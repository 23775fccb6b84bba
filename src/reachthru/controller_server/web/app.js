// The page: which view is shown, and what happens when the controller can't say.

import { ApiError, hasToken, setToken } from "./api.js";
import { refreshTimes } from "./badges.js";
import { fill, h } from "./dom.js";
import { Live, say } from "./live.js";
import { changed, href, route } from "./routes.js";
import { askForToken } from "./token.js";
import { Fault } from "./views/fault.js";
import { Group } from "./views/group.js";
import { Guest } from "./views/guest.js";
import { Host } from "./views/host.js";
import { Faults, groups, guests, hosts } from "./views/lists.js";
import { Overview } from "./views/overview.js";

const LISTS = { guests, hosts, groups, faults: (id, query) => new Faults(id, query) };
const ONES = { guests: Guest, hosts: Host, groups: Group, faults: Fault };
const SEARCHED = ["guests", "hosts", "groups"];
const SEARCH_WAIT_MS = 250;
const TIMES_MS = 5000;

const main = document.getElementById("main");
const search = document.getElementById("search");
const forget = document.getElementById("token");
const live = new Live(
  () => refresh(),
  () => view?.goesOn ?? false,
);
let view = null;

function made({ name, id, query }) {
  if (name === "overview") return new Overview();
  if (!(name in LISTS)) return null;
  return id ? new ONES[name](id, query) : LISTS[name](id, query);
}

async function show(focus) {
  const at = route();
  view = made(at);
  markNavigation(at);
  if (view === null) {
    fill(
      main,
      h("h1", { tabindex: "-1" }, "There is no such view"),
      h("p", {}, h("a", { href: href("overview") }, "Overview")),
    );
    return;
  }
  main.setAttribute("aria-busy", "true");
  const mine = view;
  await refresh();
  if (view === mine && focus) {
    window.scrollTo(0, 0);
    main.querySelector("h1")?.focus({ preventScroll: true });
  }
}

/** Asks for what the view shows. What was shown stays while there is no answer. */
async function refresh() {
  const mine = view;
  if (mine === null) return;
  try {
    await mine.refresh();
  } catch (error) {
    if (view === mine) complain(error);
    return;
  }
  if (view !== mine) return; // the reader has gone on
  if (mine.element.parentNode !== main) {
    fill(main, mine.element);
    performance.mark("first-view");
  }
  document.getElementById("notice")?.remove();
  main.setAttribute("aria-busy", "false");
  document.title = `${mine.title} – reachthru`;
  forget.hidden = !hasToken();
}

function complain(error) {
  if (error instanceof ApiError && error.status === 401) {
    live.events.stop();
    askForToken(main, error.message, () => begin(true));
    return;
  }
  forget.hidden = !hasToken();
  const text =
    error instanceof ApiError
      ? error.message
      : "This page has made a mistake; the browser's console says which.";
  if (!(error instanceof ApiError)) console.error(error);
  const notice = document.getElementById("notice");
  if (notice?.textContent === text && notice.isConnected) return;
  const shown = h("p", { id: "notice", class: "notice", role: "alert" }, text);
  if (view.element.parentNode === main) {
    notice?.remove();
    main.prepend(shown);
  } else {
    fill(main, h("h1", { tabindex: "-1" }, view.title), shown);
  }
  main.setAttribute("aria-busy", "false");
}

/** `focus`: on what is new. Not where the reader has just opened the page. */
function begin(focus) {
  show(focus);
  live.start();
}

function markNavigation({ name, query }) {
  for (const link of document.querySelectorAll(".nav a")) {
    const here = link.getAttribute("href") === href(name);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const kind = SEARCHED.includes(name) ? name : "guests";
  const text = `Search ${kind}`;
  search.placeholder = text;
  document.querySelector("label[for=search]").textContent = text;
  if (document.activeElement !== search) search.value = query.q ?? "";
}

// --- search -------------------------------------------------------------------------------------

let searching = 0;

function searchFor(text) {
  const { name, id } = route();
  const here = SEARCHED.includes(name) && !id;
  if (here) location.replace(changed({ q: text }));
  else if (text) location.hash = href("guests", "", { q: text });
}

search.addEventListener("input", () => {
  clearTimeout(searching);
  searching = setTimeout(() => searchFor(search.value.trim()), SEARCH_WAIT_MS);
});
search.form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(searching);
  searchFor(search.value.trim());
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, textarea");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    search.focus();
    search.select();
  }
  if (event.key === "Escape" && event.target === search) {
    search.value = "";
    searchFor("");
    main.querySelector("h1")?.focus({ preventScroll: true });
  }
});

// --- the rest -----------------------------------------------------------------------------------

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the view, not a place in it
  main.focus();
});
forget.addEventListener("click", () => {
  setToken("");
  forget.hidden = true;
  say("The token is forgotten.");
  begin(true);
});
window.addEventListener("hashchange", () => show(document.activeElement !== search));
setInterval(() => refreshTimes(main), TIMES_MS);
begin(false);
