"""Compare a config with the signatures of what it builds: names, types and bounds. Imports what the config names."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from hydra._internal.instantiate._instantiate2 import _resolve_target
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mirage_pl.engine.value_types import write_value
from mirage_pl.engine.values import describe, fits

REFERENCE = re.compile(r"\$\{([\w.]+)\}")
"""A value that is another key's."""
HANDED_ON = "options"
"""What our classes call the ``**options`` that they hand on to their base; others keep theirs."""
HYDRAS = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")


class Call(NamedTuple):
    """A node that builds something.

    Attributes:
        key: of the node that holds the values, not of one that refers to it.
        node: its values.
        target: what it calls.
        parent: key and node of what it is part of.
    """

    key: str
    node: DictConfig
    target: Any
    parent: tuple[str, Any]


def check_arguments(config: DictConfig, key: str, given: Sequence[str] = ()) -> list[Call]:
    """Refuse arguments that what is built from a node, or from a node below it, doesn't take.

    Args:
        config: the whole config.
        key: of the node; nothing is checked where it isn't there.
        given: names of the arguments that the node itself gets from elsewhere.

    Returns:
        All calls at and below the node.

    Raises:
        ValueError: a target that can't be imported, or an argument that is unknown, missing, or of another type or
            range than its annotation says. Names the key that has the value.
    """
    calls = list(walk(config, *resolve(config, "", config, key), ("", config)))
    for call in calls:
        check_call(config, call, given if call is calls[0] else ())
    return calls


def walk(config: DictConfig, key: str, node: Any, parent: tuple[str, Any]) -> Iterator[Call]:
    """Yield what a node and those below it build, outer before inner."""
    if isinstance(node, DictConfig):
        if path := node.get("_target_"):
            yield Call(key, node, import_target(f"{key}._target_", str(path)), parent)
        for name in map(str, node):
            yield from walk(config, *resolve(config, key, node, name), (key, node))
    elif isinstance(node, ListConfig) and not node._is_none():
        for at, item in enumerate(node):
            yield from walk(config, f"{key}.{at}", item, (key, node))


def resolve(config: DictConfig, key: str, node: DictConfig, name: str) -> tuple[str, Any]:
    """The key and the value of an entry; of one that refers to another key, that other's."""
    own = f"{key}.{name}" if key else name
    raw: Any = node._get_node(name) if name in node else OmegaConf.select(node, name)
    written = raw._value() if hasattr(raw, "_value") else None
    other = REFERENCE.fullmatch(written) if isinstance(written, str) else None
    if other:
        above, _, leaf = other[1].rpartition(".")
        parent = OmegaConf.select(config, above) if above else config
        if isinstance(parent, DictConfig) and leaf in parent:
            return resolve(config, above, parent, leaf)
    return own, node.get(name) if name in node else raw


def import_target(key: str, path: str) -> Any:
    """Import what a ``_target_`` names.

    Raises:
        ValueError: it isn't there, or can't be imported.
    """
    try:
        return _resolve_target(path, "")
    except (InstantiationException, ValueError) as error:
        module, _, name = path.rpartition(".")
        near = get_close_matches(name, list_names(module), 1)
        proposal = f"did you mean {module}.{near[0]}?" if near else "give the dotted path of a class or function"
        reason = " ".join(str(error.__cause__ or error).splitlines()[-1].split())
        raise ValueError(f"{key}={path} cannot be imported ({reason}); {proposal}") from None


def list_names(path: str) -> list[str]:
    """Public names in a module; none if it can't be imported."""
    try:
        return [name for name in dir(import_module(path)) if not name.startswith("_")]
    except (ImportError, ValueError):
        return []


def check_call(config: DictConfig, call: Call, given: Sequence[str]) -> None:
    """Refuse unknown, missing, and unfit arguments of one call.

    Raises:
        ValueError: names the key.
    """
    own, inherited, is_open = list_parameters(call.target)
    parameters, path = {**inherited, **own}, call.node["_target_"]
    for name in (name for name in map(str, call.node) if name not in HYDRAS):
        key, value = resolve(config, call.key, call.node, name)
        if name not in parameters and not is_open:
            near = get_close_matches(name, parameters, 1)
            proposal = f"did you mean {near[0]}?" if near else f"it takes {', '.join(parameters)}"
            raise ValueError(f"{key} isn't an argument of {path}; {proposal}; to leave it out write ~{key}")
        if name in parameters:
            check_value(key, value, parameters[name])
    if not call.node.get("_partial_") and "_args_" not in call.node:
        needed = [name for name, one in own.items() if one.default is one.empty]
        if missing := [name for name in needed if name not in (*call.node, *given)]:
            raise ValueError(f"{call.key}.{missing[0]} is missing, and {path} needs it; give {call.key}.{missing[0]}=…")


def check_value(key: str, value: Any, parameter: inspect.Parameter) -> None:
    """Refuse a value that a parameter doesn't take.

    Raises:
        ValueError: names the key, or that of the entry.
    """
    annotation = parameter.annotation
    if annotation is parameter.empty or (value is None and parameter.default is None):
        return
    check_annotation(key, value, annotation)


