"""Text that comes token by token: pieces join to the whole, no half characters, cut before a stop string."""

from random import Random

import pytest

from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.decoding.writing import Writing


def write(tokenizer, tokens, stop=()):
    writing = Writing(tokenizer, stop)
    pieces = []
    for token in tokens:
        pieces.append(writing.add(token))
        if writing.stopped:
            return pieces
    return [*pieces, writing.end()]


@pytest.mark.parametrize("text", ["plain words", "naïve 漢字 🙂🙂", "a\u0301 e\u0301", "", "\ufffd in the text \ufffd"])
def test_pieces_join_to_the_text_and_hold_no_half_characters(processor, text):
    tokenizer = processor.tokenizer
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = write(tokenizer, tokens)
    assert "".join(pieces) == tokenizer.decode(tokens)
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_any_tokens_are_written_as_they_would_be_all_at_once(processor):
    tokenizer, random = processor.tokenizer, Random(0)
    stops = [(), ("a",), ("ab", "b c"), (" ice",), ("\ufffd",)]
    for number in range(300):
        tokens = [random.randrange(384) for _ in range(random.randrange(40))]
        stop = stops[number % len(stops)]
        whole = tokenizer.decode(tokens, skip_special_tokens=True)
        assert "".join(write(tokenizer, tokens, stop)) == Decoding(1, stop=stop).cut(whole)


def test_a_piece_comes_as_soon_as_it_is_certain(processor):
    tokenizer = processor.tokenizer
    tokens = tokenizer("abcd", add_special_tokens=False)["input_ids"]
    assert len(tokens) == 4, "a letter is a token"
    assert write(tokenizer, tokens) == ["a", "b", "c", "d", ""]
    assert write(tokenizer, tokens, stop=("bd",)) == ["a", "", "bc", "d", ""]
    assert write(tokenizer, tokens, stop=("cd",)) == ["a", "b", "", ""]
