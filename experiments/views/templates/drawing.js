"use strict";
const PAD = 300;      // units of the pad, whatever its size on the screen
const LINE = 18;      // units: how wide a line is shown; what the model sees has its own pen
const STEP = 10;      // units that an arrow key moves the pen
const LIVE_MS = 90;   // least time between two readings while a stroke is drawn
const REST_MS = 700;  // a pen that the arrow keys have not moved for so long rests, and its place is told
const GONE = "The server does not answer. Is it still running?";
const $ = id => document.getElementById(id);
const pad = $("pad"), ink = pad.getContext("2d");

let strokes = [];                       // what is on the pad: lists of [x, y]
let pointer = null;                     // id of the pointer that draws
let pen = { x: PAD / 2, y: PAD / 2, down: false, shown: false };  // of the keyboard
let version = 0;                        // grows with every change of the drawing
let reading = false, again = false, lastRead = 0, later = 0, rest = 0;
let strokeEnded = null;                 // when the last stroke ended, until its bars are shown or the pad changes
let settled = false;                    // whether what is on the pad is to be told once it is read
let keptVersion = -1;                   // version of the drawing that was kept last

const clamp = value => Math.round(Math.min(Math.max(value, 0), PAD) * 100) / 100;
const style = name => getComputedStyle(document.documentElement).getPropertyValue(name);

function paint() {
  const side = Math.round(pad.clientWidth * devicePixelRatio);
  if (pad.width !== side) pad.width = pad.height = side;
  ink.setTransform(side / PAD, 0, 0, side / PAD, 0, 0);
  ink.clearRect(0, 0, PAD, PAD);
  ink.lineWidth = LINE; ink.lineCap = ink.lineJoin = "round"; ink.strokeStyle = style("--text");
  for (const stroke of strokes) {
    ink.beginPath();
    ink.moveTo(...stroke[0]);
    for (const point of stroke.length > 1 ? stroke.slice(1) : stroke) ink.lineTo(...point);
    ink.stroke();
  }
  if (pen.shown) {
    ink.beginPath(); ink.arc(pen.x, pen.y, LINE / 2 + 3, 0, 7);
    ink.lineWidth = pen.down ? 4 : 1.5; ink.strokeStyle = style("--accent"); ink.stroke();
  }
  $("undo").disabled = $("clear").disabled = !strokes.length;
  for (const button of $("labels").children) {
    button.disabled = !strokes.length;
    if (keptVersion !== version) button.setAttribute("aria-pressed", "false");
  }
}

function tellPen(what) {
  clearTimeout(rest);
  const [left, top] = [pen.x, pen.y].map(value => Math.round(value / PAD * 100));
  $("heard").textContent = `${what} ${left} percent from the left, ${top} percent from the top`;
}

function changed(how) {                 // "moved" while a stroke is drawn, "lifted" at its end, "edited" by a button or key
  version++;
  settled = how !== "moved";
  strokeEnded = how === "lifted" ? performance.now() : null;
  paint();
  clearTimeout(later);
  const wait = settled ? 0 : lastRead + LIVE_MS - performance.now();
  if (wait <= 0) read(); else later = setTimeout(read, wait);
}

async function post(path, body) {
  const gone = () => { throw new Error(GONE); };
  const answer = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  }).catch(gone);
  const result = await answer.json().catch(answer.ok ? gone : () => ({}));  // it ended before the answer did
  if (!answer.ok) throw new Error(result.error ?? `The server failed with ${answer.status}.`);
  return result;
}

async function read() {               // one request at a time; what changed meanwhile is read next
  if (reading) { again = true; return; }
  reading = true; again = false; lastRead = performance.now();
  try {
    show(await post("read", { pad: PAD, strokes }));
    $("error").textContent = "";
  } catch (error) {
    $("error").textContent = error.message;
    $("label").textContent = "–"; $("bars").replaceChildren(); $("latency").textContent = "";  // they are of another drawing
  }
  reading = false;
  if (again) read();
}

function show(answer) {
  const [first] = answer.guesses;
  $("label").textContent = !first ? "–" : answer.sure ? first.label : `Not sure: ${first.label}?`;
  $("label").classList.toggle("unsure", Boolean(first) && !answer.sure);
  $("bars").replaceChildren(...answer.guesses.map(({ label, confidence }) => {
    const row = document.createElement("li"), name = document.createElement("b"), share = document.createElement("span");
    const track = document.createElement("div"), bar = document.createElement("div");
    name.textContent = label;
    share.textContent = `${(confidence * 100).toFixed(1)} %`;
    track.className = "track"; bar.className = "bar"; bar.style.width = `${confidence * 100}%`;
    track.append(bar); row.append(name, track, share);
    return row;
  }));
  const pixels = Uint8Array.from(atob(answer.pixels), c => c.charCodeAt(0));
  const image = new ImageData(28, 28);
  pixels.forEach((value, i) => image.data.set([value, value, value, 255], 4 * i));
  $("seen").getContext("2d").putImageData(image, 0, 0);
  if (!first) $("latency").textContent = "Draw something.";
  else {
    const times = `rendering ${answer.render_ms.toFixed(1)} ms, execution ${answer.execute_ms.toFixed(1)} ms`;
    const since = again ? null : strokeEnded;
    if (since === null) $("latency").textContent = times;
    else {
      strokeEnded = null;
      requestAnimationFrame(() => {
        const ms = performance.now() - since;
        $("latency").textContent = `${ms.toFixed(0)} ms from the end of the stroke (${times})`;
        $("latency").dataset.ms = ms;
      });
    }
    if (settled && !again) {
      settled = false;
      $("heard").textContent = answer.sure
        ? `${first.label}, ${Math.round(first.confidence * 100)} percent`
        : `Not sure, perhaps ${answer.guesses.map(guess => guess.label).join(" or ")}`;
    }
  }
  pad.dataset.read = strokes.length;
}

