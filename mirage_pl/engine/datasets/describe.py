"""Make, check, describe, divide and clean data: ``python -m mirage_pl.data task=vsp``."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

ACTIONS = ("validate", "split", "dedupe")
"""What may be asked for in place of making and describing."""

ROLES = ("input", "helper")
"""Of images."""


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
        validate(dataset, files)
    elif cfg.split:
        if "train" not in files:
            raise ValueError("split= divides the rows of task.train_file, which is null; set it")
        shares: Any = OmegaConf.to_container(cfg.split)
        data_split.show(data_split.split(dataset, files["train"], shares, cfg.seed, out))
    elif cfg.dedupe:
        data_split.show(data_split.dedupe(dataset, files, out))
    else:
        show(cfg, {split: dataset(file=file) for split, file in files.items()}, files)


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
    if maker is not None and maker.wanted(files.values()) and not maker.made():
        maker.make()


def validate(dataset: Any, files: Mapping[str, Any]) -> None:
    """Print every bad row of every file, images included.

    Raises:
        ValueError: there are bad rows.
    """
    bad: Counter[str] = Counter()
    for split, file in files.items():
        for problem in dataset.func.problems(file, **dataset.keywords):
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
        groups: rows of each group.
        characters: of each answer.
        sizes: images of each width and height, for ``input`` and ``helper``.
        tokens: of each row as a training row, images and latents included.
    """

    groups: Counter[str] = field(default_factory=Counter)
    characters: list[int] = field(default_factory=list)
    sizes: dict[str, Counter[tuple[int, int]]] = field(
        default_factory=lambda: {"input": Counter(), "helper": Counter()}
    )
    tokens: list[int] = field(default_factory=list)

    def add(self, rows: Any, sample: Any, collate: Any) -> None:
        """Count a row."""
        from data_modules.images import image_size
        from data_modules.samples import Latent, Picture

        self.groups[rows.grade(sample, "").group] += 1
        self.characters.append(len(sample.answer_text))
        for role, kind in (("input", Picture), ("helper", Latent)):
            for part in (*sample.question, *sample.answer):
                if isinstance(part, kind):
                    self.sizes[role][image_size(part.path, sample.where)] += 1
        if collate is not None:
            self.tokens.append(sum(collate.widths(sample)))


def describe(splits: Mapping[str, Any], files: Mapping[str, Any], collate: Any, max_length: int | None) -> None:
    """Print rows, groups, lengths, image sizes and tokens of every split, and where they lie.

    Args:
        splits: name -> data set.
        files: name -> what was read.
        collate: knows how many tokens a row makes; ``None``: tokens aren't counted.
        max_length: count the rows with more tokens.
    """
    from rich.console import Console
    from rich.table import Table

    from data_modules.loading.datamodule import check_disjoint

    table = Table("split", "rows", "by group", "answer, characters", "input images", "helper images", "tokens a row")
    for split, rows in splits.items():
        facts = Facts()
        for index in range(len(rows)):
            facts.add(rows, rows[index], collate)
        by_group = ", ".join(f"{group} {count}" for group, count in sorted(facts.groups.items()))
        images = [told(facts.sizes[role]) for role in ROLES]
        tokens = spread(facts.tokens) + overflow(facts.tokens, max_length) if facts.tokens else "–"
        table.add_row(split, str(len(rows)), by_group, spread(facts.characters), *images, tokens)
    compared = "share no sample" if check_disjoint(splits) else "were not compared"
    Console().print(table)
    print(f"{' and '.join(splits)} {compared}" if len(splits) > 1 else "one file only: nothing to hold apart")
    for split, file in files.items():
        print(f"{split}: {file}")


def spread(numbers: list[int]) -> str:
    """Mean, smallest and largest."""
    return f"{sum(numbers) / len(numbers):.1f} ({min(numbers)} to {max(numbers)})"


def overflow(tokens: list[int], max_length: int | None) -> str:
    """How many rows are longer than allowed."""
    if max_length is None:
        return ""
    return f", {sum(length > max_length for length in tokens)} above {max_length}"


def told(sizes: Counter[tuple[int, int]]) -> str:
    """The commonest sizes of images, and how many others there are."""
    first = [f"{count} of {width}×{height}" for (width, height), count in sizes.most_common(3)]
    others = sizes.total() - sum(count for _, count in sizes.most_common(3))
    return ", ".join([*first, f"{others} others"] if others else first) or "none"
