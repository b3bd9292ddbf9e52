"""lmms-eval (0.7): runs of ours as ``--model mirage_pl``, tasks of ours as its tasks."""

from typing import Any


def manifest() -> Any:
    """Describe the model to lmms-eval, which finds this by the entry point ``lmms_eval.models``."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("mirage_pl", chat_class_path=f"{__name__}.model.Run")
