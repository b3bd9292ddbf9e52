"""A world of primitives: a hand on a table pushes a box towards a disc.

Lengths in metres. The table is 0.9 wide, its middle is 0; an action is the hand's velocity in x and y, 1 at most.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from data_modules.worlds.rendering import (
    check_side,
    compile_scene,
    draw_scene,
    find_lens,
    load_mujoco,
    look_at_scene,
)
from data_modules.worlds.views import View
from data_modules.worlds.world import Vector

EDGE = 0.36
"""How far from the middle the hand and the box get."""
FASTEST = 0.5
"""Metres a second."""
TIMESTEP, SUBSTEPS = 0.01, 10
REACHED = 0.06
"""The box is on the disc."""
FARTHEST = 0.5
"""The reward falls from 1 on the disc to 0 so far from it."""
BEHIND = 0.12
"""From the middle of the box to where the hand begins to push."""
ASIDE, BESIDE = 0.03, -0.06
"""So far off the line to the disc it may push; farther ahead than this it is beside the box."""

SCENE = f"""
<mujoco>
  <option timestep="{TIMESTEP}" integrator="implicitfast"/>
  <visual>
    <headlight ambient="0.55 0.55 0.55" diffuse="0.45 0.45 0.45" specular="0 0 0"/>
    <quality shadowsize="0" offsamples="0"/>
  </visual>
  <worldbody>
    <camera name="front" pos="0 -0.5 0.95" xyaxes="1 0 0 0 0.885 0.466" fovy="46"/>
    <geom type="plane" size="4 4 0.01" pos="0 0 -0.01" rgba="0.45 0.47 0.52 1" contype="0" conaffinity="0"/>
    <geom type="plane" size="0.45 0.45 0.01" rgba="0.86 0.83 0.76 1" contype="0" conaffinity="0"/>
    <body name="disc" mocap="true">
      <geom type="cylinder" size="0.07 0.002" rgba="0.25 0.65 0.35 1" contype="0" conaffinity="0"/>
    </body>
    <body name="box" pos="0 0 0.045">
      <joint name="box_x" type="slide" axis="1 0 0" range="-{EDGE} {EDGE}" limited="true" damping="4"/>
      <joint name="box_y" type="slide" axis="0 1 0" range="-{EDGE} {EDGE}" limited="true" damping="4"/>
      <joint name="box_turn" type="hinge" axis="0 0 1" damping="0.01"/>
      <geom type="box" size="0.055 0.055 0.045" mass="0.2" rgba="0.8 0.2 0.15 1"/>
      <geom type="box" size="0.02 0.055 0.002" pos="0 0 0.046" mass="0" rgba="0.95 0.75 0.2 1" contype="0"
            conaffinity="0"/>
    </body>
    <body name="hand" pos="0 0 0.03">
      <joint name="hand_x" type="slide" axis="1 0 0" range="-{EDGE} {EDGE}" limited="true"/>
      <joint name="hand_y" type="slide" axis="0 1 0" range="-{EDGE} {EDGE}" limited="true"/>
      <geom type="capsule" fromto="0 0 0 0 0 0.1" size="0.028" mass="1" rgba="0.2 0.3 0.75 1"/>
      <geom type="capsule" fromto="0 0 0.1 0.05 0.45 0.42" size="0.024" mass="0" rgba="0.45 0.5 0.6 1" contype="0"
            conaffinity="0"/>
    </body>
  </worldbody>
  <actuator>
    <velocity joint="hand_x" kv="60"/>
    <velocity joint="hand_y" kv="60"/>
  </actuator>
</mujoco>
"""


@dataclass
class Pushing:
    """The world.

    Attributes:
        side: pixels of a frame.
    """

    width: ClassVar[int] = 2
    scene: ClassVar[str] = SCENE

    side: int

    def __post_init__(self) -> None:
        check_side(self.side)
        self.model = compile_scene(self.scene)
        self.state: Any = load_mujoco().MjData(self.model)

    def reset(self, draws: np.random.Generator) -> None:
        """Place hand, box and disc by chance, apart from each other, the box where the hand gets behind it."""
        load_mujoco().mj_resetData(self.model, self.state)
        while True:
            hand, box, disc = draws.uniform(-0.3, 0.3, (3, 2)) * [[1], [0.7], [1]]
            if min(distance(hand, box), distance(box, disc) - 0.1) > 0.1:
                break
        self.state.qpos[:] = [*box, draws.uniform(-np.pi, np.pi), *hand]
        self.state.mocap_pos[0] = [*disc, 0.002]
        load_mujoco().mj_forward(self.model, self.state)

    def step(self, action: Vector) -> float:
        """Move the hand for a tenth of a second; return the reward of where the box is then."""
        self.state.ctrl[:] = FASTEST * np.clip(action, -1, 1)
        load_mujoco().mj_step(self.model, self.state, SUBSTEPS)
        return max(0.0, 1 - distance(self.box, self.disc) / FARTHEST)

    def draw(self) -> NDArray[np.uint8]:
        """Draw a frame."""
        return draw_scene(self.scene, self.state, self.side, "front")

    def look(self) -> View:
        """Draw a frame, with its depth and the camera's pose."""
        return look_at_scene(self.scene, self.state, self.side, "front")

    @property
    def intrinsics_33(self) -> NDArray[np.float32]:
        """In pixels of a frame."""
        return find_lens(self.scene, self.side, "front")

    def save(self) -> Vector:
        """Return how things are now."""
        mujoco = load_mujoco()
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(self.model, kind))
        mujoco.mj_getState(self.model, self.state, state, kind)
        return state

    def restore(self, state: Vector) -> None:
        """Put everything back to where it was."""
        mujoco = load_mujoco()
        mujoco.mj_setState(self.model, self.state, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_forward(self.model, self.state)

    @property
    def box(self) -> Vector:
        """Where the box is."""
        return np.array(self.state.qpos[:2])

    @property
    def hand(self) -> Vector:
        """Where the hand is."""
        return np.array(self.state.qpos[3:5])

    @property
    def disc(self) -> Vector:
        """Where the box should be."""
        return np.array(self.state.mocap_pos[0, :2])

    @property
    def reached(self) -> bool:
        """Whether the box is on the disc."""
        return distance(self.box, self.disc) < REACHED

    def choose_expert_action(self) -> Vector:
        """Go round the box to the side away from the disc, then push."""
        towards = (self.disc - self.box) / max(1e-6, distance(self.disc, self.box))
        offset = self.hand - self.box
        along, across = float(offset @ towards), offset - (offset @ towards) * towards
        if along < 0 and np.linalg.norm(across) < ASIDE:
            target = self.box + 0.5 * BEHIND * towards
        elif along > BESIDE and np.linalg.norm(across) < BEHIND:  # beside or before the box: go round it first
            side = across / max(1e-6, float(np.linalg.norm(across)))
            turned = np.array([-towards[1], towards[0]])
            target = self.hand - 0.1 * towards + 0.1 * (side if np.linalg.norm(across) > 0.01 else turned)
        else:
            target = self.box - BEHIND * towards
        step = FASTEST * TIMESTEP * SUBSTEPS
        action = (target - self.hand) / step
        return action / max(1.0, float(np.linalg.norm(action)))


def distance(one: Vector, other: Vector) -> float:
    """Distance of two points."""
    return float(np.linalg.norm(one - other))
