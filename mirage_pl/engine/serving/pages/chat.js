"use strict";
const facts = JSON.parse(document.getElementById("facts").textContent);
const at = id => document.getElementById(id);
const form = at("ask"), question = at("question"), problem = at("problem"), exchanges = at("exchanges");
let images = [];
let running = null;

question.placeholder = facts.own_prompt || "Ask a question";

function make(tag, parent, text = "", name = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.textContent = text;
  parent.append(element);
  return element;
}

// Images of the question: picked, pasted or dropped.

const read = file => new Promise((done, failed) => {
  const reader = new FileReader();
  reader.onload = () => done({ name: file.name || "image", url: reader.result });
  reader.onerror = () => failed(new Error(`${file.name} can't be read`));
  reader.readAsDataURL(file);
});

async function add(files) {
  problem.textContent = "";
  for (const file of files) {
    if (!file.type.startsWith("image/")) problem.textContent = `${file.name} is no image`;
    else if (images.length >= facts.images) problem.textContent = `at most ${facts.images} images are taken`;
    else images.push(await read(file));
  }
  showImages();
}

function showImages() {
  at("images").replaceChildren();
  images.forEach((image, number) => {
    const item = make("li", at("images"));
    const shown = make("img", item);
    shown.src = image.url;
    shown.alt = image.name;
    const remove = make("button", item, "×");
    remove.type = "button";
    remove.setAttribute("aria-label", `Remove ${image.name}`);
    remove.onclick = () => {
      images.splice(number, 1);
      showImages();
      question.focus();
    };
  });
}

const hasFiles = event => [...(event.dataTransfer?.types || [])].includes("Files");
let depth = 0;
addEventListener("paste", event => {
  if (event.clipboardData?.files.length) {
    event.preventDefault();
    add(event.clipboardData.files);
  }
});
addEventListener("dragenter", event => { if (hasFiles(event)) document.body.classList.toggle("dropping", ++depth > 0); });
addEventListener("dragleave", event => { if (hasFiles(event)) document.body.classList.toggle("dropping", --depth > 0); });
addEventListener("dragover", event => { if (hasFiles(event)) event.preventDefault(); });
addEventListener("drop", event => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("dropping");
  add(event.dataTransfer.files);
});
at("add").onclick = () => at("files").click();
at("files").onchange = async event => {
  await add(event.target.files);
  event.target.value = "";
};

// One question and its answer.

class Exchange {
  constructor(text, shown) {
    this.article = make("article", exchanges);
    const asked = make("div", this.article, "", "question");
    this.pictures = make("div", asked, "", "pictures");
    this.figures = shown.map(image => {
      const figure = make("figure", this.pictures);
      const picture = make("img", figure);
      picture.src = image.url;
      picture.alt = image.name;
      return figure;
    });
    make("p", asked, text || facts.own_prompt || "");
    this.answer = make("div", this.article, "", "answer waits");
    this.answer.setAttribute("aria-live", "polite");
    this.panel = make("section", this.article, "", "panel");
    this.panel.hidden = true;
    this.marks = [];
    this.chosen = null;
    this.text = "";
    this.began = performance.now();
    this.article.scrollIntoView({ block: "end" });
  }

  take(chunk) {
    if (chunk.error) throw new Error(chunk.error.message);
    for (const mark of chunk.marks || []) this.note(mark);
    for (const choice of chunk.choices || []) {
      const text = choice.delta?.content || "";
      this.text += text;
      if (text) this.answer.append(text);
      if (choice.finish_reason) this.reason = choice.finish_reason;
    }
    if (chunk.usage) this.usage = chunk.usage;
  }

  note(mark) {
    const known = this.marks[mark.number];
    this.marks[mark.number] = { ...known, ...mark };
    if (!known) {
      const button = make("button", this.answer, mark.label, "mark");
      button.type = "button";
      button.onclick = () => this.choose(this.chosen === mark.number ? null : mark.number);
      button.onkeydown = event => this.move(event, mark.number);
      button.setAttribute("aria-pressed", "false");
      this.marks[mark.number].button = button;
    }
    if (mark.looks.length && this.chosen === null && !this.left) this.choose(mark.number);
    else if (this.chosen === mark.number) this.choose(mark.number);
  }

