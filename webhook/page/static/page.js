// Reads the board once, follows its changes, and says how old what it shows is.

import * as nodes from "./nodes.js";
import * as panels from "./panels.js";
import * as spaces from "./spaces.js";
import { count, memory, percent } from "./words.js";

const SILENT = 15_000; // milliseconds after which the server should have said something
const AGAIN = 3_000;
const byId = (id) => document.getElementById(id);

const board = { queue: [], queued: 0, models: {}, history: [], ready: true };
let heard = 0;
let connected = false;
let stream;

async function read() {
  leave();
  try {
    const answer = await fetch("board");
    if (!answer.ok) {
      throw new Error(`the server answers ${answer.status}`);
    }
    const { version, nodes: all, ...rest } = await answer.json();
    Object.assign(board, rest);
    nodes.replace(all);
    show(rest);
    follow(version);
  } catch (reason) {
    connected = false;
    say(`Not connected (${reason.message}). Trying again.`);
    setTimeout(read, AGAIN);
  }
}

function follow(version) {
  leave();
  stream = new EventSource(`changes?since=${version}`);
  stream.addEventListener("message", (event) => {
    hear();
    const { nodes: changed, sample, ...rest } = JSON.parse(event.data);
    if (changed) {
      nodes.take(changed);
    }
    if (sample) {
      rest.history = [...board.history, sample].slice(-120);
    }
    Object.assign(board, rest);
    show(rest);
  });
  stream.addEventListener("beat", hear);
  stream.addEventListener("again", read);
  stream.addEventListener("error", () => {
    connected = false;
    tellState();
    if (stream?.readyState === EventSource.CLOSED) {
      setTimeout(read, AGAIN);
    }
  });
}

// A browser has six connections to one server: a page that nobody sees must not hold one.
function leave() {
  stream?.close();
  stream = undefined;
}

function hear() {
  connected = true;
  heard = Date.now();
  tellState();
}

function show(changed) {
  if ("models" in changed) {
    panels.models(byId("models"), board.models, nodes.spelled);
  }
  if ("history" in changed) {
    panels.history(byId("history"), board.history);
  }
  if ("queue" in changed) {
    panels.queue(byId("queue"), byId("more"), board.queue, board.queued, Date.now());
  }
}

function sumUp() {
  const { nodes: machines, gpus } = nodes.size();
  const { taken, capacity } = nodes.granted();
  byId("sum").textContent =
    `${count(gpus, "GPU", "GPUs")} on ${count(machines, "node", "nodes")}; ` +
    `${memory(taken)} of ${memory(capacity)} granted (${percent(taken, capacity)} %)`;
  spaces.draw(byId("spaces"), byId("nodes"));
  select();
}

function select() {
  const text = byId("filter").value;
  const shown = nodes.filter(text);
  byId("shown").textContent = text ? `${count(shown, "GPU", "GPUs")} shown` : "";
  byId("none").hidden = shown > 0 || nodes.size().gpus === 0;
}

let said = "";
function say(text) {
  if (text !== said) {
    said = text; // a status that is written again is read out again
    byId("state").textContent = text;
  }
}

function tellState() {
  const silent = Date.now() - heard > SILENT;
  const live = connected && !silent;
  document.body.classList.toggle("stale", !live);
  if (!live) {
    say(heard ? `Not connected: this is as of ${new Date(heard).toLocaleTimeString()}.` : "Not connected.");
  } else {
    say(board.ready ? "Live" : "Live, but the allocator has not seen the whole cluster lately: figures may be old.");
  }
}

nodes.onFinished(sumUp);
byId("filter").addEventListener("input", select);
byId("order").addEventListener("change", (event) => nodes.arrange(event.target.value));
byId("tools").addEventListener("submit", (event) => event.preventDefault());
addEventListener("pagehide", leave);
addEventListener("pageshow", (event) => event.persisted && read());
document.addEventListener("visibilitychange", () => (document.hidden ? leave() : read()));
setInterval(tellState, 1_000);
setInterval(() => show({ queue: true }), 60_000);
read();
