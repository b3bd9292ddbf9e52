"""Find the file of an architecture: it is named by the folder that transformers keeps the model in."""

from importlib import import_module
from pathlib import Path
from typing import Any

from mirage_pl.mirage.stock.architecture import Architecture
from mirage_pl.mirage.stock.inputs import Inputs

FOLDER = Path(__file__).parents[1] / "architectures"


def list_architectures() -> list[str]:
    """``model_type`` of every architecture that the engine runs."""
    return sorted(file.stem for file in FOLDER.glob("[!_]*.py"))


def find_architecture(model: Any) -> Architecture:
    """How to run a stock model.

    Raises:
        ValueError: the engine doesn't run its architecture.
    """
    network: Architecture = load_file(name_architecture(model)).Network(model)
    return network


def find_inputs(processor: Any) -> Inputs:
    """How to read questions by a stock processor.

    Raises:
        ValueError: the engine doesn't run its architecture.
    """
    inputs: Inputs = load_file(name_architecture(processor)).Inputs(processor)
    return inputs


def name_architecture(part: Any) -> str:
    """The folder of transformers that a model or a processor comes from."""
    packages = [cls.__module__.split(".") for cls in type(part).__mro__]
    names = [package[2] for package in packages if package[:2] == ["transformers", "models"]]
    return names[0] if names else type(part).__name__


def load_file(name: str) -> Any:
    """The module of an architecture.

    Raises:
        ValueError: there is none of this name; lists those that exist.
    """
    if name not in list_architectures():
        raise ValueError(f"{name} is no architecture that Mirage runs; it runs {', '.join(list_architectures())}")
    return import_module(f"mirage_pl.mirage.architectures.{name}")
