"""The README.md of an exported model: what was trained on what, how it was scored, under which licence it is.

Imports no torch.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.repocard import metadata_load
from omegaconf import OmegaConf
from yaml import safe_dump

from mirage_pl.engine.evaluation.measures import (
    judge_difference,
    list_groups,
    read_measures,
    write_difference,
    write_value,
)
from mirage_pl.engine.reports.lineage import Run, add_ancestors, read_run
from mirage_pl.engine.runs.config import read_config, read_record
from mirage_pl.engine.runs.folder import CONFIG, METRICS
from mirage_pl.engine.words import load_words

CARD = "README.md"
PROGRAM = re.compile(r"^\S*?mirage_pl[/.](\w+)(?:\.py)?(?= |$)")
"""How a command that was recorded begins."""
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
ADDED = re.compile(r" (?:--config-name=\w+|hydra\.mode=RUN)")
"""What we add to a command that was typed."""


def complete_card(folder: Path, run: Path, checkpoint: Path, step: int, rounded: str | None, command: str) -> None:
    """Write the card of an exported folder around the ``README.md`` that the module wrote: how it is used.

    Args:
        folder: the export.
        run: the run folder.
        checkpoint: the file whose weights were exported.
        step: optimizer steps of the checkpoint.
        rounded: the type that the weights were converted to for the export; ``None``: they are as trained.
        command: of the export.
    """
    card = folder / CARD
    usage = card.read_text() if card.is_file() else ""
    facts = (metadata_load(card) if usage else None) or {}
    usage = re.sub(r"\A---\n.*?\n---\n", "", usage, flags=re.DOTALL)
    trained = add_ancestors(read_run(run, None), {})
    config = read_config(run / CONFIG)
    names = [str(OmegaConf.select(config, f"{key}.name")) for key in ("stage", "task", "model")]
    title = "{}, trained on {}, from {}".format(*names)
    base = describe_base(OmegaConf.select(config, "model.path"), bool(OmegaConf.select(config, "model.random_weights")))
    parts = {
        "Training": describe_training(trained, checkpoint, step),
        "Figures": describe_figures(run, checkpoint, step, rounded),
        "Commands": describe_commands([*trained.ancestors, trained], command),
        "Versions": describe_versions(trained.environment),
        "Licence": base.pop("sentence"),
    }
    front = safe_dump(facts | base, sort_keys=False)
    sections = "\n".join(f"## {name}\n\n{text.rstrip()}\n" for name, text in parts.items())
    card.write_text(f"---\n{front}---\n\n# {title}\n\n{usage.strip()}\n\n{sections}")


def describe_training(run: Run, checkpoint: Path, step: int) -> str:
    """The runs that made the weights, oldest first, and the data of each."""
    rows, data = [], []
    for each in (*run.ancestors, run):
        config = read_config(each.folder / CONFIG)
        steps = step if each is run else each.own_steps
        stage, task = (OmegaConf.select(config, f"{key}.name") for key in ("stage", "task"))
        rows.append([f"`{each.folder.name}`", stage, task, "unknown" if steps is None else f"{steps:.0f}", each.seed])
        for key, file in (each.environment.get("data") or {}).items():
            name = "/".join(Path(str(OmegaConf.select(config, key))).parts[-2:])
            data.append(f"- {stage}: `{name}`, {file['bytes']:,} bytes, sha256 `{file['sha256'][:16]}`")
    lost = f"\n\nIt also began with weights of {run.lost}, of which nothing else is known." if run.lost else ""
    files = "\n".join(data) or "- the files weren't recorded"
    table = lay_out_table(["run", "stage", "task", "steps", "seed"], rows)
    merged = ", with its adapter added to them" if OmegaConf.select(config, "lora") else ""
    return f"Weights of `{checkpoint.name}`{merged}.\n\n{table}{lost}\n\nData:\n\n{files}"


def describe_figures(run: Path, checkpoint: Path, step: int, rounded: str | None) -> str:
    """The run's own evaluations of this checkpoint, with intervals; a sentence if there is none."""
    texts, others = [], 0
    for file in sorted(run.glob(f"evaluation/*/{METRICS}")):
        metrics = read_record(file)
        if metrics.get("steps") != step or Path(str(metrics.get("ckpt"))).name != checkpoint.name:
            others += 1
            continue
        texts.append("\n\n".join(describe_evaluation(file.parent.name, metrics)))
    more = f" {others} evaluation(s) of other checkpoints of the run say nothing of it." if others else ""
    if rounded and texts:
        texts.append(f"Scored with the weights as they were trained; in this folder they are {rounded}.")
    return "\n\n".join(texts) or f"Not evaluated.{more}"


