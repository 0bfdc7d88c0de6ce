// ---- a street, drawn: something to try the network on without a photograph

function numbers(seed) { // the same sequence in each browser, 0..1: a linear congruential generator
  return () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

function drawStreet(width = 480, height = 360) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true }), random = numbers(3);
  const horizon = 0.56 * height;

  function shape(colour, ...corners) {
    context.fillStyle = colour;
    context.beginPath();
    corners.forEach(([x, y]) => context.lineTo(x * width, y * height));
    context.fill();
  }
  function disc(colour, x, y, radius, squash = 1) {
    context.fillStyle = colour;
    context.beginPath();
    context.ellipse(x * width, y * height, radius * height, radius * height * squash, 0, 0, 2 * Math.PI);
    context.fill();
  }
  function fade(top, bottom, colours) {
    const gradient = context.createLinearGradient(0, top, 0, bottom);
    colours.forEach((colour, i) => gradient.addColorStop(i / (colours.length - 1), colour));
    context.fillStyle = gradient;
    context.fillRect(0, top, width, bottom - top);
  }
  function house(left, right, top, wall, dark) {
    shape(wall, [left, top], [right, top], [right, 0.6], [left, 0.6]);
    const columns = Math.round((right - left) / 0.05), rows = Math.floor((0.54 - top) / 0.085);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const x = left + ((column + 0.3) / columns) * (right - left), y = top + 0.035 + 0.085 * row;
        shape(random() < 0.25 ? "#d9c98d" : dark, [x, y], [x + 0.021, y], [x + 0.021, y + 0.05], [x, y + 0.05]);
      }
    }
  }
  function tree(x, base, size) {
    shape("#4d3b2a", [x - 0.05 * size, base], [x + 0.05 * size, base], [x + 0.03 * size, base - size], [x - 0.03 * size, base - size]);
    for (let i = 0; i < 60; i++) {
      const angle = 2 * Math.PI * random(), far = 0.42 * size * Math.sqrt(random());
      const green = Math.round(70 + 70 * random());
      disc(`rgb(${green * 0.5}, ${green}, ${green * 0.35})`, x + 0.75 * far * Math.cos(angle), base - 1.15 * size + far * Math.sin(angle), 0.1 * size);
    }
  }
  function car(x, base, size, paint) {
    disc("rgba(0, 0, 0, .35)", x, base, 0.62 * size, 0.12);
    const at = (across, up) => [x + 0.75 * across * size, base - up * size];
    shape(paint, at(-0.7, 0.08), at(-0.72, 0.36), at(-0.42, 0.42), at(-0.24, 0.66), at(0.3, 0.66), at(0.5, 0.42), at(0.72, 0.36), at(0.72, 0.08));
    shape("#2b3640", at(-0.33, 0.42), at(-0.2, 0.61), at(0, 0.61), at(0, 0.42));
    shape("#2b3640", at(0.05, 0.42), at(0.05, 0.61), at(0.26, 0.61), at(0.4, 0.42));
    for (const wheel of [-0.42, 0.42]) {
      disc("#15171a", ...at(wheel, 0.1), 0.14 * size);
      disc("#8b9096", ...at(wheel, 0.1), 0.07 * size);
    }
  }
  function person(x, base, size) {
    const at = (across, up) => [x + 0.75 * across * size, base - up * size];
    shape("#28344e", at(-0.11, 0), at(-0.1, 0.5), at(0.1, 0.5), at(0.13, 0), at(0.05, 0), at(0, 0.38), at(-0.04, 0));
    shape("#a8413a", at(-0.14, 0.45), at(-0.13, 0.82), at(0.13, 0.82), at(0.14, 0.45));
    disc("#c99b7c", ...at(0, 0.91), 0.08 * size);
  }

  fade(0, horizon, ["#5f94cf", "#a9c8e8", "#e6edf2"]);
  for (let i = 0; i < 26; i++) {
    disc("rgba(255, 255, 255, .35)", 0.28 + 0.35 * random() * random() + 0.05 * random(), 0.12 + 0.05 * random(), 0.02 + 0.04 * random(), 0.6);
  }
  house(-0.02, 0.2, 0.1, "#a3705a", "#3a4350");
  house(0.2, 0.36, 0.24, "#c2b093", "#41505c");
  house(0.36, 0.46, 0.38, "#8d8f96", "#39434d");
  house(0.66, 0.8, 0.3, "#b69a7d", "#39434d");
  house(0.8, 1.02, 0.16, "#8b5f55", "#35404a");
  fade(horizon, height, ["#a7a39b", "#8f8b84"]);
  shape("#5a5d63", [0.44, 0.56], [0.58, 0.56], [1.06, 1], [0.02, 1]);
  for (let i = 0; i < 5; i++) {
    const [near, far] = [1 - 0.06 * i * (6.5 - i) / 2, 0.965 - 0.06 * i * (6.5 - i) / 2];
    const half = (y) => 0.02 * (y - 0.56);
    shape("#e2e2dc", [0.52 - half(far), far], [0.52 + half(far), far], [0.53 + half(near), near], [0.53 - half(near), near]);
  }
  tree(0.29, 0.64, 0.26);
  tree(0.72, 0.65, 0.3);
  tree(0.62, 0.6, 0.16);
  car(0.45, 0.66, 0.11, "#dedfe0");
  car(0.66, 0.83, 0.26, "#b3262e");
  person(0.17, 0.8, 0.26);
  person(0.23, 0.77, 0.23);
  shape("#4c5157", [0.885, 0.9], [0.9, 0.9], [0.9, 0.3], [0.885, 0.3]);
  shape("#1f5fae", [0.86, 0.3], [0.925, 0.3], [0.925, 0.39], [0.86, 0.39]);

  const picture = context.getImageData(0, 0, width, height); // grain, as of a camera
  for (let i = 0; i < picture.data.length; i += 4) {
    const grain = 14 * (random() + random() - 1);
    for (let channel = 0; channel < 3; channel++) picture.data[i + channel] += grain;
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}
