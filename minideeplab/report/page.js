"use strict";
// What happens under the pointer. Pictures hold the data: the colour of a pixel tells its label, a grey one its percent.
const classes = JSON.parse(document.getElementById("class-list").textContent);
const labelOf = new Map(Object.entries(classes.colours).map(([label, [r, g, b]]) => [(r << 16) | (g << 8) | b, Number(label)]));
const RIGHT = [58, 108, 168], WRONG = [255, 166, 48];
document.documentElement.classList.add("script");

function nameOf(label) {
  return label === classes.void ? "void" : classes.names[label] ?? "?";
}

// ---- pixels of pictures

const decoded = new Map(); // source of a picture -> promise of {width, height, rgba}

function pixelsOf(source) {
  if (!decoded.has(source)) decoded.set(source, decode(source));
  return decoded.get(source);
}

async function decode(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
  return { width: canvas.width, height: canvas.height, rgba };
}

function labelAt(picture, index) {
  const [r, g, b] = picture.rgba.subarray(4 * index, 4 * index + 3);
  return labelOf.get((r << 16) | (g << 8) | b);
}

// ---- scenes: photograph, truth, prediction, errors

class Scene {
  constructor(article) {
    this.article = article;
    this.panels = article.querySelector(".panels");
    this.prediction = article.querySelector(".prediction");
    this.readout = article.querySelector(".readout");
    this.buttons = [...article.querySelectorAll(".strip button")];
    this.place = null; // [x, y] of the pixel that is read
    this.reads = 0; // a picture that is decoded late must not speak after a later one
    this.size = null; // [width, height] of the small pictures
    this.panels.addEventListener("pointermove", (event) => this.point(event));
    this.panels.addEventListener("pointerdown", (event) => this.point(event));
    this.panels.addEventListener("keydown", (event) => this.move(event));
    this.drawVerdict();
  }

  point(event) {
    const frame = event.target.closest(".frame");
    if (!frame || !this.size) return;
    const box = frame.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * this.size[0]);
    const y = Math.floor(((event.clientY - box.top) / box.height) * this.size[1]);
    this.read(x, y);
  }

  move(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step || !this.size) return;
    event.preventDefault();
    const far = event.shiftKey ? 10 : 1;
    const [x, y] = this.place ?? this.size.map((side) => Math.floor(side / 2));
    this.read(x + far * step[0], y + far * step[1]);
  }

  async read(x, y) {
    const [width, height] = this.size;
    x = Math.min(Math.max(x, 0), width - 1);
    y = Math.min(Math.max(y, 0), height - 1);
    this.place = [x, y];
    const number = ++this.reads;
    const [truth, prediction, percent] = await this.pictures();
    if (number !== this.reads) return;
    const index = y * width + x;
    const { height: H, width: W, step } = this.article.dataset; // of the image that the small picture shows
    const [row, column] = [[y, H], [x, W]].map(([at, side]) => Math.min(at * step + (step >> 1), side - 1));
    const said = labelAt(prediction, index), known = labelAt(truth, index);
    const verdict = known === classes.void ? "" : said === known ? " (right)" : " (wrong)";
    this.readout.textContent =
      `row ${row}, column ${column}: predicted ${nameOf(said)}, ${percent.rgba[4 * index]} %; truth ${nameOf(known)}${verdict}`;
    this.drawCross((x + 0.5) / width, (y + 0.5) / height);
  }

  pictures() {
    const truth = this.article.querySelector(".truth").src;
    return Promise.all([truth, this.prediction.src, this.prediction.dataset.percent].map(pixelsOf));
  }

  drawCross(across, down) {
    for (const frame of this.panels.querySelectorAll(".frame")) {
      let cross = frame.querySelector(".cross");
      if (!cross) {
        cross = document.createElement("div");
        cross.className = "cross";
        frame.append(cross);
      }
      cross.style.left = `${100 * across}%`;
      cross.style.top = `${100 * down}%`;
    }
  }

  async drawVerdict() {
    const source = this.prediction.src;
    const [truth, prediction] = await this.pictures();
    if (source !== this.prediction.src) return;
    this.size = [truth.width, truth.height];
    const canvas = this.article.querySelector(".verdict");
    [canvas.width, canvas.height] = this.size;
    const context = canvas.getContext("2d"), drawn = context.createImageData(...this.size);
    for (let i = 0; i < truth.width * truth.height; i++) {
      const known = labelAt(truth, i);
      const colour = known === classes.void ? classes.colours[known] : labelAt(prediction, i) === known ? RIGHT : WRONG;
      drawn.data.set([...colour, 255], 4 * i);
    }
    context.putImageData(drawn, 0, 0);
  }

  show(number) {
    const button = this.buttons[number];
    if (!button) return;
    const picture = button.querySelector("img");
    this.prediction.src = picture.src;
    this.prediction.dataset.percent = picture.dataset.percent;
    this.article.querySelector(".score").textContent = button.dataset.score;
    this.buttons.forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
    this.drawVerdict();
    if (this.place) this.read(...this.place);
  }
}

