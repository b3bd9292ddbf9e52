"use strict";
const at = id => document.getElementById(id);
const facts = JSON.parse(at("facts").textContent);
const MOVES = { "0,0": "S", "1,0": "F", "-1,0": "B", "0,-1": "L", "0,1": "R", "1,-1": "fL", "1,1": "fR", "-1,-1": "rL", "-1,1": "rR" };
const KEYS = { ArrowUp: "ahead", w: "ahead", ArrowDown: "back", s: "back", a: "left", d: "right", ArrowLeft: "turn left", ArrowRight: "turn right" };
const PARTS = { FN: "ahead", BN: "back", LN: "left", RN: "right", SL: "turn left", SR: "turn right" };
const down = new Set(), queue = [], way = { imagined: [], real: [] };
let session = null, place = 0, busy = false, shown = null, walks = false, world = "imagined", generation = 0;

async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let chunk; !(chunk = await reader.read()).done;) {
    const parts = (rest + chunk.value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
  if (rest) yield JSON.parse(rest);
}

async function load(address) {
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  return picture;
}

// Ask for a unit, or a beginning; what comes is shown once what is being shown has ended.
async function ask(path, request, code) {
  busy = true;
  at("problem").textContent = "";
  let told = null, picture = null;
  try {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request) });
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    for await (const line of lines(answer)) {
      if (line.error) throw new Error(line.error.message);
      session = line.session || session;
      if (line.kind === "text") told = JSON.parse(line.content);
      if (line.kind === "picture") picture = await load(line.content);
    }
    if (path === "/begin" || !code) begin();
    for (let frame = 0; frame * facts.width < picture.naturalWidth; frame++) queue.push({ picture, frame, code, told });
    play();
  } catch (error) {
    at("problem").textContent = error.name === "TypeError" ? "the server doesn't answer" : error.message;
    if (session === null) at("status").textContent = "";
  }
  busy = false;
  if (!at("problem").textContent) next();
}

function begin() {
  generation += 1;
  queue.length = 0;
  way.imagined = [[0, 0, 0]];
  way.real = [[0, 0, 0]];
}

function next() {
  if (busy || session === null || !down.size || queue.length > facts.rate / 2) return;
  const has = name => Number(down.has(name));
  const move = MOVES[`${has("ahead") - has("back")},${has("right") - has("left")}`];
  const turn = has("turn right") - has("turn left");
  const code = move + (turn > 0 ? "R" : turn < 0 ? "L" : "N");
  ask(`/step/${session}`, { actions: `(${code})` }, code);
}

async function play() {
  if (walks) return;
  walks = true;
  while (queue.length) {
    shown = queue.shift();
    draw();
    next();
    await new Promise(done => setTimeout(done, 1000 / facts.rate));
  }
  walks = false;
  light("");
}

function draw() {
  if (!shown) return;
  const { picture, frame, code, told } = shown, { width, height } = facts;
  const real = world === "real" && picture.naturalHeight > 2 * height;
  [["colours", real ? 2 : 0], ["depth", real ? 3 : 1]].forEach(([id, row]) => {
    const canvas = at(id), pen = canvas.getContext("2d");
    canvas.width = 10 * width;
    canvas.height = 10 * height;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(picture, frame * width, row * height, width, height, 0, 0, canvas.width, canvas.height);
  });
  light(code || "");
  if (shown.noted) return;
  if ((frame + 1) * width >= picture.naturalWidth) note(told);
}

function note(told) {
  shown.noted = true;
  if (told.units) way.imagined.push(told.imagined);
  if (told.units && told.real) way.real.push(told.real);
  const parts = [told.units === 1 ? "1 step" : `${told.units} steps`, `imagined in ${told.seconds.toFixed(2)} s`];
  if (told.alike !== undefined) parts.push(`${told.alike.toFixed(1)} dB like the real world`);
  if (told.reminded !== null) parts.push(`reminded of what was seen ${told.reminded ? `at step ${told.reminded}` : "at the start"}`);
  at("status").textContent = parts.join(" · ");
  drawMap();
}

