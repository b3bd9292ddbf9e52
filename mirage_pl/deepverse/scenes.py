"""Clouds of points as one file that viewers of 3D open: GLB, the binary form of glTF 2.0 (ISO/IEC 12113).

Shapes: M points; T frames of H x W pixels. Our axes (x right, y down, z ahead) are turned to those of glTF (y up, z
back) by the root's rotation.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mirage_pl.deepverse.clouds import Cloud, build_cloud
from mirage_pl.deepverse.model.cameras import invert
from mirage_pl.deepverse.surfaces import refine_depth

FLOAT, SHORT, POINTS = 5126, 5123, 0
"""glTF's numbers of kinds of values, and of what is drawn."""
HALF_TURN = [1, 0, 0, 0]
"""Round x, as a quaternion."""
UNLIT = "KHR_materials_unlit"


@dataclass(frozen=True)
class Scene:
    """Clouds in one world.

    Attributes:
        clouds: all are shown at once, or one after the other.
        rate: clouds a second; ``None``: all are shown at once.
    """

    clouds: Sequence[Cloud]
    rate: float | None = None

    def save(self, file: str | Path) -> None:
        """Write a ``.glb``."""
        content, data = Content(), [cloud for cloud in self.clouds if len(cloud.points_M3)]
        meshes = [add_cloud(content, cloud) for cloud in data]
        nodes: list[Any] = [{"rotation": HALF_TURN, "children": [*range(1, len(meshes) + 1)]}] if meshes else [{}]
        document: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "mirage_pl"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": nodes + [{"mesh": number} for number in range(len(meshes))],
        }
        if meshes:
            material = {"extensions": {UNLIT: {}}, "pbrMetallicRoughness": {"metallicFactor": 0}}
            document |= {"meshes": meshes, "materials": [material], "extensionsUsed": [UNLIT]}
            if self.rate is not None and len(meshes) > 1:
                document["animations"] = [play_in_turn(content, len(meshes), self.rate)]
            document |= content.describe()
        Path(file).write_bytes(pack(document, bytes(content.data)))


def build_scene(
    frames_T3HW: Tensor,
    depth_THW: Tensor,
    lens_T33: Tensor,
    poses_T44: Tensor,
    normals_THW3: Tensor | None = None,
    rate: float | None = None,
) -> Scene:
    """A cloud of each frame, as the first one's camera sees it.

    Args:
        frames_T3HW: in [0, 1].
        depth_THW: along the axis.
        lens_T33: in pixels.
        poses_T44: camera to world.
        normals_THW3: depth is made to agree with them; ``None``: it stays.
        rate: frames a second in which they are shown one after the other; ``None``: all are shown at once.
    """
    if normals_THW3 is not None:
        depth_THW = torch.stack([refine_depth(*each) for each in zip(depth_THW, normals_THW3, lens_T33, strict=True)])
    poses_T44 = invert(poses_T44[:1]) @ poses_T44
    return Scene([build_cloud(*each) for each in zip(frames_T3HW, depth_THW, poses_T44, lens_T33, strict=True)], rate)


@dataclass
class Content:
    """The numbers of a file, one behind the other, and what they are."""

    data: bytearray = field(default_factory=bytearray)
    views: list[dict[str, int]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)

    def add(self, rows: NDArray[Any], kind: str, bounds: bool = False) -> int:
        """Add rows of float32 or uint16, whose bytes are a multiple of four; return the number that names them."""
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": rows.nbytes})
        self.data += rows.tobytes()
        whole = rows.dtype == np.uint16
        accessor: dict[str, Any] = {"bufferView": len(self.views) - 1, "componentType": SHORT if whole else FLOAT}
        accessor |= {"count": len(rows), "type": kind} | ({"normalized": True} if whole else {})
        if bounds:
            table = rows.reshape(len(rows), -1)
            accessor |= {"min": table.min(0).tolist(), "max": table.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def describe(self) -> dict[str, Any]:
        """The document's part about them."""
        return {
            "buffers": [{"byteLength": len(self.data)}],
            "bufferViews": self.views,
            "accessors": self.accessors,
        }


def add_cloud(content: Content, cloud: Cloud) -> dict[str, Any]:
    """Add a cloud's points and colours; return the mesh of them."""
    colours_M4 = np.full((len(cloud.points_M3), 4), np.iinfo(np.uint16).max, np.uint16)
    colours_M4[:, :3] = (to_linear(cloud.colours_M3) * np.iinfo(np.uint16).max).round()
    places = content.add(cloud.points_M3.astype("<f4"), "VEC3", bounds=True)
    attributes = {"POSITION": places, "COLOR_0": content.add(colours_M4, "VEC4")}
    return {"primitives": [{"attributes": attributes, "mode": POINTS, "material": 0}]}


def to_linear(colours_M3: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Colours of sRGB, 0 to 255, as shares of light, which glTF asks for (IEC 61966-2-1)."""
    share = colours_M3 / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def play_in_turn(content: Content, count: int, rate: float) -> dict[str, Any]:
    """An animation in which each node after the first has its size in its turn, and none before and after."""
    samplers, channels = [], []
    for number in range(count):
        times = sorted({0.0, number / rate, (number + 1) / rate, count / rate})
        sizes = [float(number / rate <= time < (number + 1) / rate) for time in times]
        sizes[-1] = float(number == count - 1)  # the last one stays
        rows = np.array(sizes, "<f4")[:, None].repeat(3, 1)
        given = content.add(np.array(times, "<f4"), "SCALAR", bounds=True)
        samplers.append({"input": given, "output": content.add(rows, "VEC3"), "interpolation": "STEP"})
        channels.append({"sampler": number, "target": {"node": number + 1, "path": "scale"}})
    return {"samplers": samplers, "channels": channels}


def pack(document: dict[str, Any], data: bytes) -> bytes:
    """The file of a document and its numbers: a head, and a chunk each, padded to four bytes."""
    text = json.dumps(document, separators=(",", ":")).encode()
    parts = [(b"JSON", text + b" " * (-len(text) % 4))]
    parts += [(b"BIN\0", data + b"\0" * (-len(data) % 4))] if data else []
    body = b"".join(struct.pack("<I4s", len(part), name) + part for name, part in parts)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body
