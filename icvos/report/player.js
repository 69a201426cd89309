"use strict";
// The table of episodes, and the player: frames of a clip, masks as layers over them, J and F of each frame.

const index = JSON.parse(document.getElementById("index").textContent);
const byId = new Map(index.episodes.map((row) => [row.id, row]));
const element = (name) => document.getElementById(name);
const COLOURS = { right: [86, 180, 233], missed: [240, 228, 66], wrong: [213, 94, 0], truth: [255, 255, 255] };

// ---- layers --------------------------------------------------------------------------------------------------------

function paint(pixels, [height, width], truth, predicted, ignore, layers) {
  // Colours belong to the layers: under errors the frame is grey.
  const data = pixels.data;
  const mix = (at, colour, share) => {
    for (let c = 0; c < 3; c++) data[at + c] += (colour[c] - data[at + c]) * share;
  };
  for (let place = 0, at = 0; at < data.length; place++, at += 4) {
    const t = truth?.[place] ?? 0, p = predicted?.[place] ?? 0;
    if (layers.errors && predicted) {
      const grey = (data[at] + data[at + 1] + data[at + 2]) / 3 * 0.62 + 35;
      for (let c = 0; c < 3; c++) data[at + c] = grey + data[at + c] * 0.13;
      if (t !== p && !ignore?.[place]) {
        mix(at, t ? COLOURS.missed : COLOURS.wrong, 0.65);
        continue;
      }
    }
    if (p && layers.prediction) mix(at, COLOURS.right, 0.6);
  }
  const outlines = [];
  if (layers.prediction && predicted && !layers.errors) outlines.push([predicted, COLOURS.right]);
  if (layers.truth && truth) outlines.push([truth, COLOURS.truth]);
  for (const [mask, colour] of outlines) {
    for (let y = 0, place = 0; y < height; y++) {
      for (let x = 0; x < width; x++, place++) {
        if (!mask[place] && ((x && mask[place - 1]) || (x + 1 < width && mask[place + 1])
          || (y && mask[place - width]) || (y + 1 < height && mask[place + width]))) mix(4 * place, colour, 1);
      }
    }
  }
}

// ---- the player --------------------------------------------------------------------------------------------------

const player = { row: null, chunk: null, clip: null, number: 0, playing: false, wanted: null, drawing: false };

const layers = () => Object.fromEntries(["prediction", "errors", "truth"].map((name) => [name, element(`layer-${name}`).checked]));

async function openEpisode(id, { scroll = false, remember = true } = {}) {
  const row = byId.get(id);
  if (!row?.played) return;
  stop();
  player.row = row;
  for (const line of document.querySelectorAll("#rows tr")) line.setAttribute("aria-selected", line.dataset.id === id);
  element("player").hidden = false;
  element("player-title").textContent = [row.video, row.category, row.draw === undefined ? "" : `draw ${row.draw}`].filter(Boolean).join(", ");
  if (scroll) element("player").scrollIntoView({ block: "start" });
  if (remember) history.replaceState(null, "", `#${encodeURIComponent(id)}`);
  let chunk;
  try {
    chunk = await chunkOf(row.video, index.chunks[row.video]);
  } catch (error) {
    element("player-note").textContent = error.message;
    return;
  }
  if (player.row !== row) return;
  if (player.chunk !== chunk) {
    player.clip?.close();
    player.clip = new Clip(chunk);
  }
  player.chunk = chunk;
  player.episode = chunk.episodes[id];
  player.masks = new Map();
  const count = chunk.frames.length, first = firstVisible(chunk, row);
  const scrubber = element("scrubber");
  scrubber.max = count - 1;
  for (const name of ["transport", "curve"]) element(name).hidden = count < 2;
  for (const canvas of document.querySelectorAll("#screens canvas")) [canvas.height, canvas.width] = chunk.size;
  element("stage").style.setProperty("--aspect", chunk.size[1] / chunk.size[0]);
  drawCurve();
  await drawSupports();
  // The poster: at once, before the clip is decoded.
  if (first === 0) await compose(await picture(chunk.poster, "image/jpeg"), 0);
  show(first);
}

