"""Answers of a Mirage model, latents included, with torch, Pillow and stock transformers alone.

As a command, in the model's folder, and in Python::

    python mirage_generate.py --image maze.png --question "How do I get to the goal?"

    from mirage_generate import Mirage
    answer = Mirage.load("FOLDER").generate(["How do I get to the goal?"], [["maze.png"]], max_new_tokens=256)[0]
    print(answer.text, len(answer.latents))

Every row of a batch writes tokens, or, after ``<|latent_start|>``, latents: the hidden state of which a token would be
read is the next input embedding instead. After as many as the model was trained with comes ``<|latent_end|>``, and text
again. Stock ``generate`` alone does nothing of the kind.

Shapes: B rows, T columns so far, S new ones, D width, V vocabulary, k latents of a block.
"""

import argparse
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig, generation

LATENTS = "mirage_latents.safetensors"


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        text: without special tokens, cut before a stop string.
        tokens: ids, ``<|latent_pad|>`` where a latent stands; without the end token.
        latents: one after another, ``[D]`` each.
        finished: false where ``max_new_tokens`` cut it.
    """

    text: str
    tokens: list[int]
    latents: list[Tensor]
    finished: bool


class Mirage:
    """A model that answers questions about images with latents between its words; :meth:`load` makes one."""

    def __init__(self, model: Any, processor: Any, learned: dict[str, Tensor]) -> None:
        self.model, self.processor, self.tokenizer = model.eval(), processor, processor.tokenizer
        self.learned = {name: tensor.to(model.device) for name, tensor in learned.items()}  # queries, codes
        if not hasattr(config := model.config, "mirage"):
            raise ValueError("config.json has no key mirage: the folder wasn't written by python -m mirage_pl.export")
        names = ("latent_token_id", "latent_start_id", "latent_end_id", "latent_size")
        self.latent_pad, self.latent_start, self.latent_end, self.latent_size = (getattr(config, n) for n in names)
        self.end, self.sweeps, self.norm = (config.mirage[name] for name in ("end_id", "sweeps", "feedback_norm"))

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None, **options: Any) -> "Mirage":
        """Load a folder onto a device (``None``: a GPU if there is one), with options of ``from_pretrained``."""
        model: Any = AutoModelForImageTextToText.from_pretrained(folder, **{"dtype": "auto"} | options)
        if "device_map" not in options:
            model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        learned = load_file(file) if (file := Path(folder, LATENTS)).is_file() else {}
        return cls(model, AutoProcessor.from_pretrained(folder), learned)

    def generate(
        self,
        questions: Sequence[str],
        images: Sequence[Sequence[Any]] | None = None,
        latent_sizes: Sequence[Sequence[int]] | None = None,
        max_new_tokens: int = 512,
        stop: Sequence[str] = (),
        **sampling: Any,
    ) -> list[Answer]:
        r"""Answer a batch of questions.

        Args:
            questions: ``<image>`` says where an image goes (without any they come first), ``\<image>`` is the word.
            images: of each question, paths or Pillow images.
            latent_sizes: of each answer, the latents of its blocks where they aren't as many as the model learned.
            max_new_tokens: most columns of an answer, latents included.
            stop: an answer ends before the first of these strings.
            sampling: ``temperature``, ``top_p``, ``top_k``, ``seed``, see :class:`Choice`; greedy without any.

        Raises:
            ValueError: an option out of range, not one marker for each image, or a text that names a token.
        """
        if max_new_tokens < 1 or isinstance(stop, str) or not all(stop):
            raise ValueError(f"{max_new_tokens=} must be 1 or more, and {stop=} a list of strings, none of them empty")
        rows = [Row(self, sizes, stop) for sizes in latent_sizes or [()] * len(questions)]
        choose = Choice(len(rows), max_new_tokens, **sampling)
        inputs = self.prepare(questions, images or [()] * len(rows)).to(self.model.device)
        config = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=self.latent_pad)
        self.model.generate(**inputs, generation_config=config, custom_generate=partial(self.decode, rows, choose))
        return [Answer(row.text, row.tokens, row.latents, row.ended) for row in rows]

    def prepare(self, questions: Sequence[str], images: Sequence[Sequence[Any]]) -> Any:
        """The questions as the model takes them, padded on the left."""
        texts = [self.render(question, len(row)) for question, row in zip(questions, images, strict=True)]
        given = {"images": [[open_image(image) for image in row] for row in images]} if any(images) else {}
        options = {"padding": True, "padding_side": "left", "return_tensors": "pt", "add_special_tokens": False}
        return self.processor(text=texts, **given, **options)

    def render(self, question: str, count: int) -> str:
        """A question with so many images in the chat template."""
        pieces = [piece.replace(r"\<image>", "<image>") for piece in re.split(r"(?<!\\)<image>", question)]
        pieces = pieces if len(pieces) > 1 else [""] * count + pieces
        if len(pieces) - 1 != count:
            raise ValueError(f"{len(pieces) - 1} <image> marker(s) for {count} image(s); give one for each, or none")
        if names := [name for name in self.tokenizer.get_added_vocab() if any(name in piece for piece in pieces)]:
            raise ValueError(f"a question names the token {names[0]}, and would be read as holding it; change the text")
        content: list[dict[str, str]] = []
        for number, piece in enumerate(pieces):
            content += [{"type": "image"}] * (number > 0) + [{"type": "text", "text": piece}] * bool(piece)
        chat = [{"role": "user", "content": content}]
        return str(self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))

    def decode(self, rows: Sequence["Row"], choose: "Choice", model: Any, input_ids: Tensor, **state: Any) -> None:
        """Write the answers: the loop that stock ``generate`` runs in place of its own."""
        unused = ("logits_processor", "stopping_criteria", "generation_config")
        columns = Columns(model, input_ids, {name: value for name, value in state.items() if name not in unused})
        hidden_BSD, logits_BV = columns.read()
        for column in range(choose.columns):
            fed_BD = self.feed_back(hidden_BSD[:, -1])
            choices = zip(rows, choose(logits_BV, column).tolist(), fed_BD, strict=True)
            written = [row.write(chosen, fed_D) for row, chosen, fed_D in choices]
            if all(row.ended for row in rows) or column + 1 == choose.columns:
                return
            words_BD = model.get_input_embeddings()(torch.tensor([token for token, _ in written], device=model.device))
            pairs = [(latent_D, word_D) for (_, latent_D), word_D in zip(written, words_BD, strict=True)]
            embeds_BD = torch.stack([word_D if latent_D is None else latent_D.to(word_D) for latent_D, word_D in pairs])
            hidden_BSD, logits_BV = columns.read(embeds_BD.unsqueeze(1))
            entering = [n for n, (token, _) in enumerate(written) if token == self.latent_start]
            if entering and (self.sweeps or "queries" in self.learned):
                k = max(rows[number].left for number in entering)
                latents_BkD = self.sweep(columns, self.feed_back(hidden_BSD[:, -1:]), k)
                for number in entering:
                    rows[number].waiting = list(latents_BkD[number, : rows[number].left])

    def sweep(self, columns: "Columns", first_B1D: Tensor, k: int) -> Tensor:
        """The latents of a block, written at once or refined in sweeps, for a model that was trained so."""
        if "queries" in self.learned:
            queries_kD = self.learned["queries"][:k].to(first_B1D)
            return self.feed_back(columns.read(queries_kD.expand(len(first_B1D), -1, -1), keep=False)[0])
        latents_BkD = first_B1D.expand(-1, k, -1)
        for _ in range(min(self.sweeps, k) - 1):
            states_BkD = self.feed_back(columns.read(latents_BkD, keep=False)[0])
            latents_BkD = torch.cat([first_B1D, states_BkD[:, :-1]], dim=1)
        return latents_BkD

    def feed_back(self, hidden: Tensor) -> Tensor:
        """The input embeddings that hidden states become: themselves, corrected, of the learned length, or a code."""
        if "codes" in self.learned:
            heads_CD, codes_CD = (self.learned[name].to(hidden) for name in ("heads", "codes"))
            return codes_CD[(hidden @ heads_CD.T).argmax(-1)]
        if "down_HD" in self.learned:
            inner = torch.nn.functional.gelu(hidden.to(self.learned["down_HD"]) @ self.learned["down_HD"].T)
            hidden = hidden + (inner @ self.learned["up_DH"].T).to(hidden)
        if not self.norm:
            return hidden
        length = hidden.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return hidden * (torch.tensor(self.norm).to(hidden) / length)


class Row:
    """One answer as it is written."""

    def __init__(self, mirage: Mirage, sizes: Sequence[int], stop: Sequence[str]) -> None:
        if any(size < 1 for size in sizes):
            raise ValueError(f"latent_sizes has {list(sizes)}; a block has 1 latent or more")
        self.mirage, self.sizes, self.stop = mirage, list(sizes), stop
        self.tokens: list[int] = []
        self.latents: list[Tensor] = []
        self.waiting: list[Tensor] = []  # latents of its block that were computed together
        self.left = -1  # latents that it still has to write; 0: it leaves the block now; -1: it writes text
        self.ended = False  # whether it wrote the end token or a stop string

    @property
    def text(self) -> str:
        """What it has written, without special tokens, cut before a stop string."""
        text = str(self.mirage.tokenizer.decode(self.tokens, skip_special_tokens=True))
        return text[: min((place for stop in self.stop if (place := text.find(stop)) >= 0), default=len(text))]

    def write(self, chosen: int, fed_D: Tensor) -> tuple[int, Tensor | None]:
        """Write a column: the chosen token, or what the row's state requires. Return its token, and its latent."""
        if self.ended or (self.left < 0 and chosen == self.mirage.end):
            self.ended = True
            return self.mirage.latent_pad, None
        latent_D, token = None, chosen if self.left < 0 else self.mirage.latent_end
        if self.left > 0:
            latent_D, token = self.waiting.pop(0) if self.waiting else fed_D, self.mirage.latent_pad
            self.latents.append(latent_D)
        self.left -= self.left >= 0
        if latent_D is None and token == self.mirage.latent_start:
            self.left = self.sizes.pop(0) if self.sizes else self.mirage.latent_size
        self.tokens.append(token)
        text = self.mirage.tokenizer.decode(self.tokens, skip_special_tokens=True) if self.stop else ""
        self.ended = any(stop in text for stop in self.stop)
        return token, latent_D


