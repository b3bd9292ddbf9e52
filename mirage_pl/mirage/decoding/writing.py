"""The text of an answer as its tokens come."""

from collections.abc import Sequence
from typing import Any

UNFINISHED = "\ufffd"
"""What stands for the bytes of a character before its last one has come."""


class Writing:
    """Turn tokens into text, one by one: all that it returns, joined, is the whole text, cut before a stop string.

    Args:
        tokenizer: the model's.
        stop: the text ends before the first of these.

    Attributes:
        stopped: whether a stop string has come.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self.tokenizer, self.stop = tokenizer, tuple(stop)
        self.tokens: list[int] = []
        self.before: list[int] = []
        self.shown, self.held, self.stopped = 0, "", False

    def add(self, token: int) -> str:
        """Add a token; return the text that is certain now and wasn't before."""
        self.tokens.append(token)
        text = self._decode(self.before + self.tokens)
        whole = not text.endswith(UNFINISHED)
        certain = text if whole else text[:-1]
        added, self.shown = certain[self.shown :], len(certain)
        if whole and text:  # decoding goes on from here, after the tokens that a tokenizer may look back at
            self.before, self.tokens = self.tokens, []
            self.shown = len(self._decode(self.before))
        return self._release(added)

    def end(self) -> str:
        """Return what is left once no token comes."""
        text = self._release(self._decode(self.before + self.tokens)[self.shown :])
        rest, self.held = self.held, ""
        return text + rest

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def _release(self, added: str) -> str:
        """Return text up to the first stop string, or to what may become one."""
        if self.stopped:
            return ""
        text = self.held + added
        places = [place for stop in self.stop if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self.held = True, ""
            return text[: min(places)]
        longest = max(map(len, self.stop), default=0)
        for length in range(min(longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self.stop):
                self.held = text[-length:]
                return text[:-length]
        self.held = ""
        return text
