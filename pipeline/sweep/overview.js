"use strict";
const thousands = (v) => (v < 1e6 ? Number((v / 1e3).toPrecision(3)) + " k" : Number((v / 1e6).toPrecision(3)) + " M");
const FIGURES = {
  accuracy: ["Accuracy", (v) => v.toFixed(2) + " %", -1, " (%)"],
  accuracy_change: ["Change", (v) => (v < 0 ? "\u2212" : "+") + Math.abs(v).toFixed(2), -1, " (points)"],
  latency_ms: ["Latency", (v) => Number(v.toPrecision(3)) + " ms", 1, " (ms)"],
  energy_mj: ["Energy", (v) => Number(v.toPrecision(3)) + " mJ", 1, " (mJ for one)"],
  speed: ["Speed", (v) => v.toFixed(2) + "x", -1, " (times as fast)"],
  size_bytes: ["Size", (v) => (v < 1e6 ? (v / 1e3).toFixed(0) + " kB" : (v / 1e6).toFixed(1) + " MB"), 1, " (bytes)"],
  parameters: ["Parameters", thousands, 1, ""],
  macs: ["MACs", thousands, 1, ""],
};
const here = (id) => document.getElementById(id);
const known = (key) => CELLS.some((cell) => typeof cell[key] === "number");

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function told(cell) {
  const parts = Object.keys(FIGURES).filter((key) => typeof cell[key] === "number")
    .map((key) => `${FIGURES[key][0].toLowerCase()} ${FIGURES[key][1](cell[key])}`);
  return `${cell.name}: ${parts.join(", ")}. Again: ${cell.command}`;
}

function front(cells, across, up) {
  const cost = (cell, key) => FIGURES[key][2] * cell[key];
  const beats = (a, b) => [across, up].every((key) => cost(a, key) <= cost(b, key))
    && [across, up].some((key) => cost(a, key) < cost(b, key));
  return new Set(cells.filter((one) => !cells.some((other) => beats(other, one))));
}

function spec(across, up, shown) {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const best = front(shown, across, up);
  const text = (cell) => Object.fromEntries(Object.keys(FIGURES).filter((key) => typeof cell[key] === "number")
    .map((key) => [FIGURES[key][0], FIGURES[key][1](cell[key])]));
  const values = shown.map((cell) => ({ x: cell[across], y: cell[up], best: best.has(cell), name: cell.name,
    link: cell.link, told: told(cell), ...text(cell) }));
  const counted = ["size_bytes", "parameters", "macs"]; // in thousands and millions
  const axis = (key) => ({ type: "quantitative", title: FIGURES[key][0] + FIGURES[key][3], scale: { zero: false, nice: true, padding: 12 },
    axis: { tickCount: 6, ...(counted.includes(key) ? { format: "~s" } : {}) } });
  const place = { x: { field: "x", ...axis(across) }, y: { field: "y", ...axis(up) } };
  const tips = ["name", FIGURES[across][0], FIGURES[up][0]];
  const text_colours = { labelColor: colour("--muted"), titleColor: colour("--muted"), gridColor: colour("--line"), domainColor: colour("--line"), tickColor: colour("--line") };
  return {
    width: "container", height: 380, autosize: { type: "fit-x", contains: "padding" }, padding: 14, background: "transparent", data: { values },
    config: { axis: text_colours, view: { stroke: null }, font: "inherit" },
    layer: [
      { transform: [{ filter: "datum.best" }], mark: { type: "line", color: colour("--compressed") }, encoding: { ...place, order: { field: "x" } } },
      { mark: { type: "point", size: 110, filled: true, stroke: colour("--dense"), strokeWidth: 1.5, opacity: 1, cursor: "pointer" },
        encoding: { ...place, href: { field: "link" }, tooltip: tips.map((field) => ({ field, type: "nominal" })),
          fill: { condition: { test: "datum.best", value: colour("--compressed") }, value: colour("--sheet") } } },
    ],
  };
}

function draw() {
  if (!window.vegaEmbed) return;
  const [across, up, target] = ["across", "up", "target"].map((id) => here(id).value);
  const shown = CELLS.filter((cell) => typeof cell[across] === "number" && typeof cell[up] === "number"
    && (!target || cell.target === target));
  const options = { ast: true, actions: false, renderer: "svg" }; // ast: the page's policy forbids eval
  vegaEmbed("#drawing", spec(across, up, shown), options).then(({ view }) => {
    view.addEventListener("mouseover", (_, item) => { if (item && item.datum.told) here("told").textContent = item.datum.told; });
  });
}

const COLUMNS = [
  ["name", "Cell"], ["state", "State"], ["verdict", "Verdict"], ...KEYS.map((key) => ["values." + key, key.split(".").pop()]),
  ...Object.keys(FIGURES).filter(known).map((key) => [key, FIGURES[key][0]]),
];
let sorted = ["", 1];

function value(cell, key) {
  const found = key.startsWith("values.") ? cell.values[key.slice(7)] : cell[key];
  return found === undefined || found === null ? null : !isNaN(Number(found)) && found !== "" ? Number(found) : found;
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  return order * sorted[1];
}

function fill() {
  const cells = sorted[0] ? [...CELLS].sort((a, b) => compare(value(a, sorted[0]), value(b, sorted[0]))) : CELLS;
  here("table").tHead.replaceChildren(make("tr", {}, ...COLUMNS.map(([key, title]) => {
    const button = make("button", { type: "button" }, title);
    button.addEventListener("click", () => { sorted = [key, sorted[0] === key ? -sorted[1] : 1]; fill(); });
    const head = make("th", { scope: "col", class: key in FIGURES ? "number" : "" }, button);
    if (sorted[0] === key) head.setAttribute("aria-sort", sorted[1] > 0 ? "ascending" : "descending");
    return head;
  })));
  here("table").tBodies[0].replaceChildren(...cells.map((cell) => make("tr", {}, ...COLUMNS.map(([key]) => {
    if (key === "name") return make("td", { class: "name" }, cell.link ? make("a", { href: cell.link }, cell.name) : cell.name);
    if (key === "verdict") return make("td", {}, cell.verdict || cell.why || "");
    const found = value(cell, key);
    const text = found === null ? "\u2013" : key in FIGURES ? FIGURES[key][1](found) : String(found);
    return make("td", { class: key in FIGURES ? "number" : key === "state" ? cell.state : "" }, text);
  }))));
}

function options(id, pairs, chosen) {
  for (const [key, title] of pairs) here(id).append(make("option", key === chosen ? { value: key, selected: "" } : { value: key }, title));
  here(id).addEventListener("change", draw);
}

const drawn = Object.keys(FIGURES).filter(known).map((key) => [key, FIGURES[key][0]]);
const timed = CELLS.find((cell) => typeof cell.latency_ms === "number");
options("across", drawn, timed ? "latency_ms" : "size_bytes");
options("up", drawn, "accuracy");
options("target", [["", "all"], ...[...new Set(CELLS.map((cell) => cell.target))].map((one) => [one, one])], timed ? timed.target : "");
draw();
fill();
