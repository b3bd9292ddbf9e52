"""MuJoCo scenes as pixels, drawn by software: no display and no GPU is needed."""

import atexit
import os
from ctypes.util import find_library
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
"""What MuJoCo calls a way to draw without a display -> its library."""
MISSING = (
    "nothing here draws without a display: neither EGL nor OSMesa is installed; apt-get install libegl1 "
    "libgl1-mesa-dri, or libosmesa6"
)
FLAGS = ("mjRND_SHADOW", "mjRND_REFLECTION", "mjRND_SKYBOX", "mjRND_HAZE")
"""What is costly and shows little at small sizes."""


def load_mujoco() -> Any:
    """Import MuJoCo with a way to draw without a display, unless ``MUJOCO_GL`` names one.

    Raises:
        ValueError: MuJoCo is missing, or what it draws with.
    """
    if not os.environ.get("MUJOCO_GL"):
        there = [name for name, library in LIBRARIES.items() if find_library(library)]
        if not there:
            raise ValueError(MISSING)
        os.environ["MUJOCO_GL"] = there[0]
    try:
        import mujoco
    except ImportError as error:
        reason = "MuJoCo isn't installed; pip install 'mirage_pl[ivideogpt]'"
        raise ValueError(reason if error.name == "mujoco" else f"{MISSING} ({error})") from None
    return mujoco


@lru_cache(maxsize=8)
def compile_scene(xml: str) -> Any:
    """Compile a scene."""
    return load_mujoco().MjModel.from_xml_string(xml)


@lru_cache(maxsize=2)
def open_renderer(xml: str, side: int) -> Any:
    """Open what draws a scene; one a process, since a second context may draw black.

    Raises:
        ValueError: no context can be made.
    """
    mujoco = load_mujoco()
    try:
        renderer = mujoco.Renderer(compile_scene(xml), side, side)
    except Exception as error:
        raise ValueError(f"{MISSING} (MUJOCO_GL={os.environ['MUJOCO_GL']}: {error})") from None
    for flag in FLAGS:
        renderer.scene.flags[getattr(mujoco.mjtRndFlag, flag)] = 0
    atexit.register(renderer.close)
    return renderer


def draw_scene(xml: str, state: Any, side: int, camera: str) -> NDArray[np.uint8]:
    """Draw a state of a scene, [side, side, 3].

    Args:
        xml: the scene.
        state: its ``MjData``.
        side: pixels.
        camera: name of the camera.
    """
    renderer = open_renderer(xml, side)
    renderer.update_scene(state, camera)
    pixels: NDArray[np.uint8] = renderer.render().copy()
    return pixels