class Columns:
    """What the model has read. Cache, mask and positions are kept by transformers' own code, as ``generate`` does."""

    def __init__(self, model: Any, tokens_BT: Tensor, state: dict[str, Any]) -> None:
        self.model, self.tokens_BT, self.state, self.outputs = model, tokens_BT, state, None

    def read(self, embeds_BSD: Tensor | None = None, keep: bool = True) -> tuple[Tensor, Tensor]:
        """Read, or (``keep`` false) only try, columns: their ``[B, S, D]`` before the head, the last's logits."""
        state, tokens_BT, S = self.state, self.tokens_BT, None
        if embeds_BSD is not None:
            S = embeds_BSD.shape[1]
            tokens_BT = torch.cat([tokens_BT, tokens_BT[:, -1:].expand(-1, S)], dim=1)  # only their number matters
            state = self.model._update_model_kwargs_for_generation(self.outputs, dict(state), num_new_tokens=S)
            state |= {"logits_to_keep": 0} if "logits_to_keep" in state else {}
            state |= {} if keep else {"past_key_values": deepcopy(state["past_key_values"])}
        prepare = self.model.prepare_inputs_for_generation
        inputs = prepare(tokens_BT, next_sequence_length=S, is_first_iteration=S is None, **state)
        inputs |= {} if embeds_BSD is None else {"input_ids": None, "inputs_embeds": embeds_BSD}
        hidden: list[Tensor] = []
        head = self.model.get_output_embeddings()
        with head.register_forward_pre_hook(lambda _, args: hidden.append(args[0])):
            outputs = self.model(**inputs, return_dict=True)
        if keep:
            self.state, self.tokens_BT, self.outputs = state, tokens_BT, outputs
        return hidden[0], outputs.logits[:, -1]


