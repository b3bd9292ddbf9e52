"""Mistakes on a command line, explained in one line: key, value, what is expected, the fix. Imports no torch."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException
from yaml import YAMLError

from mirage_pl.engine.errors import explain_absence, find_mistake, one_line
from mirage_pl.engine.options import list_options
from mirage_pl.engine.place import CONF

ALIKE = 0.7
"""Least similarity of two keys' last parts (0 to 1) for one to be proposed in place of the other."""
SEVERAL = ("logger",)
"""Groups of which several options may be chosen."""
GLOBAL = "# @package _global_"
"""In a config whose keys stand at the top."""
BRACED = ("evaluate",)
"""Keys that are nothing or a mapping, whose values are given together."""
OPTIONAL = ("logger", "experiment", "lora")
"""Groups of which none may be chosen."""
NO_CHOICE = "Config group override must be"
"""Begins Hydra's refusal of a value that isn't the name of an option."""
ONE_FLAG = "Only one of --run, --multirun"
"""Begins Hydra's refusal of flags that exclude each other."""
NOTHING = ("none", "no", "off", "false", "nothing", "~")
"""Words for nothing."""
UNNAMED = re.compile(r"null|true|false|[-+.\d][-+.\de]*", re.IGNORECASE)
"""Values that aren't the name of an option in Hydra's grammar."""


def describe_refusal(error: Exception, list_known: Callable[[], Iterable[str]]) -> str | None:
    """The line for an error before a run has begun; ``None`` if it isn't the user's mistake.

    Args:
        error: in composing a config, making a sweep or the run's folder.
        list_known: finds the keys and groups of the config.
    """
    text = str(error)
    if text.startswith(NO_CHOICE):
        return explain_choice()
    if text.startswith(ONE_FLAG):
        return f"{text}; leave out -m (--cfg hydra -p hydra.sweeper shows the runs of a study)"
    refused = isinstance(error, HydraException | OmegaConfBaseException | YAMLError)  # some are an OSError, too
    if refused and not isinstance(error, InstantiationException):
        return explain_refusal(error, list_known())
    mistake = find_mistake(error) if refused or isinstance(error, OSError) else None
    return one_line(mistake) if mistake else None


def explain_refusal(error: Exception, known: Iterable[str]) -> str:
    """Explain why Hydra refused the overrides.

    Args:
        error: Hydra's.
        known: keys and groups of the config.
    """
    text = str(error).strip()
    if isinstance(error, MissingConfigException):
        return explain_option(error)
    if isinstance(error, InterpolationKeyError):
        return explain_absence(error)
    if isinstance(error, YAMLError):
        return explain_yaml(error)
    if isinstance(error, OverrideParseException):
        return explain_grammar(str(error.override), text)
    if key := re.match(r"Could not (?:override|delete from config\.) ?'([^']+)'", text):
        below = str(getattr(error.__cause__, "full_key", None) or "")  # a key within a mapping that was typed
        wrong = below if below.startswith(f"{key[1]}.") else key[1]
        return explain_run() or explain_key(wrong, text, known)
    if key := re.match(r"Could not append to config\. An item is already at '([^']+)'", text):
        return f"+{key[1]} is there already; write {key[1]}=… without the +"
    return " ".join(text.split())


