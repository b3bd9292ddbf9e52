"""The page to try a run in a browser: a chat, or a form for a session's inputs. It takes nothing from elsewhere."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Protocol, runtime_checkable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mirage_pl.engine.seams import Session
from mirage_pl.engine.serving.chat import Chat
from mirage_pl.engine.serving.limits import Limits

PAGES = Path(__file__).parent / "pages"
FIELDS = {
    "text": '<label class="field">{name}<textarea name="{name}" rows="2"></textarea></label>',
    "number": '<label class="field">{name}<input name="{name}" type="number" step="any"></label>',
    "image": '<label class="field">{name}<input name="{name}" type="file" accept="image/*" multiple></label>',
    "clip": '<label class="field">{name}<input name="{name}" type="file" accept="video/*"></label>',
}


@dataclass(frozen=True)
class Page:
    """A page with its style and its script."""

    html: str
    css: str
    script: str

    def routes(self) -> list[Route]:
        """Where a browser finds them."""
        return [
            send("/", self.html, "text/html"),
            send("/page.css", self.css, "text/css"),
            send("/page.js", self.script, "text/javascript"),
        ]


@runtime_checkable
class Paged(Session, Protocol):
    """A session that brings its own page, which asks as a form does (``serving/forms.py``).

    Attributes:
        page: files without their endings: ``.html``, which has ``$title`` and ``$facts``, ``.js``, and ``.css``, which
            comes after the style of all pages.
    """

    page: Path

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the page has to know, for JSON."""


def send(path: str, text: str, kind: str) -> Route:
    """Make a route to a text."""

    async def endpoint(_request: Request) -> Response:
        return Response(text, media_type=kind)

    return Route(path, endpoint)


def read_page(name: str, values: Mapping[str, str]) -> Page:
    """Read a page's files and fill in its values, which are HTML."""
    return fill_page(PAGES / name, values)


def fill_page(files: Path, values: Mapping[str, str]) -> Page:
    """Fill in the values of a page; a style of its own comes after that of all."""
    html, styles = Template(files.with_suffix(".html").read_text()), [PAGES / "page.css", files.with_suffix(".css")]
    style = "\n".join(file.read_text() for file in styles if file.is_file())
    return Page(html.substitute(values), style, files.with_suffix(".js").read_text())


def write_chat(chat: Chat, model: str, limits: Limits) -> Page:
    """Write the page of a session that answers many."""
    facts = {"model": model, "images": limits.images, "own_prompt": chat.own_prompt}
    return read_page("chat", {"title": escape(model), "facts": write_facts(facts)})


def write_own(session: Paged, model: str) -> Page:
    """Write the page that a session brings along."""
    return fill_page(session.page, {"title": escape(model), "facts": write_facts(session.facts)})


def write_facts(facts: Mapping[str, Any]) -> str:
    """Facts as JSON that may stand in HTML."""
    return json.dumps(facts).replace("<", "\\u003c")


def write_form(takes: Mapping[str, str]) -> Page:
    """Write the page of a session that is used by one at a time.

    Args:
        takes: names and kinds of its inputs.
    """
    fields = "\n".join(FIELDS[kind].format(name=escape(name)) for name, kind in takes.items())
    return read_page("form", {"title": "mirage_pl", "fields": fields})
