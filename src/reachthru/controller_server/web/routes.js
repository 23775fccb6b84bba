// #/guests/UUID?offset=100: which view, of what, and how. A link to any of them can be sent on.

/** {name: "guests", id: "UUID" or "", query: {offset: "100"}} */
export function route() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?", 2);
  const [, name = "", ...rest] = path.split("/");
  return {
    name: name || "overview",
    id: decoded(rest.join("/")),
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function href(name, id = "", query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined);
  const text = new URLSearchParams(given).toString();
  const path = [name === "overview" ? "" : name, ...(id ? [encodeURIComponent(id)] : [])].join("/");
  return `#/${path}${text ? `?${text}` : ""}`;
}

/** The same view, asked otherwise: it begins at the first page again, unless told. */
export function changed(more) {
  const { name, id, query } = route();
  return href(name, id, { ...query, offset: "", marker: "", ...more });
}
