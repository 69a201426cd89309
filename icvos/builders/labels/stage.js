"use strict";
// The frames of a video: a scrubber over all of them, thin outlines beside what they enclose, and a few small pictures.

const node = (id) => document.getElementById(id);
const OUTLINES = { it: [240, 228, 66], other: [86, 180, 233], extra: [255, 90, 90] };
const DARK = [0, 0, 0];

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "click") made.addEventListener("click", value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// ---- outlines ----------------------------------------------------------------------------------------------------

// Where a mask is on a canvas, and a margin around it, 1 within; null of an empty one.
function enlargeMask(mask, [height, width], [rows, columns], margin) {
  let top = height, bottom = -1, left = width, right = -1;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (!mask[at]) continue;
      if (y < top) top = y;
      if (y > bottom) bottom = y;
      if (x < left) left = x;
      if (x > right) right = x;
    }
  }
  if (bottom < 0) return null;
  const [sy, sx] = [rows / height, columns / width];
  const y0 = Math.max(Math.floor(top * sy) - margin, 0), y1 = Math.min(Math.ceil((bottom + 1) * sy) + margin, rows);
  const x0 = Math.max(Math.floor(left * sx) - margin, 0), x1 = Math.min(Math.ceil((right + 1) * sx) + margin, columns);
  const high = y1 - y0, wide = x1 - x0, steps = new Uint8Array(high * wide);
  for (let y = 0; y < high; y++) {
    const row = Math.min(Math.floor((y + y0 + 0.5) / sy), height - 1) * width;
    for (let x = 0; x < wide; x++) {
      if (mask[row + Math.min(Math.floor((x + x0 + 0.5) / sx), width - 1)]) steps[y * wide + x] = 1;
    }
  }
  if (sx < 1 || sy < 1) {  // on a canvas smaller than the mask nothing small is lost
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= right; x++) {
        if (mask[y * width + x]) steps[(Math.floor(y * sy) - y0) * wide + Math.floor(x * sx) - x0] = 1;
      }
    }
  }
  return { y0, x0, high, wide, steps };
}

// A light line just outside of each mask and a dark one around it; other outlines leave out what is asked about.
function drawOutlines(canvas, size, masks, thickness) {
  const rows = canvas.height, columns = canvas.width, context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows), data = image.data;
  const areas = masks.map(({ mask, kind }) => ({ kind, area: enlargeMask(mask, size, [rows, columns], 2 * thickness + 1) }));
  const kept = new Uint8Array(rows * columns);
  for (const { kind, area } of areas) {
    if (kind !== "it" || !area) continue;
    for (let y = 0; y < area.high; y++) {
      for (let x = 0; x < area.wide; x++) if (area.steps[y * area.wide + x]) kept[(y + area.y0) * columns + x + area.x0] = 1;
    }
  }
  for (const wanted of ["other", "extra", "it"]) {
    for (const { kind, area } of areas) {
      if (kind !== wanted || !area) continue;
      const { y0, x0, high, wide, steps } = area;
      for (let step = 1; step <= 2 * thickness; step++) {
        for (let y = 0, at = 0; y < high; y++) {
          for (let x = 0; x < wide; x++, at++) {
            if (!steps[at] && ((x && steps[at - 1] === step) || (x + 1 < wide && steps[at + 1] === step)
              || (y && steps[at - wide] === step) || (y + 1 < high && steps[at + wide] === step))) steps[at] = step + 1;
          }
        }
      }
      for (let y = 0, at = 0; y < high; y++) {
        for (let x = 0; x < wide; x++, at++) {
          if (steps[at] < 2) continue;
          const light = steps[at] <= thickness + 1, place = (y + y0) * columns + x + x0;
          // Between two things that touch the light line alone is drawn.
          if (kept[place] && (kind !== "it" || !light)) continue;
          const colour = light ? OUTLINES[kind] : DARK;
          for (let c = 0; c < 3; c++) data[4 * place + c] = colour[c];
          data[4 * place + 3] = 255;
        }
      }
    }
  }
  context.putImageData(image, 0, 0);
}

