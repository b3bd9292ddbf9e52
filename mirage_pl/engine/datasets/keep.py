"""Keep the rows of a file that an evaluation has scored high, or low: those where a model fails, say."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from mirage_pl.engine.datasets.split import name_kind, write_files
from mirage_pl.engine.evaluation.results import Result, is_number, read_result
from mirage_pl.engine.runs.folder import CONFIG, METRICS

FORM = "{by: EVALUATION_FOLDER, measure: NAME, share: 0.5}; 'above: 0' or 'below: 1' may stand in place of the share"


def keep_rows(dataset: Any, file: Any, rule: Any, out: Path | None) -> dict[str, list[Path]]:
    """Copy the rows of a file that a rule keeps; rows that ask the same stay together.

    Args:
        dataset: reads the file.
        file: what the data set reads.
        rule: ``by``, an evaluation folder in which the file's rows were scored; ``measure``, one of it; and one of
            ``share``, of the questions, those that score highest; ``above`` and ``below``, a number. Rows that couldn't
            be scored aren't kept.
        out: folder for the new files; ``None``: the folder of the file.

    Returns:
        ``train`` -> its new files, ``NAME-kept.SUFFIX``.

    Raises:
        ValueError: a bad rule, a row that wasn't scored as it is, no row or all of them would be kept, or the new file
            exists already.
    """
    check_rule(rule)
    result, measure = read_result(find_evaluation(Path(rule["by"]))), str(rule["measure"])
    scores = average_scores(result, measure)
    failed = {str(failure.get("where")) for failure in result.metrics.get("failures") or ()}
    known = {(str(row.get("id")), row.get("answer_id")) for row in result.rows}
    rows, kind, without = dataset.read(file), name_kind(dataset), 0
    places: dict[str, set[str]] = defaultdict(set)
    for index in range(len(rows)):
        sample = rows[index]
        if sample.where in failed:
            without += 1
            continue
        identity = rows.identity(sample)
        if identity not in scores or not is_known(rows, sample, identity, known):
            raise ValueError(
                f"{sample.where} has no {measure} in {result.folder}, or had another answer there, or other pictures "
                f"with it; score this file, under a new label: {write_command(result, file)}"
            )
        places[identity].add(sample.where)
    kept = choose_rows({identity: scores[identity] for identity in places}, rule)
    if not kept or (len(kept) == len(places) and not without):
        raise ValueError(
            f"keep={rule} keeps {'all' if kept else 'none'} of {len(places)} {kind}, whose {measure} is "
            f"{min(scores.values()):.4g} to {max(scores.values()):.4g}; give another number"
        )
    written = write_files({"train": ("kept", [where for each in kept for where in places[each]])}, out, dataset)
    low, high = (end(scores[identity] for identity in kept) for end in (min, max))
    print(f"{len(kept)} of {len(places)} different {kind} kept, whose {measure} is {low:.4g} to {high:.4g}")
    if without:
        print(f"{without} row(s) that couldn't be scored are left out")
    return written


def find_evaluation(folder: Path) -> Path:
    """Return an evaluation folder.

    Raises:
        ValueError: it is a run folder, or isn't there.
    """
    if (folder / CONFIG).is_file():
        there = ", ".join(str(file.parent) for file in sorted(folder.glob(f"evaluation/*/{METRICS}"))) or "none yet"
        raise ValueError(f"keep: by={folder} is a run folder; give one of its evaluations: {there}")
    if not folder.is_dir():
        raise ValueError(f"keep: by={folder} is no folder; give an evaluation's, RUN/evaluation/LABEL")
    return folder


def is_known(rows: Any, sample: Any, identity: str, known: Collection[tuple[str, str | None]]) -> bool:
    """Whether a row was scored as it is: with its answer, where the evaluation depends on answers and says so."""
    return (identity, None) in known or (identity, rows.answer_identity(sample)) in known


def write_command(result: Result, file: Any) -> str:
    """The command that scores a file as an evaluation has scored another."""
    words = [f"ckpt={result.run}", result.kind_option, f"task.test_file={file}", "label=NAME"]
    return " ".join(["python -m mirage_pl.evaluate", *filter(None, words)])


def check_rule(rule: Any) -> None:
    """Check that a rule has its keys, and one number.

    Raises:
        ValueError: says what it should be.
    """
    if not isinstance(rule, Mapping):
        raise ValueError(f"keep={rule} must be {FORM}")
    bounds = [key for key in ("share", "above", "below") if key in rule]
    if set(rule) != {"by", "measure", *bounds} or len(bounds) != 1:
        raise ValueError(f"keep={dict(rule)} must be {FORM}")
    number = rule[bounds[0]]
    if isinstance(number, bool) or not is_number(number):
        raise ValueError(f"keep: {bounds[0]}={number!r} must be a number")
    if bounds == ["share"] and not 0 < number < 1:
        raise ValueError(f"keep: share={number:g} must be above 0 and below 1")


def average_scores(result: Result, measure: str) -> dict[str, float]:
    """Identity -> the mean of a measure over the rows that have it.

    Raises:
        ValueError: the evaluation has no such measure of a row.
    """
    of_items = [name for name, each in result.measures.items() if each.kind != "set"]
    if measure not in of_items:
        raise ValueError(f"keep: {result.folder} has no measure {measure} of a row; choose from {', '.join(of_items)}")
    values: dict[str, list[float]] = defaultdict(list)
    for row in result.rows:
        if row.get(measure) is not None:
            values[str(row.get("id"))].append(float(row[measure]))
    return {identity: sum(each) / len(each) for identity, each in values.items()}


def choose_rows(scores: Mapping[str, float], rule: Mapping[str, Any]) -> list[str]:
    """List the identities that a rule keeps; of equal scores, those by content, not by their order in the file."""
    if "share" in rule:
        order = sorted(scores, key=lambda identity: (-scores[identity], sha256(identity.encode()).digest()))
        return order[: round(rule["share"] * len(order))]
    above, below = rule.get("above", float("-inf")), rule.get("below", float("inf"))
    return [identity for identity, score in scores.items() if above < score < below]
