"use strict";
// What pages share that show videos: chunks of data, masks as run lengths, and frames of a clip by number.

// ---- chunks: what is known of a video, within the page or in a script beside it ----------------------------------

const chunks = new Map();
const waiting = new Map();

function icvosChunk(content) {
  waiting.get(content.video)?.(content);
  waiting.delete(content.video);
}

function chunkOf(video, path) {
  if (!chunks.has(video)) {
    chunks.set(video, new Promise((done, fail) => {
      const inside = [...document.scripts].find((script) => script.dataset.video === video);
      if (inside) return done(JSON.parse(inside.textContent));
      waiting.set(video, done);
      const script = document.createElement("script");
      script.src = path;
      script.onload = () => script.remove();
      script.onerror = () => { chunks.delete(video); fail(new Error(`${path} is not beside this page`)); };
      document.head.append(script);
    }));
  }
  return chunks.get(video);
}

// ---- masks -------------------------------------------------------------------------------------------------------

function decodeMask(text, [height, width]) {
  // COCO's compressed run lengths, by columns; returned by rows.
  const mask = new Uint8Array(height * width), counts = [];
  for (let at = 0; at < text.length;) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const code = text.charCodeAt(at++) - 48;
      value |= (code & 31) << shift;
      more = (code & 32) !== 0;
      shift += 5;
      if (!more && code & 16) value |= -1 << shift;
    }
    counts.push(counts.length > 2 ? value + counts[counts.length - 2] : value);
  }
  let place = 0;
  counts.forEach((count, run) => {
    if (run % 2) for (let k = place; k < place + count; k++) mask[(k % height) * width + Math.floor(k / height)] = 1;
    place += count;
  });
  return mask;
}

// ---- frames ------------------------------------------------------------------------------------------------------

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

function picture(text, type) {
  return new Promise((done, fail) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => fail(new Error("a picture cannot be read"));
    image.src = `data:${type};base64,${text}`;
  });
}

class Clip {
  constructor(chunk) {
    this.chunk = chunk;
    if (chunk.webm) {
      this.video = document.createElement("video");
      this.video.muted = true;
      this.video.playsInline = true;
      this.video.preload = "auto";
      this.url = URL.createObjectURL(new Blob([bytes(chunk.webm)], { type: "video/webm" }));
      this.ready = new Promise((done, fail) => {
        this.abandon = done;
        this.video.onloadeddata = done;
        this.video.onerror = () => fail(new Error("this browser plays no VP9"));
      });
      this.video.src = this.url;
    }
  }

  async frame(number) {
    if (!this.video) return picture(this.chunk.stills[number], "image/webp");
    await this.ready;
    if (this.closed) return this.video;
    const video = this.video, time = (number + 0.5) / this.chunk.rate;
    if (Math.abs(video.currentTime - time) > 0.01 / this.chunk.rate) {
      const sought = new Promise((done) => {
        for (const end of ["seeked", "emptied"]) video.addEventListener(end, done, { once: true });
      });
      const presented = this.presented(number);
      video.currentTime = time;
      await sought;
      await presented;
    }
    return this.video;
  }

  presented(number) {
    // "seeked" may come before the picture does. A page that is not seen presents none: hence the limit.
    const video = this.video;
    return new Promise((done) => {
      const look = (_, { mediaTime }) => {
        if (Math.abs(mediaTime - number / this.chunk.rate) < 0.4 / this.chunk.rate) done();
        else video.requestVideoFrameCallback(look);
      };
      video.requestVideoFrameCallback?.(look);
      setTimeout(done, video.requestVideoFrameCallback ? 400 : 30);
    });
  }

  // Whoever waits for a frame goes on, and is to see that the clip is another one now.
  close() {
    this.closed = true;
    if (!this.video) return;
    this.abandon();
    this.video.onerror = null;
    this.video.removeAttribute("src");
    this.video.load();
    URL.revokeObjectURL(this.url);
  }
}
