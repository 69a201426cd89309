"use strict";
// Charts, drawn at the size at which they are seen: a unit of theirs is a pixel, so that their text never shrinks.

const make = (tag, text, attributes = {}) => {
  const node = document.createElement(tag);
  if (text != null) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};
const draw = (tag, attributes = {}, text) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text != null) node.textContent = text;
  return node;
};
const show = (value, digits = 2) => (value == null ? "–" : typeof value === "number" ? value.toFixed(digits) : String(value));

const FONT = 12, LINE = 15, RADIUS = 6, CROWD = 40; // pixels; most names in a chart

const ruler = document.createElement("canvas").getContext("2d");
function widthOf(text) {
  ruler.font = `${FONT}px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
}
// Too long a text is cut in its middle: names of one kind differ at their ends.
function fit(text, width) {
  const letters = [...text];
  let [short, count] = [text, letters.length];
  while (count > 2 && widthOf(short) > width) {
    count--;
    short = `${letters.slice(0, Math.ceil(count / 2)).join("")}…${letters.slice(letters.length - Math.floor(count / 2)).join("")}`;
  }
  return short;
}

// ---- marks: colour and shape both differ from row to row, and all pairs of them are used before one comes again -----

const COLOURS = 7;
const polygon = (...corners) => (x, y, r) =>
  "M" + corners.map(([dx, dy]) => `${(x + r * dx).toFixed(2)} ${(y + r * dy).toFixed(2)}`).join("L") + "Z";
const SHAPES = [
  (x, y, r) => `M${(x - r).toFixed(2)} ${y.toFixed(2)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  polygon([-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]),
  polygon([0, -1.2], [1.15, 0.85], [-1.15, 0.85]),
  polygon([0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]),
  polygon([0, 1.2], [1.15, -0.85], [-1.15, -0.85]),
];
const colourClass = (number) => `c${number % COLOURS}`;
const markOf = (number, x, y, r, hollow = false) => draw("path", {
  d: SHAPES[number % SHAPES.length](x, y, r), class: `mark ${colourClass(number)}${hollow ? " hollow" : ""}`,
});
function keyOf(number, hollow) {
  const svg = draw("svg", { class: "key", viewBox: "0 0 16 16", "aria-hidden": "true" });
  svg.append(markOf(number, 8, 8, 5.2, hollow));
  return svg;
}

// ---- places ------------------------------------------------------------------------------------------------------

// Marks that would lie on each other move apart, no further than they must and always the same way.
function spread(places, apart, frame) {
  const moved = places.map(([x, y]) => [x, y]);
  for (let round = 0; round < 120; round++) {
    let still = true;
    for (let a = 0; a < moved.length; a++) for (let b = a + 1; b < moved.length; b++) {
      let [dx, dy] = [moved[b][0] - moved[a][0], moved[b][1] - moved[a][1]];
      let far = Math.hypot(dx, dy);
      if (far >= apart - 0.05) continue;
      still = false;
      const push = (apart - far) / 2;
      if (far < 0.01) [dx, dy, far] = [Math.cos(2.4 * b), Math.sin(2.4 * b), 1];
      for (const [at, sign] of [[a, -1], [b, 1]]) {
        moved[at][0] = Math.min(Math.max(moved[at][0] + sign * push * dx / far, frame.left), frame.right);
        moved[at][1] = Math.min(Math.max(moved[at][1] + sign * push * dy / far, frame.top), frame.bottom);
      }
    }
    if (still) break;
  }
  return moved;
}

const meets = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
function crosses([x0, y0], [x1, y1], box) {
  for (let step = 0; step <= 12; step++) {
    const [x, y] = [x0 + (x1 - x0) * step / 12, y0 + (y1 - y0) * step / 12];
    if (x > box[0] && x < box[2] && y > box[1] && y < box[3]) return true;
  }
  return false;
}

// Where names stand: beside their marks if there is room, else further off at the end of a line; null where there is none.
// Of some orders in which they may be placed the one is taken that leaves the most names, nearest to their marks.
function namePlaces(texts, marks, bars, frame) {
  const numbers = texts.map((_, number) => number), by = (value) => [...numbers].sort((a, b) => value(a) - value(b) || a - b);
  const orders = [numbers, [...numbers].reverse(), ...[0, 1].flatMap((axis) => [1, -1].map((sign) => by((number) => sign * marks[number][axis])))];
  let best = null;
  for (const order of orders) {
    const places = placed(order, texts, marks, bars, frame);
    const cost = places.reduce((sum, place) => sum + (place ? place.cost : 1000), 0);
    if (!best || cost < best.cost) best = { cost, places };
  }
  return best.places;
}

function placed(order, texts, marks, bars, frame) {
  const taken = marks.map(([x, y]) => [x - RADIUS - 2, y - RADIUS - 2, x + RADIUS + 2, y + RADIUS + 2]);
  const names = [], places = texts.map(() => null);
  for (const own of order) {
    const [x, y] = marks[own], width = widthOf(texts[own]) + 2;
    let best = null;
    for (const far of [0, 8, 16, 26, 38, 52, 68, 86, 106, 130]) for (let turn = 0; turn < 24; turn++) {
      const [cos, sin] = [Math.cos(turn * Math.PI / 12), Math.sin(turn * Math.PI / 12)];
      const at = [x + cos * (RADIUS + 4 + far), y + sin * (RADIUS + 4 + far)];
      const left = at[0] + (cos > 0.3 ? 0 : cos < -0.3 ? -width : -width / 2), top = at[1] - LINE / 2 + sin * LINE / 2;
      const box = [left, top, left + width, top + LINE];
      let cost = far + (cos < 0 ? 2 : 0) + Math.abs(sin);
      if (best && cost >= best.cost) continue;
      if (left < frame.left || left + width > frame.right || top < frame.top || top + LINE > frame.bottom) continue;
      if ([...taken, ...names].some((other) => meets(box, other))) continue;
      const end = [x + cos * (RADIUS + 2), y + sin * (RADIUS + 2)];
      if (far && names.some((other) => crosses(end, at, other))) continue;
      if (far && taken.some((other, number) => number !== own && crosses(end, at, other))) continue;
      cost += 6 * bars.filter((bar) => meets(box, bar)).length;
      if (best && cost >= best.cost) continue;
      best = { cost, box, x: left + 1, y: top + LINE - 4, line: far ? [end, at] : null };
    }
    if (best) names.push(best.box);
    places[own] = best;
  }
  return places;
}

function ticks(low, high) {
  const step = [1, 2, 5, 10, 20, 25, 50].find((size) => (high - low) / size <= 6) || 50, out = [];
  for (let at = Math.ceil(low / step) * step; at <= high + 1e-9; at += step) out.push([at, String(at)]);
  return out;
}
function logTicks(low, high) {
  const digits = high - low < 1 ? [1, 2, 3, 5, 7] : high - low < 2 ? [1, 2, 5] : [1], out = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power++) for (const digit of digits) {
    const at = power + Math.log10(digit), value = Number((digit * 10 ** power).toPrecision(2));
    if (at >= low && at <= high) out.push([at, value >= 1000 ? `${value / 1000}k` : String(value)]);
  }
  return out;
}

