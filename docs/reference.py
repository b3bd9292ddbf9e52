"""Pages of the site that are made: ``--help``, the comments in ``conf/``, the list of decisions, the changelog."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPO = Path(__file__).resolve().parents[1]
VERBS = [
    "mirage_pl.train",
    "mirage_pl.evaluate",
    "mirage_pl.infer",
    "mirage_pl.data",
    "mirage_pl.export",
    "mirage_pl.report",
    "launch",
    "launch plan",
    "launch status",
]
LINE = re.compile(
    r"(?P<indent> *)(?P<key>[\w./@ -]+):(?: +(?P<value>[^#\s][^#]*?|\"[^\"]*\"[^#]*?))?(?: +# ?(?P<note>.*))?"
)
MORE = re.compile(r" *# ?(?P<note>.*)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages; called by mkdocs."""
    files.append(File.generated(config, "reference/commands.md", content=write_commands()))
    files.append(File.generated(config, "reference/config.md", content=write_configs()))
    files.append(File.generated(config, "develop/decisions/index.md", content=write_decisions()))
    files.append(File.generated(config, "develop/changelog.md", content=(REPO / "CHANGELOG.md").read_text()))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Take the roles out of docstrings: ``:class:`Trial``` is ``Trial``; called by mkdocs."""
    return re.sub(r":(?:meth|class|func|data):(<[^>]*>)*(?=<code)", r"\1", html)


def write_decisions() -> str:
    """Every decision by its date, the latest first: pages are named ``YYYY-MM-DD-NAME.md`` and begin with a title."""
    parts = [
        "# Decisions\n\nWhy something is as it is, where the code alone would surprise: a dated page each, of what, "
        "why, and what else was considered. A new one is a file `docs/develop/decisions/YYYY-MM-DD-NAME.md`.\n"
    ]
    pages = sorted((REPO / "docs" / "develop" / "decisions").glob("2*.md"))
    for date in sorted({page.name[:10] for page in pages}, reverse=True):
        of_date = {page.read_text().split("\n", 1)[0].lstrip("# "): page.name for page in pages if date in page.name}
        rows = [f"- [{title}]({of_date[title]})" for title in sorted(of_date)]
        parts.append("\n".join([f"## {date}\n", *rows, ""]))
    return "\n".join(parts)


def write_commands() -> str:
    """What every verb says of itself."""
    parts = ["# Commands\n\nWhat each verb answers to `--help`; `--cfg job` shows its whole config.\n"]
    for verb in VERBS:
        command = [sys.executable, "-m", *verb.split(), "--help"]
        said = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True).stdout
        parts.append(f"## python -m {verb}\n\n```text\n{said.strip()}\n```\n")
    return "\n".join(parts)


def write_configs() -> str:
    """Every key that a config lists, with its comment."""
    folder = REPO / "conf"
    parts = [
        "# Config\n\nEvery key of every file in `conf/`, as its comment says. A file in a folder is an option of the "
        "group of that name: `compression/grid` is chosen by `compression=grid`. Any key is set by `key=value`.\n"
    ]
    files = sorted(
        folder.rglob("*.yaml"), key=lambda file: (len(file.relative_to(folder).parts), file.stem != "train", file)
    )
    for file in files:
        head = [line[2:] for line in file.read_text().splitlines() if line.startswith("# ") and "@package" not in line]
        plain = " ".join(line for line in head if not line.startswith(" "))
        indented = "\n".join(line.strip() for line in head if line.startswith(" "))
        block = f"```text\n{indented}\n```" if indented else ""
        name = file.relative_to(folder).with_suffix("")
        rows = [f"| `{key}` | {code(value)} | {cell(note)} |" for key, value, note in read_keys(file.read_text())]
        table = "\n".join(["| key | default | |", "|---|---|---|", *rows]) if rows else ""
        parts.append(f"## {name}\n\n{cell(plain)}\n\n{block}\n\n{table}\n")
    return "\n".join(parts)


def read_keys(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield (dotted key, value, comment) of a YAML file's lines; keys of ``hydra`` and ``defaults`` are left out."""
    rows: list[list[Any]] = []
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        if (parts := LINE.fullmatch(line)) and not line.lstrip().startswith("#"):
            indent = len(parts["indent"])
            path = [*((at, key) for at, key in path if at < indent), (indent, parts["key"].strip())]
            rows.append([".".join(key for _, key in path), parts["value"] or "", parts["note"] or ""])
        elif rows and (more := MORE.fullmatch(line)) and not line.startswith("#"):
            rows[-1][2] += f" {more['note']}"
    for key, value, note in rows:
        if key.split(".")[0] not in ("hydra", "defaults") and (value or note):
            yield key, value, note


def code(value: str) -> str:
    """A value as code, or nothing."""
    return f"`{cell(value.strip())}`" if value.strip() else ""


def cell(text: str) -> str:
    """Text as it may stand in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")
