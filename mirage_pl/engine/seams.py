"""Every protocol that a family meets. A family implements what it needs; the engine calls nothing else of it.

A stage is a ``BaseModule`` (``training/base.py``), or a ``Turns``. What is code lies beside what it serves:
``training/draws.py`` (randomness by step), ``runs/starts.py`` (weights of other runs; ``Fitting`` in
``checkpoints/weights.py``), ``serving/chat.py``, ``rl/policy.py``, ``data_modules/loading/gathered.py`` (own samples).
"""

from __future__ import annotations  # so that reports, which load no torch, have its records

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

from data_modules.scores import Scores as Scores

Row = dict[str, Any]
"""One item under one condition: ``id``, ``where``, ``group``, a number or bool for each measure, and more. Items that
aren't independent, such as clips of an episode, share a ``unit``: intervals of means draw units."""

OWN = "own"
"""The condition that is none: the model as it is."""


class Located(Protocol):
    """A sample: anything that says where it comes from."""

    @property
    def where(self) -> str:
        """``file:line`` of a row, ``file:line@frame`` of a clip; errors and predictions name it."""


S = TypeVar("S", bound=Located)


class Rows(Protocol[S]):
    """A data set: samples, and what ``data`` says of them."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, index: int) -> S:
        """Return one sample; pictures and clips are opened later, by the collator."""

    def identity(self, sample: S) -> str:
        """Return 12 hex digits of what is asked or shown: the same in whatever file a sample stands."""

    def identities(self) -> Mapping[str, str]:
        """Return identity -> where, of all rows, so that splits can be proved disjoint."""

    def facts(self, sample: S) -> Mapping[str, str | float | Sequence[str]]:
        """Return what is counted of a sample: words (``group``, or several, such as sizes) and numbers."""

    def caption(self, sample: S) -> str:
        """Return what is said of a sample beside its picture: what is asked and answered, what is done."""

    def picture(self, sample: S) -> Drawn:
        """Draw a sample, for sheets and galleries: a picture, or a clip's frames."""


class Graded(Rows[S], Protocol[S]):
    """A data set that grades answers: the same grade serves evaluation and a reward."""

    def grade(self, sample: S, answer: Any) -> Scores:
        """Grade an answer to a sample; without values where the row holds no truth, as in a hidden test split."""


class Files(Protocol[S]):
    """``task.dataset``: a data set before it is read, made of the task's options alone."""

    def read(self, file: Any) -> Rows[S]:
        """Return the rows of what the task calls a file: a path, a glob, a list.

        Raises:
            ValueError: a bad row (with its place), or no row.
        """

    def problems(self, file: Any) -> Iterator[str]:
        """Yield what is wrong with every bad row, for ``data validate=true``."""


class Batch(Protocol):
    """What a collator makes of samples. ``num_real`` and ``num_columns``, where there, give throughput in tokens."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def to(self, device: Any) -> Self:
        """Return the batch on a device."""


@dataclass(frozen=True)
class Measure:
    """What is measured of items.

    Attributes:
        kind: ``share`` of items (Wilson's interval), ``mean`` over items (bootstrap), or one number for the whole
            ``set`` (no interval within a run).
        better: ``higher`` or ``lower``.
        unit: ``dB``, ``steps``; shares are shown in percent.
        meaning: a sentence for the note below the table.
    """

    kind: Literal["share", "mean", "set"]
    better: Literal["higher", "lower"] = "higher"
    unit: str = ""
    meaning: str = ""


Drawn: TypeAlias = "Image | Sequence[Image]"
"""A picture, or a clip's frames."""

Once = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]
"""``once(name, make)``: what ``make()``, plain values and tensors, returned when it was called first, in this process
or in an interrupted one (``evaluation/journal.py``)."""


class Trial(Protocol):
    """An evaluation of one module on some items: what :meth:`Evaluation.open` returns. Subclass it for defaults.

    Attributes:
        failures: ``where`` and ``error`` of each item that can't be scored, once ``own`` was.
        hidden: measures that say nothing of these items, once ``own`` was scored: not in tables, pages and logs.
    """

    failures: Sequence[Mapping[str, str]]
    hidden: Sequence[str] = ()

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Score all items, batch by batch and always in the same order: as the model is (``own``, first), or tampered.

        A measure without a value (``None``, or absent) makes an item ungraded.
        """

    @property
    def conditions(self) -> Sequence[str]:
        """The conditions to score besides ``own``, none by default; asked for before it is scored, and once it was.

        Raises:
            ValueError: one that was asked for can't be made of these items; names it.
        """
        return ()

    def over_all(self, condition: str, rows: Sequence[Row]) -> Mapping[str, float]:
        """Return the measures of kind ``set`` over some rows of a condition."""
        return {}

    def summarize(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """Return further facts of the rows of ``own``, for ``metrics.json``: counts of outcomes, say."""
        return {}

    def remark(self, rows: Sequence[Row]) -> Sequence[str]:
        """Return sentences for the console on what limits the scores of ``own``."""
        return ()

    def contrast(self, condition: str, own: Sequence[Row], rows: Sequence[Row]) -> Mapping[str, Any]:
        """Return what else differs under a condition, by name: ``{"mean", "n"}``, or an interval."""
        return {}

    def describe(self) -> Mapping[str, Any]:
        """Return numbers about the model, once ``own`` was scored: cosines, usage of codes."""
        return {}

    def pictures(self, rows: Sequence[int]) -> Iterator[tuple[str, Drawn]]:
        """Yield (file name without its ending, picture) about the model: of the whole set, and of some rows of it."""
        return iter(())

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Yield pictures of a row, ``("", the model's)``, ``("truth", …)``, without the model: one rank alone draws."""
        return iter(())