class Choice:
    """Choose the next token of every row: greedily (``temperature`` 0), or by random numbers.

    They depend on ``seed`` and the row's number. ``top_p`` draws from the fewest tokens whose probabilities sum to it,
    ``top_k`` from so many of the likeliest, 0 from all.
    """

    def __init__(
        self, count: int, columns: int, temperature: float = 0.0, top_p: float = 1.0, top_k: int = 0, seed: int = 0
    ) -> None:
        if temperature < 0 or not 0 < top_p <= 1 or top_k < 0:
            raise ValueError(f"{temperature=} must be 0 or more, {top_p=} above 0 and at most 1, {top_k=} 0 or more")
        self.columns = columns
        self.warpers: list[Any] = [generation.TemperatureLogitsWarper(float(temperature))] if temperature else []
        self.warpers += [generation.TopKLogitsWarper(top_k)] if temperature and top_k else []
        self.warpers += [generation.TopPLogitsWarper(float(top_p))] if temperature and top_p < 1 else []
        streams = [torch.Generator().manual_seed(seed * 1_000_003 + row) for row in range(count)]
        self.random_BT = torch.stack([torch.rand(columns, generator=s, dtype=torch.float64) for s in streams])

    def __call__(self, logits_BV: Tensor, column: int) -> Tensor:
        """Choose token ids ``[B]``."""
        for warper in self.warpers:
            logits_BV = warper(None, logits_BV.float())
        if not self.warpers:
            return logits_BV.argmax(-1)
        shares_BV = logits_BV.double().softmax(-1).cumsum(-1)
        random_B1 = self.random_BT[:, column, None].to(shares_BV) * shares_BV[:, -1:]
        return torch.searchsorted(shares_BV, random_B1, right=True).squeeze(1)


