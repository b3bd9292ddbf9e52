"""The page of a report: style, tables, and embedded pictures and clips.

Runs take ``COLORS`` in order, and when these are used up the next of ``LINES``. Arguments that end in ``_html`` are
markup; all others are escaped.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

COLORS = ("#3b82d6", "#e07b00", "#169a78", "#b35ac8", "#a88a00", "#d4568c", "#3aa0b5", "#8a8f98")
"""One per run, readable on white and on black; none is the green or red of right and wrong."""
LINES = ("solid", "dashed", "dotted")
"""One for each pass through the colors."""
MEDIA = {".png": "image/png", ".gif": "image/gif", ".webp": "image/webp", ".jpg": "image/jpeg", ".mp4": "video/mp4"}
"""Suffix -> media type of pictures and clips that a page can show."""
STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1d2329; --soft: #5b6570; --line: #d9dfe5; --tint: #eef2f6;
  --good: #1a7f37; --bad: #c62828 }
@media (prefers-color-scheme: dark) { :root { --page: #101419; --ink: #e4e8ec; --soft: #9aa5b0; --line: #323a43;
  --tint: #1d242c; --good: #4ac26b; --bad: #ff7b72 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 70rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 } h2 { font-size: 1.2rem; margin: 2.5rem 0 .6rem }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem }
small, .note, figcaption { color: var(--soft); font-size: .85rem } h3 small, th small { font-weight: normal }
.verdict { font-size: 1.15rem; margin: .8rem 0; padding-left: .8rem; border-left: 4px solid #3b82d6;
  white-space: pre-line }
.scroll { overflow-x: auto } table { border-collapse: collapse; overflow-wrap: normal }
th, td { padding: .4rem .9rem .4rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
td { font-variant-numeric: tabular-nums; min-width: 6.5rem } th { font-weight: 600 }
td small, th small { display: block }
td > b { font-weight: inherit; white-space: nowrap } thead th:not(:first-child) { max-width: 14rem;
  overflow-wrap: anywhere }
.dense { font-size: .92rem; width: max-content; min-width: 100%; max-width: calc(100vw - 2rem); position: relative;
  left: 50%; transform: translateX(-50%) } .dense td, .dense th { padding-right: .7rem; min-width: 0 }
.dense td small { white-space: pre-line } .dense .run { white-space: nowrap }
.dense thead th:not(:first-child) { max-width: 9rem; min-width: 3.2rem; overflow-wrap: break-word }
.bar { display: block; width: 6rem; height: .4rem; margin-top: .2rem; border-radius: 2px; background: var(--tint) }
.bar i { display: block; height: 100%; border-radius: 2px; background: var(--soft) }

.run i { display: inline-block; width: 1.5em; margin: 0 .4em .25em 0 }
.legend .run { display: inline-block; margin-right: 1.2rem } svg { display: block; width: 100%; height: auto }
svg text { font-family: inherit !important } .panels { overflow-x: auto } .panels svg { min-width: 30rem }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1rem }
.answers { display: grid; grid-template-columns: repeat(auto-fill, minmax(7rem, 1fr)); gap: 1rem .8rem }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 32rem), 1fr)); gap: 0 2rem }
figure { margin: 0; max-width: 15rem } figure img, video, .empty { display: block; width: 100%; border-radius: 4px }
.empty { aspect-ratio: 1; background: var(--tint); color: var(--soft); padding: .6rem; font-size: .85rem }
.good, .bad { display: block; font-weight: 600; color: var(--good) } .bad { color: var(--bad) }
code { font: .82rem/1.4 ui-monospace, monospace; white-space: pre-wrap; color: var(--ink) }
figcaption code { display: block }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2rem 1rem; margin: 0 } dd { margin: 0 }
dt { color: var(--soft) } summary { cursor: pointer; color: var(--soft); margin: .8rem 0 }
.wide { max-width: 60rem; margin-bottom: 1rem } .question { margin: .2rem 0 .6rem; white-space: pre-line }
@media (max-width: 40rem) { th[scope="row"], thead th { max-width: 8rem; overflow-wrap: anywhere }
  .dense th[scope="row"] { min-width: 6.5rem }
  .dense .run { white-space: normal } }
.open { display: block; font-weight: 600; color: var(--soft) }
"""


def write_page(file: Path, title: str, verdict: str, sections_html: Mapping[str, str]) -> None:
    """Write a page that loads nothing and runs no script.

    Args:
        file: where the page goes.
        title: its heading.
        verdict: the text below the heading; line breaks are kept.
        sections_html: heading -> content.
    """
    policy = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f'<body><h1>{escape(title)}</h1><p class="verdict">{escape(verdict)}</p>'
    )
    page += "".join(f"\n<section><h2>{escape(name)}</h2>{html}</section>" for name, html in sections_html.items())
    write_file(file, (page + "</body></html>\n").encode(errors="replace"))


def write_file(file: Path, content: bytes) -> None:
    """Write to a temporary file and rename it, so that an interruption leaves the old file or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(file)


def label_run(place: int, name: str) -> str:
    """Write a run's name after a sample of its line."""
    sample = f'<i style="border-top: .2em {choose_line(place)} {choose_color(place)}"></i>'
    return f'<span class="run">{sample}{escape(name)}</span>'


def lay_out_legend(labels_html: Iterable[str]) -> str:
    """Lay out which line is which run."""
    return f'<p class="legend note">{" ".join(labels_html)}</p>'


def lay_out_note(text: str) -> str:
    """Lay out a note on how to read what is above it; empty without text."""
    return f'<p class="note">{escape(text)}</p>' if text else ""


def lay_out_paragraphs(sentences: Iterable[str]) -> str:
    """Lay out each sentence as a paragraph."""
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def fold_away(summary: str, content_html: str) -> str:
    """Hide content until its summary is clicked; empty without content."""
    return f"<details><summary>{escape(summary)}</summary>{content_html}</details>" if content_html else ""


def lay_out_table(heads_html: Iterable[str], rows_html: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Lay out a table; a row is its heading and its cells."""
    head = "".join(f'<th scope="col">{html}</th>' for html in heads_html)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{html}</td>" for html in cells)}</tr>'
        for name, cells in rows_html
    )
    return f'<div class="scroll"><table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def lay_out_cell(value: str, detail: str) -> str:
    """Lay out a value with its detail below, such as an interval."""
    return f"<b>{escape(value)}</b> <small>{escape(detail)}</small>"


def embed_medium(file: Path | None, text: str) -> str:
    """Embed a picture or a clip, or lay out ``no picture``."""
    if file is None or not file.is_file():
        return '<div class="empty">no picture</div>'
    kind = MEDIA[file.suffix]
    source = f'src="data:{kind};base64,{b64encode(file.read_bytes()).decode()}"'
    if kind.startswith("video"):
        return f'<video title="{escape(text)}" controls loop muted {source}></video>'
    return f'<img alt="{escape(text)}" {source}>'


def find_medium(folder: Path, stem: str) -> Path | None:
    """Find the picture or clip with this name, whatever its suffix."""
    files = (folder / f"{stem}{ending}" for ending in MEDIA)
    return next((file for file in files if file.is_file()), None)


def choose_color(place: int) -> str:
    """Choose the color of the run at a place in the report."""
    return COLORS[place % len(COLORS)]


def choose_line(place: int) -> str:
    """Choose the line style of the run at a place in the report."""
    return LINES[place // len(COLORS) % len(LINES)]