def describe_evaluation(label: str, metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield paragraphs on one evaluation: the test set, each measure by group, each condition."""
    test, hidden = metrics.get("test") or {}, metrics.get("hidden") or ()
    measures = {name: each for name, each in read_measures(metrics.get("measures")).items() if name not in hidden}
    seen = {0: "none of them", None: "not known how many"}.get(test.get("seen"), f"{test.get('seen')} of them")
    file = "/".join(Path(str(test.get("file"))).parts[-2:])
    ended = "" if metrics.get("finished") else " The evaluation wasn't finished."
    yield f"`{label}`: on `{file}` of {test.get('rows')} rows ({seen} in the training file).{ended}"
    rows = [
        [name, group, *write_value(measure, number), number["n"]]
        for name, measure in measures.items()
        for group in [*list_groups([metrics[name]]), "all"]
        if (number := metrics[name][group])["n"]
    ]
    yield lay_out_table(["measure", "group", "value", "95 % interval", "items"], rows)
    first, measure = next(iter(measures.items()))
    conditions = metrics.get(str(metrics.get("conditions_in"))) or {}
    words = load_words(metrics.get("words")).CONDITIONS
    changes = [
        [
            words.get(name, name),
            " ".join(write_value(measure, number)),
            " ".join(write_difference(measure, number["difference"])),
        ]
        + [judge_difference(measure, number["difference"])]
        for name, number in conditions.items()
        if number.get("n")
    ]
    if changes:
        yield f"The same rows with something replaced in the model, {first}:"
        yield lay_out_table(["replaced by", first, "difference", "so it is"], changes)
    if decoding := metrics.get("decoding"):
        yield "Decoded with " + ", ".join(f"{key} {value}" for key, value in decoding.items()) + "."


def describe_commands(runs: Iterable[Run], command: str) -> str:
    """What was typed for each run, in order, for their evaluations, and for the export."""
    typed: list[str] = []
    for run in runs:
        evaluations = [read_record(file) for file in sorted(run.folder.glob(f"evaluation/*/{METRICS}"))]
        typed += [str(record["command"]) for record in (run.environment, *evaluations) if record.get("command")]
    lines = dict.fromkeys(clean_command(line) for line in (*typed, command))
    return "```\n" + "\n".join(lines) + "\n```"


def clean_command(line: str) -> str:
    """A command as it was typed: without the program's folder on that machine, and what we added."""
    return ADDED.sub("", PROGRAM.sub(r"python -m mirage_pl.\1", line))


def describe_versions(environment: Mapping[str, Any]) -> str:
    """Packages and revision of the last training."""
    packages = {"python": environment.get("python")} | (environment.get("packages") or {})
    changed = f" with {environment['uncommitted_files']} changed files" if environment.get("uncommitted_files") else ""
    revision = f"mirage_pl {environment.get('git') or 'of an unknown revision'}{changed}"
    return ", ".join([revision, *(f"{name} {version}" for name, version in packages.items() if version)]) + "."


def describe_base(path: str | None, fresh: bool) -> dict[str, str]:
    """What the weights come from, and what its own card says of its licence, as far as it is at hand.

    Args:
        path: of the base model, a folder or a name on the hub; ``None``: there is none.
        fresh: whether only its architecture was taken.

    Returns:
        ``sentence``, and of a card's front matter ``base_model`` and ``license`` if they are known.
    """
    if not path:
        return {"sentence": "No licence was chosen for these weights; whoever shares them has to."}
    card = find_card(path)
    try:
        facts = (metadata_load(card) if card else None) or {}
    except Exception:  # front matter of others may be any kind of broken
        facts = {}
    from_hub = not Path(path).is_dir() and HUB_NAME.fullmatch(path)
    name = path if from_hub else Path(path).name
    taken = "Only the architecture and the tokenizer come from" if fresh else "The weights come from"
    licence = facts.get("license_name") if facts.get("license") == "other" else facts.get("license")
    said = f"says `license: {licence}`" if licence else "isn't at hand or names no licence: look it up before you share"
    sentence = f"{taken} `{name}`, whose terms hold for what was made of it. Its card {said}."
    known = {key: str(facts[key]) for key in ("license", "license_name", "license_link") if facts.get(key)}
    return {"sentence": sentence} | ({"base_model": path} if from_hub else {}) | known


def find_card(path: str) -> Path | None:
    """The card of a model in a folder, or in the hub's cache."""
    if Path(path).is_dir():
        return Path(path) / CARD if (Path(path) / CARD).is_file() else None
    try:
        cached = try_to_load_from_cache(path, CARD)
    except HFValidationError:  # a path that isn't there
        return None
    return Path(cached) if isinstance(cached, str) else None


def lay_out_table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
