"""Texts as tokens. What a user writes is text, whatever it names; special tokens come from our own template alone."""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer

from mirage_pl.mirage.stock.inputs import Inputs

PRIVATE = range(0xE000, 0xF900)
"""Characters without a meaning: one that no text has marks where texts go in the template."""


@lru_cache(65536)
def encode(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Token ids of a text, without special tokens around it; a token's name in it is written as any other word.

    Raises:
        ValueError: the tokenizer can't write the name in another way.
    """
    tokens = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    return tokens if added_ids(tokenizer).isdisjoint(tokens) else encode_plainly(tokenizer, text)


@lru_cache(65536)
def encode_question(inputs: Inputs, texts: tuple[str | None, ...]) -> tuple[int, ...]:
    """Token ids of a question in the chat template, up to where the answer starts.

    Args:
        inputs: how the backbone's architecture reads questions.
        texts: ``None`` is an image, whose features become one token.

    Raises:
        ValueError: as :func:`encode`; or the template doesn't make one token of each image.
    """
    tokenizer, runs = inputs.tokenizer, joined(texts)
    if any(run is not None and names_token(tokenizer, run) for run in runs):
        tokens = fill_in(inputs, runs)
    else:
        tokens = tuple(tokenizer(render(inputs, texts), add_special_tokens=False)["input_ids"])
    if (count := tokens.count(inputs.image_id)) != texts.count(None):
        raise ValueError(f"the chat template makes {count} image token(s) of {texts.count(None)} image(s)")
    return tokens


def names_token(tokenizer: Any, text: str) -> bool:
    """Whether a tokenizer would take something in a text for one of its added tokens."""
    return not added_ids(tokenizer).isdisjoint(tokenizer(text, add_special_tokens=False)["input_ids"])


def joined(texts: Sequence[str | None]) -> list[str | None]:
    """The same with neighbouring texts as one: a name may begin in one and end in the next."""
    runs: list[str | None] = []
    for text in texts:
        if text is not None and runs and runs[-1] is not None:
            runs[-1] += text
        else:
            runs.append(text)
    return runs


def render(inputs: Inputs, texts: Sequence[str | None]) -> str:
    """The chat template around a question, and the beginning of an answer that doesn't think in words first."""
    content = [{"type": "image"} if text is None else {"type": "text", "text": text} for text in texts]
    chat = [{"role": "user", "content": content}]
    options = {"add_generation_prompt": True, "tokenize": False}
    if "enable_thinking" in str(inputs.processor.chat_template):  # of others transformers says that they don't know it
        options["enable_thinking"] = False
    return inputs.expand(str(inputs.processor.apply_chat_template(chat, **options)))


def fill_in(inputs: Inputs, runs: Sequence[str | None]) -> tuple[int, ...]:
    """Token ids of a question whose texts go into the template only after its special tokens were found."""
    tokenizer, texts = inputs.tokenizer, [run for run in runs if run is not None]
    mark = chr(min(set(PRIVATE) - {ord(character) for text in texts for character in text}))
    rendered = render(inputs, [run if run is None else mark for run in runs])
    names = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
    tokens: list[int] = []
    for number, piece in enumerate(re.split(f"({'|'.join(map(re.escape, names))})", rendered)):
        if number % 2:
            tokens.append(tokenizer.convert_tokens_to_ids(piece))
        elif piece:
            before, *after = piece.split(mark)
            filled = before + "".join(texts.pop(0) + rest for rest in after)
            tokens += encode_plainly(tokenizer, filled)
    return tuple(tokens)


def encode_plainly(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Token ids of a text by the tokenizer's words alone, as if it had no added tokens.

    Raises:
        ValueError: one of them comes out all the same.
    """
    tokens = tuple(plain(tokenizer).encode(text, add_special_tokens=False).ids)
    if taken := added_ids(tokenizer).intersection(tokens):
        name = tokenizer.convert_ids_to_tokens(min(taken))
        raise ValueError(f"text names the token {name}, which this tokenizer can't write as text; change the text")
    return tokens


@lru_cache(8)
def added_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of all special tokens, and of all others that were added to a tokenizer's words.

    Gemma has newlines among its added tokens, but they are words of its own, too.
    """
    words = plain(tokenizer).get_vocab()
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(number for number, token in added if token.special or token.content not in words)


@lru_cache(8)
def plain(tokenizer: Any) -> Tokenizer:
    """The tokenizer without its added tokens."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    return Tokenizer.from_str(json.dumps(state | {"added_tokens": [], "post_processor": None}))