def open_image(source: Any) -> Image.Image:
    """A path or Pillow image as it is shown on a white page: upright, first frame, RGB. Colour profiles are ignored."""
    image = ImageOps.exif_transpose(source if isinstance(source, Image.Image) else Image.open(source))
    if image.mode.startswith("I"):  # 16 bits
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    page, layer = Image.new("RGB", image.size, "white"), image.convert("RGBA")
    page.paste(layer, mask=layer.getchannel("A"))
    return page


def main() -> None:
    """Answer one question on the command line."""
    parser = argparse.ArgumentParser(description="Ask the model in this folder about images.")
    parser.add_argument("--question", required=True, help="may hold <image> for each image")
    parser.add_argument("--image", action="append", default=[], help="a file; several: --image a.png --image b.png")
    parser.add_argument("--stop", action="append", default=[], help="end the answer before this text")
    for name, default in {"max-new-tokens": 512, "temperature": 0.0, "top-p": 1.0, "top-k": 0, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{default} if not given")
    parser.add_argument("--model", default=str(Path(__file__).resolve().parent), help="the folder of the model")
    parser.add_argument("--device", help="cuda, cpu, …")
    given = vars(parser.parse_args())
    try:
        mirage = Mirage.load(given.pop("model"), given.pop("device"))
        answer = mirage.generate([given.pop("question")], [given.pop("image")], **given)[0]
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {str(error).splitlines()[0]}") from None
    print(f"{answer.text}\n({len(answer.latents)} latents{'' if answer.finished else '; cut at --max-new-tokens'})")


if __name__ == "__main__":
    main()