class Evaluation(Protocol):
    """Items scored by named measures under named conditions. ``conf/evaluation/<name>.yaml`` builds it.

    Its constructor refuses, as ``ValueError``, conditions that there aren't: before anything heavy is loaded.

    Attributes:
        name: ``answers``, ``prediction``, ``control``. A class may name in ``like`` another whose tasks it scores, too.
        measures: by name; the first one ranks runs.
        conditions_in: the key of ``metrics.json`` and of rows that holds conditions by name.
        numbers_in: the key of ``metrics.json`` that holds :meth:`Trial.describe`, and the folder of its pictures.
        words: dotted path of the family's :class:`Words`, in ``mirage_pl`` or the user's own package; ``None``: none.
        facts: for ``metrics.json``: knobs on which the rows of ``own`` depend, such as how answers are decoded.
    """

    name: str
    measures: Mapping[str, Measure]
    conditions_in: str
    numbers_in: str
    words: str | None
    facts: Mapping[str, Any]

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> Trial:
        """Prepare items of a data module's split.

        Args:
            module: on its device, not training.
            data: a data module that was set up, with ``datasets``, ``collate`` and ``loader``.
            once: keeps what was computed, so that an interrupted evaluation goes on.
            split: which of ``data.datasets``.
            picks: indices of the items; ``None``: all.
        """


class Words(Protocol):
    """A family's words in a report: a module without torch, such as ``mirage_pl/mirage/report.py``.

    ``PlainWords`` in ``engine/words.py`` says nothing in all of them.
    """

    CONDITIONS: Mapping[str, str]
    NUMBERS: Mapping[str, str]

    @staticmethod
    def sections(results: Sequence[Any]) -> Mapping[str, str]:
        """Return heading -> HTML of further sections of an evaluation's page."""

    @staticmethod
    def verdict(metrics: Mapping[str, Any]) -> Sequence[str]:
        """Return sentences that follow from the conditions of one run: about this checkpoint, not the method."""

    @staticmethod
    def describe_method(method: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return marks of a method by its entry in ``results.json``: word -> whether it is shown; ``None``: unknown."""

    @staticmethod
    def judge_methods(methods: Mapping[str, Mapping[str, Any]], baseline: str) -> Sequence[str]:
        """Return sentences about the methods of a study, by their entries in ``results.json``."""


@dataclass(frozen=True)
class Piece:
    """Something that a session says or shows, as it comes.

    Attributes:
        kind: ``text`` is printed; the others are saved, and a page shows them each in its way.
        content: a string; otherwise an object with ``save(file)``, such as a Pillow image.
        name: of the file, with its ending.
    """

    kind: Literal["text", "picture", "clip", "cloud", "cameras"]
    content: Any
    name: str = ""


class Session(Protocol):
    """One use of a trained run; ``infer`` takes one, a server keeps many. ``conf/session/<name>.yaml`` makes a function
    of a ``Trained`` of it; a class may name in ``uses`` what a ``Trained`` must have: ``("module.net.encode",)``.

    Attributes:
        takes: what ``begin`` is given, by name: ``text``, ``image``, ``clip`` or ``number``; ``step`` some of it.
    """

    takes: Mapping[str, str]

    def begin(self, **given: Any) -> Iterator[Piece]:
        """Begin anew: a question with its images, a first observation."""

    def step(self, **given: Any) -> Iterator[Piece]:
        """Go on: a further question, an action, an observation."""


@runtime_checkable
class Exporting(Protocol):
    """A module that others can use without us: what ``python -m mirage_pl.export`` asks of it."""

    def export(self, folder: Path, trained: Any, shard_size: str) -> Mapping[str, Tensor]:
        """Write ``config.json``, weights in files of ``shard_size``, and in ``README.md`` how to use them.

        ``trained`` is the run (``checkpoints/trained.py``). Return tensors, by name in the module, as others read them.
        ``ValueError`` if they read something else than was trained.
        """


@dataclass(frozen=True)
class Footprint:
    """What a model takes: what the config key ``footprint`` names makes it of config and bytes of an activation.

    Attributes:
        parameters: part of the model -> how many it has.
        trained: parts that learn.
        unit: parameters of the largest piece that FSDP2 gathers at once.
        gathered: parameters that one batch gathers on its way forward, repeated passes counted.
        activation_bytes: of all that one batch keeps for its gradient.
        batch: the batch in words, such as ``4 x 1024 tokens``.
    """

    parameters: Mapping[str, int]
    trained: Sequence[str]
    unit: int
    gathered: int
    activation_bytes: int
    batch: str