function firstVisible(chunk, row) {
  const found = chunk.truth[row.category_number].findIndex(Boolean);
  return Math.max(found, 0);
}

function maskOf(kind, text) {
  // A few masks are kept: those of the frame shown, and of its neighbours.
  const key = `${kind} ${text}`;
  if (!player.masks.has(key)) {
    if (player.masks.size > 24) player.masks.clear();
    player.masks.set(key, text ? decodeMask(text, player.chunk.size) : null);
  }
  return player.masks.get(key);
}

async function compose(source, number) {
  const { chunk, episode, row } = player, [height, width] = chunk.size, chosen = layers();
  const category = row.category_number;
  const empty = new Uint8Array(height * width);
  const truth = maskOf("truth", chunk.truth[category][number]) ?? empty;
  const ignored = chunk.ignore[category]?.[number];
  const ignore = ignored ? maskOf("ignore", ignored) : null;
  document.querySelectorAll("#screens canvas").forEach((canvas, run) => {
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(source, 0, 0, width, height);
    const text = episode.masks[run][number];
    const predicted = text === null ? null : maskOf("predicted", text) ?? empty;
    const pixels = context.getImageData(0, 0, width, height);
    paint(pixels, chunk.size, truth, predicted, ignore, chosen);
    context.putImageData(pixels, 0, 0);
    canvas.setAttribute("aria-label", `frame ${chunk.frames[number]}${index.runs.length > 1 ? `, ${index.runs[run]}` : ""}`);
  });
  const missing = episode.masks.some((list) => list[number] === null);
  element("player-note").textContent = row.error ?? (missing ? "the mask of this frame is missing or broken" : "");
}

async function show(number) {
  // Frames that are asked for while one is drawn: the last of them is next.
  player.number = number;
  player.wanted = number;
  mark();
  if (player.drawing) return;
  player.drawing = true;
  try {
    while (player.wanted !== null) {
      const next = player.wanted, clip = player.clip;
      player.wanted = null;
      const source = await clip.frame(next);
      if (clip === player.clip) await compose(source, next);
    }
    element("player").dataset.shown = `${player.row.id} ${player.number}`;
  } catch (error) {
    element("player-note").textContent = error.message;
  } finally {
    player.drawing = false;
  }
}

function mark() {
  const { chunk, number, episode, row } = player;
  element("scrubber").value = number;
  const absent = chunk.truth[row.category_number][number] ? "" : ", not there";
  const image = chunk.frames.length < 2;
  element("frame").textContent = image ? "query" : `frame ${chunk.frames[number]} of ${row.frames}${absent}`;
  element("scrubber").setAttribute("aria-valuetext", element("frame").textContent);
  element("values").replaceChildren(...episode.values.map((values, run) => {
    const line = document.createElement("div");
    const text = Object.entries(values).filter(([, list]) => number < list.length)
      .map(([name, list]) => `${name} ${list[number].toFixed(1)}`).join(", ");
    line.textContent = (index.runs.length > 1 ? `${index.runs[run]}: ` : "") + text;
    return line;
  }));
  const cursor = document.querySelector("#curve .cursor");
  if (cursor) cursor.setAttribute("d", `M${curveX(number)} 0V100`);
}

function step(by) {
  if (!player.chunk) return;
  const last = player.chunk.frames.length - 1;
  show(Math.min(Math.max(player.number + by, 0), last));
}

async function play() {
  player.playing = true;
  element("play").textContent = "Pause";
  if (player.number >= player.chunk.frames.length - 1) await show(0);
  const turn = (player.turn = Symbol());
  while (player.playing && player.turn === turn && player.number < player.chunk.frames.length - 1) {
    const began = performance.now();
    await show(player.number + 1);
    const rest = 1000 / Number(element("speed").value) - (performance.now() - began);
    await new Promise((done) => setTimeout(done, Math.max(rest, 0)));
  }
  if (player.turn === turn) stop();
}

