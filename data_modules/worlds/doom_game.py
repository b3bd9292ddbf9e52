"""ViZDoom's simulator: started with its files out of the way, asked, given up when it breaks down; it ends with us."""

import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_modules.worlds.doom_space import Eye
from data_modules.worlds.world import WorldFailure

WIDTHS = {160: "RES_160X120", 320: "RES_320X240", 400: "RES_400X300", 640: "RES_640X480", 800: "RES_800X600"}
"""Of frames that are drawn with sides of 4 to 3."""
BUTTONS = ("MOVE_FORWARD_BACKWARD_DELTA", "MOVE_LEFT_RIGHT_DELTA", "TURN_LEFT_RIGHT_DELTA")
PLACE = ("CAMERA_POSITION_X", "CAMERA_POSITION_Y", "CAMERA_POSITION_Z", "CAMERA_ANGLE")
HIDDEN = ("hud", "minimal_hud", "crosshair", "weapon", "decals", "particles", "effects_sprites", "messages", "corpses")
ARGUMENTS = "-nomonsters +sv_cheats 1 +movebob 0"
"""Nobody else is there, one can be put anywhere, and the eye stays level."""
FROZEN = 8
"""Tics of a new episode in which buttons do nothing (seven, measured with 1.3.2)."""
Answer = TypeVar("Answer")


class Game:
    """One simulator, started when it is asked for.

    Args:
        wad: the file that holds its maps.
        width: pixels of what it draws, out of ``WIDTHS``.
    """

    def __init__(self, wad: Path, width: int) -> None:
        self.wad, self.width, self.name = wad, width, ""
        self.held: list[Any] = []

    def begin(self, name: str, seed: int) -> None:
        """Begin a map anew, in a new simulator if the last one broke down."""
        self.name = name
        if not self.held:
            self.start(name)

        def load(running: Any) -> None:
            running.set_seed(seed)
            running.set_doom_map(name.lower())
            running.new_episode()

        self.ask(load)
        self.act((0, 0, 0), FROZEN)

    def start(self, name: str) -> None:
        """Start the simulator in a map.

        Raises:
            WorldFailure: it breaks down.
        """
        vizdoom = load_vizdoom()
        running = vizdoom.DoomGame()
        running.set_doom_game_path(str(self.wad))
        running.set_doom_config_path(os.devnull)  # it would write its settings at its end
        running.set_doom_map(name.lower())
        running.set_screen_resolution(getattr(vizdoom.ScreenResolution, WIDTHS[self.width]))
        running.set_screen_format(vizdoom.ScreenFormat.RGB24)
        running.set_depth_buffer_enabled(True)
        for part in HIDDEN:
            getattr(running, f"set_render_{part}")(False)
        running.set_render_screen_flashes(False)
        running.set_window_visible(False)
        running.set_sound_enabled(False)
        running.set_mode(vizdoom.Mode.PLAYER)
        running.set_available_buttons([getattr(vizdoom.Button, button) for button in BUTTONS])
        running.set_available_game_variables([getattr(vizdoom.GameVariable, part) for part in PLACE])
        running.add_game_args(ARGUMENTS)
        with tempfile.TemporaryDirectory() as folder, chdir(folder), guard():  # it makes folders where it is started
            running.set_vizdoom_path(str(write_launcher(Path(folder), Path(vizdoom.__file__).parent / "vizdoom")))
            running.init()
        self.held[:] = [running]

    def ask(self, question: Callable[[Any], Answer]) -> Answer:
        """Ask the simulator; one that broke down is given up.

        Raises:
            WorldFailure: it broke down.
        """
        if not self.held:
            raise WorldFailure("ViZDoom broke down before; reset begins anew")
        try:
            with guard():
                return question(self.held[0])
        except WorldFailure:
            self.held.clear()
            raise

    def act(self, pushes: tuple[float, float, float], tics: int) -> None:
        """Press the buttons for some tics: ahead, to the right, and degrees clockwise."""
        self.ask(lambda running: running.make_action(list(pushes), tics))

    def move(self, x: float, y: float) -> None:
        """Put the walker on the floor of a place, if one fits in there."""
        self.ask(lambda running: running.send_game_command(f"warp {round(x)} {round(y)}"))

    def see(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The frame and the depth buffer of now, [H, W, 3] and [H, W].

        Raises:
            WorldFailure: the map has ended.
        """
        state = self.ask(lambda running: running.get_state())
        if state is None:
            raise WorldFailure(f"{self.name} has ended")
        return state.screen_buffer, state.depth_buffer

    def find_eye(self) -> Eye:
        """Where the eye is."""
        kinds = [getattr(load_vizdoom().GameVariable, part) for part in PLACE]
        x, y, height, angle = self.ask(lambda running: [running.get_game_variable(kind) for kind in kinds])
        return Eye(x, y, height, float(np.radians(90 - angle)))


def write_launcher(folder: Path, program: Path) -> Path:
    """Write a script that starts a program by :mod:`data_modules.worlds.doom_start`."""
    launcher, start = folder / "start", Path(__file__).with_name("doom_start.py")
    words = " ".join(shlex.quote(str(word)) for word in (sys.executable, "-IS", start, program))
    launcher.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    launcher.chmod(0o700)
    return launcher


def load_vizdoom() -> Any:
    """Import ViZDoom.

    Raises:
        ValueError: it isn't installed; names the extra.
    """
    try:
        import vizdoom
    except ImportError as error:
        raise ValueError(f"ViZDoom isn't installed ({error}); pip install 'mirage_pl[doom]'") from None
    return vizdoom


@contextmanager
def guard() -> Iterator[None]:
    """Turn what ViZDoom raises into a failure of the world."""
    vizdoom = load_vizdoom()
    try:
        yield
    except (
        vizdoom.ViZDoomErrorException,
        vizdoom.ViZDoomUnexpectedExitException,
        vizdoom.ViZDoomIsNotRunningException,
        vizdoom.MessageQueueException,
        vizdoom.SharedMemoryException,
    ) as error:
        last = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise WorldFailure(f"ViZDoom broke down: {last}") from None
