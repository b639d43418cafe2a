// The model: MODEL says what it is, WEIGHTS holds its numbers, EQUATIONS one function for each layer, in which
// the cell's equations were recorded. Everything is fp32, for one text.
const NUMBERS = (() => {
  const raw = atob(WEIGHTS), bytes = new Uint8Array(raw.length);
  for (let k = 0; k < raw.length; k++) bytes[k] = raw.charCodeAt(k);
  if (!MODEL.bf16) return new Float32Array(bytes.buffer);
  const halves = new Uint16Array(bytes.buffer), wide = new Uint32Array(halves.length);
  for (let k = 0; k < halves.length; k++) wide[k] = halves[k] << 16;
  return new Float32Array(wide.buffer);
})();

function tensor(name) {
  const [first, ...shape] = MODEL.places[name];
  const values = NUMBERS.subarray(first, first + shape.reduce((a, b) => a * b, 1));
  return { values, rows: shape[0], columns: shape[1] || 1 };
}

// y = W x, plus a bias if there is one.
function multiply(matrix, x, y, bias) {
  const w = matrix.values, n = matrix.columns, whole = n - (n % 4);
  for (let row = 0, at = 0; row < matrix.rows; row++, at += n) {
    let a = 0, b = 0, c = 0, d = 0, k = 0;
    for (; k < whole; k += 4) {
      a += w[at + k] * x[k];
      b += w[at + k + 1] * x[k + 1];
      c += w[at + k + 2] * x[k + 2];
      d += w[at + k + 3] * x[k + 3];
    }
    for (; k < n; k++) a += w[at + k] * x[k];
    y[row] = a + b + c + d + (bias ? bias[row] : 0);
  }
}

const EMBEDDING = tensor("embedding.weight");
const HEAD = tensor("head.weight" in MODEL.places ? "head.weight" : "embedding.weight");
const HEAD_BIAS = tensor("head.bias").values;
const LAYERS = MODEL.layers.map((about, k) => {
  const part = (name) => tensor(`layers.${k}.${name}`);
  const room = (count, width) => Array.from({ length: count }, () => new Float32Array(width));
  const [z, recurrent] = room(2, about.gates.length * about.units);
  return {
    ...about, z, recurrent,
    input: part("weight_ih"), hidden: part("weight_hh"), bias: part("bias").values,
    vectors: about.vectors.map((name) => part(`vectors.${name}`).values),
    next: room(about.state.length, about.units), opened: room(about.gates.length, about.units),
    sum: new Float32Array(about.units),
  };
});

// The state before any text: for each layer, one array for each of its states.
function begin() {
  return LAYERS.map((layer) => layer.state.map(() => new Float32Array(layer.units)));
}

// One symbol: changes `state` in place; the logits of the next symbol.
function step(id, state) {
  const width = EMBEDDING.columns;
  let x = EMBEDDING.values.subarray(id * width, (id + 1) * width), total = null;
  LAYERS.forEach((layer, k) => {
    multiply(layer.input, x, layer.z, layer.bias);
    multiply(layer.hidden, state[k][0], layer.recurrent);
    EQUATIONS[k](layer.z, layer.recurrent, ...state[k], ...layer.vectors, ...layer.next, ...layer.opened);
    layer.next.forEach((values, s) => state[k][s].set(values));
    let out = state[k][0];
    if (MODEL.residual && k > 0 && x.length === out.length) {
      for (let h = 0; h < out.length; h++) layer.sum[h] = out[h] + x[h];
      out = layer.sum;
    }
    if (MODEL.sum) total = total ? total.map((value, h) => value + out[h]) : Float32Array.from(out);
    x = out;
  });
  const logits = new Float32Array(HEAD.rows);
  multiply(HEAD, total || x, logits, HEAD_BIAS);
  return logits;
}

const BYTES = MODEL.vocabulary.level === "bytes";
const SYMBOLS = BYTES ? [] : ["\ufffd", ...MODEL.vocabulary.symbols];
const IDS = new Map(SYMBOLS.map((symbol, id) => [symbol, id]));

function encode(text) {
  return BYTES ? [...new TextEncoder().encode(text)] : [...text].map((symbol) => IDS.get(symbol) ?? 0);
}

// What a symbol looks like by itself.
function show(id) {
  return BYTES ? (id < 128 ? String.fromCharCode(id) : `\\x${id.toString(16)}`) : SYMBOLS[id];
}

// A generator of random numbers from a seed, 0 to 1 (mulberry32).
function generator(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Probabilities of the symbols that may be written, the likeliest first: [id, p]. The unknown one may not.
function likeliest(logits, temperature, top) {
  const ids = [];
  for (let id = BYTES ? 0 : 1; id < logits.length; id++) ids.push(id);
  ids.sort((a, b) => logits[b] - logits[a] || a - b);
  if (temperature === 0) return [[ids[0], 1]];
  const kept = top ? ids.slice(0, top) : ids, largest = logits[ids[0]];
  const weights = kept.map((id) => Math.exp((logits[id] - largest) / temperature));
  const sum = weights.reduce((a, b) => a + b, 0);
  return kept.map((id, k) => [id, weights[k] / sum]);
}

function draw(logits, temperature, top, random) {
  const choices = likeliest(logits, temperature, top);
  let left = random();
  for (const [id, p] of choices) {
    left -= p;
    if (left < 0) return id;
  }
  return choices[choices.length - 1][0];
}