def check_annotation(key: str, value: Any, annotation: Any) -> None:
    """Refuse a config value that an annotation doesn't allow; what is still to be built is left alone.

    Raises:
        ValueError: names the key, or that of the entry.
    """
    if isinstance(value, DictConfig) and "_target_" in value:
        return
    if isinstance(value, DictConfig | dict) and (target := find_options(annotation)):
        check_options(key, {str(name): entry for name, entry in value.items()}, target)
        return
    entries = find_entries(annotation) if isinstance(value, DictConfig) else None
    if entries is not None:
        for name, entry in value.items():
            check_annotation(f"{key}.{name}", entry, entries)
        return
    plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    if has_targets(plain) or fits(plain, annotation):
        return
    raise ValueError(f"{key}={write_value(value)} must be {describe(annotation)}")


def check_options(key: str, options: Mapping[str, Any], target: Any) -> None:
    """Refuse options that a function or class doesn't take.

    Args:
        key: of the options in the config.
        options: by name.
        target: what they are given to.

    Raises:
        ValueError: one is unknown, or of another type or range. Names its key.
    """
    parameters, _, is_open = list_parameters(target)
    for name, value in options.items():
        if name not in parameters and not is_open:
            raise ValueError(f"{key}.{name} is unknown; there are {', '.join(parameters)}")
        if name in parameters:
            check_value(f"{key}.{name}", value, parameters[name])


def find_options(annotation: Any) -> type | None:
    """The class that options are given to: in ``Annotated[Mapping[str, Any], Class]``; ``None`` for others."""
    for option in (annotation, *get_args(annotation)):
        if get_origin(option) is Annotated:
            return next((rule for rule in get_args(option)[1:] if isinstance(rule, type)), None)
    return None


def find_entries(annotation: Any) -> Any:
    """The annotation of a mapping's values, also if ``null`` may be given instead; ``None`` for other annotations."""
    for option in (annotation, *get_args(annotation)):
        origin = getattr(option, "__origin__", None)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return get_args(option)[1]
    return None


def takes_value(config: DictConfig, key: str, value: Any) -> bool:
    """Whether anything that a config builds takes a number under a key, by its annotation. Imports what is built."""
    annotations: list[Any] = []
    for top in map(str, config):
        with suppress(ValueError, OmegaConfBaseException):  # reported when it is built
            for call in walk(config, *resolve(config, "", config, top), ("", config)):
                annotations += list_annotations(config, call, key)
    return any(fits(value, one) and not fits("", one) for one in annotations)


def list_annotations(config: DictConfig, call: Call, key: str) -> Iterator[Any]:
    """Yield the annotations that a call has for the value of a key: an argument's, or that of an entry of one."""
    own, inherited, _ = list_parameters(call.target)
    parameters = {**inherited, **own}
    for name in (name for name in map(str, call.node) if name in parameters):
        place, _ = resolve(config, call.key, call.node, name)
        if key == place or key.startswith(f"{place}."):
            yield from descend(parameters[name].annotation, key[len(place) + 1 :])


def descend(annotation: Any, path: str) -> Iterator[Any]:
    """Yield the annotation at a path below an argument; nothing where none is said."""
    name, _, rest = path.partition(".")
    entries, target = find_entries(annotation), find_options(annotation)
    if not path:
        yield annotation
    elif target and (parameter := list_parameters(target)[0].get(name)):
        yield from descend(parameter.annotation, rest)
    elif entries is not None:
        yield from descend(entries, rest)


def has_targets(value: Any) -> bool:
    """Whether anything in a plain value is still to be built."""
    if isinstance(value, dict):
        return "_target_" in value or any(map(has_targets, value.values()))
    return isinstance(value, list) and any(map(has_targets, value))


def list_parameters(target: Any) -> tuple[dict[str, inspect.Parameter], dict[str, inspect.Parameter], bool]:
    """The parameters of a function or class, with evaluated annotations.

    Returns:
        Its own by name; those of the classes that it hands ``**options`` on to; whether it takes any others.
    """
    own: dict[str, inspect.Parameter] | None = None
    inherited: dict[str, inspect.Parameter] = {}
    for function in list_functions(target):
        try:
            signature = [*inspect.signature(function).parameters.values()][isinstance(target, type) :]
        except (TypeError, ValueError):  # a builtin
            return own or {}, inherited, True
        hints = evaluate_annotations(function)
        named = {one.name: one.replace(annotation=hints.get(one.name, one.empty)) for one in signature}
        variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        fixed = {name: one for name, one in named.items() if one.kind not in variable}
        if own is None:
            own = fixed
        inherited = {**fixed, **inherited}
        others = next((one.name for one in signature if one.kind is inspect.Parameter.VAR_KEYWORD), None)
        if others != HANDED_ON:
            return own, inherited, others is not None
    return own or {}, inherited, True


def list_functions(target: Any) -> list[Callable[..., Any]]:
    """A function, or the ``__init__`` of a class and of those that it inherits from, ``object`` apart."""
    if not isinstance(target, type):
        return [target]
    return [vars(cls)["__init__"] for cls in target.__mro__ if "__init__" in vars(cls) and cls is not object]


def evaluate_annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function; none if a name in them is only known to a type checker."""
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:
        return {}
