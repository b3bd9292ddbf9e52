"""Which options of a group a user may choose, and what to say of the others. Imports no torch."""

from collections.abc import Iterable, Sequence

from mirage_pl.engine.place import CONF

OWN = "own"
"""The task that the run of ``ckpt=`` was trained on."""
SCORES = "evaluate"
"""The only verb that knows :data:`OWN`."""
PARTS = "task/made"
"""The folder of what tasks are made of."""


def is_offered(group: str, option: str, verb: str | None = None) -> bool:
    """Whether an option is a value that can be given; ``verb``: to which, if that is known."""
    place = f"{group}/{option}"
    return not place.startswith(f"{PARTS}/") and (place != f"task/{OWN}" or verb == SCORES)


def list_options(group: str, others: Iterable[str] = ()) -> list[str]:
    """The options of a group, those in folders of it too, and others that Hydra knows."""
    files = (CONF / group).rglob("*.yaml")
    ours = (file.relative_to(CONF / group).with_suffix("").as_posix() for file in files)
    return sorted(option for option in {*ours, *others} if is_offered(group, option))


def explain_no_option(verb: str, words: Sequence[str]) -> str | None:
    """Say why a word gives something that has a name, but is no option; ``None`` where none does."""
    for group, _, values in (word.partition("=") for word in words):
        for option in values.split(","):
            place = f"{group}/{option}"
            if is_offered(group, option, verb):
                continue
            if place == f"task/{OWN}":
                told = f"is the task of a run, which {SCORES} finds by its ckpt=; name a task"
                return f"task={OWN} {told}; choose from {', '.join(list_options('task'))}"
            if (CONF / f"{place}.yaml").is_file():
                told = "is what tasks are made of, and none itself"
                return f"{group}={option} {told}; choose from {', '.join(list_options(group))}"
    return None
