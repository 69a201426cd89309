"use strict";
// What has been said on a page of labels, the browser's memory of it, and CSV files.

const OBJECT_COLUMNS = ["source", "video", "object", "category", "keep", "start", "end", "note"];
const objectKey = (row) => [row.source, row.video, row.object].join(",");
const completeKey = (row) => [row.source, row.video, row.category].join(",");
const textRow = (row) => Object.fromEntries(OBJECT_COLUMNS.map((column) => [column, String(row[column] ?? "")]));
const ANSWERS = ["yes", "no", "unsure"];
const NAME_KEY = "icvos-labels-name";

class Answers {
  // By key; it starts with what the data set and the recipe say. Marks are frames that need a mask, by their place.
  objects = new Map();
  complete = new Map();
  notes = new Map();
  marks = new Map();

  constructor(page, videos) {
    // The browser remembers by the page's name and what it started from: a page made again from other labels starts afresh.
    const start = JSON.stringify(videos.map((v) => [v.rows, v.complete, v.conflicts]));
    let sum = 0;
    for (let i = 0; i < start.length; i++) sum = (sum * 31 + start.charCodeAt(i)) | 0;
    this.key = `icvos-labels:${page.name}:${sum}`;
    this.frames = new Map(videos.map((v) => [`${v.source},${v.video}`, v.frames.length]));
    for (const v of videos) {
      for (const row of v.rows) this.objects.set(objectKey(row), textRow(row));
      for (const row of v.complete) this.complete.set(completeKey(row), row.complete);
      for (const { kind, key, start: known } of v.conflicts ?? []) {
        if (kind === "objects") this.objects.set(objectKey(key), textRow({ ...key, ...known, keep: known.keep || "yes" }));
        else {
          this.complete.set(completeKey(key), known.complete);
          this.notes.set(completeKey(key), known.note);
        }
      }
    }
    this.who = "";
    try {
      this.who = localStorage.getItem(NAME_KEY) || "";
      const saved = localStorage.getItem(this.memory);
      if (saved) this.take(JSON.parse(saved));
    } catch (error) { /* memory is off, or is not ours */ }
  }

  // Each person's answers are a memory of its own, so that two who share a browser do not see each other's.
  get memory() {
    return this.who ? `${this.key}:${this.who}` : this.key;
  }

  // What comes from the browser's memory or a file is taken where it is of this page and an answer to its questions;
  // each tells whether it was.
  takeObject(key, row) {
    const known = this.objects.get(key);
    if (!known || typeof row !== "object" || row === null) return false;
    const { source, video, object } = known;
    this.objects.set(key, { ...textRow({ ...known, ...row }), source, video, object, keep: /^(no|n|false|0)$/i.test(row.keep) ? "no" : "yes" });
    return true;
  }

  takeComplete(key, value) {
    const answer = String(value).trim().toLowerCase();
    if (this.framesOf(key) === null || !ANSWERS.includes(answer)) return false;
    this.complete.set(key, answer);
    return true;
  }

  takeMark(key, number) {
    const count = this.framesOf(key);
    if (count === null || !Number.isInteger(number) || number < 0 || number >= count) return false;
    this.marks.set(key, (this.marks.get(key) ?? new Set()).add(number));
    return true;
  }

  // How many frames the video of a category has, or null where it is not on this page.
  framesOf(key) {
    for (const [video, count] of this.frames) if (String(key).startsWith(`${video},`)) return count;
    return null;
  }

  take({ objects, complete, marks = [] }) {
    for (const [key, row] of objects) this.takeObject(key, row);
    for (const [key, value] of complete) this.takeComplete(key, value);
    for (const [key, frames] of marks) for (const number of frames) this.takeMark(key, number);
  }

  remember() {
    const marks = [...this.marks].map(([key, frames]) => [key, [...frames]]);
    const all = { objects: [...this.objects], complete: [...this.complete], marks };
    try { localStorage.setItem(this.memory, JSON.stringify(all)); } catch (error) { /* memory is off */ }
  }

  // Another person; what was answered before the first name was given is that person's.
  rename(who) {
    const before = this.memory, nameless = !this.who;
    this.who = who;
    try {
      localStorage.setItem(NAME_KEY, who);
      if (nameless && !localStorage.getItem(this.memory)) {
        this.remember();
        localStorage.removeItem(before);
      } else location.reload();
    } catch (error) { /* memory is off: the name is for the exports alone */ }
  }
}

// ---- CSV ---------------------------------------------------------------------------------------------------------

function toCsv(columns, rows) {
  const field = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = [columns, ...rows.map((row) => columns.map((column) => row[column] ?? ""))];
  return `${lines.map((line) => line.map((text) => field(String(text))).join(",")).join("\n")}\n`;
}
function fromCsv(text) {
  const lines = [[]];
  let value = "", quoted = false;
  text = text.replace(/^\ufeff/, "");
  for (let i = 0; i < text.length; i++) {
    const letter = text[i];
    if (quoted) {
      if (letter !== '"') value += letter;
      else if (text[i + 1] === '"') { value += letter; i++; } else quoted = false;
    } else if (letter === '"') quoted = true;
    else if (letter === ",") { lines.at(-1).push(value); value = ""; }
    else if (letter === "\n") { lines.at(-1).push(value); value = ""; lines.push([]); }
    else if (letter !== "\r") value += letter;
  }
  if (value || lines.at(-1).length) lines.at(-1).push(value);
  const [head, ...rows] = lines.filter((line) => line.some(Boolean));
  return rows.map((line) => Object.fromEntries(head.map((column, i) => [column, line[i] ?? ""])));
}

function download(file, text) {
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: file });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
