"""Make, check, describe, divide and clean data: ``python -m mirage_pl.data task=TASK``."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from data_modules.loading.datamodule import check_disjoint
from data_modules.missing import make_missing
from mirage_pl.engine.arguments import check_arguments
from mirage_pl.engine.console import Grid, print_grid
from mirage_pl.engine.datasets import split as data_split
from mirage_pl.engine.datasets.keep import keep_rows
from mirage_pl.engine.datasets.sheet import write_sheet
from mirage_pl.engine.keys import check_keys

ACTIONS = ("validate", "split", "dedupe", "keep", "convert")
"""Options that replace making and describing; at most one may be set."""


@runtime_checkable
class Convertible(Protocol):
    """A data set that can be written in a form that others read: what ``data convert=`` asks of it."""

    def convert(self, file: Any, folder: Path) -> str:
        """Write the rows of a file into a new folder; return what was written, in words."""


def run(cfg: DictConfig) -> None:
    """Make missing data and describe it; or print bad rows, divide a file, drop copies, keep rows, or convert a file.

    Raises:
        ValueError: there are bad rows, or a mistake in the config.
    """
    files = check_config(cfg)
    dataset: Any = instantiate(cfg.task.dataset)
    if not cfg.validate:
        make_missing(instantiate(cfg.task.data.maker), files.values())
    out = None if cfg.out is None else Path(cfg.out)
    if cfg.validate:
        print_bad_rows(dataset, files, instantiate(cfg.collator), cfg.loader.max_length)
    elif cfg.split or cfg.keep:
        data_split.print_files(choose_rows(cfg, dataset, files, out))
    elif cfg.dedupe:
        data_split.print_files(data_split.drop_copies(dataset, files, out))
    elif cfg.convert:
        convert_files(dataset, files, Path(cfg.convert))
    else:
        describe_data(cfg, {split: dataset.read(file) for split, file in files.items()}, files)


def choose_rows(cfg: DictConfig, dataset: Any, files: Mapping[str, Any], out: Path | None) -> dict[str, list[Path]]:
    """Divide the training rows, or keep some; return split -> its new files.

    Raises:
        ValueError: there are no training rows, or they can't be chosen so.
    """
    key = "split" if cfg.split else "keep"
    if "train" not in files:
        raise ValueError(f"{key}= chooses from the rows of task.train_file, which is null; set it")
    rule: Any = OmegaConf.to_container(cfg[key]) if OmegaConf.is_config(cfg[key]) else cfg[key]
    if key == "split":
        return data_split.split_rows(dataset, files["train"], rule, cfg.seed, out)
    return keep_rows(dataset, files["train"], rule, out)


def convert_files(dataset: Any, files: Mapping[str, Any], folder: Path) -> None:
    """Write each split in a form that others read, into a folder of its own.

    Raises:
        ValueError: the data set has no such form.
    """
    if not isinstance(dataset, Convertible):
        raise ValueError("convert= is for episodes, without task.reads=steps; rows of this task stay in their form")
    for split, file in files.items():
        print(f"{folder / split}: {dataset.convert(file, folder / split)}")


def check_config(cfg: DictConfig) -> dict[str, Any]:
    """Refuse values that can't be, and several things to do at once.

    Returns:
        Split -> what the data set reads.

    Raises:
        ValueError: names the key.
    """
    check_keys(cfg, "data")
    for key in ("loader", "collator", "task.dataset", "task.data.maker"):
        check_arguments(cfg, key)
    instantiate(cfg.loader)  # checks its numbers
    if len(actions := [action for action in ACTIONS if cfg[action]]) > 1:
        raise ValueError(f"{actions[0]} and {actions[1]} are different things to do; give one of them")
    files = {str(split): file for split, file in cfg.task.data.files.items() if file is not None}
    if not files and not cfg.split:
        raise ValueError(f"task={cfg.task.name} names no file of rows; give task.train_file=FILE")
    return files


def describe_data(cfg: DictConfig, splits: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    """Print what the splits hold, and write a sheet of them if ``cfg.sheet`` names a folder."""
    print_splits(splits, files, instantiate(cfg.collator), cfg.loader.max_length)
    if cfg.sheet:
        page, picture = write_sheet(Path(cfg.sheet), cfg.task.name, splits, cfg.num_shown, cfg.seed)
        print(f"sheet: {page}, {picture}")


def print_bad_rows(dataset: Any, files: Mapping[str, Any], collate: Any, max_length: int | None) -> None:
    """Print every bad row of every file, bad images included.

    Args:
        dataset: reads the files.
        files: split -> what the data set reads.
        collate: finds rows that a model can't be shown, with their answers except in ``test``; ``None``: not checked.
        max_length: rows with more tokens are bad, too; ``None``: no limit.

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
    """The facts of a split's rows, collected.

    Attributes:
        rows: their number.
        words: fact -> how often each of its words occurs.
        with_words: fact -> number of rows that have any word of it.
        numbers: fact -> its number in each row that has one.
    """

    rows: int = 0
    words: dict[str, Counter[str]] = field(default_factory=dict)
    with_words: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, list[float]] = field(default_factory=dict)

    def add(self, facts: Mapping[str, str | float | Sequence[str]]) -> None:
        """Add the facts of one row."""
        self.rows += 1
        for name, fact in facts.items():
            if isinstance(fact, int | float):
                self.numbers.setdefault(name, []).append(fact)
                continue
            words = [fact] if isinstance(fact, str) else fact
            self.words.setdefault(name, Counter()).update(words)
            self.with_words[name] += bool(words)

    def write_fact(self, name: str) -> str:
        """Summarize a fact over all rows, as text."""
        if name in self.numbers:
            return write_spread(self.numbers[name])
        words = self.words.get(name, Counter())
        if name == "group":
            return ", ".join(f"{word} {count}" for word, count in sorted(words.items()))
        without = self.rows - self.with_words[name]
        return list_commonest(words) + (f", {without} rows without" if words and without else "")