// ---- the stage ---------------------------------------------------------------------------------------------------

const stage = {
  video: null, chunk: null, clip: null, number: 0, shown: -1, wanted: null, film: [], busy: false, playing: null,
  kinds: new Map(), marks: new Set(), masks: new Map(), name: "",
};

// Shows a video from a frame on: kinds of outlines by object, a few frames as small pictures, frames that are marked.
async function showVideo(video, { name, kinds, number, film, marks = new Set() }) {
  pause();
  Object.assign(stage, { kinds, marks, name, film: [] });
  node("stage").hidden = false;
  delete node("stage").dataset.shown;
  node("work").style.setProperty("--aspect", video.size[1] / video.size[0]);
  node("stage-note").textContent = "";
  node("scrubber").max = video.frames.length - 1;
  const pictures = film.map((frame) => {
    const canvas = element("canvas", { "aria-hidden": "true", width: 160, height: Math.round(160 * video.size[0] / video.size[1]) });
    const button = element("button", { click: () => { pause(); showFrame(frame); } }, canvas, element("span", {}, `frame ${video.frames[frame]}`));
    return { number: frame, canvas, button };
  });
  node("film").replaceChildren(...pictures.map(({ button }) => button));
  if (stage.video !== video) {
    stage.clip?.close();
    Object.assign(stage, { video, clip: null, chunk: null });
    stage.masks.clear();
    for (const canvas of [node("picture"), node("outlines")]) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    let chunk;
    try {
      chunk = await chunkOf(video.video, PAGE.scripts[video.video]);
      if (PAGE.scripts[video.video]) chunks.delete(video.video);  // one video at a time is kept
    } catch (error) {
      if (stage.video === video) node("stage-note").textContent = error.message;
      stage.video = null;
      return;
    }
    if (stage.video !== video) return;
    Object.assign(stage, { chunk, clip: new Clip(chunk) });
    [node("picture").height, node("picture").width] = chunk.size;
  }
  if (stage.name !== name || !stage.chunk) return;
  stage.film = pictures;
  drawPresence();
  showFrame(number);
}

function hideStage() {
  pause();
  enlarge(false);
  node("stage").hidden = true;
  node("film").replaceChildren();
}

const lastFrame = () => stage.video.frames.length - 1;

function showFrame(number) {
  if (!stage.video) return;
  stage.number = Math.min(Math.max(number, 0), lastFrame());
  stage.wanted = stage.number;
  delete node("stage").dataset.shown;
  node("scrubber").value = stage.number;
  const words = `frame ${stage.video.frames[stage.number]}, ${stage.number + 1} of ${stage.video.frames.length}`;
  node("frame").textContent = words + (stage.marks.has(stage.number) ? ", marked" : "");
  node("scrubber").setAttribute("aria-valuetext", node("frame").textContent);
  node("picture").setAttribute("aria-label", words);
  return draw();
}

async function draw() {
  // Frames are sought one after another: the one that is asked for last, then the small pictures.
  if (stage.busy) return;
  stage.busy = true;
  try {
    while (stage.clip && (stage.wanted !== null || stage.film.length)) {
      const clip = stage.clip, small = stage.wanted === null ? stage.film.shift() : null;
      const number = small ? small.number : stage.wanted;
      if (!small) stage.wanted = null;
      const source = await clip.frame(number);
      if (clip !== stage.clip) continue;
      const [height, width] = stage.chunk.size;
      if (small) drawSmall(small, source);
      else {
        node("picture").getContext("2d").drawImage(source, 0, 0, width, height);
        stage.shown = number;
        outline();
      }
    }
    if (stage.clip) node("stage").dataset.shown = `${stage.name} ${stage.shown}`;
  } catch (error) {
    node("stage-note").textContent = error.message;
  } finally {
    stage.busy = false;
  }
}

function drawSmall({ canvas, number }, source) {
  const context = canvas.getContext("2d"), lines = element("canvas", { width: canvas.width, height: canvas.height });
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  drawOutlines(lines, stage.chunk.size, masksOf(number), 1);
  context.drawImage(lines, 0, 0);
}