// ---- the chart ---------------------------------------------------------------------------------------------------

// All that is drawn of the row that is looked at, in every chart, and its name in the legend.
let emphasised = null;
function emphasise(number) {
  emphasised = number;
  for (const node of document.querySelectorAll("[data-entry]"))
    node.classList.toggle("on", number != null && node.dataset.entry === String(number));
}

function calm(number) {
  if (emphasised === number) emphasise(null);
}

// points: {x, y, low, high, name, number (of its mark), hollow, entry (its row), open (what a click does), kind}
function plot(box, points, options) {
  const known = points.filter((p) => p.x != null && p.y != null && (!options.log || p.x > 0));
  if (!known.length) { box.append(make("p", "No figures.", { class: "soft" })); return; }
  const width = Math.max(box.clientWidth, 260), height = Math.round(Math.min(Math.max(width * 0.78, 300), 430));
  const frame = { left: 50, right: width - 12, top: 10, bottom: height - 46 };
  const scale = options.log ? Math.log10 : (value) => value;
  const xs = known.map((p) => scale(p.x));
  const ys = known.flatMap((p) => (options.bars ? [p.y, p.low ?? p.y, p.high ?? p.y] : [p.y]));
  const room = options.log ? 0.25 : 4;
  let [x0, x1, y0, y1] = [Math.min(...xs) - room, Math.max(...xs) + room, Math.min(...ys) - 4, Math.max(...ys) + 4];
  if (Math.min(...ys) >= 0) y0 = Math.max(0, y0);
  y1 = Math.min(100, y1);
  if (!options.log) [x0, x1] = [Math.min(...xs) >= 0 ? Math.max(0, x0) : x0, Math.min(100, x1)];
  if (options.square) [x0, x1] = [y0, y1] = [Math.min(x0, y0), Math.max(x1, y1)];
  const px = (value) => frame.left + (value - x0) / (x1 - x0 || 1) * (frame.right - frame.left);
  const py = (value) => frame.bottom - (value - y0) / (y1 - y0 || 1) * (frame.bottom - frame.top);

  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "chart", role: "group", "aria-label": options.label });
  for (const [at, text] of ticks(y0, y1)) svg.append(
    draw("line", { x1: frame.left, x2: frame.right, y1: py(at), y2: py(at), class: "grid" }),
    draw("text", { x: frame.left - 8, y: py(at) + 4, "text-anchor": "end" }, text));
  for (const [at, text] of (options.log ? logTicks : ticks)(x0, x1)) svg.append(
    draw("line", { x1: px(at), x2: px(at), y1: frame.top, y2: frame.bottom, class: "grid" }),
    draw("text", { x: px(at), y: frame.bottom + 18, "text-anchor": "middle" }, text));
  if (options.square) svg.append(draw("line", { x1: px(x0), y1: py(x0), x2: px(x1), y2: py(x1), class: "axis", "stroke-dasharray": "4 4" }));
  const middle = [(frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2];
  svg.append(
    draw("text", { x: middle[0], y: height - 6, "text-anchor": "middle" }, fit(options.xName, frame.right - frame.left)),
    draw("text", { x: 14, y: middle[1], "text-anchor": "middle", transform: `rotate(-90 14 ${middle[1]})` },
      fit(options.yName, frame.bottom - frame.top)));

  const radius = options.small ? 4.5 : RADIUS, few = known.length <= CROWD;
  const places = known.map((p) => [px(scale(p.x)), py(p.y)]);
  const inner = { left: frame.left + radius, right: frame.right - radius, top: frame.top + radius, bottom: frame.bottom - radius };
  const marks = few ? spread(places, 2 * radius + 2, inner) : places;
  const bars = known.flatMap((p, number) => (options.bars && p.low != null ? [[marks[number][0] - 1, py(p.high), marks[number][0] + 1, py(p.low)]] : []));
  const names = options.small || !few ? [] : namePlaces(known.map((p) => fit(p.name, width / 2)), marks, bars, frame);
  const layers = { bars: draw("g"), lines: draw("g"), points: draw("g"), names: draw("g", { "aria-hidden": "true" }) };
  const readout = make("p", null, { class: "readout soft", "aria-live": "polite" });
  const idle = unplaced(points, known, names, marks, places, options);
  readout.textContent = idle;

  const tell = (number) => {
    const p = known[number], [x, y] = places[number];
    const range = options.bars && p.low != null ? ` (95 % ${show(p.low, 1)} to ${show(p.high, 1)})` : "";
    const here = known.filter((_, other) => other !== number && Math.hypot(places[other][0] - x, places[other][1] - y) < 3);
    return `${p.name}: ${options.xName} ${show(p.x)}, ${options.yName} ${show(p.y)}${range}`
      + (p.hollow ? "; a part of the benchmark" : "") + (here.length ? `; at the same place: ${here.map((o) => o.name).join(", ")}` : "");
  };
  const nodes = known.map((p, number) => {
    const [x, y] = marks[number], [tx, ty] = places[number], own = p.entry == null ? {} : { "data-entry": p.entry };
    const colour = p.kind ?? colourClass(p.number);
    if (options.bars && p.low != null) layers.bars.append(draw("line", { x1: x, x2: x, y1: py(p.low), y2: py(p.high), class: `bar ${colour}`, ...own }));
    if (Math.hypot(x - tx, y - ty) > 2) layers.lines.append(draw("line", { x1: tx, y1: ty, x2: x, y2: y, class: "leader" }),
      draw("circle", { cx: tx, cy: ty, r: 1.5, class: "true" }));
    const node = draw("g", { class: "point", role: p.open ? "button" : "img", tabindex: number ? -1 : 0, "aria-label": tell(number), ...own });
    node.append(draw("circle", { cx: x, cy: y, r: radius + 3, class: "hit" }),
      p.kind ? draw("circle", { cx: x, cy: y, r: radius, class: `mark ${p.kind}` }) : markOf(p.number, x, y, radius, p.hollow));
    layers.points.append(node);
    const name = names[number];
    if (name) {
      if (name.line) layers.lines.append(draw("line", { x1: name.line[0][0], y1: name.line[0][1], x2: name.line[1][0], y2: name.line[1][1], class: "leader" }));
      layers.names.append(draw("text", { x: name.x, y: name.y, class: "name", ...own }, fit(p.name, width / 2)));
    }
    const look = () => { readout.textContent = tell(number); emphasise(p.entry); node.classList.add("on"); };
    const leave = () => { readout.textContent = idle; node.classList.remove("on"); calm(p.entry); };
    for (const event of ["pointerenter", "focus"]) node.addEventListener(event, look);
    for (const event of ["pointerleave", "blur"]) node.addEventListener(event, leave);
    if (p.open) node.addEventListener("click", p.open);
    return node;
  });
  // One stop of the Tab key; arrows go from mark to mark.
  svg.addEventListener("keydown", (event) => {
    const at = nodes.indexOf(document.activeElement), last = nodes.length - 1;
    const next = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last }[event.key];
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    if (next !== undefined) {
      const node = nodes[Math.min(Math.max(next, 0), last)];
      for (const each of nodes) each.setAttribute("tabindex", each === node ? 0 : -1);
      node.focus();
    } else if ((event.key === "Enter" || event.key === " ") && known[at].open) known[at].open();
    else return;
    event.preventDefault();
  });
  svg.append(...Object.values(layers));
  box.append(svg, readout);
}

