"""Prompts and answers as ids. A template is a list of parts; phrases, in words, name what comes after them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from mirage_pl.mmact.model.vocabulary import Vocab

Ids = Sequence[int]
Kind = Literal["action", "image", "text"]

PHRASES = {
    "state": "The current states of robot is:",
    "head": "The third/head view of robot is:",
    "wrist": "The wrist view of robot is:",
    "left": "The left wrist view of robot is:",
    "right": "The right wrist view of robot is:",
    "dim": "Robot's action dim is:",
    "previous": "Robot's previous actions are:",
}
"""As released, each tokenized by itself."""
PARTS: Mapping[Kind, Sequence[str]] = {
    "action": ("mm2a", "bos", "instruction", "state", "views", "dim", "previous", "eos"),
    "image": ("t2i", "bos", "instruction", "state", "views", "dim", "eos"),
    "text": ("mmu", "bos", "instruction", "state", "views", "dim"),
}
"""What is asked for -> parts of the prompt: control tokens by name, and what an observation has."""
VIEWS = {7: ("head", "wrist")}
"""Numbers of an action -> the names of its robot's views, in order."""
OTHER_VIEWS = ("head", "left", "right")
"""Of a robot with two arms: any other number of an action's numbers."""


@dataclass(frozen=True)
class Observation:
    """What a prompt is filled with, as ids.

    Attributes:
        instruction: words; they may begin with ``bos``.
        state: bins of numbers; empty: the prompt has no state.
        views: codes of each image.
        previous: bins of actions before; empty: the prompt has none.
    """

    instruction: Ids
    state: Ids = ()
    views: Sequence[Ids] = ()
    previous: Ids = ()


@dataclass(frozen=True)
class Written:
    """A row: prompt and answer.

    Attributes:
        ids: all.
        keys: what is no padding.
        slots: places of what is asked for, within ``ids``.
        left_out: words of the instruction that didn't fit.
    """

    ids: list[int]
    keys: list[bool]
    slots: range
    left_out: int = 0


