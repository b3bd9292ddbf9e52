"""Where the runs lie that a run has taken weights from, and what they are. Imports no torch."""

from pathlib import Path

from mirage_pl.engine.runs.candidates import read_candidate
from mirage_pl.engine.runs.config import read_config
from mirage_pl.engine.runs.entry import recorded_starts
from mirage_pl.engine.runs.folder import CONFIG, METRICS
from mirage_pl.engine.runs.starts import Start, read_starts


def describe_start(path: str) -> str:
    """A start in words: the run and how many of its steps it took."""
    folder = folder_of(Path(path))
    try:
        run = read_candidate(folder) if (folder / METRICS).is_file() else None
    except ValueError:
        run = None
    return str(run).replace(str(folder), path, 1) if run else f"{path} (which tells nothing of its steps)"


def folder_of(start: Path) -> Path:
    """The run folder of a start that is a run folder or a checkpoint."""
    return start.parents[1] if start.suffix == ".ckpt" else start


def locate_run(start: str, near: Path) -> Path:
    """Find a start at its recorded path, or at the same place relative to the run if both were moved.

    Args:
        start: run folder or checkpoint, as recorded.
        near: folder of the run that takes weights from it.

    Raises:
        ValueError: it is in neither place.
    """
    path = Path(start)
    if path.exists():
        return path
    for end in (Path(*path.parts[at:]) for at in range(int(path.is_absolute()), len(path.parts))):
        for place in (above / end for above in near.resolve().parents):
            if place.exists() and (folder_of(place) / CONFIG).is_file():
                return place
    raise ValueError(f"{near} takes weights from {start}, which isn't there; bring that run back to its place")


def locate_unkept(folder: Path) -> dict[str, tuple[Start, Path]]:
    """Name -> start and its place, for every start whose weights the run's checkpoints don't hold and readers need.

    Raises:
        ValueError: a start isn't there, or a file of the run can't be read.
    """
    starts, places = read_starts(read_config(folder / CONFIG)), recorded_starts(folder)
    return {
        name: (start, locate_run(places[name], folder))
        for name, start in starts.items()
        if not start.kept and name in places
    }


def list_aside(folder: Path) -> list[str]:
    """Dotted prefixes of the weights that the run's checkpoints don't hold and that training alone needs.

    Raises:
        ValueError: a file of the run can't be read.
    """
    starts, places = read_starts(read_config(folder / CONFIG)), recorded_starts(folder)
    return [start.into for name, start in starts.items() if start.aside and name in places]
