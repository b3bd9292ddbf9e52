"""What a session asks of a run that it is opened on."""

from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig

from mirage_pl.engine.checkpoints.trained import Trained

OWN = "leave out session=, and the run opens its own"


def check_run(session: DictConfig, trained: Trained) -> None:
    """Refuse a run that has not what its session uses: what the ``uses`` of the session's class name, if it has any.

    Args:
        session: the config that makes the session.
        trained: the run.

    Raises:
        ValueError: names the run, its stage, and what it lacks.
    """
    for name in getattr(get_class(session._target_), "uses", ()):
        if not has(trained, name):
            stage = trained.config.stage.name
            raise ValueError(
                f"{trained.folder} is a run of stage={stage}, which has no {name} for this session to use; {OWN}, or "
                "give ckpt= of another one"
            )


def has(owner: Any, name: str) -> bool:
    """Whether a dotted name is an attribute."""
    for part in name.split("."):
        try:
            owner = getattr(owner, part)
        except AttributeError:
            return False
    return True