function undo() { if (strokes.pop()) { pointer = null; pen.down = false; changed("edited"); } }  // a finger may still draw
function clear() {
  strokes = []; pointer = null; pen.down = false; changed("edited");
  clearTimeout(rest);
  $("heard").textContent = "The pad is empty";
}

function place(event) {
  const box = pad.getBoundingClientRect();
  return [clamp((event.clientX - box.left) / box.width * PAD), clamp((event.clientY - box.top) / box.height * PAD)];
}
pad.addEventListener("pointerdown", event => {
  if (pointer !== null || event.button !== 0) return;
  event.preventDefault();
  pad.focus({ preventScroll: true, focusVisible: false });
  pointer = event.pointerId;
  pad.setPointerCapture(pointer);
  pen.down = pen.shown = false;
  strokes.push([place(event)]);
  changed("moved");
});
pad.addEventListener("pointermove", event => {
  if (event.pointerId !== pointer) return;
  const moves = event.getCoalescedEvents?.() ?? [];
  strokes.at(-1).push(...(moves.length ? moves : [event]).map(place));
  changed("moved");
});
for (const kind of ["pointerup", "pointercancel"]) {
  pad.addEventListener(kind, event => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    changed("lifted");
  });
}

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
pad.addEventListener("keydown", event => {
  if (pointer !== null || event.ctrlKey || event.metaKey || event.altKey) return;
  const move = MOVES[event.key];
  if (move) {
    const step = event.shiftKey ? STEP / 4 : STEP;
    pen = { ...pen, x: clamp(pen.x + step * move[0]), y: clamp(pen.y + step * move[1]), shown: true };
    clearTimeout(rest);
    rest = setTimeout(tellPen, REST_MS, "Pen");
    if (pen.down) { strokes.at(-1).push([pen.x, pen.y]); changed("moved"); } else paint();
  } else if (event.key === " ") {
    event.preventDefault();
    if (event.repeat) return;  // a held key
    pen = { ...pen, down: !pen.down, shown: true };
    tellPen(pen.down ? "Pen down," : "Pen lifted,");
    if (pen.down) strokes.push([[pen.x, pen.y]]);
    changed(pen.down ? "moved" : "lifted");
  } else if (event.key === "Backspace") undo();
  else if (event.key === "Escape") clear();
  else return;
  event.preventDefault();
});
pad.addEventListener("blur", () => {
  clearTimeout(rest);
  pen.shown = false;
  if (pen.down) { pen.down = false; changed("lifted"); } else paint();
});
pad.addEventListener("focus", () => { pen.shown = pad.matches(":focus-visible"); paint(); });
$("undo").addEventListener("click", undo);
$("clear").addEventListener("click", clear);

async function keep(label, button) {
  const asked = version;
  try {
    const { kept } = await post("keep", { pad: PAD, strokes, label });
    $("kept").textContent = `Kept as ${label}. ${kept} drawing${kept === 1 ? "" : "s"} in the folder.`;
    $("kept").className = "soft";
    if (asked !== version) return;
    keptVersion = version;
    for (const other of $("labels").children) other.setAttribute("aria-pressed", String(other === button));
  } catch (error) {
    $("kept").textContent = `Not kept. ${error.message}`;
    $("kept").className = "failed";
  }
}

async function start() {
  const model = await (await fetch("model")).json();
  const link = document.createElement("a");
  if (model.run_link) { link.href = model.run_link; link.target = "_blank"; link.rel = "noreferrer"; }
  link.textContent = model.run_id;
  const accuracy = Number(model.val_accuracy);
  const facts = {
    Run: model.run_link ? link : model.run_id, Network: model.architecture, Data: model.dataset,
    "Validation accuracy": accuracy ? `${(accuracy * 100).toFixed(1)} %` : null,
    Size: `${model.bytes.toLocaleString("en")} bytes (${model.format})`, File: model.file,
  };
  for (const [name, value] of Object.entries(facts)) {
    if (!value) continue;
    const term = document.createElement("dt"), text = document.createElement("dd");
    term.textContent = name; text.append(value); $("facts").append(term, text);
  }
  $("correct").hidden = !model.collection;
  if (model.collection) {
    $("kept").textContent = `Corrected drawings are saved in ${model.collection}: ${model.kept} so far.`;
    for (const label of model.labels) {
      const button = document.createElement("button");
      button.type = "button"; button.textContent = label; button.disabled = true;
      button.setAttribute("aria-label", `That was a ${label}`);
      button.addEventListener("click", () => keep(label, button));
      $("labels").append(button);
    }
  }
  paint();
}

new ResizeObserver(paint).observe(pad);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
start().catch(() => { $("error").textContent = GONE; });
