"""Where files lie: ours beside the packages, or in an installation inside ``mirage_pl/``; a user's in ``conf/``."""

from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of ``mirage_pl``."""

CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "conf" / "train.yaml").is_file() else None
"""The checkout, or the copy of one that a job runs on; ``None`` where the project is installed."""

HOME = CHECKOUT or PACKAGE
"""The folder that holds ``conf/`` and ``assets/``."""

CONF = HOME / "conf"


def own_configs(words: Sequence[str]) -> list[str]:
    """The option by which Hydra finds a user's own configs: ``conf/`` where the command is typed, unless it is ours.

    Args:
        words: of the command line; one with a folder of its own is left alone.
    """
    given = any(word.split("=")[0] in ("--config-dir", "-cd") for word in words)
    return [f"--config-dir={Path.cwd() / 'conf'}"] if is_own_project() and not given else []


def own_modules() -> list[Path]:
    """A user's own modules and packages beside ``conf/``, which a job needs too."""
    return [path for path in sorted(Path.cwd().iterdir()) if is_module(path)] if is_own_project() else []


def is_own_project() -> bool:
    """Whether the command is typed where a user keeps a ``conf/``."""
    own = Path.cwd() / "conf"
    return own.is_dir() and own.resolve() != CONF


def is_module(path: Path) -> bool:
    """Whether Python can import a file or a folder."""
    return path.suffix == ".py" or (path / "__init__.py").is_file()
