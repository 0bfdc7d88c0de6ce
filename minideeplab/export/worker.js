"use strict";
// The network runs here, beside the page, which stays awake meanwhile.
let runtime = null, session = null;

onmessage = async ({ data: { number, parts, image } }) => {
  let stage = "start";
  try {
    if (parts) await start(parts);
    else stage = "run";
    postMessage(parts ? { number } : { number, ...(await run(image)) });
  } catch (error) {
    postMessage({ number, stage, failure: String(error?.message ?? error) });
  }
};

async function start({ script, wasm, network }) {
  const [code, binary, model] = await Promise.all([script, wasm, network].map(unpacked));
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  runtime = await import(url);
  URL.revokeObjectURL(url);
  runtime.env.wasm.numThreads = 1; // several need a server that isolates the page
  runtime.env.wasm.wasmBinary = binary;
  session = await runtime.InferenceSession.create(model, { executionProviders: ["wasm"], logSeverityLevel: 3 });
}

async function run({ rgba, height, width }) {
  const rgb = new Uint8Array(3 * height * width);
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = rgba[from];
    rgb[to + 1] = rgba[from + 1];
    rgb[to + 2] = rgba[from + 2];
  }
  const began = performance.now();
  const input = new runtime.Tensor("uint8", rgb, [1, height, width, 3]);
  const { labels } = await session.run({ image: input }, ["labels"]);
  const seconds = (performance.now() - began) / 1000;
  if (String(labels.dims) !== String([1, height, width])) throw new Error(`labels of the shape ${labels.dims}`);
  return { labels: Uint8Array.from(labels.data), seconds };
}

async function unpacked(text) {
  const packed = Uint8Array.fromBase64?.(text) ?? fromBase64(text);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function fromBase64(text) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
