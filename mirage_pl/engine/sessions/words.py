"""Prepare the command line of ``infer``: quote free text, choose the session that the run names."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from mirage_pl.engine.place import CONF, own_configs
from mirage_pl.engine.quoting import quote_words


def prepare_words(words: Sequence[str]) -> list[str]:
    """Quote text inputs, and choose the run's session unless one is chosen."""
    words = [*own_configs(words), *words]
    files = [file for folder in config_folders(words) for file in (folder / "session").rglob("*.yaml")]
    sessions = [read_yaml(file).get("session") or {} for file in files]
    texts = {name for session in sessions for name, kind in session.get("takes", {}).items() if kind == "text"}
    chosen = [] if any(word.startswith("session=") for word in words) else [*run_session(words)]
    return [*quote_words(words, texts, swept=False), *chosen]


def config_folders(words: Sequence[str]) -> Iterator[Path]:
    """The config folders: ours and that of ``--config-dir``."""
    yield CONF
    for number, word in enumerate(words):
        name, _, value = word.partition("=")
        if name in ("--config-dir", "-cd"):
            yield Path(value or "".join(words[number + 1 : number + 2]))


def run_session(words: Sequence[str]) -> Iterator[str]:
    """The override that chooses the session named in a run's config, if there is one."""
    ckpt = next((Path(word.removeprefix("ckpt=")) for word in words if word.startswith("ckpt=")), None)
    for folder in [ckpt, *ckpt.absolute().parents] if ckpt else []:
        if (folder / "config.yaml").is_file():
            config = read_yaml(folder / "config.yaml")
            if isinstance(config.get("session"), str):
                yield f"session={config['session']}"
            return


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a file of keys and values; empty if it holds something else.

    Raises:
        yaml.YAMLError: it is no YAML; names file and line.
    """
    with file.open(encoding="utf-8") as lines:
        content: Any = yaml.safe_load(lines)
    return content if isinstance(content, dict) else {}
