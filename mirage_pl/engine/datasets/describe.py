"""Make, check, describe, divide and clean data: ``python -m mirage_pl.data task=TASK``."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

ACTIONS = ("validate", "split", "dedupe")
"""What may be asked for in place of making and describing."""


def run(cfg: DictConfig) -> None:
    """Make what is missing and describe it; or list bad rows, divide files, or take copies out.

    Raises:
        ValueError: bad rows were found, or a mistake in the config.
    """
    from hydra.utils import instantiate

    from mirage_pl.engine.datasets import split as data_split

    dataset: Any = instantiate(cfg.task.dataset)
    files = {split: file for split, file in cfg.task.data.files.items() if file is not None}
    if len(asked := [action for action in ACTIONS if cfg[action]]) > 1:
        raise ValueError(f"{asked[0]} and {asked[1]} are different things to do; give one of them")
    if not cfg.validate:
        make(instantiate(cfg.task.data.maker), files)
    out = None if cfg.out is None else Path(cfg.out)
    if cfg.validate:
        validate(dataset, files, instantiate(cfg.collator), cfg.loader.max_length)
    elif cfg.split:
        if "train" not in files:
            raise ValueError("split= divides the rows of task.train_file, which is null; set it")
        shares: Any = OmegaConf.to_container(cfg.split) if OmegaConf.is_config(cfg.split) else cfg.split
        data_split.show(data_split.split(dataset, files["train"], shares, cfg.seed, out))
    elif cfg.dedupe:
        data_split.show(data_split.dedupe(dataset, files, out))
    else:
        show(cfg, {split: dataset.read(file) for split, file in files.items()}, files)


def show(cfg: DictConfig, splits: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    """Describe splits, and draw a sheet of them where one is wanted."""
    from hydra.utils import instantiate

    describe(splits, files, instantiate(cfg.collator), cfg.loader.max_length)
    if cfg.sheet:
        from mirage_pl.engine.datasets.sheet import write_sheet

        made = write_sheet(Path(cfg.sheet), cfg.task.name, splits, cfg.num_shown, cfg.seed)
        print(f"sheet: {made[0]}, {made[1]}")


def make(maker: Any, files: Mapping[str, Any]) -> None:
    """Make a task's own files where they are missing."""
    if maker is not None and maker.makes(files.values()) and not maker.is_made():
        maker.make()


def validate(dataset: Any, files: Mapping[str, Any], collate: Any, max_length: int | None) -> None:
    """Print every bad row of every file, images included.

    Args:
        dataset: reads files.
        files: what it reads, by split.
        collate: says which rows a model can't be shown, to train on them or, of ``test``, to be asked; ``None``: none.
        max_length: rows with more tokens are bad, too.

    Raises:
        ValueError: there are bad rows.
    """
    bad: Counter[str] = Counter()
    for split, file in files.items():
        unusable = [partial(collate.problem, answers=split != "test", max_length=max_length)] if collate else []
        for problem in dataset.problems(file, *unusable):
            bad[split] += 1
            print(problem)
    if bad:
        counts = ", ".join(f"{count} in {files[split]}" for split, count in bad.items())
        raise ValueError(f"bad rows: {counts}; correct or remove the rows listed above")
    print(f"no bad rows in: {', '.join(map(str, files.values()))}")


@dataclass
class Facts:
    """What is counted of a split, row by row.

    Attributes:
        rows: how many.
        words: of each fact in words, how often each was said, and of how many rows.
        numbers: of each fact in numbers, all of them.
    """

    rows: int = 0
    words: dict[str, Counter[str]] = field(default_factory=dict)
    with_words: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, list[float]] = field(default_factory=dict)

    def add(self, facts: Mapping[str, str | float | Sequence[str]]) -> None:
        """Count a row."""
        self.rows += 1
        for name, fact in facts.items():
            if isinstance(fact, int | float):
                self.numbers.setdefault(name, []).append(fact)
                continue
            words = [fact] if isinstance(fact, str) else fact
            self.words.setdefault(name, Counter()).update(words)
            self.with_words[name] += bool(words)

    def told(self, name: str) -> str:
        """Say what was counted under a name."""
        if name in self.numbers:
            return spread(self.numbers[name])
        words = self.words.get(name, Counter())
        if name == "group":
            return ", ".join(f"{word} {count}" for word, count in sorted(words.items()))
        without = self.rows - self.with_words[name]
        return commonest(words) + (f", {without} rows without" if words and without else "")


def describe(splits: Mapping[str, Any], files: Mapping[str, Any], collate: Any, max_length: int | None) -> None:
    """Print rows, groups, facts and tokens of every split, and where they lie.

    Args:
        splits: name -> data set.
        files: name -> what was read.
        collate: knows how many tokens a row makes; ``None``: tokens aren't counted.
        max_length: count the rows with more tokens.
    """
    from rich.console import Console
    from rich.table import Table

    from data_modules.loading.datamodule import check_disjoint

    counted, tokens = {}, {}
    for split, rows in splits.items():
        counted[split], tokens[split] = Facts(), list[float]()
        for sample in map(rows.__getitem__, range(len(rows))):
            counted[split].add(rows.facts(sample))
            if collate is not None:
                tokens[split].append(sum(collate.widths(sample)))
    names = dict.fromkeys(name for facts in counted.values() for name in (*facts.words, *facts.numbers))
    table = Table("split", "rows", *("by group" if name == "group" else name for name in names), "tokens a row")
    for split, facts in counted.items():
        length = spread(tokens[split]) + overflow(tokens[split], max_length) if tokens[split] else "–"
        table.add_row(split, str(facts.rows), *map(facts.told, names), length)
    compared = "share no sample" if check_disjoint(splits) else "were not compared"
    Console().print(table)
    print(f"{' and '.join(splits)} {compared}" if len(splits) > 1 else "one file only: nothing to hold apart")
    for split, file in files.items():
        print(f"{split}: {file}")


def spread(numbers: Sequence[float]) -> str:
    """Mean, smallest and largest."""
    return f"{sum(numbers) / len(numbers):.1f} ({min(numbers):g} to {max(numbers):g})"


def overflow(tokens: Sequence[float], max_length: int | None) -> str:
    """How many rows are longer than allowed."""
    if max_length is None:
        return ""
    return f", {sum(length > max_length for length in tokens)} above {max_length}"


def commonest(words: Counter[str]) -> str:
    """The three words said most often, and how many others there are."""
    first = [f"{count} of {word}" for word, count in words.most_common(3)]
    others = words.total() - sum(count for _, count in words.most_common(3))
    return ", ".join([*first, f"{others} others"] if others else first) or "none"
