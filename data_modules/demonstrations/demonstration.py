"""A demonstration's file: ``.npz`` of states and actions. Shapes: T states of S numbers, T - 1 actions
of A numbers, V views."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32]
Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Demonstration:
    """What a file holds.

    Attributes:
        states_TS: what was measured; S = 0: nothing was.
        actions_PA: what should be done at each state but the last; P = T - 1.
        plans_P: which of the row's plans is followed there; ``None``: none is written.
    """

    states_TS: Numbers
    actions_PA: Numbers
    plans_P: NDArray[np.int64] | None = None

    @property
    def digest(self) -> str:
        """12 hex digits of all numbers."""
        return sha256(self.states_TS.tobytes() + self.actions_PA.tobytes()).hexdigest()[:12]


@lru_cache(maxsize=1 << 12)
def read_demonstration(file: Path) -> Demonstration:
    """Read a demonstration; it is small, and kept.

    Raises:
        ValueError: no such file, a damaged one, or numbers that aren't finite; names it, not the row.
    """
    if not file.is_file():
        raise ValueError(f"episode {file} does not exist; correct its path in the index")
    try:
        with np.load(file, allow_pickle=False) as archive:
            if "actions" not in archive:
                raise ValueError(f"{file} has no actions, but {', '.join(archive.files) or 'nothing'}")
            actions, measured = archive["actions"], "states" in archive
            states = archive["states"] if measured else np.zeros((len(actions) + 1, 0), np.float32)
            plans = archive.get("plans")
    except (BadZipFile, OSError, EOFError, AttributeError, TypeError) as error:
        raise ValueError(f"{file} is no whole .npz file ({type(error).__name__}); copy or make it again") from None
    for name, rows, count in (("states", states, len(states)), ("actions", actions, len(states) - 1)):
        there = rows.size or (rows is states and not measured)
        if rows.ndim != 2 or rows.dtype.kind not in "iuf" or len(rows) != count or not there:
            raise ValueError(f"{file}: {name} of shape {rows.shape}; expected a row for each of {count} steps")
        if bad := np.flatnonzero(~np.isfinite(rows).all(1)).tolist():
            raise ValueError(f"{file}: {name} of step {bad[0]} aren't finite; correct or leave out the episode")
    if plans is not None and (plans.shape != (len(actions),) or plans.dtype.kind not in "iu"):
        raise ValueError(
            f"{file}: plans of shape {plans.shape}; expected a whole number for each of {len(actions)} steps"
        )
    whole = None if plans is None else plans.astype(np.int64)
    return Demonstration(states.astype(np.float32), actions.astype(np.float32), whole)


def read_frames(file: Path) -> Frames:
    """Read what cameras saw at each state, [T, V, H, W, 3]: large, and not kept.

    Raises:
        ValueError: the file has no frames, or they aren't such; names it.
    """
    states = len(read_demonstration(file).states_TS)
    with np.load(file, allow_pickle=False) as archive:
        frames = archive.get("frames")
    if frames is None or frames.dtype != np.uint8 or frames.ndim != 5 or len(frames) != states or frames.shape[4] != 3:
        shape = "none" if frames is None else f"{frames.dtype} of shape {frames.shape}"
        raise ValueError(f"{file}: frames are {shape}; expected uint8, [{states}, views, height, width, 3]")
    return frames


def write_demonstration(file: Path, states: Any, actions: Any, plans: Any = None, frames: Any = None) -> None:
    """Write a demonstration."""
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {"states": np.asarray(states, np.float32), "actions": np.asarray(actions, np.float32)}
    if plans is not None:
        arrays["plans"] = np.asarray(plans, np.int64)
    if frames is not None:
        arrays["frames"] = np.asarray(frames, np.uint8)
    np.savez_compressed(file, **arrays)
