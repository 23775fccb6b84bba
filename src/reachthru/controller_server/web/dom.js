// Elements from data. Text is only ever text: nothing here, or anywhere, makes markup of a string.

const SVG = "http://www.w3.org/2000/svg";

function make(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  put(element, children);
  return element;
}

function put(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** h("a", {href: "#/"}, "text", node, ...): null and false are left out. */
export const h = (tag, attributes, ...children) =>
  make(document.createElement(tag), attributes, children);

export const svg = (tag, attributes, ...children) =>
  make(document.createElementNS(SVG, tag), attributes, children);

export function fill(element, ...children) {
  element.replaceChildren();
  put(element, children);
  return element;
}

/** Puts `children` there unless they would look as what is there: focus and selection stay. */
export function refill(element, ...children) {
  const made = fill(element.cloneNode(false), ...children);
  if (made.isEqualNode(element)) return;
  const held = element.contains(document.activeElement) ? document.activeElement : null;
  const label = held?.getAttribute("href") ?? held?.id;
  element.replaceChildren(...made.childNodes);
  if (!label) return;
  const same = [...element.querySelectorAll("a[href], [id]")].find(
    (item) => (item.getAttribute("href") ?? item.id) === label,
  );
  same?.focus({ preventScroll: true });
}

let lastId = 0;
/** An id that no other element has. */
export const uniqueId = (word) => `${word}-${++lastId}`;