@dataclass(frozen=True)
class Templates:
    """Writes prompts.

    Attributes:
        vocab: where ids are.
        phrases: name of a phrase -> its ids; one that isn't there is left out.
        cut: of a prompt that is too long: ``instruction`` loses its last words, and where that isn't enough the prompt
            is refused; ``tail``, as released: everything after the limit, images and all, is lost.
    """

    vocab: Vocab
    phrases: Mapping[str, Ids] = field(default_factory=dict)
    cut: Literal["instruction", "tail"] = "instruction"

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.phrases) - PHRASES.keys()):
            raise ValueError(f"phrases has unknown {unknown}; they are {', '.join(PHRASES)}")
        if self.cut not in ("instruction", "tail"):
            raise ValueError(f"cut={self.cut} is unknown; choose instruction or tail")

    def write_prompt(self, kind: Kind, seen: Observation, dims: int) -> list[int]:
        """The ids of a prompt.

        Args:
            kind: what is asked for.
            seen: the observation.
            dims: numbers of an action.

        Raises:
            ValueError: more views than this robot has.
        """
        return [token for part in PARTS[kind] for token in self.write_part(part, seen, dims)]

    def write_part(self, part: str, seen: Observation, dims: int) -> list[int]:
        """The ids of one part."""
        vocab, phrase = self.vocab, self.phrases.get(part, ())
        match part:
            case "instruction":
                begins = seen.instruction[:1] == [vocab["bos"]]
                return list(seen.instruction[1:] if begins else seen.instruction)
            case "state":
                return [*phrase, vocab["sostate"], *seen.state, vocab["eostate"]] if seen.state else []
            case "views":
                return self.write_views(seen.views, dims)
            case "dim":
                return [*phrase, vocab["dim7" if dims == 7 else "dim14"]]
            case "previous":
                return [*phrase, vocab["soa"], *seen.previous, vocab["eoa"]] if seen.previous else []
        return [vocab[part]]

    def write_views(self, views: Sequence[Ids], dims: int) -> list[int]:
        """The ids of all images, each after its phrase."""
        names = VIEWS.get(dims, OTHER_VIEWS)
        if len(views) > len(names):
            raise ValueError(
                f"{len(views)} views, but a prompt for actions of {dims} numbers has {len(names)}: {', '.join(names)}; "
                f"set views={len(names)}"
            )
        return [
            token
            for name, codes in zip(names, views, strict=False)
            for token in (*self.phrases.get(name, ()), self.vocab["soi"], *codes, self.vocab["eoi"])
        ]

    def fit_prompt(self, kind: Kind, seen: Observation, dims: int, limit: int) -> tuple[list[int], int]:
        """A prompt of at most ``limit`` ids, and how many words of the instruction it has lost.

        Raises:
            ValueError: it is too long even without instruction.
        """
        prompt = self.write_prompt(kind, seen, dims)
        excess, words = len(prompt) - limit, len(self.write_part("instruction", seen, dims))
        if excess <= 0:
            return prompt, 0
        if self.cut == "tail":
            return [*prompt[: limit - 1], self.vocab["eos"]], 0
        if excess > words:
            raise ValueError(
                f"a prompt of {len(prompt) - words} ids without its instruction, but there is room for {limit}; raise "
                "prompt_length, or give fewer views"
            )
        instruction = self.write_part("instruction", seen, dims)[: words - excess]
        return self.write_prompt(kind, replace(seen, instruction=instruction), dims), excess

    def write_action(self, seen: Observation, dims: int, slots: Ids, limit: int | None, reserve: int = 0) -> Written:
        """A prompt and a chunk of actions after it.

        Args:
            seen: the observation.
            dims: numbers of an action.
            slots: bins and masks, step by step.
            limit: ids of the prompt, padded at its left; ``None``: as many as it has.
            reserve: ids of padding at the end, which the release keeps free for robots of 7 dimensions.
        """
        return self.write_block("action", seen, dims, slots, limit, reserve)

    def write_image(self, seen: Observation, dims: int, slots: Ids, length: int | None) -> Written:
        """A prompt and the codes of an image after it, ``length`` ids in all, padded at the left."""
        limit = None if length is None else length - len(slots) - 2
        return self.write_block("image", seen, dims, slots, limit, 0)

    def write_block(
        self,
        kind: Literal["action", "image"],
        seen: Observation,
        dims: int,
        slots: Ids,
        limit: int | None,
        reserve: int,
    ) -> Written:
        """A prompt and a block of slots between what begins and what ends it."""
        first, last = ("soa", "eoa") if kind == "action" else ("soi", "eoi")
        prompt, left_out = (
            (self.write_prompt(kind, seen, dims), 0) if limit is None else self.fit_prompt(kind, seen, dims, limit)
        )
        pads, pad = (0 if limit is None else limit - len(prompt)), self.vocab["pad"]
        block = [self.vocab[first], *slots, self.vocab[last]]
        begin = pads + len(prompt) + 1
        return Written(
            [*[pad] * pads, *prompt, *block, *[pad] * reserve],
            [*[False] * pads, *[True] * (len(prompt) + len(block)), *[False] * reserve],
            range(begin, begin + len(slots)),
            left_out,
        )

    def write_text(
        self, seen: Observation, dims: int, words: Ids, length: int | None, slots: int | None = None
    ) -> Written:
        """A prompt and an answer in words; behind its end it is filled with further ends.

        Args:
            seen: the observation.
            dims: numbers of an action.
            words: the answer, without its end.
            length: ids in all as released, where the answer's room is what the prompt leaves; with ``slots`` ids of
                the prompt at most, ``None``: any number.
            slots: the answer's room.

        Raises:
            ValueError: they don't fit.
        """
        eos, prompt, left_out = self.vocab["eos"], self.write_prompt("text", seen, dims), 0
        limit = length if slots is not None else None
        if limit is not None:
            prompt, left_out = self.fit_prompt("text", seen, dims, limit)
        total = (length or 0) if slots is None else len(prompt) + slots
        if len(prompt) + len(words) + 1 > total:
            raise ValueError(
                f"a prompt of {len(prompt)} ids and an answer of {len(words) + 1} don't fit into {total}; raise the "
                "length, or shorten the answer"
            )
        ids = [*prompt, *words, *[eos] * (total - len(prompt) - len(words))]
        return Written(ids, [True] * total, range(len(prompt), total), left_out)