  move(event, number) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const next = this.marks[number + step];
    if (!next) return;
    event.preventDefault();
    next.button.focus();
    this.choose(number + step);
  }

  choose(number) {
    this.chosen = number;
    this.left = number === null;
    this.marks.forEach((mark, other) => mark.button.setAttribute("aria-pressed", String(other === number)));
    const mark = this.marks[number];
    this.panel.hidden = !mark;
    this.figures.forEach((figure, image) => this.heat(figure, mark?.looks?.[image]));
    if (!mark) return;
    this.panel.replaceChildren();
    make("h2", this.panel, mark.label);
    const looked = (mark.looks || []).flat(2);
    const all = looked.reduce((sum, share) => sum + share, 0);
    const parts = mark.note ? [mark.note] : [];
    if (looked.length) parts.push(`${percent(all)} of its attention is on images, at most ${percent(Math.max(...looked))} in one place`);
    make("p", this.panel, parts.join("; "));
    const list = make("ol", this.panel);
    for (const [word, share] of mark.words || []) {
      const item = make("li", list);
      make("code", item, JSON.stringify(word));
      const meter = make("meter", item);
      meter.value = share;
      make("span", item, percent(share));
    }
  }

  heat(figure, rows) {
    figure.querySelector("canvas")?.remove();
    figure.classList.toggle("looked", Boolean(rows));
    if (!rows) return;
    const canvas = make("canvas", figure);
    canvas.width = rows[0].length;
    canvas.height = rows.length;
    const pen = canvas.getContext("2d"), top = Math.max(...rows.flat(), 1e-12);
    const color = getComputedStyle(document.documentElement).getPropertyValue("--heat");
    rows.forEach((row, y) => row.forEach((share, x) => {
      pen.fillStyle = `rgba(${color}, ${0.85 * share / top})`;
      pen.fillRect(x, y, 1, 1);
    }));
  }

  end(message) {
    this.answer.classList.remove("waits");
    if (message) make("p", this.article, message, "error").setAttribute("role", "alert");
    else if (!this.text.trim()) make("em", this.answer, "(the answer is empty)");
    const parts = [];
    if (this.usage) {
      const unspoken = this.usage.completion_tokens_details.reasoning_tokens;
      parts.push(`${this.usage.prompt_tokens} tokens read, ${this.usage.completion_tokens} written`);
      if (unspoken) parts[0] += `, ${unspoken} of them without text`;
    }
    if (this.reason === "length") parts.push("cut at the most tokens");
    parts.push(`${((performance.now() - this.began) / 1000).toFixed(1)} s`);
    make("p", this.article, parts.join(" · "), "facts");
    this.article.scrollIntoView({ block: "end" });
  }
}

const percent = share => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let chunk; !(chunk = await reader.read()).done;) {
    const parts = (rest + chunk.value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part !== "data: [DONE]") yield JSON.parse(part.slice(6));
  }
}

function options() {
  const given = {};
  for (const field of at("options").querySelectorAll("input")) {
    if (field.value !== "") given[field.name] = field.type === "number" ? Number(field.value) : field.value;
  }
  return given;
}

form.onsubmit = async event => {
  event.preventDefault();
  const text = question.value.trim(), shown = images;
  if (running || (!text && !(facts.own_prompt && shown.length))) return;
  problem.textContent = "";
  const parts = shown.map(image => ({ type: "image_url", image_url: { url: image.url } }));
  if (text) parts.push({ type: "text", text });
  const exchange = new Exchange(text, shown);
  question.value = "";
  images = [];
  showImages();
  running = new AbortController();
  at("stop").hidden = false;
  at("send").disabled = true;
  let message = "";
  try {
    const response = await fetch("/v1/chat/completions", {
      method: "POST",
      signal: running.signal,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        model: facts.model,
        messages: [{ role: "user", content: parts }],
        stream: true,
        stream_options: { include_usage: true },
        marks: true,
        ...options(),
      }),
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const chunk of events(response)) exchange.take(chunk);
  } catch (error) {
    message = error.name === "AbortError" ? "stopped" : error.name === "TypeError" ? "the server doesn't answer" : error.message;
  }
  running = null;
  at("stop").hidden = true;
  at("send").disabled = false;
  exchange.end(message);
};

question.onkeydown = event => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
};
addEventListener("keydown", event => { if (event.key === "Escape") running?.abort(); });
at("stop").onclick = () => running?.abort();
at("more").onclick = () => {
  at("options").hidden = !at("options").hidden;
  at("more").setAttribute("aria-expanded", String(!at("options").hidden));
};
at("clear").onclick = () => {
  running?.abort();
  exchanges.replaceChildren();
  images = [];
  showImages();
  problem.textContent = "";
  question.focus();
};
