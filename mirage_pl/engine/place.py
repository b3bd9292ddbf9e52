"""Where config and assets are: beside the packages in a checkout, inside ``mirage_pl/`` when installed."""

from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of ``mirage_pl``."""

CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "conf" / "train.yaml").is_file() else None
"""The checkout, or a job's copy of it; ``None`` if the project is installed."""

HOME = CHECKOUT or PACKAGE
"""The folder that holds ``conf/`` and ``assets/``."""

CONF = HOME / "conf"


def own_configs(words: Sequence[str]) -> list[str]:
    """``--config-dir`` with the ``conf/`` of the current folder, unless that is ours or the words name another.

    Args:
        words: of the command line.
    """
    given = any(word.split("=")[0] in ("--config-dir", "-cd") for word in words)
    return [f"--config-dir={Path.cwd() / 'conf'}"] if is_own_project() and not given else []


def own_modules() -> list[Path]:
    """The user's modules and packages beside ``conf/``; a job needs them as well."""
    return [path for path in sorted(Path.cwd().iterdir()) if is_module(path)] if is_own_project() else []


def is_own_project() -> bool:
    """Whether the current folder has a ``conf/`` that isn't ours."""
    own = Path.cwd() / "conf"
    return own.is_dir() and own.resolve() != CONF


def is_module(path: Path) -> bool:
    """Whether Python can import a file or a folder."""
    return path.suffix == ".py" or (path / "__init__.py").is_file()