def explain_option(error: MissingConfigException) -> str:
    """List a group's options and propose the nearest."""
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    while "/" in group and f"{group}={name}" not in sys.argv:  # an option may lie in a folder of its group
        if f"{group.rpartition('/')[0]}={group.rpartition('/')[2]}/{name}" not in sys.argv:
            break
        group, _, folder = group.rpartition("/")
        name = f"{folder}/{name}"
    if not group:
        return f"--config-name={name} doesn't exist; leave it out"
    options = list_options(group, error.options or ())
    near = nearest(name.replace("/", "."), [option.replace("/", ".") for option in options], 0.6)
    proposal = f"did you mean {' or '.join(option.replace('.', '/') for option in near)}? " if near else ""
    if "," in name:
        together = f"for all of them write {group}=[{name}], " if group in SEVERAL else ""
        return (
            f"{group}={name} names several; {together}for a sweep over these add -m; choose from {', '.join(options)}"
        )
    if group in OPTIONAL and name.lower() in NOTHING:
        return f"{group}={name} doesn't exist; for none write {group}=null; choose from {', '.join(options)}"
    problem = f"{group}={name} doesn't exist" if name else f"{group}= has no value"
    file = re.match(r"In '([^']*/[^']*)'", str(error))
    if file and name and not any(name in word for word in sys.argv[1:]):  # nobody typed it
        problem = f"{file[1]}.yaml: {problem}"
    return f"{problem}; {proposal}choose from {', '.join(options)}"


def explain_choice() -> str:
    """Name the group that the command line gives a value that can't be the name of an option, such as ``null``."""
    pairs = [word.partition("=")[::2] for word in sys.argv[1:] if "=" in word]
    unnamed = ((key, value) for key, value in pairs if (CONF / key).is_dir() and UNNAMED.fullmatch(value))
    group, value = next(unnamed, ("", ""))
    return f"{group}={value} is no option; choose from {', '.join(list_options(group))}"


def explain_yaml(error: YAMLError) -> str:
    """Say where a file of the user's own is no YAML."""
    mark = getattr(error, "problem_mark", None)
    where = f"{mark.name}:{mark.line + 1}" if mark else "a config file"
    problem = getattr(error, "problem", None) or str(error)
    return f"{where}: no YAML ({' '.join(problem.split())}); mend that file, or leave it out"


def explain_grammar(override: str, text: str) -> str:
    """Explain how to write an override that Hydra can't parse."""
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override} has no value; write {override}=VALUE, or ~{override} to leave it out"
    if key != key.strip() or value[:1] == " ":
        return f"{override} has blanks around its =; write {key.strip()}={value.strip()}"
    quoted = value.replace('"', '\\"')
    return f"{override} can't be read ({' '.join(text.splitlines()[0].split())}); quote a text: '{key}=\"{quoted}\"'"


def explain_key(key: str, text: str, known: Iterable[str]) -> str:
    """Propose keys for one that doesn't exist."""
    given = re.search(rf"use \+{re.escape(key)}(=.*)", text)
    value = given[1] if given else ""
    group, _, within = key.partition("/")
    if within and (CONF / key).is_dir():
        return f"{key} is a group within {group}; write {group}={within}/{value.removeprefix('=') or 'OPTION'}"
    if takers := list_takers(key):
        return f"{key}= chooses for {', '.join(takers)} and what is built on these; leave it out, or take one of them"
    keys_there = [*known]
    top, _, below = key.partition(".")
    if top in BRACED and top in keys_there and below:
        inner = f"{below.replace('.', ': {')}: {value.removeprefix('=') or 'VALUE'}{'}' * below.count('.')}"
        return f"{key} isn't a key of its own: {top}= takes all of its values in braces; write '{top}={{{inner}}}'"
    near, beside = nearest(key, keys_there), list_siblings(key, keys_there)
    if near and not (beside and all(is_elsewhere(name, key) for name in near)):
        proposal = f"did you mean {' or '.join(f'{name}{value}' for name in near)}?"
    elif beside:
        proposal = f"{key.rpartition('.')[0]} has {', '.join(beside)}"
    elif owners := list_owners(top):
        proposal = f"it is one of {', '.join(owners)}"
    else:
        proposal = "--cfg job shows all keys"
    return f"{key} isn't a key of the config; {proposal}"


def list_owners(key: str) -> list[str]:
    """The options of groups that bring a key at the top of the config."""
    own = re.compile(rf"^{re.escape(key)}:", re.MULTILINE)
    files = [file for file in sorted(CONF.rglob("*/*.yaml")) if own.search(text := file.read_text()) and GLOBAL in text]
    places = [file.relative_to(CONF).with_suffix("").as_posix().partition("/") for file in files]
    return [f"{group}={option}" for group, _, option in places if group != "experiment"]


