"use strict";
// An image goes to the network, which runs in a worker; its labels come back, are drawn, counted, named and saved.
const byId = (id) => document.getElementById(id);
const facts = JSON.parse(byId("facts").textContent); // classes: [[name, [r, g, b]], ...]; size: [H, W] or null; fill: [r, g, b]; smallest: side
const SHOWN = 2048; // longest side of the canvas that shows the image: phones refuse large ones
const FORMATS = "JPEG, PNG, WebP, GIF or BMP";
const OLD = "This browser is too old for the page. It needs Chrome or Edge 97, Firefox 114 or Safari 16.4, or a newer one.";

function nameOf(label) {
  return facts.classes[label]?.[0] ?? `label ${label}`;
}

function colourOf(label) {
  return facts.classes[label]?.[1] ?? [255, 255, 255];
}

const sizeText = (width, height) => `${width} × ${height}`;

// ---- the network, in its worker

class Network {
  constructor() {
    this.calls = new Map(); // number -> [resolve, reject]
    this.number = 0;
    this.ready = this.start();
    this.ready.catch(() => {}); // whoever waits for it hears of it
  }

  start() {
    if (!("DecompressionStream" in window && "WebAssembly" in window)) return Promise.reject(new Error(OLD));
    const url = URL.createObjectURL(new Blob([byId("worker").textContent], { type: "text/javascript" }));
    this.worker = new Worker(url);
    this.worker.onmessage = ({ data }) => {
      const call = this.calls.get(data.number);
      if (!call) return; // it was rejected meanwhile
      const [resolve, reject] = call;
      this.calls.delete(data.number);
      if ("failure" in data) reject(new Error(this.words(data)));
      else resolve(data);
    };
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.rejectAll(new Error(`The network stopped (${event.message ?? "no reason is given"}). Give the image again.`));
    };
    const [script, wasm, network] = ["runtime-script", "runtime-wasm", "network"].map((id) => byId(id).textContent);
    return this.call({ parts: { script, wasm, network } }).finally(() => URL.revokeObjectURL(url));
  }

  call(message, transfer = []) {
    return new Promise((resolve, reject) => {
      this.calls.set(++this.number, [resolve, reject]);
      this.worker.postMessage({ number: this.number, ...message }, transfer);
    });
  }

  async run(picture) {
    await this.ready;
    const { width, height, data } = picture;
    this.running = [width, height];
    return this.call({ image: { rgba: data, height, width } }, [data.buffer]);
  }

  stop() { // a network that has run out of memory answers no more, so that the next one is a fresh one
    this.worker?.terminate();
    this.rejectAll(null);
  }

  rejectAll(error) {
    for (const [, reject] of this.calls.values()) reject(error);
    this.calls.clear();
  }

  words({ stage, failure }) {
    failure = failure.replace(/^.*?ERROR_MESSAGE: /s, "").replace(/^.*\[ONNXRuntimeError\] : \d+ : /s, "").trim();
    const memory = /memory|alloc|too large|supported maximum|^\d+$/i.test(failure); // a bare number is an exception of C++ that nobody read
    if (stage === "start") {
      return memory
        ? `The network does not fit into the memory that the browser gives (${failure}). Close other tabs, and reload the page.`
        : `The network does not start here (${failure}). ${OLD}`;
    }
    const size = sizeText(...this.running);
    return memory
      ? `The network has no memory for ${size} pixels (${failure}). ${facts.size ? "Close other tabs." : "Choose a smaller longest side below."}`
      : `The network fails on ${size} pixels (${failure}). ${facts.size ? "" : "Choose another longest side below, or a larger image."}`;
  }
}

// ---- what the page says

function say(text, busy = false) {
  byId("status").textContent = text;
  byId("busy").classList.toggle("working", busy);
}

function complain(text) {
  byId("trouble").textContent = text;
}

// ---- images

async function opened(file) {
  try {
    return await createImageBitmap(file, { colorSpaceConversion: "none" }); // as training and `predict` read it
  } catch {
    const kind = file.type || "a file of no known type";
    throw new Error(`${file.name || "What was given"} (${kind}) is not an image that this browser reads. Save it as ${FORMATS}.`);
  }
}

// The bitmap in so many pixels, on white where it is transparent.
function onCanvas(canvas, bitmap, width, height, frame = [width, height], fill = null) {
  [canvas.width, canvas.height] = frame;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error(`The browser has no canvas of ${sizeText(...frame)} pixels. Choose a smaller image.`);
  if (fill) {
    context.fillStyle = `rgb(${fill})`;
    context.fillRect(0, 0, ...frame);
  }
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return context;
}

