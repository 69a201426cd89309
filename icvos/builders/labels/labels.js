"use strict";
(() => {
const $ = id => document.getElementById(id);
// The browser remembers by the page's name and what it started from: a page made again from other labels starts afresh.
const start = JSON.stringify(VIDEOS.map(v => [v.rows, v.complete]));
let sum = 0;
for (let i = 0; i < start.length; i++) sum = (sum * 31 + start.charCodeAt(i)) | 0;
const PAGE_KEY = "icvos-labels:" + PAGE.name + ":" + sum, WHO_KEY = "icvos-labels-name";
// Each person's answers are a memory of its own, so that two who share a browser do not see each other's.
let who = "";
try { who = localStorage.getItem(WHO_KEY) || ""; } catch (e) { /* memory is off */ }
const memory = () => who ? PAGE_KEY + ":" + who : PAGE_KEY;
const OBJECT_COLUMNS = ["source", "video", "object", "category", "keep", "start", "end", "note"];
const COMPLETE_COLUMNS = ["source", "video", "category", "complete"];

// What has been said, by key; it starts with what the data set and the recipe say.
const objects = new Map(), complete = new Map();
const objectKey = r => [r.source, r.video, r.object].join(",");
const completeKey = r => [r.source, r.video, r.category].join(",");
for (const v of VIDEOS) {
  for (const r of v.rows) objects.set(objectKey(r), Object.fromEntries(OBJECT_COLUMNS.map(c => [c, String(r[c])])));
  for (const r of v.complete) complete.set(completeKey(r), r.complete);
}
// Labels of what is not on this page do not come in from the browser's memory or a file.
function take(saved) {
  for (const [k, r] of saved.objects) if (objects.has(k)) objects.set(k, r);
  for (const [k, a] of saved.complete) if (known(k)) complete.set(k, a);
}
const places = new Set(VIDEOS.map(v => v.source + "," + v.video));
const known = k => places.has(k.split(",").slice(0, 2).join(","));
try { const saved = localStorage.getItem(memory()); if (saved) take(JSON.parse(saved)); } catch (e) { /* memory is off */ }
function keepInMind() {
  try { localStorage.setItem(memory(), JSON.stringify({objects: [...objects], complete: [...complete]})); } catch (e) { /* off */ }
}

$("who").value = who;
$("who").addEventListener("change", () => {
  const before = memory(), nameless = !who;
  who = $("who").value.trim();
  try {
    localStorage.setItem(WHO_KEY, who);
    // What was answered before the first name was given is that person's.
    if (nameless && !localStorage.getItem(memory())) { keepInMind(); localStorage.removeItem(before); }
    else location.reload();
  } catch (e) { /* memory is off: the name is for the exports alone */ }
});

// The work: for each video its objects, then each category that they were given.
function items() {
  const out = [];
  for (const v of VIDEOS) {
    const seen = new Map();
    for (const r of v.rows) {
      const said = objects.get(objectKey(r));
      out.push({v, kind: "object", row: said, shown: v.objects.find(o => String(o.id) === said.object)});
      if (said.category && said.category !== "none" && said.keep !== "no") {
        if (!seen.has(said.category)) seen.set(said.category, []);
        seen.get(said.category).push(said.object);
      }
    }
    for (const [category, ids] of seen)
      out.push({v, kind: "complete", category, ids, key: [v.source, v.video, category].join(",")});
  }
  return out;
}
const done = it => it.kind === "object" ? Boolean(it.row.category) : Boolean(complete.get(it.key));
const name = it => it.kind === "object" ? objectKey(it.row) : "complete:" + it.key;
let at = "", drawn = "", typed = "", top = 0;

function current(list) { const i = list.findIndex(it => name(it) === at); return i < 0 ? 0 : i; }
function go(step) {
  const list = items(), i = Math.min(Math.max(current(list) + step, 0), list.length - 1);
  at = name(list[i]); typed = ""; top = 0; draw();
}
function onward() {  // to the next question without an answer, after this one
  const list = items(), i = current(list), n = list.length;
  for (let k = 1; k <= n; k++) if (!done(list[(i + k) % n])) { at = name(list[(i + k) % n]); break; }
  if (at === name(list[i]) && i + 1 < n) at = name(list[i + 1]);
  typed = ""; top = 0; keepInMind(); draw();
}
function label(category) {
  const it = items()[current(items())];
  if (it.kind !== "object") return;
  it.row.category = category;
  category ? onward() : (keepInMind(), draw());
}
function answer(value) {
  const it = items()[current(items())];
  if (it.kind !== "complete") return;
  complete.set(it.key, value); onward();
}

function element(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) k === "click" ? e.addEventListener("click", v) : e.setAttribute(k, v);
  e.append(...children); return e;
}
function picture(v, index, ids) {
  const f = v.shown[index], ns = "http://www.w3.org/2000/svg", svg = document.createElementNS(ns, "svg");
  svg.setAttribute("viewBox", `0 0 ${f.w} ${f.h}`);
  const image = document.createElementNS(ns, "image");
  image.setAttribute("href", "data:image/jpeg;base64," + f.jpeg);
  image.setAttribute("width", f.w); image.setAttribute("height", f.h); svg.append(image);
  for (const pass of ["other", "under", "it"])
    for (const [id, d] of Object.entries(f.outlines)) {
      if (ids.includes(id) === (pass === "other")) continue;
      const p = document.createElementNS(ns, "path");
      p.setAttribute("d", d); p.setAttribute("class", pass); p.setAttribute("fill-rule", "evenodd"); svg.append(p);
    }
  return element("figure", {}, svg, element("figcaption", {}, "frame " + f.name));
}
function matches() {
  const t = typed.trim().toLowerCase();
  if (!t) return PAGE.words;
  const starts = PAGE.words.filter(w => w.startsWith(t));
  return [...starts, ...PAGE.words.filter(w => !w.startsWith(t) && w.includes(t))];
}
function quick() {  // what was chosen most, for the digits
  const count = new Map();
  for (const r of objects.values()) if (r.category && r.category !== "none") count.set(r.category, (count.get(r.category) || 0) + 1);
  const out = [...count].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(e => e[0]).slice(0, 9);
  for (const w of ["person", "dog", "car"]) if (out.length < 3 && !out.includes(w)) out.push(w);
  return out;
}

function drawObject(it) {
  const r = it.row, frames = element("div", {class: "frames"});
  if (it.shown) {
    frames.append(element("figure", {class: "crop"}, element("img", {src: "data:image/jpeg;base64," + it.shown.crop, alt: "crop"}),
      element("figcaption", {}, "crop")));
    for (const i of it.shown.frames) frames.append(picture(it.v, i, [r.object]));
  } else frames.append("no mask shows it");
  const search = element("input", {id: "search", type: "text", placeholder: "type a category, then Enter", autocomplete: "off"});
  search.value = typed;
  search.addEventListener("input", () => { typed = search.value; top = 0; drawWords(it); });
  const keep = element("button", {id: "keep", class: r.keep === "no" ? "" : "on",
    click: () => { r.keep = r.keep === "no" ? "yes" : "no"; keepInMind(); draw(); }}, r.keep === "no" ? "not kept" : "kept");
  const note = element("input", {id: "note", type: "text", placeholder: "note", size: "34"});
  note.value = r.note; note.addEventListener("change", () => { r.note = note.value.trim(); keepInMind(); });
  const chips = element("div", {class: "words", id: "quick"});
  quick().forEach((w, i) => chips.append(element("button", {class: r.category === w ? "on" : "", click: () => label(w)},
    element("kbd", {}, String(i + 1)), " " + w)));
  chips.append(element("button", {class: r.category === "none" ? "on" : "", click: () => label("none")},
    element("kbd", {}, "0"), " none of these"));
  $("item").replaceChildren(
    element("h2", {}, `What is object ${r.object} of ${r.video}? `, element("small", {}, r.category ? "it is: " + r.category : "no label yet")),
    element("div", {class: "ask"}, search, chips, keep, note), frames, element("div", {class: "words", id: "words"}),
    element("div", {class: "help"}, "Type and Enter, or click. Digits choose what was chosen most; 0 is for what the list does not have. "
      + "Left and right arrows move, Delete takes the label back. Answers are kept in this browser; export the CSV files to share them."));
  drawWords(it); search.focus({preventScroll: true});
}
function drawWords(it) {
  $("words").replaceChildren(...matches().map((w, i) => element("button",
    {class: (it.row.category === w ? "on " : "") + (typed && i === top ? "top" : ""), click: () => label(w)}, w)));
}
function drawComplete(it) {
  const said = complete.get(it.key), frames = element("div", {class: "frames"});
  for (const i of it.v.whole) frames.append(picture(it.v, i, it.ids));
  const choices = [["yes", "y"], ["no", "n"], ["unsure", "u"]].map(([value, key]) => element("button",
    {id: "complete-" + value, class: "big" + (said === value ? " on" : ""), click: () => answer(value)}, value + " ", element("kbd", {}, key)));
  $("item").replaceChildren(
    element("h2", {}, `Is every ${it.category} of ${it.v.video} outlined in every frame? `, element("small", {}, said || "no answer yet")),
    element("div", {class: "ask"}, ...choices), frames,
    element("div", {class: "help"}, "Yes only if no other one is to be seen in any frame, not even in the background; thin blue outlines are other objects. "
      + "Left and right arrows move."));
  document.activeElement.blur();
}
function draw() {
  const list = items(), i = current(list), it = list[i];
  at = name(it);
  it.kind === "object" ? drawObject(it) : drawComplete(it);
  const ready = list.filter(done).length;
  $("title").textContent = PAGE.title + " labels"; $("bar").max = list.length; $("bar").value = ready;
  $("count").textContent = `${ready} of ${list.length} answered`;
  const strip = [];
  let last = null;
  const from = Math.max(0, i - 60), some = list.slice(from, i + 60);
  some.forEach((x, k) => {
    if (x.v !== last) { strip.push(element("span", {}, x.v.video)); last = x.v; }
    strip.push(element("button", {class: (done(x) ? "done " : "") + (from + k === i ? "now" : ""), title: name(x),
      click: () => { at = name(x); typed = ""; draw(); }}, x.kind === "object" ? x.row.object : "∀ " + x.category));
  });
  $("strip").replaceChildren(...strip);
  if (drawn !== at) { scrollTo(0, 0); drawn = at; }
}

document.addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey || ["note", "who"].includes(e.target.id)) return;
  const list = items(), it = list[current(list)], empty = !typed;
  const use = f => { e.preventDefault(); f(); };
  if (e.key === "ArrowRight" && empty || e.key === "PageDown") return use(() => go(1));
  if (e.key === "ArrowLeft" && empty || e.key === "PageUp") return use(() => go(-1));
  if (it.kind === "complete") {
    const value = {y: "yes", n: "no", u: "unsure"}[e.key.toLowerCase()];
    if (value) use(() => answer(value));
    return;
  }
  if (empty && /^[1-9]$/.test(e.key)) { const w = quick()[Number(e.key) - 1]; return use(() => w && label(w)); }
  if (empty && e.key === "0") return use(() => label("none"));
  if (empty && e.key === "Delete") return use(() => label(""));
  if (e.key === "Enter" && e.target.tagName !== "BUTTON") return use(() => typed ? matches()[top] && label(matches()[top]) : onward());
  if (e.key === "Escape") return use(() => { typed = ""; draw(); });
  if (e.key === "ArrowDown" || e.key === "ArrowUp") return use(() => {
    top = Math.min(Math.max(top + (e.key === "ArrowDown" ? 1 : -1), 0), matches().length - 1); drawWords(it); });
  if (e.key.length === 1 && e.target.id !== "search" && $("search")) $("search").focus();
});