function stop() {
  player.playing = false;
  element("play").textContent = "Play";
}

// ---- J and F over time -------------------------------------------------------------------------------------------

const curveX = (number) => 1000 * (number + 0.5) / player.chunk.frames.length;

function drawCurve() {
  const { chunk, episode, row } = player, count = chunk.frames.length;
  const parts = [];
  const truth = chunk.truth[row.category_number];
  for (let from = 0; from < count; from++) {
    if (truth[from]) continue;
    let to = from;
    while (to < count && !truth[to]) to++;
    parts.push(`<rect class=absent x="${1000 * from / count}" y=0 width="${1000 * (to - from) / count}" height=100 />`);
    from = to;
  }
  for (const level of [25, 50, 75]) parts.push(`<path class=grid d="M0 ${level}H1000"/>`);
  episode.values.forEach((values, run) => Object.values(values).forEach((list, part) => {
    const points = list.map((value, number) => `${curveX(number).toFixed(1)} ${(100 - value).toFixed(1)}`);
    const line = index.runs.length > 1 ? run : part;
    if (points.length) parts.push(`<path class="line l${line}${part ? " dashed" : ""}" d="M${points.join("L")}"/>`);
  }));
  parts.push(`<path class=cursor d="M0 0V100"/>`);
  element("lines").innerHTML = parts.join("");
}

async function drawSupports() {
  const figures = [];
  for (const key of player.episode.supports) {
    const support = player.chunk.supports[key], [height, width] = support.size;
    const canvas = document.createElement("canvas");
    [canvas.height, canvas.width] = [height, width];
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `support ${key}`);
    const context = canvas.getContext("2d");
    context.drawImage(await picture(support.image, "image/jpeg"), 0, 0, width, height);
    const pixels = context.getImageData(0, 0, width, height), mask = decodeMask(support.mask, support.size);
    for (let place = 0; place < mask.length; place++) {
      if (!mask[place]) for (let c = 0; c < 3; c++) pixels.data[4 * place + c] *= 0.45;
    }
    paint(pixels, support.size, mask, null, null, { truth: true });
    context.putImageData(pixels, 0, 0);
    const figure = document.createElement("figure"), words = document.createElement("figcaption");
    words.textContent = key;
    figure.append(canvas, words);
    figures.push(figure);
  }
  element("supports").replaceChildren(...figures);
}

// ---- the table ---------------------------------------------------------------------------------------------------

const MOST_ROWS = 200;
const table = { key: "score", descending: true, all: false, rows: [] };