function fitted(bitmap, height, width) { // [width, height] within a frame; an image is never enlarged
  const scale = Math.min(1, width / bitmap.width, height / bitmap.height);
  return [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
}

// ---- one image after the other

let network = new Network();
let shown = null; // {name, width, height, labels, inner: [width, height] of the labels}: the result on the page
let bitmap = null, bitmapName = ""; // the image that was given last
let alone = null; // the label that is seen alone
let place = null; // [row, column] of the pixel that is read
let given = 0; // number of the image that was given last
let taken = 0, wanted = 0; // numbers of the latest readable image and of the latest run: what an earlier one finds is dropped
let running = Promise.resolve();

async function give(source, name) {
  const number = ++given;
  complain("");
  try {
    const image = source instanceof Blob ? await opened(source) : await source();
    if (number < taken) return image.close(); // a later one was faster
    bitmap?.close();
    [bitmap, bitmapName, taken] = [image, name, number];
    segment();
  } catch (error) {
    complain(error.message);
  }
}

function segment() {
  const number = ++wanted;
  running = running.then(() => once(number)); // the network takes one image at a time
}

async function once(number) {
  let clock = 0;
  try {
    say("The network starts", true);
    await network.ready;
    if (number !== wanted) return; // the next one is waiting
    const longest = Number(byId("longest")?.value ?? Infinity);
    const [width, height] = facts.size ? fitted(bitmap, ...facts.size) : fitted(bitmap, longest, longest);
    const frame = facts.size ? [facts.size[1], facts.size[0]] : [width, height];
    if (Math.min(...frame) < facts.smallest) {
      say("");
      return complain(tooSmall(width, height));
    }
    say(`The network reads ${sizeText(...frame)} pixels`, true);
    const picture = onCanvas(document.createElement("canvas"), bitmap, width, height, frame, facts.fill).getImageData(0, 0, ...frame);
    const began = performance.now();
    clock = setInterval(() => (byId("elapsed").textContent = `${Math.round((performance.now() - began) / 1000)} s`), 1000);
    byId("stop").hidden = false;
    const { labels, seconds } = await network.run(picture);
    if (number !== wanted) return;
    shown = { name: bitmapName, width: bitmap.width, height: bitmap.height, inner: [width, height] };
    shown.labels = cut(labels, frame[0], width, height);
    show();
    const enlarged = width === shown.width ? "" : ` Its labels are enlarged to ${sizeText(shown.width, shown.height)}.`;
    say(`The network read ${sizeText(...frame)} pixels in ${seconds.toFixed(2)} s.${enlarged}`);
  } catch (error) {
    if (error === null) return; // it was stopped
    network.stop(); // after an error it may be in any state
    network = new Network();
    say("");
    if (number === wanted) complain(error.message);
  } finally {
    clearInterval(clock);
    byId("elapsed").textContent = "";
    byId("stop").hidden = true;
  }
}

function tooSmall(width, height) {
  const way = Math.min(bitmap.width, bitmap.height) < facts.smallest ? "Give a larger image." : "Choose a larger longest side below.";
  return `${sizeText(width, height)} pixels are too small: the network needs ${facts.smallest} or more on each side. ${way}`;
}

function cut(labels, stride, width, height) { // what lies beyond the image was filled in
  if (stride === width) return labels.subarray(0, width * height);
  const inner = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) inner.set(labels.subarray(y * stride, y * stride + width), y * width);
  return inner;
}

byId("stop").addEventListener("click", () => {
  wanted++;
  network.stop();
  network = new Network();
  say("Stopped.");
});

// ---- the result

function show() {
  byId("result").hidden = false;
  const scale = Math.min(1, SHOWN / Math.max(shown.width, shown.height));
  onCanvas(byId("photo"), bitmap, ...[shown.width, shown.height].map((side) => Math.max(1, Math.round(side * scale))));
  byId("frame").style.setProperty("--aspect", shown.width / shown.height);
  if (alone !== null && !shown.labels.includes(alone)) alone = null;
  drawLabels();
  listClasses();
  place = null;
  byId("cross").hidden = true;
  byId("readout").textContent = "Point at a pixel, tap it, or move there with the arrow keys.";
}

function drawLabels() {
  const canvas = byId("labels"), [width, height] = shown.inner;
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d"), picture = context.createImageData(width, height);
  const colours = Uint32Array.from({ length: 256 }, (_, label) => {
    const [r, g, b] = colourOf(label), seen = alone === null ? label || r || g || b : alone === label;
    const a = seen ? 255 : 0; // a black class 0 is the background, which would darken the image
    return new Uint32Array(Uint8Array.of(r, g, b, a).buffer)[0]; // in the byte order of this machine
  });
  const pixels = new Uint32Array(picture.data.buffer);
  shown.labels.forEach((label, i) => (pixels[i] = colours[label]));
  context.putImageData(picture, 0, 0);
}