def print_splits(splits: Mapping[str, Any], files: Mapping[str, Any], collate: Any, max_length: int | None) -> None:
    """Print the rows, groups, facts and tokens of every split, and where its files are.

    Args:
        splits: split -> data set.
        files: split -> what was read.
        collate: counts the tokens of a row; ``None``: they aren't counted.
        max_length: how many rows have more tokens is printed; ``None``: it isn't.
    """
    facts_of, tokens = {}, {}
    for split, rows in splits.items():
        facts_of[split], tokens[split] = Facts(), list[float]()
        for sample in map(rows.__getitem__, range(len(rows))):
            facts_of[split].add(rows.facts(sample))
            if collate is not None:
                tokens[split].append(sum(collate.widths(sample)))
    names = dict.fromkeys(name for facts in facts_of.values() for name in (*facts.words, *facts.numbers))
    heads = ["split", "rows", *("by group" if name == "group" else name for name in names), "tokens a row"]
    table = []
    for split, facts in facts_of.items():
        length = write_spread(tokens[split]) + count_overlong(tokens[split], max_length) if tokens[split] else "–"
        cells = [facts.write_fact(name).replace(", ", ",\n") for name in names]
        table.append([split, str(facts.rows), *cells, length])
    relation = "share no sample" if check_disjoint(splits) else "were not compared"
    print_grid(Grid(heads, table))
    print(f"{' and '.join(splits)} {relation}" if len(splits) > 1 else "one split only: nothing to compare")
    for split, file in files.items():
        print(f"{split}: {file}")


def write_spread(numbers: Sequence[float]) -> str:
    """Write mean, smallest and largest."""
    return f"{sum(numbers) / len(numbers):.1f} ({min(numbers):g} to {max(numbers):g})"


def count_overlong(tokens: Sequence[float], max_length: int | None) -> str:
    """Say how many rows have more than ``max_length`` tokens."""
    if max_length is None:
        return ""
    return f", {sum(length > max_length for length in tokens)} above {max_length}"


def list_commonest(words: Counter[str]) -> str:
    """List the three most frequent words, and the number of others."""
    first = [f"{count} of {word}" for word, count in words.most_common(3)]
    others = words.total() - sum(count for _, count in words.most_common(3))
    return ", ".join([*first, f"{others} others"] if others else first) or "none"