def explain_run() -> str | None:
    """Say that ``ckpt=`` names no run, which brings keys of its own; ``None`` if it names one, or isn't given."""
    given = next((unquote(word.removeprefix("ckpt=")) for word in sys.argv[1:] if word.startswith("ckpt=")), "")
    place = Path(given)
    if not given or any((folder / "config.yaml").is_file() for folder in (place, *place.absolute().parents)):
        return None
    problem = "no config.yaml in it, or in a folder above it" if place.exists() else "it does not exist"
    return f"ckpt {given}: {problem}; give a run folder or a .ckpt file"


def list_siblings(key: str, known: Iterable[str]) -> list[str]:
    """Last parts of the keys that have the same parent as a key that doesn't exist."""
    parent, dot, _ = key.rpartition(".")
    return sorted(name.rpartition(".")[2] for name in known if dot and name.rpartition(".")[0] == parent)


def is_elsewhere(name: str, key: str) -> bool:
    """Whether two keys differ in both their first and their last part, so that neither stands for the other."""
    last, leaf = key.rpartition(".")[2], name.rpartition(".")[2]
    same = leaf in (last, initials(last)) or last == initials(leaf)
    return name.split(".")[0] != key.split(".")[0] and not same


def list_takers(group: str) -> list[str]:
    """What takes an option of a group into its config, as it is chosen; empty: there is no such group."""
    if not (CONF / group).is_dir():
        return []
    entry = re.compile(rf"^ *- /?{re.escape(group)}: ", re.MULTILINE)
    files = [
        file.relative_to(CONF).with_suffix("")
        for file in sorted(CONF.rglob("*.yaml"))
        if entry.search(file.read_text())
    ]
    return [f"{file.parts[0]}={'/'.join(file.parts[1:])}" if file.parts[1:] else f"conf/{file}.yaml" for file in files]


def nearest(key: str, known: Iterable[str], alike: float = ALIKE) -> list[str]:
    """Up to three keys that are most like one that doesn't exist: by their last part, then by their path.

    Initials count as alike: ``lr`` and ``learning_rate``.
    """
    ours = [name for name in known if name.startswith("hydra") == key.startswith("hydra")]
    scores = {name: likeness(key, name, alike) for name in ours}
    best = max(scores.values(), default=0.0)
    near = sorted((name for name, score in scores.items() if score and score > best - 0.1), key=lambda n: -scores[n])
    return near[:3]


def likeness(key: str, other: str, least: float) -> float:
    """Similarity of two dotted keys; 0 if that of their last parts is below ``least``."""
    last, leaf = key.rpartition(".")[2], other.rpartition(".")[2]
    alike = SequenceMatcher(None, last, leaf).ratio()
    if leaf in (last, initials(last)) or last == initials(leaf):
        alike = max(alike, 0.85)
    if alike < least:
        return 0.0
    top, others_top = key.split(".")[0], other.split(".")[0]
    together = 0.3 if top == others_top or "." not in key + other else 0.0
    aside = 0.15 if others_top == "callbacks" != top else 0.0  # most of their values repeat another key's
    return alike + together - aside + 0.2 * SequenceMatcher(None, key, other).ratio() - 0.05 * other.count(".")


def initials(name: str) -> str:
    """``lr`` of ``learning_rate``."""
    return "".join(word[0] for word in name.split("_") if word)


def list_keys(config: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all nodes and leaves of a config; interpolations aren't resolved."""
    for key in map(str, config) if isinstance(config, DictConfig) else ():
        name = f"{prefix}{key}"
        yield name
        if not OmegaConf.is_interpolation(config, key) and not OmegaConf.is_missing(config, key):
            yield from list_keys(config[key], f"{name}.")


def unquote(written: str) -> str:
    """A value without the quotes that were added for Hydra."""
    return written[1:-1] if written[:1] == written[-1:] == "'" else written
