"""A trained run as a model of lmms-eval: it answers as ``evaluate`` has it answer, latents included."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms
from rich.progress import track

from integrations.lmms_eval.messages import read_messages
from mirage_pl.engine.checkpoints.trained import load_trained

log = logging.getLogger(__name__)

KNOWN = ("max_new_tokens", "temperature", "top_p", "top_k", "until", "do_sample")
"""What is taken from a task's ``generation_kwargs``."""


class Run(lmms):
    """Answer lmms-eval's requests with a run.

    Args:
        ckpt: run folder or checkpoint file.
        accelerator: ``auto``, ``cpu`` or ``gpu``.
        batch_size: questions answered at a time; no answer depends on it.
        max_new_tokens: in place of the task's own limit. It counts latents, too, for which tasks that ask for a letter
            leave no room.
        seed: of the draws, where a task samples.
        others: of lmms-eval, ``device`` and the like; unused.

    Raises:
        ValueError: no checkpoint there, or a bad value.
    """

    is_simple = False

    def __init__(
        self,
        ckpt: str,
        accelerator: str = "auto",
        batch_size: int | str = 1,
        max_new_tokens: int | str | None = None,
        seed: int | str = 0,
        **others: Any,
    ) -> None:
        super().__init__()
        if unknown := others.keys() - {"device", "max_batch_size"}:
            raise ValueError(
                f"--model_args has unknown {sorted(unknown)}; known are ckpt, accelerator, max_new_tokens, seed"
            )
        self.batch_size = read_count("--batch_size", batch_size)
        self.limit = None if max_new_tokens is None else read_count("max_new_tokens", max_new_tokens)
        self.seed = int(seed)
        self.trained = load_trained(str(ckpt), accelerator)

    def generate_until(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests, those of the same decoding together.

        Raises:
            ValueError: a question shows something else than images, or its decoding isn't ours; names it.
        """
        by_decoding: dict[str, tuple[dict[str, Any], list[int]]] = {}
        for index, request in enumerate(requests):
            options = self.read_decoding(request.args[2])
            by_decoding.setdefault(repr(options), (options, []))[1].append(index)
        answers: dict[int, Any] = {}
        cut: Counter[int] = Counter()
        batches = [
            (options, indices[first : first + self.batch_size])
            for options, indices in by_decoding.values()
            for first in range(0, len(indices), self.batch_size)
        ]
        for options, indices in track(batches, "Answering"):
            generation = self.answer([requests[index].args for index in indices], options)
            cut[options["max_new_tokens"]] += generation.finished.count(False)
            for index, text, tokens in zip(indices, generation.texts, generation.tokens, strict=True):
                answers[index] = GenerationResult(text, TokenCounts(output_tokens=len(tokens)))
        for limit, count in cut.items():
            if count:
                log.warning(
                    "%d answer(s) were cut at max_new_tokens=%d, latents included; give another one", count, limit
                )
        return [answers[index] for index in range(len(requests))]

    def answer(self, asked: Iterable[tuple[Any, ...]], options: Mapping[str, Any]) -> Any:
        """Answer a batch of requests' arguments."""
        samples = [
            read_messages(show(self.task_dict[task][split][number]), f"{task}/{split}:{number}")
            for _, show, _, number, task, split in asked
        ]
        prompts = self.trained.collator.prompts(samples).to(self.trained.device)
        return self.trained.module.generate(prompts, **options)

    def read_decoding(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Turn a task's ``generation_kwargs`` into options of our decoding; greedy unless the task samples.

        Raises:
            ValueError: it asks for a beam search.
        """
        if (given.get("num_beams") or 1) > 1:
            raise ValueError(
                f"num_beams={given['num_beams']}: runs decode greedily or sample; give --gen_kwargs num_beams=1"
            )
        options = {key: given[key] for key in KNOWN if given.get(key) is not None}
        stop = options.pop("until", [])
        if not options.pop("do_sample", True):
            options["temperature"] = 0
        options["max_new_tokens"] = (
            self.limit or options.get("max_new_tokens") or self.trained.config.task.max_new_tokens
        )
        return options | {"stop": [stop] if isinstance(stop, str) else list(stop), "seed": self.seed}

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        """Refuse: a latent is no token, so an answer with latents has no likelihood that tasks could compare."""
        raise ValueError("mirage_pl writes answers; choose tasks whose output_type is generate_until")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[Any]:
        """Refuse: runs are trained on single questions."""
        raise ValueError("mirage_pl answers single questions; choose tasks whose output_type is generate_until")


def read_count(name: str, given: int | str) -> int:
    """Read a whole number from 1.

    Raises:
        ValueError: it is none.
    """
    if not str(given).isdecimal() or int(given) < 1:
        raise ValueError(f"{name}={given} must be a whole number of 1 or more")
    return int(given)
