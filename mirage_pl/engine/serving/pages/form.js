"use strict";
const form = document.getElementById("form"), output = document.getElementById("output");
let session = null;

const read = file => new Promise(done => {
  const reader = new FileReader();
  reader.onload = () => done({ name: file.name, data: reader.result.split(",")[1] });
  reader.readAsDataURL(file);
});

function show(piece) {
  if (piece.session) session = piece.session;
  if (piece.error) {
    const line = document.createElement("p");
    line.className = "error";
    line.textContent = piece.error.message;
    output.append(line);
  } else if (piece.kind === "text") output.append(piece.content);
  else if (piece.kind) {
    const tag = { picture: "img", clip: "video" }[piece.kind] || "a";
    const shown = document.createElement(tag);
    if (tag === "a") { shown.href = piece.content; shown.textContent = piece.content; }
    else { shown.src = piece.content; shown.controls = true; }
    output.append(shown);
  }
}

form.onsubmit = async event => {
  event.preventDefault();
  const begin = event.submitter.name === "begin", given = {};
  for (const field of form.querySelectorAll("textarea, input")) {
    if (field.type === "file") given[field.name] = await Promise.all([...field.files].map(read));
    else given[field.name] = field.type === "number" && field.value ? Number(field.value) : field.value;
  }
  if (!begin) for (const name in given) if (Array.isArray(given[name])) delete given[name];
  if (begin) output.textContent = "";
  for (const button of form.querySelectorAll("button")) button.disabled = true;
  try {
    const answer = await fetch(begin ? "/begin" : `/step/${session}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given),
    });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (let chunk; !(chunk = await reader.read()).done;) {
      const lines = (rest + chunk.value).split("\n");
      rest = lines.pop();
      lines.forEach(line => show(JSON.parse(line)));
    }
    if (rest) show(JSON.parse(rest));
  } catch (error) {
    show({ error: { message: "the server doesn't answer" } });
  }
  output.append("\n");
  form.elements.begin.disabled = false;
  form.elements.step.disabled = session === null;
};
