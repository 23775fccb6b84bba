// The controller's REST interface, with the reader's token where it wants one.

import { setClock } from "./format.js";

const KEY = "reachthru.token";
const TIMEOUT_MS = 20_000;

export class ApiError extends Error {
  /** `status`: HTTP's; 0: there was no answer. */
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

let token = readToken();

function readToken() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return ""; // storage is forbidden: the token lasts as long as the page
  }
}

export const hasToken = () => token !== "";

/** For this tab, until it is closed. "" forgets it. */
export function setToken(value) {
  token = value.trim();
  try {
    if (token) sessionStorage.setItem(KEY, token);
    else sessionStorage.removeItem(KEY);
  } catch {
    // as above
  }
}

/** The answer's `Response`. Raises `ApiError`. */
export async function ask(path, headers, signal) {
  const given = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(path, { headers: { ...given, ...headers }, cache: "no-store", signal });
  } catch (error) {
    if (signal?.aborted && signal.reason?.name !== "TimeoutError") throw error;
    throw new ApiError("The controller does not answer.", 0);
  }
  if (answer.ok) return answer;
  let text = `${answer.status} ${answer.statusText}`;
  try {
    text = (await answer.json()).error ?? text;
  } catch {
    // a proxy's words
  }
  throw new ApiError(text, answer.status);
}

/** get("/instances", {search: "db"}) -> the JSON of v1/instances?search=db. Raises `ApiError`. */
export async function get(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== "" && value !== null && value !== undefined) query.set(name, value);
  }
  const text = query.toString();
  const url = `v1${path}${text ? `?${text}` : ""}`;
  const answer = await ask(url, {}, AbortSignal.timeout(TIMEOUT_MS));
  setClock(answer.headers.get("date"));
  try {
    return await answer.json();
  } catch {
    throw new ApiError("The controller's answer broke off.", 0);
  }
}
