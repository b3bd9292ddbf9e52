"""One vocabulary of text, control tokens, image codes and bins: the only place that knows where each begins."""

from collections.abc import Mapping
from dataclasses import dataclass

CONTROLS = (
    "bos",
    "eos",
    "soi",  # an image begins
    "eoi",
    "t2i",  # what is asked for: an image,
    "mmu",  # a text,
    "mm2a",  # or actions
    "pad",
    "soa",  # actions begin
    "eoa",
    "dim7",  # how many numbers an action has: 7,
    "dim14",  # or any other number
    "sostate",  # a state begins
    "eostate",
    "mask",
)


@dataclass(frozen=True)
class Span:
    """Ids that follow each other.

    Attributes:
        first: the first one.
        size: how many.
    """

    first: int
    size: int

    @property
    def stop(self) -> int:
        """The first id that is after it."""
        return self.first + self.size

    @property
    def rows(self) -> slice:
        """The rows of a table that holds one for each id."""
        return slice(self.first, self.stop)

    def __contains__(self, token: int) -> bool:
        return self.first <= token < self.stop


@dataclass(frozen=True)
class Vocab:
    """Where each kind of token has its ids.

    Attributes:
        text: ids of text, from 0 on.
        controls: of :data:`CONTROLS`, by name; ``bos`` and ``eos`` are the two ids after those of text.
        images: a code of an image each.
        bins: a bin of a number each; states and actions share them.
        size: ids in all.

    Raises:
        ValueError: two kinds share an id, or one is beyond the last.
    """

    text: int
    controls: Mapping[str, int]
    images: Span
    bins: Span
    size: int

    def __post_init__(self) -> None:
        if wrong := set(CONTROLS) ^ self.controls.keys():
            raise ValueError(f"vocabulary needs the control tokens {', '.join(CONTROLS)}; check {sorted(wrong)}")
        if (self.controls["bos"], self.controls["eos"]) != (self.text, self.text + 1):
            raise ValueError(f"bos and eos must be {self.text} and {self.text + 1}, after the ids of text")
        singles = [Span(token, 1) for token in self.controls.values()]
        spans = sorted([Span(0, self.text), *singles, self.images, self.bins], key=lambda span: span.first)
        if any(before.stop > after.first for before, after in zip(spans, spans[1:], strict=False)):
            raise ValueError(f"two kinds of tokens share an id: {spans}")
        if spans[-1].stop > self.size or min(self.images.size, self.bins.size) < 2:
            raise ValueError(
                f"vocabulary of {self.size} ids doesn't hold {spans[-1]}, or has fewer than 2 codes or bins"
            )

    def __getitem__(self, control: str) -> int:
        return self.controls[control]

    @property
    def words(self) -> Span:
        """What an answer in words is made of: text, and what ends it."""
        return Span(0, self.controls["eos"] + 1)


def lay_out(text: int, codes: int, bins: int) -> Vocab:
    """Lay out a vocabulary without gaps: text, control tokens, codes, bins."""
    controls = {name: text + place for place, name in enumerate(CONTROLS)}
    images = Span(text + len(CONTROLS), codes)
    return Vocab(text, controls, images, Span(images.stop, bins), images.stop + bins)


def lay_out_released() -> Vocab:
    """The released layout: LLaDA's tokenizer of 126,349 ids, 8,192 codes behind it, and 2,048 bins from 134,656 on.

    Image codes begin at the tokenizer's length, not at its rounded size 126,464: 115 ids before the bins are unused.
    """
    reserved = {
        "soi": 126084,
        "eoi": 126085,
        "t2i": 126088,
        "mmu": 126089,
        "pad": 126093,
        "mm2a": 126097,
        "soa": 126098,
        "eoa": 126099,
        "dim7": 126100,
        "dim14": 126101,
        "sostate": 126102,
        "eostate": 126103,
        "mask": 126336,
    }
    controls = {"bos": 126080, "eos": 126081, **reserved}
    return Vocab(126080, controls, Span(126349, 8192), Span(134656, 2048), 136704)