function listClasses() {
  const counts = new Array(256).fill(0);
  for (const label of shown.labels) counts[label]++;
  const labels = counts.map((_, label) => label).filter((label) => counts[label]);
  labels.sort((one, other) => counts[other] - counts[one]);
  byId("found").replaceChildren(...labels.map((label) => classButton(label, counts[label] / shown.labels.length)));
  const absent = facts.classes.map((_, label) => label).filter((label) => !counts[label]);
  byId("absent").hidden = !absent.length;
  byId("absent").querySelector("summary").textContent = `${absent.length} ${absent.length === 1 ? "class" : "classes"} not in it`;
  byId("absent").querySelector("ul").replaceChildren(...absent.map((label) => element("li", "", swatch(label), nameOf(label))));
}

function element(tag, kind, ...content) {
  const made = document.createElement(tag);
  made.className = kind;
  made.append(...content); // a name is text, whatever is in it
  return made;
}

function swatch(label) {
  const made = element("i", "swatch");
  made.style.background = `rgb(${colourOf(label)})`;
  return made;
}

function classButton(label, share) {
  const percent = 100 * share < 0.1 ? "< 0.1" : (100 * share).toFixed(1);
  const button = element("button", "class", swatch(label), element("span", "name", nameOf(label)), element("span", "share", `${percent} %`));
  button.type = "button";
  button.style.setProperty("--share", `${100 * share}%`);
  button.setAttribute("aria-pressed", String(alone === label));
  button.addEventListener("click", () => {
    alone = alone === label ? null : label;
    for (const each of document.querySelectorAll("#found button")) {
      each.setAttribute("aria-pressed", String(alone === label && each === button));
    }
    drawLabels();
  });
  return element("li", "", button);
}

function labelAt(row, column) { // of a pixel of the image as it was given: that of the nearest pixel that the network read
  const [width, height] = shown.inner;
  const y = Math.min(Math.floor(((row + 0.5) * height) / shown.height), height - 1);
  const x = Math.min(Math.floor(((column + 0.5) * width) / shown.width), width - 1);
  return shown.labels[y * width + x];
}

function read(row, column) {
  row = Math.min(Math.max(row, 0), shown.height - 1);
  column = Math.min(Math.max(column, 0), shown.width - 1);
  place = [row, column];
  const label = labelAt(row, column), cross = byId("cross");
  byId("readout").replaceChildren(`row ${row}, column ${column}: `, swatch(label), nameOf(label));
  cross.hidden = false;
  cross.style.left = `${(100 * (column + 0.5)) / shown.width}%`;
  cross.style.top = `${(100 * (row + 0.5)) / shown.height}%`;
}

for (const kind of ["pointermove", "pointerdown"]) {
  byId("frame").addEventListener(kind, (event) => {
    const box = byId("photo").getBoundingClientRect();
    const [across, down] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    read(Math.floor(down * shown.height), Math.floor(across * shown.width));
  });
}

byId("frame").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!step) return;
  event.preventDefault();
  const far = Math.max(1, Math.round(shown.width / shown.inner[0])) * (event.shiftKey ? 10 : 1);
  const [row, column] = place ?? [shown.height >> 1, shown.width >> 1];
  read(row + far * step[0], column + far * step[1]);
});

function showOpacity() {
  byId("labels").style.opacity = byId("opacity").value / 100;
  byId("opacity-shown").textContent = `${byId("opacity").value} %`;
}

byId("opacity").addEventListener("input", showOpacity);
showOpacity();

// ---- the labels as a file

async function labelsPng() {
  const { width, height } = shown, labels = new Uint8Array(width * height);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) labels[row * width + column] = labelAt(row, column);
  }
  return palettePng(labels, height, width, facts.classes.map(([, colour]) => colour));
}

byId("save").addEventListener("click", async () => {
  try {
    const url = URL.createObjectURL(await labelsPng());
    const link = element("a", "");
    link.href = url;
    link.download = `${shown.name.replace(/\.[^.]*$/, "")}_labels.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser may still be reading it
  } catch (error) {
    complain(`The PNG cannot be made (${error.message}). Choose a smaller image.`);
  }
});

// ---- ways to give an image

byId("file").addEventListener("change", ({ target }) => {
  if (target.files.length) give(target.files[0], target.files[0].name);
  target.value = ""; // so that the same file may be chosen again
});

byId("sample").addEventListener("click", () => {
  const embedded = byId("drawn-sample").textContent;
  if (!embedded) return give(() => createImageBitmap(drawStreet()), "street");
  return give(new Blob([Uint8Array.from(atob(embedded), (letter) => letter.charCodeAt(0))]), "sample");
});

byId("longest")?.addEventListener("change", () => {
  complain("");
  if (bitmap) segment();
});

function take(transfer, how) {
  const file = [...(transfer?.files ?? [])][0];
  if (file) give(file, file.name || how);
  else complain(`There is no file in what was ${how}. This page loads nothing from other places: save the image first.`);
}

document.addEventListener("paste", (event) => take(event.clipboardData, "pasted"));
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer, "dropped");
});

say("The network starts", true);
network.ready.then(
  () => !shown && wanted === 0 && say("The network is ready."),
  (error) => {
    say("");
    if (error) complain(error.message);
  },
);
