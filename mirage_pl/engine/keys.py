"""The keys that verbs read themselves, and what each may be. What is built is checked by its own signature instead."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, Le, MinLen
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from mirage_pl.engine.arguments import check_annotation, resolve
from mirage_pl.engine.values import fits

Folder = Annotated[str, MinLen(1)]
Count = Annotated[int, Ge(0)]
Some = Annotated[int, Ge(1)]
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
Place = Annotated[str, MinLen(1)] | None
Accelerator = Literal["auto", "cpu", "gpu"]

RUN: Mapping[str, Any] = {
    "seed": Seed,
    "runs": Folder,
    "data": Folder,
    "run_dir": Folder,
    "init_from": Place,
    "async_checkpoint": bool,
    "memory.checkpointing": bool,
    "study.name": Place,
    "study.method": Place,
    "evaluate": Mapping | None,
    "stage.max_steps": int,
    "stage.freeze": Sequence[str],
    "stage.may_change": Sequence[str],
    "trainer.num_nodes": Some,
    "trainer.accumulate_grad_batches": Some,
    "trainer.gradient_clip_val": Annotated[float, Gt(0)] | None,
    "trainer.gradient_clip_algorithm": Literal["norm", "value"],
    "trainer.check_val_every_n_epoch": Some | None,
    "trainer.num_sanity_val_steps": Annotated[int, Ge(-1)],
    "trainer.fast_dev_run": bool | Count,
    "trainer.log_every_n_steps": Count,
}
KEYS: Mapping[str, Mapping[str, Any]] = {
    "train": RUN,
    "launch": RUN,
    "plan": {
        **RUN,
        "gpus": Some,
        "row_tokens": Some,
        "loader.batch_size": Some,
        "loader.max_tokens": Some | None,
        "model.dtype": Literal["float32", "bfloat16", "float16"],
        "cluster": Mapping,
        "cluster.gpu_gib": Annotated[float, Gt(0)],
        "cluster.usable": Annotated[float, Gt(0), Le(1)],
        "cluster.gpus_per_node": Some,
        "cluster.node_gib": Annotated[float, Gt(0)],
        "cluster.disk_gib": Annotated[float, Gt(0)],
        "cluster.max_nodes": Some,
    },
    "evaluate": {
        "ckpt": Folder,
        "compare": Sequence[str],
        "label": Folder,
        "num_shown": Count,
        "num_pictured": Count,
        "accelerator": Accelerator,
        "data": Place,
    },
    "infer": {
        "ckpt": Folder,
        "file": Place,
        "loop": bool,
        "out": Place,
        "serve": bool,
        "port": Annotated[int, Interval(ge=0, le=65535)],
        "serving.batch_size": Some,
        "serving.groups": Some,
        "serving.gather_ms": Annotated[float, Ge(0)],
        "serving.waiting": Count,
        "serving.seconds": Annotated[float, Gt(0)],
        "serving.body_mib": Annotated[float, Gt(0)],
        "serving.characters": Some,
        "serving.images": Count,
        "serving.megapixels": Annotated[float, Gt(0)],
        "serving.hosts": Sequence[str],
        "accelerator": Accelerator,
    },
    "data": {
        "validate": bool,
        "dedupe": bool,
        "convert": Place,
        "out": Place,
        "sheet": Place,
        "num_shown": Some,
        "data": Folder,
        "seed": Seed,
    },
    "export": {"ckpt": Folder, "out": Folder, "replace": bool, "dtype": Place, "shard_size": Folder},
}
"""Config -> key -> what it may be."""


def check_keys(config: DictConfig, verb: str, within: str = "") -> None:
    """Refuse values of keys that a verb reads itself; a number where a text belongs becomes one.

    Args:
        config: composed for the verb.
        verb: name of its config.
        within: the key that holds these in another config.

    Raises:
        ValueError: names the key, and what it must be.
    """
    for path, annotation in KEYS.get(verb, {}).items():
        above, _, leaf = path.rpartition(".")
        parent = OmegaConf.select(config, above) if above else config
        if isinstance(parent, DictConfig) and leaf in parent and not OmegaConf.is_missing(parent, leaf):
            with suppress(InterpolationKeyError):  # a value of a run that isn't known yet
                key, value = resolve(config, above, parent, leaf)
                if isinstance(value, int | float) and not isinstance(value, bool) and fits("text", annotation):
                    parent[leaf] = str(value)
                    continue
                check_annotation(".".join(filter(None, (within, key))), value, annotation)