function filtered() {
  const words = element("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const least = element("least").value === "" ? -Infinity : Number(element("least").value);
  const most = element("most").value === "" ? Infinity : Number(element("most").value);
  const chosen = ["category", "source", "draw"].map((name) => [name, element(`by-${name}`)?.value ?? ""]);
  return index.episodes.filter((row) => {
    const score = row.score ?? 0;
    return score >= least && score <= most
      && chosen.every(([name, value]) => value === "" || String(row[name]) === value)
      && words.every((word) => row.id.toLowerCase().includes(word) || String(row.category).toLowerCase().includes(word));
  });
}

function drawTable() {
  const { key, descending } = table;
  table.rows = filtered();
  const sign = descending ? -1 : 1;
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  table.rows.sort((a, b) => {
    const [x, y] = [a[key], b[key]];
    if (x === y) return compare(a.id, b.id);
    if (x === null || x === undefined) return 1;
    if (y === null || y === undefined) return -1;
    return sign * (typeof x === "number" ? x - y : compare(x, y));
  });
  const shown = table.all ? table.rows : table.rows.slice(0, MOST_ROWS);
  element("rows").replaceChildren(...shown.map(rowOf));
  element("count").textContent = `${table.rows.length} of ${index.episodes.length} episodes`
    + (shown.length < table.rows.length ? `, the first ${shown.length} shown` : "");
  element("all").hidden = shown.length === table.rows.length;
  for (const head of document.querySelectorAll("#episodes th")) {
    if (head.dataset.key === key) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

function rowOf(row) {
  const line = document.createElement("tr");
  line.dataset.id = row.id;
  line.setAttribute("aria-selected", row === player.row);
  index.columns.forEach(({ key, number }, place) => {
    const cell = document.createElement("td"), value = row[key];
    const text = value === null || value === undefined ? "" : number ? value.toFixed(1) : String(value);
    if (number) cell.className = "n";
    if (place === 0 && row.played) {
      const button = document.createElement("button");
      button.className = "name";
      button.textContent = text;
      cell.append(button);
    } else cell.textContent = text;
    line.append(cell);
  });
  if (row.error) line.className = "failed";
  return line;
}

function neighbour(by) {
  // The next one that can be played.
  let place = table.rows.indexOf(player.row) + by;
  while (table.rows[place] && !table.rows[place].played) place += by;
  if (table.rows[place]) openEpisode(table.rows[place].id);
}

// ---- hands -------------------------------------------------------------------------------------------------------

element("rows").addEventListener("click", (event) => {
  const line = event.target.closest("tr");
  if (line) openEpisode(line.dataset.id, { scroll: true });
});
for (const head of document.querySelectorAll("#episodes th")) {
  head.querySelector("button").addEventListener("click", () => {
    const number = index.columns.find(({ key }) => key === head.dataset.key).number;
    table.descending = table.key === head.dataset.key ? !table.descending : Boolean(number);
    table.key = head.dataset.key;
    drawTable();
  });
}
for (const control of document.querySelectorAll("#filters input, #filters select")) control.addEventListener("input", drawTable);
element("all").addEventListener("click", () => { table.all = true; drawTable(); });
element("reset").addEventListener("click", () => {
  for (const control of document.querySelectorAll("#filters input, #filters select")) control.value = "";
  drawTable();
});

if (element("player")) {
  element("play").addEventListener("click", () => (player.playing ? stop() : play()));
  element("back").addEventListener("click", () => { stop(); step(-1); });
  element("on").addEventListener("click", () => { stop(); step(1); });
  element("previous").addEventListener("click", () => neighbour(-1));
  element("next").addEventListener("click", () => neighbour(1));
  element("scrubber").addEventListener("input", (event) => { stop(); show(Number(event.target.value)); });
  for (const box of document.querySelectorAll("#layers input")) box.addEventListener("change", () => player.chunk && show(player.number));
  const seek = (event) => {
    const box = element("lines").getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width, count = player.chunk.frames.length;
    stop();
    show(Math.min(Math.max(Math.floor(share * count), 0), count - 1));
  };
  element("lines").addEventListener("pointerdown", (event) => {
    element("lines").setPointerCapture(event.pointerId);
    seek(event);
  });
  element("lines").addEventListener("pointermove", (event) => event.buttons && seek(event));
  const keys = {
    " ": () => (player.playing ? stop() : play()),
    ArrowLeft: () => { stop(); step(-1); },
    ArrowRight: () => { stop(); step(1); },
    Home: () => { stop(); step(-Infinity); },
    End: () => { stop(); step(Infinity); },
    ",": () => neighbour(-1),
    ".": () => neighbour(1),
    1: () => element("layer-prediction").click(),
    2: () => element("layer-errors").click(),
    3: () => element("layer-truth").click(),
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox]):not([type=range]), select, textarea");
    const presses = event.key === " " && event.target.closest("button, input[type=checkbox]");
    if (typing || presses || event.ctrlKey || event.metaKey || event.altKey || !player.chunk || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  let asked = location.hash.slice(1);
  try { asked = decodeURIComponent(asked); } catch (error) { /* a % of its own */ }
  drawTable();
  const first = byId.get(asked)?.played ? byId.get(asked) : table.rows.find((row) => row.played);
  if (first) openEpisode(first.id, { remember: false });
} else drawTable();
