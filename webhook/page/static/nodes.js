// The fleet: a card per node, a bar per GPU, a part of the bar per slice. Drawn a few at a time between two frames, so
// that the page never freezes, however large the fleet.

import * as spaces from "./spaces.js";
import { count, make, memory, percent } from "./words.js";

const BUDGET = 16; // milliseconds of drawing between two frames

const nodes = new Map(); // name -> { data, card, text, full, shown }
const pending = new Set();
const list = document.getElementById("nodes");
let words = [];
let order = "name";
let drawing = false;
let finished = () => {};

export function size() {
  let gpus = 0;
  for (const { data } of nodes.values()) {
    gpus += data.gpus.length;
  }
  return { nodes: nodes.size, gpus };
}

export function granted() {
  let taken = 0;
  let capacity = 0;
  for (const { data } of nodes.values()) {
    for (const gpu of data.gpus) {
      capacity += gpu.capacity;
      taken += gpu.held.reduce((sum, one) => sum + one.memory, 0);
    }
  }
  return { taken, capacity };
}

/** What a model is called, by its folded name. */
export function spelled(folded) {
  for (const { data } of nodes.values()) {
    for (const gpu of data.gpus) {
      if (gpu.model.toLowerCase() === folded) {
        return gpu.model;
      }
    }
  }
  return folded;
}

/** Take over nodes: by name; null: gone. */
export function take(changed) {
  for (const [name, data] of Object.entries(changed)) {
    const before = nodes.get(name);
    spaces.tally(before?.data, -1);
    if (data === null) {
      before?.card.remove();
      nodes.delete(name);
      pending.delete(name);
      continue;
    }
    spaces.tally(data, 1);
    const [at, shown] = [before?.card ?? card(name), before?.shown ?? []];
    nodes.set(name, { data, card: at, text: searchable(data), full: fullness(data), shown });
    pending.add(name);
  }
  schedule();
}

/** Take over the whole fleet. */
export function replace(all) {
  spaces.forget();
  for (const { card: old } of nodes.values()) {
    old.remove();
  }
  nodes.clear();
  pending.clear();
  spaces.learn(Object.values(all));
  take(all);
  arrange(order);
}

export function onFinished(call) {
  finished = call;
}

/** Show the nodes alone that have every word. */
export function filter(text) {
  words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const one of nodes.values()) {
    one.card.hidden = !matches(one);
    shown += one.card.hidden ? 0 : one.data.gpus.length;
  }
  entrance();
  return shown;
}

export function arrange(by) {
  order = by;
  const collator = new Intl.Collator("en", { numeric: true });
  const keys = {
    name: () => 0,
    full: (one) => -one.full,
    empty: (one) => one.full,
    problem: (one) => (one.data.problem || one.data.gpus.some((gpu) => gpu.problem) ? 0 : 1),
  };
  const key = keys[by];
  const sorted = [...nodes.values()].sort((a, b) => key(a) - key(b) || collator.compare(a.data.name, b.data.name));
  list.append(...sorted.map((one) => one.card));
  entrance();
}

function matches(one) {
  return words.every((word) => one.text.includes(word));
}

function searchable(node) {
  const found = new Set([node.name, node.problem]);
  for (const gpu of node.gpus) {
    found.add(gpu.model).add(gpu.uuid).add(gpu.problem);
    for (const one of gpu.held) {
      found.add(one.namespace).add(`${one.namespace}/${one.pod}`);
    }
  }
  return [...found].join("\n").toLowerCase();
}

function fullness(node) {
  const held = node.gpus.reduce((sum, gpu) => sum + gpu.held.reduce((all, one) => all + one.memory, 0), 0);
  return held / (node.gpus.reduce((sum, gpu) => sum + gpu.capacity, 0) || 1);
}

function card(name) {
  const made = make("li", "node");
  made.dataset.node = name;
  list.append(made);
  return made;
}

function schedule() {
  if (!drawing && pending.size) {
    drawing = true;
    if (list.childElementCount && !list.querySelector(".gpu")) {
      work(); // the first view need not wait for a frame
    } else {
      requestAnimationFrame(work);
    }
  }
}

function work() {
  const end = performance.now() + BUDGET;
  for (const name of pending) {
    pending.delete(name);
    paint(nodes.get(name));
    if (performance.now() > end) {
      break;
    }
  }
  entrance();
  if (pending.size) {
    requestAnimationFrame(work);
  } else {
    drawing = false;
    finished();
  }
}

/** Draw a node; of one that is drawn already only the GPUs that have changed. */
function paint(one) {
  const { data, card: target, shown } = one;
  const wanted = data.gpus.map((gpu) => JSON.stringify(gpu));
  const same = target.childElementCount === 1 + 2 * wanted.length && data.gpus.every((gpu, at) => gpu.uuid === shown.uuids?.[at]);
  heading(target, data);
  if (same) {
    wanted.forEach((text, at) => text === shown[at] || swap(target.children[1 + 2 * at], data.gpus[at]));
  } else {
    target.style.setProperty("--gpus", data.gpus.length);
    target.replaceChildren(target.firstElementChild, ...data.gpus.flatMap((gpu) => row(gpu, false)));
  }
  one.shown = Object.assign(wanted, { uuids: data.gpus.map((gpu) => gpu.uuid) });
  target.hidden = !matches(one);
}