// Pictures are read when they come near the screen.
const scenes = new Map([...document.querySelectorAll(".scene")].map((article) => [article, null]));
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !scenes.get(target)) {
        watcher.unobserve(target);
        scenes.set(target, new Scene(target));
      }
    }
  },
  { rootMargin: "600px" },
);
for (const article of scenes.keys()) watcher.observe(article);

// ---- the validation that the samples show

const slider = document.getElementById("epoch-slider");

function showEpoch(number) {
  slider.value = number;
  document.getElementById("epoch-shown").textContent = slider.dataset.epochs.split(",")[number];
  for (const article of document.querySelectorAll("#samples .scene")) {
    if (!scenes.get(article)) {
      watcher.unobserve(article);
      scenes.set(article, new Scene(article));
    }
    scenes.get(article).show(number);
  }
}

if (slider) {
  slider.addEventListener("input", () => showEpoch(Number(slider.value)));
  for (const strip of document.querySelectorAll(".strip")) {
    [...strip.querySelectorAll("button")].forEach((button, i) => button.addEventListener("click", () => showEpoch(i)));
    strip.scrollLeft = strip.scrollWidth;
  }
}

// ---- tables that are sorted by a click

for (const table of document.querySelectorAll(".sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button")?.addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") === "descending" || (column === 1 && head.getAttribute("aria-sort") === "none");
      heads.filter((each) => each.hasAttribute("aria-sort")).forEach((each) => each.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const body = table.tBodies[0];
      const rows = [...body.rows].sort((one, other) => compare(one.cells[column], other.cells[column], ascending));
      body.append(...rows);
    });
  });
}

function compare(one, other, ascending) {
  const [a, b] = [one, other].map((cell) => cell.dataset.value);
  if (a === undefined) return (ascending ? 1 : -1) * one.textContent.localeCompare(other.textContent);
  if (a === "" || b === "") return (a === "") - (b === ""); // a class without pixels comes last
  return (ascending ? 1 : -1) * (Number(a) - Number(b));
}

// ---- values of curves

for (const svg of document.querySelectorAll("svg[data-curve]")) {
  const { label, frame, series } = JSON.parse(svg.dataset.curve);
  const [low, high, left, right] = frame;
  const cursor = svg.querySelector(".cursor"), readout = svg.parentElement.querySelector(".readout");
  const places = series[0][1];
  let chosen = places.length - 1;

  function choose(number) {
    chosen = Math.min(Math.max(number, 0), places.length - 1);
    const x = left + ((places[chosen] - low) / (high - low)) * (right - left);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", "visible");
    readout.textContent = `${label} ${places[chosen]}: ` + series.map(([name, , y]) => `${name} ${y[chosen]}`).join(", ");
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = low + ((((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width - left) / (right - left)) * (high - low);
    choose(places.reduce((best, place, i) => (Math.abs(place - x) < Math.abs(places[best] - x) ? i : best), 0));
  });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(chosen + step);
  });
}
