// Namespaces: each has a number, which stands on its slices, and a colour and pattern, which repeat after a while.

import { count, make, memory } from "./words.js";

const LOOKS = 10;
const SHOWN = 40;

const numbers = new Map();
const held = new Map();
let chosen = "";

/** A namespace's number; the same for as long as the page is open. */
export function number(namespace) {
  if (!numbers.has(namespace)) {
    numbers.set(namespace, numbers.size + 1);
  }
  return numbers.get(namespace);
}

export function look(namespace) {
  return `look${(number(namespace) - 1) % LOOKS}`;
}

export function called(namespace) {
  return namespace || "(unreadable entry)";
}

/** Number them in the order of their names, before anything is drawn. */
export function learn(nodes) {
  const found = new Set();
  for (const node of nodes) {
    for (const gpu of node.gpus) {
      for (const one of gpu.held) {
        found.add(one.namespace);
      }
    }
  }
  [...found].sort().forEach(number);
}

/** Count a node's slices in (sign 1) or out (-1). */
export function tally(node, sign) {
  for (const gpu of node?.gpus ?? []) {
    for (const one of gpu.held) {
      const sum = held.get(one.namespace) ?? { memory: 0, slices: 0 };
      sum.memory += sign * one.memory;
      sum.slices += sign;
      held.set(one.namespace, sum);
    }
  }
}

export function forget() {
  held.clear();
}

/** The legend: press one to see its slices alone. Drawn anew only when a namespace comes, goes or changes places. */
export function draw(list, nodes) {
  const entries = [...held].filter(([, sum]) => sum.slices > 0).sort((a, b) => b[1].memory - a[1].memory);
  const names = JSON.stringify(entries.map(([namespace]) => namespace));
  if (list.dataset.names === names) {
    entries.slice(0, SHOWN).forEach(([, sum], at) => fill(list.children[at].querySelector("small"), figures(sum)));
    return;
  }
  list.dataset.names = names;
  const focused = document.activeElement?.dataset?.space;
  list.replaceChildren(...entries.slice(0, SHOWN).map(([namespace, sum]) => entry(namespace, sum, list, nodes)));
  if (entries.length > SHOWN) {
    list.append(make("li", "", `and ${count(entries.length - SHOWN, "namespace", "namespaces")} more`));
  }
  if (focused !== undefined) {
    list.querySelector(`[data-space="${CSS.escape(focused)}"]`)?.focus();
  }
}

function entry(namespace, sum, list, nodes) {
  const button = make("button", "space", "", make("span", `tag ${look(namespace)}`, String(number(namespace))));
  button.append(` ${called(namespace)} `, make("small", "", figures(sum)));
  button.type = "button";
  button.dataset.space = namespace;
  button.setAttribute("aria-pressed", String(namespace === chosen));
  button.addEventListener("click", () => choose(namespace === chosen ? "" : namespace, list, nodes));
  return make("li", "", "", button);
}

function figures(sum) {
  return `${memory(sum.memory)}, ${count(sum.slices, "slice", "slices")}`;
}

function fill(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

export function isChosen(namespace) {
  return chosen === "" || chosen === namespace;
}

function choose(namespace, list, nodes) {
  chosen = namespace;
  for (const button of list.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.space === chosen));
  }
  for (const slice of nodes.querySelectorAll(".slice[data-space]")) {
    slice.classList.toggle("dim", !isChosen(slice.dataset.space));
  }
}
