"use strict";
const thousands = (v) => (v < 1e6 ? Number((v / 1e3).toPrecision(3)) + " k" : Number((v / 1e6).toPrecision(3)) + " M");
const FIGURES = {
  accuracy: ["Accuracy", (v) => v.toFixed(2) + " %", -1],
  accuracy_change: ["Change", (v) => (v < 0 ? "\u2212" : "+") + Math.abs(v).toFixed(2), -1],
  latency_ms: ["Latency", (v) => Number(v.toPrecision(3)) + " ms", 1],
  speed: ["Speed", (v) => v.toFixed(2) + "x", -1],
  size_bytes: ["Size", (v) => (v < 1e6 ? (v / 1e3).toFixed(0) + " kB" : (v / 1e6).toFixed(1) + " MB"), 1],
  parameters: ["Parameters", thousands, 1],
  macs: ["MACs", thousands, 1],
};
const here = (id) => document.getElementById(id);
const known = (key) => CELLS.some((cell) => typeof cell[key] === "number");

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "circle", "line", "path", "text", "title"].includes(tag) || attributes.svg;
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) if (key !== "svg") made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function told(cell) {
  const parts = Object.keys(FIGURES).filter((key) => typeof cell[key] === "number")
    .map((key) => `${FIGURES[key][0].toLowerCase()} ${FIGURES[key][1](cell[key])}`);
  return `${cell.name}: ${parts.join(", ")}. Again: ${cell.command}`;
}

function ticks(low, high) {
  const raw = (high - low) / 5, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((one) => one * power >= raw);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

function span(values) {
  const low = Math.min(...values), high = Math.max(...values);
  const room = (high - low || Math.abs(high) || 1) * 0.08;
  return [low - room, high + room];
}

function front(points) {
  return points.filter((a) => !points.some((b) => b.x <= a.x && b.y <= a.y && (b.x < a.x || b.y < a.y)))
    .sort((a, b) => a.x - b.x);
}

function draw() {
  const [across, up, target] = ["across", "up", "target"].map((id) => here(id).value);
  const shown = CELLS.filter((cell) => typeof cell[across] === "number" && typeof cell[up] === "number"
    && (!target || cell.target === target));
  const box = here("drawing");
  box.replaceChildren();
  if (!shown.length) { box.append("No cell has both figures."); return; }
  const width = Math.max(Math.min(box.clientWidth, 1000), 300), height = Math.min(width * 0.62, 460);
  const left = 76, right = 34, top = 16, bottom = 44;
  const [x0, x1] = span(shown.map((cell) => cell[across])), [y0, y1] = span(shown.map((cell) => cell[up]));
  const x = (v) => left + (v - x0) / (x1 - x0) * (width - left - right);
  const y = (v) => height - bottom - (v - y0) / (y1 - y0) * (height - top - bottom);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${FIGURES[up][0]} over ${FIGURES[across][0]}` });
  for (const at of ticks(x0, x1).filter((_, n, all) => width > 500 || all.length < 5 || n % 2 === 0)) svg.append(
    make("line", { class: "grid", x1: x(at), x2: x(at), y1: top, y2: height - bottom }),
    make("text", { x: x(at), y: height - bottom + 18, "text-anchor": "middle" }, FIGURES[across][1](at)));
  for (const at of ticks(y0, y1)) svg.append(
    make("line", { class: "grid", x1: left, x2: width - right, y1: y(at), y2: y(at) }),
    make("text", { x: left - 8, y: y(at) + 4, "text-anchor": "end" }, FIGURES[up][1](at)));
  svg.append(make("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, FIGURES[across][0]));
  const best = front(shown.map((cell) => ({ cell, x: FIGURES[across][2] * cell[across], y: FIGURES[up][2] * cell[up] })));
  svg.append(make("path", { class: "front", d: "M" + best.map(({ cell }) => `${x(cell[across])},${y(cell[up])}`).join("L") }));
  const winners = new Set(best.map(({ cell }) => cell));
  for (const cell of shown) {
    const link = make("a", { svg: true, href: cell.link || "#", class: winners.has(cell) ? "best" : "" },
      make("circle", { cx: x(cell[across]), cy: y(cell[up]), r: 6 }, make("title", {}, told(cell))));
    const beside = () => shown.filter((other) => Math.hypot(x(other[across]) - x(cell[across]), y(other[up]) - y(cell[up])) < 6);
    for (const event of ["mouseenter", "focus"]) link.addEventListener(event, () => {
      here("told").textContent = [cell, ...beside().filter((other) => other !== cell)].map(told).join("\n");
    });
    svg.append(link);
  }
  box.append(svg);
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
window.addEventListener("resize", draw);
draw();
fill();
