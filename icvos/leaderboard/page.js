// A board: its table, its charts, and what is said of a row. plot.js and boards.js stand before it.

const DATA = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const narrow = matchMedia("(max-width: 760px)");
const TALL = 200, BESIDE = 40; // rows that are drawn whole; rows kept above and below the view
const PART = "a part of the benchmark";
let current = 0, sorted = null, kept = [], whole = false, drawn = 0;

function cell(value, column) {
  if (column.head === "fps" && value >= 10000) return `${Math.round(value / 1000)}k`;
  return typeof value === "number" ? show(value, column.head === "fps" && value >= 100 ? 0 : column.digits) : show(value);
}

// Addresses that are shown as links: a page beside this one, or https.
const safe = (address) => /^https:\/\//.test(address) || /^(?![a-z][a-z0-9+.-]*:|[/\\])/i.test(address);
const link = (text, address, attributes = {}) =>
  make("a", text, safe(address) ? { href: address, rel: "noreferrer", ...attributes } : attributes);
// A text in which addresses, and papers by their numbers on arXiv, are links.
function linked(text) {
  return text.split(/(https:\/\/[^\s<>"'();,]+|arXiv[: ]\d{4}\.\d{4,5}(?:v\d+)?)/).map((part, number) =>
    number % 2 ? link(part, part.startsWith("arXiv") ? `https://arxiv.org/abs/${part.slice(6)}` : part) : part);
}

// ---- the table ---------------------------------------------------------------------------------------------------

function order(table) {
  const rows = table.rows.map((_, number) => number);
  if (!sorted) return rows;
  const { column, down } = sorted, part = (number) => Boolean(table.entries[number]?.limited);
  return rows.sort((a, b) => {
    if (part(a) !== part(b)) return part(a) - part(b);
    const [x, y] = [table.rows[a][column], table.rows[b][column]];
    if (x == null || y == null) return (x == null) - (y == null) || a - b;
    const less = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
    return (down ? -less : less) || a - b;
  });
}

function drawTable() {
  const table = DATA.tables[current], view = element("table"), columns = narrow.matches ? table.narrow : table.wide;
  view.replaceChildren();
  view.className = table.kind;
  view.setAttribute("aria-rowcount", table.rows.length + 1);
  const head = make("tr");
  for (const number of columns) {
    const column = table.columns[number], th = make("th", null, { scope: "col", class: classOf(table, number) });
    const button = make("button", column.head, { type: "button", title: `Sort by ${column.head}` });
    if (sorted?.column === number) th.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
    button.onclick = () => {
      sorted = { column: number, down: sorted?.column === number ? !sorted.down : column.numeric };
      redraw();
      view.querySelectorAll("th button")[columns.indexOf(number)].focus();
    };
    // A heading takes two lines at most. Rows come and go as one scrolls: a column is as wide as its longest cell from the start.
    const longest = table.rows.length > TALL ? Math.max(...table.rows.map((row) => cell(row[number], column).length)) + 3 : 0;
    th.style.minWidth = `${Math.max(longest, Math.ceil(column.head.length / 2) + 3)}ch`;
    th.append(button);
    head.append(th);
  }
  const words = element("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  kept = order(table).filter((number) => {
    const text = table.rows[number].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const thead = make("thead");
  thead.append(head);
  view.append(thead, make("tbody"));
  const box = view.parentElement, tall = kept.length > TALL && !whole;
  box.classList.toggle("tall", tall);
  box.scrollTop = 0;
  // What scrolls is reached by the keyboard.
  box.tabIndex = 0;
  drawRows();
  if (tall) { view.tBodies[0].dataset.first = ""; drawRows(); } // now that the height of a row can be measured
  box.onscroll = tall ? drawRows : null;
  const parts = table.entries.filter((entry) => entry.limited).length;
  const rows = `${table.rows.length} row${table.rows.length === 1 ? "" : "s"}`;
  element("count").textContent = (kept.length === table.rows.length ? rows : `${kept.length} of ${rows}`)
    + (parts ? `, ${parts} of ${PART}: hollow marks, last` : "");
}

const classOf = (table, number) => [table.columns[number].numeric ? "n" : "", number === table.name ? "who" : "",
  number === table.ranked_by ? "main" : ""].filter(Boolean).join(" ");

// A long table holds the rows in view alone, between two empty rows as high as those that are left out.
function drawRows() {
  const table = DATA.tables[current], view = element("table"), box = view.parentElement, body = view.tBodies[0];
  const columns = narrow.matches ? table.narrow : table.wide, tall = box.classList.contains("tall");
  const high = body.rows.length > 2 ? body.rows[1].offsetHeight || 38 : 38;
  let [first, last] = [0, kept.length];
  if (tall) {
    first = Math.max(0, Math.floor(box.scrollTop / high / 20) * 20 - BESIDE);
    last = Math.min(kept.length, first + Math.ceil(box.clientHeight / high) + 2 * BESIDE + 20);
    if (body.dataset.first === String(first) && body.dataset.last === String(last)) return;
  }
  const focus = body.contains(document.activeElement) ? document.activeElement.closest("tr").getAttribute("aria-rowindex") : null;
  body.dataset.first = first;
  body.dataset.last = last;
  body.replaceChildren();
  const gap = (rows) => {
    const tr = make("tr", null, { class: "gap", "aria-hidden": "true" }), td = make("td", null, { colspan: columns.length });
    td.style.height = `${rows * high}px`;
    tr.append(td);
    return tr;
  };
  const best = new Set(table.best.map(([row, column]) => `${row} ${column}`));
  if (tall) body.append(gap(first));
  for (let at = first; at < last; at++) {
    const row = kept[at], tr = make("tr", null, { "aria-rowindex": at + 2 });
    for (const number of columns) {
      const td = make("td", null, { class: classOf(table, number) }), text = cell(table.rows[row][number], table.columns[number]);
      if (best.has(`${row} ${number}`)) td.classList.add("best");
      if (number === table.name && table.entries[row]) td.append(named(table.entries[row], row));
      else td.textContent = text;
      tr.append(td);
    }
    body.append(tr);
  }
  if (tall) body.append(gap(kept.length - last));
  const again = focus && body.querySelector(`tr[aria-rowindex="${focus}"] .name`);
  if (again) again.focus({ preventScroll: true });
}

function named(entry, row) {
  const open = make("button", entry.label, { class: "name", type: "button" });
  open.onclick = () => details(entry);
  const reports = entry.reports.length > 3 ? [] : entry.reports;
  const box = make("div", null, { class: "row" });
  box.append(keyOf(row, entry.limited), open, ...reports.map(([text, address]) =>
    link(text, address, { class: "report", "aria-label": `${text} of ${entry.label}` })));
  // On a phone names of usual length are whole, and longer ones break after their parts.
  if (entry.label.length > 18) {
    box.classList.add("long");
    open.replaceChildren(...entry.label.split(/(?<=[@+,_ -])/).flatMap((part) => [part, make("wbr")]));
  }
  return box;
}

// ---- charts ------------------------------------------------------------------------------------------------------

function drawPlots() {
  const table = DATA.tables[current], [first, second] = table.axes;
  for (const id of ["plot-jf", "plot-speed", "legend"]) element(id).replaceChildren();
  element("plots").hidden = !table.entries.length;
  if (!table.entries.length) return;
  const points = table.entries.map((entry, number) => ({
    name: entry.label, number, entry: number, hollow: entry.limited, open: () => details(entry), of: entry }));
  element("title-jf").textContent = `${first} against ${second}`;
  element("title-speed").textContent = `${table.metric} against speed`;
  plot(element("plot-jf"), points.map((p) => ({ ...p, x: p.of.a, y: p.of.b })),
    { xName: first, yName: second, label: element("title-jf").textContent });
  plot(element("plot-speed"), points.map((p) => ({ ...p, x: p.of.fps, y: p.of.score, low: p.of.low, high: p.of.high })),
    { xName: "frames per second (log)", yName: table.metric, log: true, bars: true, label: element("title-speed").textContent });
  for (const point of points.slice(0, 3 * CROWD)) {
    const button = make("button", null, { type: "button", "data-entry": point.number }), item = make("li");
    button.append(keyOf(point.number, point.hollow), point.name + (point.hollow ? `, ${PART}` : ""));
    for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => emphasise(point.number));
    for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => calm(point.number));
    button.onclick = point.open;
    item.append(button);
    element("legend").append(item);
  }
  const more = points.length - 3 * CROWD;
  element("legend-some").textContent = more > 0 ? `And ${more} more, in the table.` : "";
}

const dark = () => document.documentElement.dataset.theme === "dark";
const HEAT = { light: [[255, 255, 255], [11, 92, 173]], dark: [[28, 32, 38], [121, 184, 255]] };
function heatColours(value) {
  const [low, high] = HEAT[dark() ? "dark" : "light"], share = 0.06 + 0.84 * Math.max(0, Math.min(1, value / 100));
  const colour = low.map((part, at) => Math.round(part + share * (high[at] - part)));
  const light = [0.2126, 0.7152, 0.0722].reduce((sum, weight, at) => {
    const part = colour[at] / 255;
    return sum + weight * (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  }, 0);
  return [`rgb(${colour.join(", ")})`, light > 0.179 ? "#000" : "#fff"];
}

function drawHeat() {
  const table = DATA.tables[current], view = element("heat");
  view.replaceChildren();
  const all = table.entries.filter((entry) => !entry.limited);
  const entries = all.length > CROWD ? kept.map((row) => table.entries[row]).filter((entry) => entry && !entry.limited).slice(0, CROWD) : all;
  element("heat-box").hidden = !table.categories.length || !all.length;
  if (element("heat-box").hidden) return;
  element("heat-some").textContent = all.length > entries.length ? ` The first ${entries.length} rows of the table, as it is filtered and sorted.` : "";
  const head = make("tr"), thead = make("thead"), body = make("tbody");
  head.append(make("th", "category", { scope: "col" }), ...entries.map((entry) => make("th", entry.label, { class: "n", scope: "col" })));
  thead.append(head);
  table.categories.forEach((name, at) => {
    const tr = make("tr");
    tr.append(make("th", name, { scope: "row" }));
    for (const entry of entries) {
      const value = entry.categories[at], td = make("td", show(value, 1), { class: "n" });
      if (value != null) [td.style.background, td.style.color] = heatColours(value);
      if (entry.seen.includes(name)) { td.textContent += " *"; td.title = "the method trained on this category"; }
      tr.append(td);
    }
    body.append(tr);
  });
  view.append(thead, body);
  view.parentElement.tabIndex = 0;
}

function usable() {
  return DATA.tables[current].entries.filter((entry) => !entry.limited && entry.videos.some((value) => value != null));
}

function drawCompare() {
  const entries = usable();
  element("compare").hidden = entries.length < 2;
  if (entries.length < 2) return;
  for (const [id, start] of [["first", 0], ["second", 1]]) {
    const select = element(id);
    select.replaceChildren(...entries.map((entry, number) => make("option", entry.label, { value: number })));
    select.value = start;
    select.onchange = compare;
  }
  compare();
}

function compare() {
  const table = DATA.tables[current], entries = usable(), a = entries[element("first").value], b = entries[element("second").value];
  for (const id of ["compare-plot", "compare-bars"]) element(id).replaceChildren();
  const points = table.videos.map((name, at) => ({ name, x: a.videos[at], y: b.videos[at], kind: b.videos[at] > a.videos[at] ? "b1" : "b0" }))
    .filter((p) => p.x != null && p.y != null);
  const wins = points.filter((p) => p.x > p.y).length, losses = points.filter((p) => p.x < p.y).length;
  const mean = points.reduce((sum, p) => sum + p.x - p.y, 0) / (points.length || 1);
  let text = `${a.label} is better on ${wins} videos, ${b.label} on ${losses}; mean difference ${show(mean)} points a video.`;
  const pair = (table.differences || []).find((d) => (d.a === a.key && d.b === b.key) || (d.a === b.key && d.b === a.key));
  if (pair?.interval) {
    const sign = pair.a === a.key ? 1 : -1, turn = (ends) => (sign > 0 ? ends : [-ends[1], -ends[0]]);
    const words = (ends) => `from ${show(ends[0])} to ${show(ends[1])}`, over = turn(pair.interval), range = turn(pair.categories || pair.interval);
    text += ` ${table.metric}: ${show(sign * pair.value)}, 95 % ${words(over)}`
      + (pair.categories ? ` over videos and ${words(range)} over categories` : "") + (range[0] > 0 || range[1] < 0 ? "." : ": chance could explain it.");
  }
  element("compare-text").textContent = text;
  plot(element("compare-plot"), points, { xName: a.label, yName: b.label, square: true, small: true, label: "Each video under both methods" });
  const rows = points.filter((p) => p.x !== p.y).map((p) => ({ name: p.name, value: p.x - p.y })).sort((p, q) => Math.abs(q.value) - Math.abs(p.value)).slice(0, 14);
  if (rows.length) differenceBars(element("compare-bars"), rows, "Largest differences");
  else if (points.length) element("compare-bars").append(make("p", "No video differs.", { class: "soft" }));
}

function drawCharts() {
  drawn = document.querySelector("main").clientWidth;
  drawPlots();
  if (usable().length > 1) compare();
}

// ---- a row -------------------------------------------------------------------------------------------------------

function details(entry) {
  const view = element("details-body"), list = make("dl");
  element("details-name").textContent = entry.label;
  view.replaceChildren();
  if (entry.limited) view.append(make("p", `Of ${PART}: it takes no rank.`, { class: "soft" }));
  if (entry.reports.length) {
    const pages = make("p");
    entry.reports.forEach(([text, address]) => pages.append(link(text, address, { class: "report" }), " "));
    view.append(pages);
  }
  for (const [name, value] of entry.details) {
    if (!DATA.texts[value]) continue;
    const dd = make("dd");
    dd.append(...(DATA.texts[name] === "paper" ? linked(DATA.texts[value]) : [DATA.texts[value]]));
    list.append(make("dt", DATA.texts[name]), dd);
  }
  view.append(list);
  for (const [title, rows] of entry.tables) {
    if (!rows.length) continue;
    const table = make("table"), body = make("tbody"), box = make("div", null, { class: "scroll", tabindex: 0 });
    for (const row of rows) {
      const tr = make("tr");
      row.forEach((value, at) => tr.append(make("td", at ? show(value, row.length === 3 && at === 1 ? 0 : 2) : DATA.texts[value], at ? { class: "n" } : {})));
      body.append(tr);
    }
    table.append(body);
    box.append(table);
    view.append(make("h3", DATA.texts[title]), box);
  }
  element("details").showModal();
}

// ---- the board that is seen -------------------------------------------------------------------------------------

// Printed and measured figures of one name: what differs is said before the printed ones.
function related(table) {
  const view = element("related"), printed = table.kind === "published";
  element("apart").replaceChildren(...table.apart.map((line) => make("p", line)));
  view.replaceChildren();
  if (!table.related.length) return;
  view.append(make("p", printed ? "Measured here under this name:" : "Papers print figures of this name; what differs is said there:", { class: "soft" }));
  for (const number of table.related) {
    const button = make("button", DATA.tables[number].title, { type: "button" });
    button.onclick = () => choose(number);
    view.append(button);
  }
}

function choose(index) {
  current = index;
  sorted = null;
  const table = DATA.tables[index];
  if (!table) return;
  element("title").replaceChildren(...linked(table.title), make("span", table.kind, { class: `kind ${table.kind}` }));
  element("notes").replaceChildren(...table.notes.map((note) => make("li", note)));
  related(table);
  drawTable();
  drawHeat();
  drawn = document.querySelector("main").clientWidth;
  drawPlots();
  drawCompare();
  history.replaceState(null, "", `#${table.id}`);
}

function redraw() { drawTable(); drawHeat(); }
const asked = () => DATA.tables.findIndex((table) => `#${table.id}` === location.hash);

fillBoards();
element("picker").onclick = openBoards;
element("search").oninput = searchBoards;
element("boards").addEventListener("keydown", boardKeys);
for (const [dialog, button] of [["boards", "boards-close"], ["details", "close"]]) {
  element(button).onclick = () => element(dialog).close();
  element(dialog).addEventListener("click", (event) => event.target === element(dialog) && element(dialog).close());
}
element("filter").oninput = redraw;
for (const [event, print] of [["beforeprint", true], ["afterprint", false]])
  addEventListener(event, () => { whole = print; if (DATA.tables[current]) drawTable(); });
narrow.addEventListener("change", () => DATA.tables[current] && drawTable());
addEventListener("hashchange", () => asked() >= 0 && asked() !== current && choose(asked()));

// By the system until the button is pressed.
const system = matchMedia("(prefers-color-scheme: dark)");
function theme(value) {
  document.documentElement.dataset.theme = value;
  element("theme").textContent = value === "dark" ? "Light" : "Dark";
  if (DATA.tables[current]) drawHeat();
}
theme(system.matches ? "dark" : "light");
const follow = () => theme(system.matches ? "dark" : "light");
system.addEventListener("change", follow);
element("theme").onclick = () => { system.removeEventListener("change", follow); theme(dark() ? "light" : "dark"); };

choose(asked() >= 0 ? asked() : DATA.start);
new ResizeObserver(() => {
  if (DATA.tables[current] && document.querySelector("main").clientWidth !== drawn) drawCharts();
}).observe(document.querySelector("main"));
