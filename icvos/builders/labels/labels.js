"use strict";
// The questions of the labels page, or of the page of conflicts: what is asked, answered and exported.
(() => {
const SETTLING = PAGE.people.length > 0;
const COMPLETE_COLUMNS = ["source", "video", "category", "complete"];
const MASK_COLUMNS = ["source", "video", "category", "frame", "image", "mask"];
const CHOICES = [["yes", "y", "✓"], ["no", "n", "✗"], ["unsure", "u", "?"]];
const SIGN = Object.fromEntries(CHOICES.map(([value, , sign]) => [value, sign]));
const LONG_PAUSE = 120000;

const answers = new Answers(PAGE, VIDEOS), { objects, complete, notes, marks } = answers;
const remember = () => answers.remember();
node("who").value = answers.who;
node("who").addEventListener("change", () => answers.rename(node("who").value.trim()));

// ---- the questions -----------------------------------------------------------------------------------------------

// For each video its objects, then each category that they were given; of conflicts, these alone.
function items() {
  const out = [];
  for (const v of VIDEOS) {
    if (SETTLING) {
      for (const conflict of v.conflicts) {
        const { key } = conflict;
        if (conflict.kind === "objects") out.push(objectItem(v, objects.get(objectKey(key)), conflict));
        else {
          const ids = Object.entries(v.known).filter(([, words]) => words.includes(key.category)).map(([id]) => id);
          out.push(completeItem(v, key.category, ids, conflict));
        }
      }
      continue;
    }
    const seen = new Map();
    const add = (category, id) => seen.set(category, [...(seen.get(category) ?? []), id]);
    for (const row of v.rows) {
      const said = objects.get(objectKey(row));
      out.push(objectItem(v, said));
      if (said.category && said.category !== "none" && said.keep !== "no") add(said.category, said.object);
    }
    for (const [id, category] of Object.entries(v.extra)) add(category, id);
    for (const [category, ids] of seen) out.push(completeItem(v, category, ids));
  }
  return out;
}
const objectItem = (v, row, conflict) => (
  { v, kind: "object", row, conflict, name: objectKey(row), seen: v.objects.find((each) => String(each.id) === row.object) });
function completeItem(v, category, ids, conflict) {
  const key = [v.source, v.video, category].join(",");
  const added = Object.entries(v.extra).filter(([, of]) => of === category).map(([id]) => id);
  return { v, kind: "complete", category, ids: ids.filter((id) => !added.includes(id)), added, key, conflict, name: `complete:${key}` };
}
const isDone = (item) => (item.kind === "object" ? Boolean(item.row.category) : Boolean(complete.get(item.key)));

const END = "end";
let at = "", drawn = "", typed = "", top = 0, opened = performance.now();
const pace = { object: [], complete: [] };

const placeOf = (list) => list.findIndex((item) => item.name === at);
const current = () => items().find((item) => item.name === at);
function open(name) {
  at = name;
  typed = "";
  top = 0;
  opened = performance.now();
  draw();
}
function go(by) {
  const list = items(), from = at === END ? list.length : placeOf(list), to = Math.max(from + by, 0);
  open(to >= list.length ? END : list[to].name);
}
function onward() {
  // To the next question without an answer, after this one.
  const list = items(), from = placeOf(list), count = list.length;
  for (let k = 1; k <= count; k++) {
    const item = list[(from + k) % count];
    if (!isDone(item)) return open(item.name);
  }
  open(END);
}
function answered(kind) {
  const took = performance.now() - opened;
  if (took < LONG_PAUSE) pace[kind].push(took);
  remember();
  onward();
}
function label(category, rest = {}) {
  const item = current();
  if (item?.kind !== "object") return;
  Object.assign(item.row, rest, { category });
  if (category) return answered("object");
  remember();
  draw();
}
function answer(value) {
  const item = current();
  if (item?.kind !== "complete") return;
  complete.set(item.key, value);
  answered("complete");
}

function minutesLeft(list) {
  // By the median of each kind of question; objects without a label will ask of completeness, too.
  const median = (times) => [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
  if (pace.object.length + pace.complete.length < 3) return "";
  const all = [...pace.object, ...pace.complete];
  const [object, whole] = [pace.object, pace.complete].map((times) => median(times.length ? times : all));
  const left = (kind) => list.filter((item) => item.kind === kind && !isDone(item)).length;
  const labelled = list.filter((item) => item.kind === "object" && isDone(item)).length;
  const more = SETTLING || !labelled ? 0 : left("object") * list.filter((item) => item.kind === "complete").length / labelled;
  const time = left("object") * object + (left("complete") + more) * whole;
  if (!time) return "";
  const minutes = Math.max(Math.round(time / 60000), 1);
  return `, about ${minutes} minute${minutes > 1 ? "s" : ""} left`;
}
function progressText(list) {
  const of = (kind, words) => {
    const all = list.filter((item) => item.kind === kind);
    return all.length ? [`${all.filter(isDone).length} of ${all.length} ${words}`] : [];
  };
  return [...of("object", "objects"), ...of("complete", "categories")].join(", ") + minutesLeft(list);
}

// ---- drawing -----------------------------------------------------------------------------------------------------

function matches() {
  const text = typed.trim().toLowerCase();
  if (!text) return PAGE.words;
  const starts = PAGE.words.filter((word) => word.startsWith(text));
  return [...starts, ...PAGE.words.filter((word) => !word.startsWith(text) && word.includes(text))];
}
function quick() {
  // What was chosen most, for the digits.
  const count = new Map();
  for (const { category } of objects.values()) if (category && category !== "none") count.set(category, (count.get(category) || 0) + 1);
  const out = [...count].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([word]) => word).slice(0, 9);
  for (const word of ["person", "dog", "car"]) if (out.length < 3 && !out.includes(word)) out.push(word);
  return out;
}

function drawObject(item) {
  const row = item.row;
  const search = element("input", { id: "search", type: "text", placeholder: "type a category, then Enter",
    "aria-label": "category", autocomplete: "off" });
  search.value = typed;
  search.addEventListener("input", () => { typed = search.value; top = 0; drawWords(item); });
  const kept = row.keep !== "no";
  const keep = element("button", { id: "keep", class: kept ? "on" : "", "aria-pressed": kept,
    click: () => { row.keep = kept ? "no" : "yes"; remember(); draw(); } }, kept ? "kept" : "not kept");
  const note = element("input", { id: "note", type: "text", placeholder: "note", "aria-label": "note" });
  note.value = row.note;
  note.addEventListener("change", () => { row.note = note.value.trim(); remember(); });
  const chips = element("div", { class: "words", id: "quick" }, ...quick().map((word, i) => element("button",
    { class: row.category === word ? "on" : "", click: () => label(word) }, element("kbd", {}, String(i + 1)), ` ${word}`)));
  chips.append(element("button", { class: row.category === "none" ? "on" : "", click: () => label("none") },
    element("kbd", {}, "0"), " none of these"));
  const crop = element("div", { id: "crop" });
  node("question").replaceChildren(heading(`What is object ${row.object} of ${row.video}?`,
    row.category ? `it is: ${row.category}` : "no label yet"));
  node("answers").replaceChildren(...both(item, (said) => label(said.category, said)), search, chips,
    element("div", { class: "row" }, keep, note), crop);
  node("help").textContent = "Type and Enter, or click; digits choose what was chosen most, 0 is for what the list does not have, "
    + "Delete takes a label back. Arrows step through the frames, Space plays, comma and full stop change the question, "
    + "/ hides the outlines, + enlarges.";
  drawWords(item);
  if (!item.seen) {
    crop.textContent = "no mask shows it";
    hideStage();
  } else {
    const { id, best, views } = item.seen;
    drawLegend([["it", "this object"], ["other", "other objects"],
      ...(Object.keys(item.v.extra).length ? [["extra", "from another tool"]] : []), ["there", "frames with it"]]);
    showVideo(item.v, { name: item.name, kinds: new Map([[String(id), "it"]]), number: best, film: views })
      .then(() => drawCrop(crop, item, id));
  }
  search.focus({ preventScroll: true });
}
function drawCrop(crop, item, id) {
  const text = stage.name === item.name && stage.chunk?.crops[id];
  if (text) crop.replaceChildren(element("img", { src: `data:image/jpeg;base64,${text}`, alt: `object ${id}, close up` }));
}
function drawWords(item) {
  node("words").replaceChildren(...matches().map((word, i) => element("button",
    { class: (item.row.category === word ? "on " : "") + (typed && i === top ? "top" : ""), click: () => label(word) }, word)));
}

function drawComplete(item) {
  const said = complete.get(item.key), count = item.v.frames.length, marked = marks.get(item.key) ?? new Set();
  const choices = CHOICES.map(([value, key, sign]) => element("button",
    { id: `complete-${value}`, class: `big ${value}${said === value ? " on" : ""}`, "aria-pressed": said === value,
      click: () => answer(value) }, `${sign} ${value} `, element("kbd", {}, key)));
  const mark = element("button", { id: "mark", click: () => toggleMark(false) }, "This frame needs a mask ", element("kbd", {}, "m"));
  const tally = element("span", { id: "marked" }, marked.size ? `${marked.size} of ${count} frames need one` : "");
  node("question").replaceChildren(heading(`Is every ${item.category} of ${item.v.video} outlined in every frame?`, said || "no answer yet"));
  node("answers").replaceChildren(...both(item, ({ complete }) => answer(complete)), element("div", { class: "row" }, ...choices),
    ...(SETTLING ? [] : [element("div", { class: "row" }, mark, tally)]));
  node("help").textContent = "Yes only if no other one is to be seen in any frame, not even in the background. "
    + (SETTLING ? "" : "Where one is not outlined, m marks the frame, Shift+m all frames from the last mark on; a mask that is "
      + "made in another tool mends it. ")
    + "Arrows step through the frames, Space plays, comma and full stop change the question, / hides the outlines, + enlarges.";
  node("words").replaceChildren();
  const film = [...new Set(Array.from({ length: Math.min(6, count) }, (_, i, n = Math.min(6, count)) => Math.round(i * (count - 1) / Math.max(n - 1, 1))))];
  const kinds = new Map([...item.ids.map((id) => [id, "it"]), ...item.added.map((id) => [id, "extra"])]);
  drawLegend([["it", item.category], ["other", "other objects"],
    ...(item.added.length ? [["extra", `${item.category}, from another tool`]] : []), ["there", "frames with one"], ...(SETTLING ? [] : [["marked", "needs a mask"]])]);
  const number = drawn === at && stage.name === item.name ? stage.number : film[0];
  showVideo(item.v, { name: item.name, kinds, number, film, marks: marked });
  document.activeElement.blur();
}
let lastMark = -1;
function toggleMark(upTo) {
  const item = current(), frames = marks.get(item.key) ?? new Set();
  marks.set(item.key, frames);
  if (upTo && lastMark >= 0) for (let k = Math.min(lastMark, stage.number); k <= Math.max(lastMark, stage.number); k++) frames.add(k);
  else if (!frames.delete(stage.number)) frames.add(stage.number);
  lastMark = stage.number;
  if (frames.size) complete.set(item.key, "no");
  remember();
  draw();
}

const heading = (words, said) => element("h2", {}, `${words} `, element("small", {}, said));
function both(item, choose) {
  // Two people's answers side by side, where a conflict is settled.
  if (!item.conflict) return [];
  const cards = PAGE.people.map((person, i) => {
    const said = item.conflict.said[i];
    const button = element("button", { id: `take-${i}`, click: () => choose(said) }, "Take it");
    if (item.kind === "complete") button.append(" ", element("kbd", {}, "ab"[i]));
    button.disabled = !said;
    return element("div", { class: "card" }, element("strong", {}, person), element("p", {}, item.conflict.words[i] || "no answer"),
      element("p", { class: "note" }, item.conflict.notes[i]), button);
  });
  return [element("div", { class: "cards" }, ...cards)];
}

// No line ends within an option.
const commandLine = (text) => element("pre", { tabindex: "0" }, ...text.split(" ").flatMap((word) => [element("span", {}, word), " "]));

function drawEnd(list) {
  const left = list.filter((item) => !isDone(item)), marked = maskRows();
  const wrong = list.filter((item) => item.kind === "complete" && complete.get(item.key) === "no").length;
  const others = PAGE.pages.filter((name) => name !== PAGE.name);
  hideStage();
  node("question").replaceChildren(heading(left.length ? `${left.length} of ${list.length} questions are open` : "All is answered", ""));
  const steps = [
    element("li", {}, "Export the files, below", others.length ? ", here and on the other pages: " : ".",
      ...others.map((name) => element("a", { href: `${encodeURIComponent(name)}.html` }, `${name} `))),
    ...PAGE.steps.map(([words, command]) => element("li", {}, words, commandLine(command))),
  ];
  if (wrong && !SETTLING) {
    steps.push(element("li", {}, `Not wholly annotated (no): ${wrong}. A build leaves these out, unless masks of what is missing are `
      + `made in another tool: masks.csv lists the frames, ${marked.length}, and where the mask of each belongs in a folder, EXTRA. `
      + "With extra-objects.csv beside them, which says what they are of, make this page again to look:",
    commandLine(`${PAGE.again} --recipe LABELS --recipe EXTRA --out AGAIN`)));
  }
  const next = left.length ? [element("button", { id: "next-open", click: () => open(left[0].name) }, "Go on with the first that is open")] : [];
  node("answers").replaceChildren(...next, element("ol", { id: "steps" }, ...steps));
  node("words").replaceChildren();
  node("help").textContent = "";
}

function draw() {
  const list = items(), item = list.find((each) => each.name === at);
  node("work").classList.toggle("end", !item);
  if (!item) { at = END; drawEnd(list); } else if (item.kind === "object") drawObject(item); else drawComplete(item);
  node("title").textContent = PAGE.title;
  node("bar").max = Math.max(list.length, 1);
  node("bar").value = list.filter(isDone).length;
  node("count").textContent = progressText(list);
  drawStrip(list);
  node("save-objects").hidden = SETTLING && !objects.size;
  node("save-complete").hidden = SETTLING && !complete.size;
  node("save-masks").hidden = SETTLING || !maskRows().length;
  node("about-masks").hidden = node("save-masks").hidden;
  if (drawn !== at) { scrollTo(0, 0); drawn = at; lastMark = -1; }
}
function drawStrip(list) {
  const strip = [], now = Math.max(placeOf(list), 0), from = Math.max(0, now - 60);
  let last = null;
  for (const item of list.slice(from, now + 60)) {
    if (item.v !== last) strip.push(element("span", {}, item.v.video));
    last = item.v;
    const value = item.kind === "complete" ? complete.get(item.key) : "";
    const words = item.kind === "object" ? item.row.object : `${item.category} ${SIGN[value] ?? ""}`.trim();
    const state = item.kind === "complete" ? value : isDone(item) ? "done" : "";
    const what = item.kind === "object" ? `object ${item.row.object}, ${item.row.category || "no label yet"}` : `${item.category}: ${value || "no answer yet"}`;
    strip.push(element("button", { class: `${state} ${item.name === at ? "now" : ""}`, title: what, "aria-label": `${item.v.video}, ${what}`,
      click: () => open(item.name) }, words));
  }
  node("strip").replaceChildren(...strip);
}

// ---- keys --------------------------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || ["note", "who"].includes(event.target.id)) return;
  const item = current(), empty = !typed, use = (act) => { event.preventDefault(); act(); };
  if (event.key === "Escape") return use(() => { if (isLarge()) enlarge(false); else { typed = ""; draw(); } });
  if (event.key === "PageDown" || (event.key === "." && empty)) return use(() => go(1));
  if (event.key === "PageUp" || (event.key === "," && empty)) return use(() => go(-1));
  if (!item) return;
  const button = event.target.closest("button, input[type=checkbox]"), slider = event.target.id === "scrubber";
  if (empty && !node("stage").hidden) {
    const moves = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => step(-Infinity), End: () => step(Infinity),
      "/": toggleOutlines, "+": () => enlarge(!isLarge()) };
    if (moves[event.key] && !(slider && event.key.length > 1)) return use(moves[event.key]);
    if (event.key === " " && !button) return use(togglePlay);
  }
  if (item.conflict && empty && item.kind === "complete" && "ab".includes(event.key)) return use(() => node(`take-${"ab".indexOf(event.key)}`).click());
  if (item.kind === "complete") {
    const value = CHOICES.find(([, key]) => key === event.key.toLowerCase());
    if (value) return use(() => answer(value[0]));
    if (event.key.toLowerCase() === "m" && !SETTLING) use(() => toggleMark(event.key === "M"));
    return;
  }
  if (empty && /^[1-9]$/.test(event.key)) { const word = quick()[Number(event.key) - 1]; return use(() => word && label(word)); }
  if (empty && event.key === "0") return use(() => label("none"));
  if (empty && event.key === "Delete") return use(() => label(""));
  if (event.key === "Enter" && !button) return use(() => (typed ? matches()[top] && label(matches()[top]) : onward()));
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    return use(() => {
      top = Math.min(Math.max(top + (event.key === "ArrowDown" ? 1 : -1), 0), matches().length - 1);
      drawWords(item);
    });
  }
  if (event.key.length === 1 && event.key !== " " && event.target.id !== "search") node("search")?.focus();
});
node("finish").addEventListener("click", () => open(END));

