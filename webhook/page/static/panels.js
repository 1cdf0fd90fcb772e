// The panels above the fleet: models, the last hour, the queue.

import { age, count, make, percent, trimmed } from "./words.js";

const QUEUE_SHOWN = 100;
const WIDTH = 600;
const HEIGHT = 120;
const HOUR = 3600;
const SVG = "http://www.w3.org/2000/svg";

export function models(table, found, spelled) {
  const rows = Object.entries(found).map(([name, one]) => {
    const stranded = `${trimmed(one.stranded)} (${percent(one.stranded, one.free)} %)`;
    const model = make("th", "", spelled(name));
    model.scope = "row";
    return make("tr", "", "", model, ...[one.total, trimmed(one.free), stranded].map((text) => make("td", "short", String(text))));
  });
  table.tBodies[0].replaceChildren(...rows);
}

export function queue(table, more, waiting, total, now) {
  const rows = waiting.slice(0, QUEUE_SHOWN).map((one) => {
    const pod = make("th", "", `${one.namespace}/${one.pod}`);
    pod.scope = "row";
    if (one.priority) {
      pod.append(make("small", "", ` priority ${one.priority}`));
    }
    const since = make("td", "short", age(one.since, now));
    since.title = one.since;
    return make("tr", "", "", pod, make("td", "", one.asks), since, make("td", "", one.reason));
  });
  table.tBodies[0].replaceChildren(...rows);
  table.hidden = rows.length === 0;
  const rest = total - rows.length;
  more.textContent = total === 0 ? "Nobody waits." : rest > 0 ? `and ${count(rest, "pod", "pods")} more` : "";
}

export function history(figure, samples) {
  if (samples.length < 2) {
    figure.replaceChildren(make("figcaption", "", "Drawn from two points on; one comes every half minute."));
    return;
  }
  const last = samples.at(-1);
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", preserveAspectRatio: "none" });
  const words =
    `${percent(last.used, last.total)} % of all GPUs granted, ${percent(last.stranded, last.total)} % stranded, ` +
    `${count(last.queued, "pod waits", "pods wait")}. An hour's range: granted ${range(samples, "used")} %, ` +
    `stranded ${range(samples, "stranded")} %, at most ${Math.max(...samples.map((one) => one.queued))} waiting.`;
  chart.setAttribute("aria-label", words);
  for (const at of [0.25, 0.5, 0.75]) {
    chart.append(svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: HEIGHT * at, y2: HEIGHT * at }));
  }
  const most = Math.max(1, ...samples.map((one) => one.queued));
  chart.append(
    line("used", samples, (one) => one.used / (one.total || 1), last.at),
    line("stranded", samples, (one) => one.stranded / (one.total || 1), last.at),
    line("queued", samples, (one) => one.queued / most, last.at),
  );
  const key = make("p", "key", "", ...[["used", "granted"], ["stranded", "stranded"], ["queued", `waiting (top: ${most})`]].map(
    ([kind, text]) => make("span", "", "", swatch(kind), ` ${text} `),
  ));
  figure.replaceChildren(chart, key, make("figcaption", "", words));
}

function range(samples, name) {
  const found = samples.map((one) => percent(one[name], one.total));
  const [least, most] = [Math.min(...found), Math.max(...found)];
  return least === most ? String(most) : `${least} to ${most}`;
}

function line(kind, samples, value, end) {
  const points = samples.map((one) => {
    const x = WIDTH * (1 - (end - one.at) / HOUR);
    return `${x.toFixed(1)},${(HEIGHT - 2 - (HEIGHT - 4) * value(one)).toFixed(1)}`;
  });
  return svg("polyline", { class: kind, points: points.join(" ") });
}

function swatch(kind) {
  const made = svg("svg", { viewBox: "0 0 28 8", class: "swatch", "aria-hidden": "true" });
  made.append(svg("line", { class: kind, x1: 0, x2: 28, y1: 4, y2: 4 }));
  return made;
}

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  return made;
}
