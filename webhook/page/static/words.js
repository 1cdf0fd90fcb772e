// Figures and names as text. Names come from users: they reach the page as text nodes only, never as markup.

const UNITS = [[2 ** 40, "TiB"], [2 ** 30, "GiB"]];

export function memory(bytes) {
  const [size, unit] = UNITS.find(([least]) => bytes >= least) ?? [2 ** 20, "MiB"];
  return `${trimmed(bytes / size)} ${unit}`;
}

export function trimmed(value) {
  return String(Math.floor(value * 10) / 10);
}

export function percent(part, whole) {
  return whole > 0 ? Math.round((100 * part) / whole) : 0;
}

export function count(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** How long ago, in the largest unit that fits; `since` is RFC 3339. */
export function age(since, now) {
  const seconds = Math.max(0, (now - Date.parse(since)) / 1000);
  if (Number.isNaN(seconds)) {
    return "";
  }
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) {
      return `${Math.floor(seconds / size)} ${unit}`;
    }
  }
  return `${Math.floor(seconds)} s`;
}

/** An element with a class, a text and children; the text is never read as markup. */
export function make(name, kind = "", text = "", ...children) {
  const found = document.createElement(name);
  if (kind) {
    found.className = kind;
  }
  if (text) {
    found.textContent = text;
  }
  found.append(...children);
  return found;
}