function toCsv(columns, rows) {
  const field = x => /[",\n\r]/.test(x) ? '"' + x.replaceAll('"', '""') + '"' : x;
  return [columns, ...rows.map(r => columns.map(c => r[c] ?? ""))].map(line => line.map(x => field(String(x))).join(",")).join("\n") + "\n";
}
function fromCsv(text) {
  const lines = [[]]; let value = "", quoted = false;
  text = text.replace(/^\ufeff/, "");
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) { if (c !== '"') value += c; else if (text[i + 1] === '"') { value += c; i++; } else quoted = false; }
    else if (c === '"') quoted = true;
    else if (c === ",") { lines.at(-1).push(value); value = ""; }
    else if (c === "\n") { lines.at(-1).push(value); value = ""; lines.push([]); }
    else if (c !== "\r") value += c;
  }
  if (value || lines.at(-1).length) lines.at(-1).push(value);
  const [head, ...rows] = lines.filter(l => l.length && l.some(x => x));
  return (rows || []).map(l => Object.fromEntries(head.map((c, i) => [c, l[i] ?? ""])));
}
function save(file, text) {
  const a = element("a", {href: URL.createObjectURL(new Blob([text], {type: "text/csv"})), download: file});
  document.body.append(a); a.click(); a.remove(); setTimeout(() => URL.revokeObjectURL(a.href), 10000);
}
function exported(kind, columns, rows) {
  const person = who.replace(/[^\p{L}\p{N}_.-]+/gu, "-");
  save(`${kind}-${PAGE.name}${person ? "-" + person : ""}.csv`,
    toCsv(who ? [...columns, "said_by"] : columns, rows.map(r => ({...r, said_by: who}))));
}
function completeRows() {
  return items().filter(it => it.kind === "complete").map(it => (
    {source: it.v.source, video: it.v.video, category: it.category, complete: complete.get(it.key) || ""}));
}
$("save-objects").addEventListener("click", () => exported("objects", OBJECT_COLUMNS, [...objects.values()]));
$("save-complete").addEventListener("click", () => exported("complete", COMPLETE_COLUMNS, completeRows()));
$("load").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", async () => {
  let taken = 0;
  for (const file of $("file").files) for (const r of fromCsv(await file.text())) {
    if ("complete" in r) { if (r.complete && known(completeKey(r))) { complete.set(completeKey(r), r.complete); taken++; } }
    else if ("object" in r && r.category && objects.has(objectKey(r))) {
      objects.set(objectKey(r), {...objects.get(objectKey(r)), ...r, keep: r.keep || "yes"}); taken++;
    }
  }
  $("file").value = ""; keepInMind(); draw(); $("count").textContent += `; ${taken} rows read in`;
});
const open = items().find(it => !done(it));
if (VIDEOS.length) { at = name(open || items()[0]); draw(); }
})();
