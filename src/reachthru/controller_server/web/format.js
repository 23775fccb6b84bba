// Numbers, times and words, as people read them.

const integer = new Intl.NumberFormat("en");
let skewMs = 0; // how far the controller's clock is ahead of the browser's

export const count = (value) => integer.format(value);
export const plural = (value, one, many = `${one}s`) =>
  `${count(value)} ${value === 1 ? one : many}`;

/** `date`: an answer's Date header, of whole seconds. */
export function setClock(date) {
  const ahead = Date.parse(date) - Date.now();
  if (Number.isFinite(ahead)) skewMs = Math.abs(ahead) > 2000 ? ahead : 0;
}

export const now = () => Date.now() + skewMs;

export function relative(iso) {
  const seconds = (now() - Date.parse(iso)) / 1000;
  if (!Number.isFinite(seconds)) return String(iso);
  if (seconds < -1) return `in ${milliseconds(-seconds * 1000)}`;
  if (seconds < 1) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

export function exact(iso) {
  const moment = new Date(iso);
  if (Number.isNaN(moment.getTime())) return String(iso);
  return `${moment.toISOString().replace("T", " ").replace("Z", "")} UTC`;
}

export function milliseconds(ms) {
  const size = Math.abs(ms);
  if (size >= 60_000) return duration(size / 1000, ms < 0);
  if (size >= 1000) return `${(ms / 1000).toFixed(size >= 10_000 ? 1 : 2)} s`;
  return `${size >= 100 || size === 0 ? ms.toFixed(0) : ms.toFixed(1)} ms`;
}

function duration(seconds, negative) {
  const sign = negative ? "-" : "";
  if (seconds < 3600) return `${sign}${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400)
    return `${sign}${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${sign}${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

/** What somebody has set: 400 ms, 2 s. */
export const interval = (ms) => (ms < 1000 ? `${ms} ms` : `${ms / 1000} s`);

/** "for 3 min 4 s", between two ISO times; the second one is now where there is none. */
export function lasting(from, to) {
  const end = to ? Date.parse(to) : now();
  return milliseconds(Math.max(0, end - Date.parse(from)));
}

/** heartbeat_lost becomes Heartbeat lost: words that a newer controller has are shown as well. */
export function words(name) {
  const text = String(name ?? "").replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export const VERDICTS = {
  failing: "Failing",
  unwell: "Unwell",
  unknown: "Unknown",
  unwatched: "Unwatched",
  excused: "Excused",
  well: "Well",
};

export const SEVERITIES = ["critical", "major", "minor", "warning"];