function unplaced(points, known, names, marks, places, options) {
  const lines = [];
  const nameless = known.filter((_, number) => names.length && !names[number]).length;
  const missing = points.filter((p) => !known.includes(p)).map((p) => p.name);
  if (marks.some(([x, y], number) => Math.hypot(x - places[number][0], y - places[number][1]) > 2))
    lines.push("Marks that would cover each other stand beside their places, which a line leads to.");
  if (nameless) lines.push(`No room for ${nameless === 1 ? "one name" : `${nameless} names`}: point at a mark, or go from mark to mark by the arrow keys.`);
  if (missing.length) lines.push(`Without ${options.log ? "a speed" : "both figures"}: ${missing.slice(0, 6).join(", ")}${missing.length > 6 ? ` and ${missing.length - 6} more` : ""}.`);
  return lines.join(" ");
}

// Bars of differences; they point the way of their sign.
function differenceBars(box, rows, label) {
  const width = Math.max(box.clientWidth, 260), step = 24;
  const names = Math.min(width * 0.46, 10 + Math.max(...rows.map((row) => widthOf(row.name))));
  const most = Math.max(1, ...rows.map((row) => Math.abs(row.value))), half = (width - names) / 2 - 44;
  const zero = names + 44 + half, svg = draw("svg", { viewBox: `0 0 ${width} ${rows.length * step + 8}`, width, height: rows.length * step + 8, class: "chart", role: "img", "aria-label": label });
  rows.forEach(({ name, value }, number) => {
    const long = Math.abs(value) / most * half, y = number * step + 4, text = draw("text", { x: 0, y: y + 12, class: "strong" }, fit(name, names - 8));
    text.append(draw("title", {}, name));
    svg.append(text, draw("rect", { x: value > 0 ? zero - long : zero, y, width: Math.max(long, 0.8), height: 15, rx: 3, class: `mark ${value > 0 ? "b0" : "b1"}` }),
      draw("text", { x: value > 0 ? zero + 6 : zero - 6, y: y + 12, "text-anchor": value > 0 ? "start" : "end" }, (value > 0 ? "+" : "") + value.toFixed(1)));
  });
  svg.append(draw("line", { x1: zero, x2: zero, y1: 0, y2: rows.length * step + 4, class: "axis" }));
  box.append(svg);
}
