"""Put a test set to a model, batch by batch, keeping every batch's answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

from mirage_pl.engine.evaluation.journal import Journal


@dataclass(frozen=True)
class Asked:
    """A batch that was answered.

    Attributes:
        samples: the questions that could be asked.
        generation: their answers; ``None`` without any.
        failures: ``where`` and ``error`` of those that couldn't.
    """

    samples: list[Any]
    generation: Any
    failures: list[dict[str, str]]


def ask(
    trained: Any, samples: Sequence[Any], width: int, decoding: Mapping[str, Any], kept: Journal
) -> Iterator[Asked]:
    """Answer all samples in order, ``width`` at a time; a question that can't be asked doesn't keep the others back."""
    from rich.progress import track

    for number, first in enumerate(track(range(0, len(samples), width), f"Answering {len(samples)} questions")):
        batch = [samples[index] for index in range(first, min(first + width, len(samples)))]
        found = kept.once(f"answers-{number}", partial(ask_batch, trained, batch, decoding))
        generation = found["generation"] and trained.module.generation_type(**found["generation"])
        yield Asked([batch[index] for index in found["rows"]], generation, found["failures"])


def ask_batch(trained: Any, samples: Sequence[Any], decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one batch; as plain values."""
    failures = []
    rows = list(range(len(samples)))
    try:
        prompts = trained.collator.prompts(samples)
    except ValueError:  # one of them: find out which
        failures = [failure for sample in samples if (failure := failure_of(trained.collator, sample))]
        rows = [row for row in rows if samples[row].where not in {failure["where"] for failure in failures}]
        prompts = trained.collator.prompts([samples[row] for row in rows]) if rows else None
    answered = vars(trained.module.generate(prompts.to(trained.device), **decoding)) if prompts else None
    return {"rows": rows, "generation": answered, "failures": failures}


def failure_of(collator: Any, sample: Any) -> dict[str, str] | None:
    """Why a question can't be asked."""
    try:
        collator.prompts([sample])
    except ValueError as error:
        return {"where": sample.where, "error": str(error)}
    return None


def describe_test(dataset: Any, file: str, training: Any, learnt: set[str] | None) -> dict[str, Any]:
    """What is asked, and how much of it the model was trained on.

    Args:
        dataset: the test set.
        file: its file.
        training: the ``task`` of the run's config.
        learnt: identities of the training rows, ``None`` where they can't be told.

    Returns:
        ``file``, ``rows``, ``digest`` of the questions in order, ``train_file``, and ``seen``: how many are in it.
    """
    identities = [identity(dataset, dataset[index]) for index in range(len(dataset))]
    digest = sha256(" ".join(identities).encode()).hexdigest()[:12]
    facts = {"file": str(file), "rows": len(identities), "digest": digest, "train_file": str(training.train_file)}
    return facts | {"seen": None if learnt is None else sum(identity in learnt for identity in identities)}


def identity(dataset: Any, sample: Any) -> str:
    """Identity of a question; one that can't be read, which :func:`ask` will name, has one of its own."""
    try:
        return str(dataset.identity(sample))
    except ValueError:
        return f"unreadable {sample.where}"


def training_questions(task: Any) -> set[str] | None:
    """Identities of the training rows; ``None`` where the file isn't there any more, can't be read, or is too large."""
    from hydra.utils import instantiate

    if not task.train_file:
        return None
    try:
        return set(instantiate(task.dataset).read(task.train_file).identities()) or None
    except ValueError:
        return None
