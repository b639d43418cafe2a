// What a person sees: the text while it is written, coloured by a unit, and what the model thinks comes next.
const $ = (id) => document.getElementById(id);
const MOST = 4000; // symbols whose gates and states are kept
let written = [], running = 0, over = null;

function option(select, texts) {
  select.replaceChildren(...texts.map((text, k) => new Option(text, k)));
}
option($("layer"), LAYERS.map((_, k) => `layer ${k}`));
function parts() {
  const layer = LAYERS[$("layer").value];
  option($("part"), ["nothing", ...layer.gates.map((g) => `gate ${g}`), ...layer.state.map((s) => `state ${s}`)]);
  $("number").max = layer.units - 1;
  colour();
}

// Gates are 0 to 1: white to blue. Others go through tanh: red below nought, blue above.
function shade(value, gate) {
  const v = gate && value >= 0 && value <= 1 ? value : Math.tanh(value);
  const light = 100 - 45 * Math.abs(v);
  return `hsl(${v < 0 ? 10 : 205} 85% ${light}%)`;
}

function valueOf(mark) {
  const k = Number($("layer").value), layer = LAYERS[k], part = Number($("part").value) - 1;
  const unit = Math.min(Math.max(0, Number($("number").value) || 0), layer.units - 1);
  if (part < 0 || !mark.inside) return null;
  const arrays = mark.inside[k];
  return { value: arrays[part][unit], gate: part < layer.gates.length };
}

function paint(mark) {
  const found = valueOf(mark);
  mark.span.style.background = found ? shade(found.value, found.gate) : "";
}
function colour() {
  written.forEach(paint);
  describe();
}

function describe() {
  const mark = over || written[written.length - 1];
  if (!mark) return;
  const found = valueOf(mark);
  $("unit").textContent = found ? `${JSON.stringify(show(mark.id))}: ${found.value.toFixed(3)}` : "";
  $("next").replaceChildren(...mark.next.map(([id, p]) => row([JSON.stringify(show(id)), p.toFixed(3), bar(p)])));
  const unit = Math.max(0, Number($("number").value) || 0);
  $("gates").replaceChildren(...(mark.inside ? LAYERS.flatMap((layer, k) =>
    [...layer.gates, ...layer.state].map((name, part) =>
      row([`${k} ${name}`, (mark.inside[k][part][Math.min(unit, layer.units - 1)]).toFixed(3)]))) : []));
}
function bar(p) {
  const made = document.createElement("i");
  made.style.width = `${100 * p}%`;
  return made;
}
function row(cells) {
  const made = document.createElement("tr");
  cells.forEach((cell) => made.insertCell().append(cell));
  return made;
}

function hold(state) {
  if (!$("hold").checked) return;
  const k = Number($("layer").value), names = LAYERS[k].state;
  const unit = Math.min(Math.max(0, Number($("number").value) || 0), LAYERS[k].units - 1);
  state[k][Math.max(0, names.indexOf("cell"))][unit] = Number($("value").value);
}

function mark(id, logits, given) {
  const span = document.createElement("span");
  span.textContent = show(id);
  if (given) span.className = "given";
  const inside = written.length < MOST
    ? LAYERS.map((layer) => [...layer.opened, ...layer.next].map((values) => Float32Array.from(values))) : null;
  const made = { id, span, inside, next: likeliest(logits, 1, 0).slice(0, 8) };
  span.onpointerenter = () => { over = made; describe(); };
  span.onpointerleave = () => { over = null; describe(); };
  written.push(made);
  paint(made);
  $("text").append(span);
}

async function write() {
  const mine = ++running, state = begin(), random = generator(Number($("seed").value));
  const temperature = Number($("temperature").value), top = Number($("top").value), stop = $("stop").value;
  const prompt = $("prompt").value, given = encode(prompt || "\n"), length = Number($("length").value);
  written = [];
  $("text").replaceChildren();
  $("halt").disabled = false;
  let logits = null;
  for (const id of given) {
    hold(state);
    logits = step(id, state);
    if (prompt) mark(id, logits, true);
  }
  let text = "", spent = 0, shown = performance.now();
  for (let k = 0; k < length && mine === running; k++) {
    const started = performance.now(), id = draw(logits, temperature, top, random);
    text += show(id);
    if (stop && text.endsWith(stop)) {
      written.splice(written.length - [...stop].length + 1).forEach((each) => each.span.remove());
      break;
    }
    hold(state);
    logits = step(id, state);
    spent += performance.now() - started;
    mark(id, logits, false);
    if (performance.now() - shown > 30) {
      $("speed").textContent = `${Math.round((1000 * (k + 1)) / spent)} symbols a second`;
      describe();
      await new Promise(requestAnimationFrame);
      shown = performance.now();
    }
  }
  $("halt").disabled = true;
  describe();
}

$("form").onsubmit = (event) => { event.preventDefault(); write(); };
$("halt").onclick = () => { running++; };
$("layer").onchange = parts;
$("part").onchange = $("number").oninput = colour;
$("value").oninput = () => { $("held").textContent = $("value").value; };
parts();