// ---- files -------------------------------------------------------------------------------------------------------

function exported(kind, columns, rows) {
  const { who } = answers, person = who.replace(/[^\p{L}\p{N}_.-]+/gu, "-");
  const text = toCsv(who ? [...columns, "said_by"] : columns, rows.map((row) => ({ ...row, said_by: who })));
  download(`${kind}-${PAGE.name}${person ? `-${person}` : ""}.csv`, text);
}
function completeRows() {
  return items().filter((item) => item.kind === "complete").map((item) => ({ source: item.v.source, video: item.v.video,
    category: item.category, complete: complete.get(item.key) || "", note: notes.get(item.key) || "" }));
}
function maskRows() {
  // Of a category that is not complete and of which no frame is marked, somebody has to look at all of them.
  return items().filter((item) => item.kind === "complete" && complete.get(item.key) === "no").flatMap(({ v, category, key }) => {
    const frames = marks.get(key)?.size ? [...marks.get(key)].sort((a, b) => a - b) : v.frames.keys();
    return Array.from(frames, (number) => ({ source: v.source, video: v.video, category, frame: v.frames[number],
      image: [v.folder, v.files[number]].filter(Boolean).join("/"), mask: `${v.maps}/${v.frames[number]}.png` }));
  });
}
node("save-objects").addEventListener("click", () => exported("objects", OBJECT_COLUMNS, [...objects.values()]));
node("save-complete").addEventListener("click", () => exported("complete", SETTLING ? [...COMPLETE_COLUMNS, "note"] : COMPLETE_COLUMNS, completeRows()));
node("save-masks").addEventListener("click", () => exported("masks", MASK_COLUMNS, maskRows()));
node("load").addEventListener("click", () => node("file").click());
node("file").addEventListener("change", async () => {
  let taken = 0;
  const frames = new Map(VIDEOS.map((v) => [`${v.source},${v.video}`, new Map(v.frames.map((name, number) => [name, number]))]));
  for (const file of node("file").files) {
    for (const row of fromCsv(await file.text())) {
      const key = completeKey(row);
      if ("mask" in row) {
        const number = frames.get(`${row.source},${row.video}`)?.get(row.frame);
        if (answers.takeMark(key, number)) taken++;
      } else if ("complete" in row) {
        if (answers.takeComplete(key, row.complete)) taken++;
      } else if ("object" in row && row.category && answers.takeObject(objectKey(row), row)) taken++;
    }
  }
  node("file").value = "";
  remember();
  draw();
  node("count").textContent += `; ${taken} rows read in`;
});

const first = items();
if (first.length) open((first.find((item) => !isDone(item)) ?? { name: END }).name);
})();
