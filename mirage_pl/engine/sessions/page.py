"""The server's page: a form for a session's inputs, and its output below."""

from collections.abc import Mapping
from html import escape

FIELDS = {
    "text": '<textarea name="{name}" rows="2"></textarea>',
    "number": '<input name="{name}" type="number" step="any">',
    "image": '<input name="{name}" type="file" accept="image/*" multiple>',
    "clip": '<input name="{name}" type="file" accept="video/*">',
}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>mirage_pl</title>
<style>
  body {{font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem}}
  label {{display: block; margin-bottom: .8rem; font-weight: 600}}
  textarea, input {{display: block; width: 100%; box-sizing: border-box; font: inherit; margin-top: .2rem}}
  #output {{white-space: pre-wrap; overflow-wrap: anywhere; border-top: 1px solid #ccc; margin-top: 1rem;
         padding-top: 1rem}}
  #output img, #output video {{max-width: 100%}} .error {{color: #b00020}}
</style>
<form id="form">{fields}<button name="begin">Begin</button> <button name="step" disabled>Go on</button></form>
<div id="output" aria-live="polite"></div>
<script>
const form = document.getElementById("form"), output = document.getElementById("output");
let session = null;
const read = file => new Promise(done => {{
  const reader = new FileReader();
  reader.onload = () => done({{name: file.name, data: reader.result.split(",")[1]}});
  reader.readAsDataURL(file);
}});
function show(piece) {{
  if (piece.session) session = piece.session;
  if (piece.error) output.insertAdjacentHTML("beforeend", '<p class="error"></p>');
  if (piece.error) output.lastChild.textContent = piece.error;
  else if (piece.kind === "text") output.append(piece.content);
  else if (piece.kind) {{
    const tag = {{picture: "img", clip: "video"}}[piece.kind] || "a";
    const shown = document.createElement(tag);
    if (tag === "a") {{ shown.href = piece.content; shown.textContent = piece.content; }}
    else {{ shown.src = piece.content; shown.controls = true; }}
    output.append(shown);
  }}
}}
form.onsubmit = async event => {{
  event.preventDefault();
  const begin = event.submitter.name === "begin", given = {{}};
  for (const field of form.querySelectorAll("textarea, input")) {{
    if (field.type === "file") given[field.name] = await Promise.all([...field.files].map(read));
    else given[field.name] = field.type === "number" && field.value ? Number(field.value) : field.value;
  }}
  if (!begin) for (const name in given) if (Array.isArray(given[name])) delete given[name];
  if (begin) output.textContent = "";
  for (const button of form.querySelectorAll("button")) button.disabled = true;
  const answer = await fetch(begin ? "/begin" : "/step/" + session, {{method: "POST", body: JSON.stringify(given)}});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let chunk; !(chunk = await reader.read()).done;) {{
    const lines = (rest + chunk.value).split("\\n");
    rest = lines.pop();
    lines.forEach(line => show(JSON.parse(line)));
  }}
  if (rest) show(JSON.parse(rest));
  output.append("\\n");
  form.elements.begin.disabled = false;
  form.elements.step.disabled = session === null;
}};
</script></html>
"""


def write_page(takes: Mapping[str, str]) -> str:
    """The page as HTML.

    Args:
        takes: names and kinds of a session's inputs.
    """
    fields = [f"<label>{escape(name)}{FIELDS[kind].format(name=escape(name))}</label>" for name, kind in takes.items()]
    return PAGE.format(fields="".join(fields))
