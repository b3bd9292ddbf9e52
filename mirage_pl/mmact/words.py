"""Text as ids: a tokenizer of one file, as Hugging Face's ``tokenizers`` writes it."""

from pathlib import Path

from tokenizers import Tokenizer

from mirage_pl.mmact.model.vocabulary import Vocab


class Words:
    """A tokenizer.

    Args:
        file: ``tokenizer.json``.
        vocab: whose ids of text it must keep to.

    Raises:
        ValueError: no such file, or it has text beyond the vocabulary's.
    """

    def __init__(self, file: str, vocab: Vocab) -> None:
        if not Path(file).is_file():
            raise ValueError(f"model.words={file} does not exist; give the tokenizer.json of the model")
        self.tokenizer, self.vocab = Tokenizer.from_file(file), vocab
        if (size := self.tokenizer.get_vocab_size(with_added_tokens=False)) > vocab.text:
            raise ValueError(f"model.words={file} has {size} ids of text, but the vocabulary has {vocab.text}")

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without control tokens: those that are written in it are text, too, or left out."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return [token for token in ids if token < self.vocab.text]

    def decode(self, ids: list[int]) -> str:
        """The text of ids, up to its end."""
        eos = self.vocab["eos"]
        text: str = self.tokenizer.decode(ids[: ids.index(eos)] if eos in ids else ids, skip_special_tokens=True)
        return text.strip()
