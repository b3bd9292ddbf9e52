"""Make, check and describe data: ``python -m mirage_pl.data task=vsp``. Imports no torch until data is read."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mirage_pl.cli import verb


def run(cfg: DictConfig) -> None:
    """Make what is missing and describe it; with ``validate=true`` list every bad row instead.

    Raises:
        ValueError: bad rows were found, or a mistake in the config.
    """
    from hydra.utils import instantiate

    dataset: Any = instantiate(cfg.task.dataset)
    files = {split: file for split, file in cfg.task.data.files.items() if file is not None}
    if cfg.validate:
        return validate(dataset, files)
    maker: Any = instantiate(cfg.task.data.maker)
    if maker is not None and maker.wanted(files.values()) and not maker.made():
        maker.make()
    return describe(dataset, files)


def validate(dataset: Any, files: dict[str, Any]) -> None:
    """Print every bad row of every file, images included.

    Raises:
        ValueError: there are bad rows.
    """
    from collections import Counter

    bad: Counter[str] = Counter()
    for split, file in files.items():
        for problem in dataset.func.problems(file, **dataset.keywords):
            bad[split] += 1
            print(problem)
    if bad:
        counts = ", ".join(f"{count} in {files[split]}" for split, count in bad.items())
        raise ValueError(f"bad rows: {counts}; correct or remove the rows listed above")
    print(f"no bad rows in: {', '.join(map(str, files.values()))}")


def describe(dataset: Any, files: dict[str, Any]) -> None:
    """Print rows, groups and answer lengths of every file, and where they lie."""
    from collections import Counter

    from rich.console import Console
    from rich.table import Table

    from data_modules.datamodule import check_disjoint

    table = Table("split", "rows", "by group", "answer length, mean (max) characters", "file")
    splits = {split: dataset(file=file) for split, file in files.items()}
    for split, rows in splits.items():
        lengths = [len(rows[index].answer_text) for index in range(len(rows))]
        groups = Counter(rows.grade(rows[index], "").group for index in range(len(rows)))
        by_group = ", ".join(f"{group} {count}" for group, count in sorted(groups.items()))
        table.add_row(
            split, str(len(rows)), by_group, f"{sum(lengths) / len(lengths):.1f} ({max(lengths)})", str(files[split])
        )
    compared = "share no sample" if check_disjoint(splits) else "were not compared"
    Console().print(table)
    print(f"train, val and test {compared}" if len(splits) > 1 else "one file only: nothing to hold apart")
    if folders := {str(Path(file).parent) for file in files.values() if isinstance(file, str)}:
        print(f"data: {', '.join(sorted(folders))}")


main = verb("data")(run)

if __name__ == "__main__":
    main()