// Masks of a frame with what each is: "it", "other" or "extra".
function masksOf(number) {
  const out = [];
  for (const [id, texts] of Object.entries(stage.chunk.masks)) {
    const text = texts[number], key = `${id} ${number}`;
    if (!text) continue;
    if (!stage.masks.has(key)) {
      if (stage.masks.size > 60) stage.masks.clear();
      stage.masks.set(key, decodeMask(text, stage.chunk.size));
    }
    out.push({ mask: stage.masks.get(key), kind: stage.kinds.get(id) ?? (id < 0 ? "extra" : "other") });
  }
  return out;
}

function outline() {
  const canvas = node("outlines"), ratio = devicePixelRatio || 1;
  if (!stage.chunk || stage.shown < 0) return;
  const box = node("screen").getBoundingClientRect();
  canvas.width = Math.max(Math.round(box.width * ratio), 1);
  canvas.height = Math.max(Math.round(box.height * ratio), 1);
  canvas.hidden = !node("show-outlines").checked;
  drawOutlines(canvas, stage.chunk.size, masksOf(stage.shown), Math.max(Math.round(ratio), 1));
}

// Frames in which what is asked about is outlined, and those that are marked, as a band over the scrubber.
function drawPresence() {
  const count = stage.video.frames.length, svg = node("presence");
  const ids = [...stage.kinds].filter(([, kind]) => kind !== "other").map(([id]) => stage.chunk.masks[id] ?? []);
  const there = Array.from({ length: count }, (_, number) => ids.some((texts) => texts[number]));
  const parts = [];
  const runs = (flags, name) => {
    for (let from = 0; from < count; from++) {
      if (!flags[from]) continue;
      let to = from;
      while (to < count && flags[to]) to++;
      const part = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const box = { class: name, x: from / count, y: 0, width: (to - from) / count, height: 1 };
      for (const [key, value] of Object.entries(box)) part.setAttribute(key, value);
      parts.push(part);
      from = to;
    }
  };
  runs(there, "there");
  runs(Array.from({ length: count }, (_, number) => stage.marks.has(number)), "marked");
  svg.replaceChildren(...parts);
}

function drawLegend(entries) {
  node("legend").replaceChildren(...entries.map(([kind, words]) => element("span", {},
    element("i", { class: kind === "there" || kind === "marked" ? `band ${kind}` : "line",
      style: OUTLINES[kind] ? `background:rgb(${OUTLINES[kind]})` : "" }), ` ${words}`)));
}

async function play() {
  const turn = (stage.playing = Symbol());
  node("play").textContent = "Pause";
  if (stage.number >= lastFrame()) await showFrame(0);
  while (stage.playing === turn && stage.number < lastFrame()) {
    const began = performance.now();
    await showFrame(stage.number + 1);
    await new Promise((done) => setTimeout(done, Math.max(100 - (performance.now() - began), 0)));
  }
  if (stage.playing === turn) pause();
}

function pause() {
  stage.playing = null;
  node("play").textContent = "Play";
}

const togglePlay = () => (stage.playing ? pause() : play());

function step(by) {
  pause();
  showFrame(stage.number + by);
}

function enlarge(large) {
  node("stage").classList.toggle("large", large);
  document.body.classList.toggle("still", large);
  node("enlarge").setAttribute("aria-pressed", large);
  node("enlarge").firstChild.textContent = large ? "Back " : "Enlarge ";
  outline();
}

const isLarge = () => node("stage").classList.contains("large");

function toggleOutlines() {
  node("show-outlines").checked = !node("show-outlines").checked;
  outline();
}

node("screen").addEventListener("click", () => enlarge(!isLarge()));
node("enlarge").addEventListener("click", () => enlarge(!isLarge()));
node("play").addEventListener("click", togglePlay);
node("back").addEventListener("click", () => step(-1));
node("on").addEventListener("click", () => step(1));
node("scrubber").addEventListener("input", (event) => { pause(); showFrame(Number(event.target.value)); });
node("show-outlines").addEventListener("change", outline);
new ResizeObserver(outline).observe(node("screen"));
