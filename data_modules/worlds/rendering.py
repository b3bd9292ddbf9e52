"""MuJoCo scenes as pixels, drawn by software: no display and no GPU is needed."""

import atexit
import ctypes
import logging
import os
from ctypes.util import find_library
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.episodes.geometry import UPRIGHT
from data_modules.worlds.views import View

LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
"""What MuJoCo calls a way to draw without a display -> its library."""
MISSING = (
    "nothing here draws without a display: neither EGL with a device nor OSMesa is installed; apt-get install libegl1 "
    "libgl1-mesa-dri, or libosmesa6"
)
FLAGS = ("mjRND_SHADOW", "mjRND_REFLECTION", "mjRND_SKYBOX", "mjRND_HAZE")
"""What is costly and shows little at small sizes."""
PLATFORM_DEVICE = 0x313F
"""``EGL_PLATFORM_DEVICE_EXT``."""


def load_mujoco() -> Any:
    """Import MuJoCo with a way to draw without a display, unless ``MUJOCO_GL`` names one.

    Raises:
        ValueError: MuJoCo is missing, or what it draws with.
    """
    if not os.environ.get("MUJOCO_GL"):
        os.environ["MUJOCO_GL"] = find_way()
    logging.getLogger("OpenGL").setLevel(logging.WARNING)  # it tells everybody that it could be faster
    try:
        import mujoco
    except ImportError as error:
        reason = "MuJoCo isn't installed; pip install 'mirage_pl[ivideogpt]'"
        raise ValueError(reason if error.name == "mujoco" else f"{MISSING} ({error})") from None
    return mujoco


def find_way() -> str:
    """Return what MuJoCo can draw with: EGL where it has a device, otherwise OSMesa.

    Raises:
        ValueError: neither is here; names what to install.
    """
    for way, library in LIBRARIES.items():
        file = find_library(library)
        if file and (way != "egl" or has_device(file)):
            return way
    raise ValueError(MISSING)


def has_device(file: str) -> bool:
    """Return whether an EGL library has a device, such as a software one, that it can begin to use."""
    egl = ctypes.CDLL(file)
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    places = [egl.eglGetProcAddress(name) for name in (b"eglQueryDevicesEXT", b"eglGetPlatformDisplayEXT")]
    if not all(places):
        return False
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(places[0])
    open_display = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(places[1])
    devices, count = (ctypes.c_void_p * 32)(), ctypes.c_int()
    if not query(len(devices), devices, ctypes.byref(count)):
        return False
    displays = [open_display(PLATFORM_DEVICE, device, None) for device in devices[: count.value]]
    return any(display and egl.eglInitialize(ctypes.c_void_p(display), None, None) for display in displays)


def check_side(side: int) -> None:
    """Check the pixels of a frame.

    Raises:
        ValueError: there are too few.
    """
    if side < 8:
        raise ValueError(f"task.side={side} must be 8 or more")


@lru_cache(maxsize=8)
def compile_scene(scene: str) -> Any:
    """Compile a scene, from XML or from a file of it, so that drawing it costs little: without samples and shadows."""
    kind = load_mujoco().MjModel
    model = kind.from_xml_path(scene) if scene.endswith(".xml") else kind.from_xml_string(scene)
    model.vis.quality.offsamples = model.vis.quality.shadowsize = 0
    return model


@lru_cache(maxsize=2)
def open_renderer(scene: str, side: int) -> Any:
    """Open what draws a scene; one a process, since a second context may draw black.

    Raises:
        ValueError: no context can be made.
    """
    mujoco = load_mujoco()
    try:
        renderer = mujoco.Renderer(compile_scene(scene), side, side)
    except Exception as error:
        raise ValueError(f"{MISSING} (MUJOCO_GL={os.environ['MUJOCO_GL']}: {error})") from None
    for flag in FLAGS:
        renderer.scene.flags[getattr(mujoco.mjtRndFlag, flag)] = 0
    atexit.register(renderer.close)
    return renderer


def draw_scene(scene: str, state: Any, side: int, camera: str) -> NDArray[np.uint8]:
    """Draw a state of a scene, [side, side, 3].

    Args:
        scene: XML, or a file of it.
        state: its ``MjData``.
        side: pixels.
        camera: name of the camera.
    """
    renderer = open_renderer(scene, side)
    renderer.update_scene(state, camera)
    pixels: NDArray[np.uint8] = renderer.render().copy()
    return pixels


def look_at_scene(scene: str, state: Any, side: int, camera: str) -> View:
    """What a camera sees of a state of a scene, with depth and pose; the arguments are those of :func:`draw_scene`."""
    frame, renderer = draw_scene(scene, state, side, camera), open_renderer(scene, side)
    renderer.enable_depth_rendering()
    try:
        renderer.update_scene(state, camera)
        depth: NDArray[np.float32] = renderer.render().astype(np.float32)
    finally:
        renderer.disable_depth_rendering()
    placed, pose = state.camera(camera), np.eye(4)
    pose[:3, :3], pose[:3, 3] = placed.xmat.reshape(3, 3), placed.xpos
    return View(frame, depth, (pose @ UPRIGHT).astype(np.float32))


def find_lens(scene: str, side: int, camera: str) -> NDArray[np.float32]:
    """A camera's focal lengths and middle, in pixels."""
    focal = side / 2 / np.tan(np.radians(compile_scene(scene).camera(camera).fovy[0]) / 2)
    return np.array([[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1]], np.float32)