function heading(target, data) {
  const text = `${data.name}\n${data.problem}`;
  if (target.dataset.heading === text) {
    return;
  }
  target.dataset.heading = text;
  const title = make("h3", "", data.name);
  if (data.problem) {
    title.append(make("span", "problem", `! ${data.problem}`));
  }
  target.firstElementChild?.remove();
  target.prepend(title);
}

/** Draw one GPU anew in its place; open stays open, and the focus stays on it. */
function swap(old, gpu) {
  const focused = old === document.activeElement;
  const [button, details] = row(gpu, old.getAttribute("aria-expanded") === "true");
  button.tabIndex = old.tabIndex;
  old.nextElementSibling.replaceWith(details);
  old.replaceWith(button);
  if (focused) {
    button.focus();
  }
}

function row(gpu, open) {
  const held = gpu.held.reduce((sum, one) => sum + one.memory, 0);
  const cores = gpu.held.reduce((sum, one) => sum + one.cores, 0);
  const button = make("button", "gpu");
  button.type = "button";
  button.tabIndex = -1;
  button.dataset.uuid = gpu.uuid;
  button.setAttribute("aria-expanded", String(open));
  button.setAttribute("aria-label", sentence(gpu, held, cores));
  const label = make("span", "label", `${gpu.index} `, make("small", "", gpu.model));
  const figure = make("span", "figure", gpu.problem ? "!" : `${percent(held, gpu.capacity)} %`);
  const time = make("span", "time", "", make("span", "used"));
  time.firstChild.style.width = `${Math.min(100, cores)}%`;
  button.append(label, bar(gpu), figure, time);
  const details = make("div", "details");
  details.hidden = !open;
  if (open) {
    details.append(table(gpu));
  }
  button.addEventListener("click", () => toggle(button, details, gpu));
  return [button, details];
}

function sentence(gpu, held, cores) {
  const parts = [
    `GPU ${gpu.index}, ${gpu.model}`,
    `${memory(held)} of ${memory(gpu.capacity)} granted`,
    `${cores} % of its time granted`,
    count(gpu.held.length, "slice", "slices"),
  ];
  if (gpu.foreign) {
    parts.push(`${memory(gpu.foreign)} held by others`);
  }
  return parts.concat(gpu.problem ? [`takes nothing new: ${gpu.problem}`] : []).join("; ");
}

function bar(gpu) {
  const made = make("span", gpu.problem ? "bar sick" : "bar");
  const whole = Math.max(gpu.capacity, gpu.foreign + gpu.held.reduce((sum, one) => sum + one.memory, 0)) || 1;
  for (const one of gpu.held) {
    const slice = make("span", `slice ${spaces.look(one.namespace)}`, String(spaces.number(one.namespace)));
    slice.style.width = `${(100 * one.memory) / whole}%`;
    slice.dataset.space = one.namespace;
    slice.title = `${spaces.called(one.namespace)}/${one.pod} ${one.container}: ${memory(one.memory)}`;
    slice.classList.toggle("dim", !spaces.isChosen(one.namespace));
    made.append(slice);
  }
  if (gpu.foreign) {
    const others = make("span", "slice others", "×");
    others.style.width = `${(100 * gpu.foreign) / whole}%`;
    others.title = `held by others than vramshare's pods: ${memory(gpu.foreign)}`;
    made.append(others);
  }
  return made;
}

function toggle(button, details, gpu) {
  details.hidden = !details.hidden;
  button.setAttribute("aria-expanded", String(!details.hidden));
  details.replaceChildren(...(details.hidden ? [] : [table(gpu)]));
}

function table(gpu) {
  const body = make("tbody");
  for (const one of gpu.held) {
    const time = one.cores ? `${one.cores} %${one.burst ? ", more when idle" : ""}` : "no cap";
    const tag = make("span", `tag ${spaces.look(one.namespace)}`, String(spaces.number(one.namespace)));
    const pod = make("td", "", "", tag, ` ${spaces.called(one.namespace)}/${one.pod}`);
    body.append(make("tr", "", "", pod, make("td", "", one.container), make("td", "", memory(one.memory)), make("td", "", time)));
  }
  const head = make("tr", "", "", ...["Pod", "Container", "Memory", "Time"].map((text) => make("th", "", text)));
  const caption = make("caption", "", `${gpu.uuid}${gpu.problem ? `: ${gpu.problem}` : ""}`);
  return make("table", "", "", caption, make("thead", "", "", head), body);
}

// One GPU is reached by Tab, the others from it by arrow keys: a thousand stops would be none.

function entrance() {
  const first = list.querySelector(".node:not([hidden]) .gpu");
  const now = list.querySelector('.gpu[tabindex="0"]');
  if (now && (now.contains(document.activeElement) || !now.closest("[hidden]"))) {
    return;
  }
  now?.setAttribute("tabindex", "-1");
  first?.setAttribute("tabindex", "0");
}

list.addEventListener("focusin", (event) => {
  const target = event.target.closest(".gpu");
  if (target) {
    list.querySelector('.gpu[tabindex="0"]')?.setAttribute("tabindex", "-1");
    target.setAttribute("tabindex", "0");
  }
});

list.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
  const from = event.target.closest(".gpu");
  if (!step || !from || event.ctrlKey || event.metaKey || event.altKey) {
    return;
  }
  const all = [...list.querySelectorAll(".node:not([hidden]) .gpu")];
  const at = Math.min(all.length - 1, Math.max(0, all.indexOf(from) + step));
  all[at].focus();
  event.preventDefault();
});