function light(code) {
  const names = new Set();
  const move = code.slice(0, -1), turn = code.slice(-1);
  if (/^[Ff]/.test(move)) names.add("ahead");
  if (/^[Br]/.test(move)) names.add("back");
  if (/L$/.test(move)) names.add("left");
  if (/R$/.test(move)) names.add("right");
  if (turn === "L") names.add("turn left");
  if (turn === "R") names.add("turn right");
  for (const button of at("pad").querySelectorAll("button")) {
    const name = PARTS[button.dataset.action];
    button.classList.toggle("lit", names.has(name) || down.has(name));
  }
}

function drawMap() {
  const canvas = at("map"), pen = canvas.getContext("2d"), all = [...way.imagined, ...way.real];
  const reach = Math.max(1, ...all.flatMap(([x, z]) => [Math.abs(x), Math.abs(z)])) * 1.25;
  const scale = Math.min(canvas.width, canvas.height) / 2 / reach;
  const spot = ([x, z]) => [canvas.width / 2 + x * scale, canvas.height / 2 - z * scale];
  pen.clearRect(0, 0, canvas.width, canvas.height);
  for (const [name, color] of [["real", "#5ec8f2"], ["imagined", "#f4ea2a"]]) {
    const points = way[name];
    pen.strokeStyle = pen.fillStyle = color;
    pen.lineWidth = 3;
    pen.lineJoin = "round";
    pen.beginPath();
    points.forEach((point, number) => (number ? pen.lineTo(...spot(point)) : pen.moveTo(...spot(point))));
    pen.stroke();
    const [x, y] = spot(points.at(-1)), angle = points.at(-1)[2] * Math.PI / 180;
    pen.save();
    pen.translate(x, y);
    pen.rotate(angle);
    pen.beginPath();
    pen.moveTo(0, -12);
    pen.lineTo(8, 9);
    pen.lineTo(-8, 9);
    pen.fill();
    pen.restore();
  }
}

function show(name) {
  world = name;
  at("stage").dataset.world = name;
  at("world").textContent = name;
  at("switch").textContent = name === "real" ? "Show the imagined world" : "Show the real world";
  draw();
}

const flip = () => { if (!document.body.classList.contains("alone")) show(world === "real" ? "imagined" : "real"); };
const anew = () => { if (!busy && session && !document.body.classList.contains("alone")) ask(`/step/${session}`, {}, ""); };

function start(request, alone) {
  if (busy) return;
  document.body.classList.toggle("alone", alone);
  if (alone) show("imagined");
  ask("/begin", request, "");
}

addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const acts = { " ": flip, Enter: anew, n: () => at("elsewhere").click() };
  if (KEYS[key]) down.add(KEYS[key]);
  else if (acts[key] && (key === "n" || !event.target.closest("button, label"))) { if (!event.repeat) acts[key](); } else return;
  event.preventDefault();
  light("");
  next();
});
addEventListener("keyup", event => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (KEYS[key]) down.delete(KEYS[key]);
  if (!walks) light("");
});
addEventListener("blur", () => down.clear());
// Who clicks goes on with keys: Space is for the worlds again, not for the button.
addEventListener("click", event => { if (event.detail) event.target.closest("button")?.blur(); });
for (const button of at("pad").querySelectorAll("button")) {
  button.onclick = () => { if (!busy && session) ask(`/step/${session}`, { actions: `(${button.dataset.action})` }, button.dataset.action); };
}
at("switch").onclick = flip;
at("anew").onclick = anew;
at("elsewhere").onclick = () => { if (!busy) start({ place: ++place }, false); };
at("picture").onchange = async event => {
  const file = event.target.files[0], reader = new FileReader();
  if (!file) return;
  reader.onload = () => start({ image: { name: file.name, data: reader.result.split(",")[1] } }, true);
  reader.readAsDataURL(file);
};
if (facts.real) start({ place }, false);
else {
  document.body.classList.add("alone");
  at("elsewhere").hidden = true;
  at("status").textContent = "Give a picture to begin with.";
}
