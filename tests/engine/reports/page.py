"""What a reader finds on a page."""

import re
from html.parser import HTMLParser


class Reader(HTMLParser):
    """What is on a page: tags, attributes, visible text; tags that don't close in order fail."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def section(self, heading: str) -> str:
        """The text of a section, without its heading's name; empty if there is none."""
        parts = re.split("|".join(map(re.escape, HEADINGS)), self.text)
        names = re.findall("|".join(map(re.escape, HEADINGS)), self.text)
        return dict(zip(names, parts[1:], strict=True)).get(heading, "")


HEADINGS = (
    "Results by group",
    "Under other conditions",
    "The model in numbers",
    "What the latents see",
    "Learning curves",
    "Outcomes",
    "Examples",
    "How each run was made",
)
