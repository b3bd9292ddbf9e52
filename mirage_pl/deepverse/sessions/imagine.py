"""One use of a world model: what follows a frame, as it is told, in colours, depth, normals and points.

Shapes: U units, N = U + 1 units with the given one, T frames, H x W pixels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor

from data_modules.episodes.episode import Episode
from data_modules.episodes.form import Form, as_plain
from data_modules.episodes.geometry import shade_depth
from data_modules.episodes.normals import shade_normals
from data_modules.episodes.recording import read_episode
from data_modules.episodes.video import Clip, enlarge, place_beside
from data_modules.images import open_image
from mirage_pl.deepverse.actions import ActionProgram
from mirage_pl.deepverse.batch import describe_fit, fit_frames
from mirage_pl.deepverse.model.cameras import chain, interpolate
from mirage_pl.deepverse.model.prompts import NUMBERS
from mirage_pl.deepverse.model.sampler import Sampler
from mirage_pl.deepverse.pictures import draw_colours, find_scales, read_pictures
from mirage_pl.deepverse.scenes import build_scene
from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.engine.evaluation.frames import to_pixels
from mirage_pl.engine.inputs import check_count
from mirage_pl.engine.seams import Piece
from mirage_pl.engine.training.draws import row_stream

FILES = {"colours": "colours.mp4", "disparity": "depth.mp4", "normals": "normals.mp4"}


@dataclass(frozen=True)
class Space:
    """What is known of the space that frames show.

    Attributes:
        arrays: ``depth`` along the axis, ``nearest``, the depth that its range begins with, ``normals``, ``poses`` and
            ``intrinsics``, those that there are.
    """

    arrays: Mapping[str, NDArray[np.float32]]

    def save(self, file: str | Path) -> None:
        """Write an ``.npz``."""
        arrays: dict[str, Any] = dict(self.arrays)
        np.savez_compressed(file, **arrays)


class Imagine:
    """``conf/session/deepverse/imagine.yaml``.

    Args:
        trained: the run.
        takes: names of what is given, and their kinds.
        sampler: how units are drawn.
        units: that are imagined of an instruction.
        seed: of what is drawn.
        rate: frames a second.
    """

    def __init__(
        self,
        trained: Trained,
        takes: Mapping[str, str],
        sampler: Sampler,
        units: Annotated[int, Ge(1)],
        seed: int,
        rate: Annotated[int, Ge(1)],
    ) -> None:
        if units < 1:
            raise ValueError(f"units={units} must be 1 or more")
        self.trained, self.takes, self.sampler = trained, takes, sampler
        self.units, self.seed, self.rate = units, seed, rate
        self.given: tuple[Episode | None, Path | None] = None, None

    def begin(
        self,
        image: str | None = None,
        clip: str | None = None,
        first: float = 0,
        instruction: str | None = None,
        actions: str | None = None,
    ) -> Iterator[Piece]:
        """Imagine what follows a frame.

        Args:
            image: a picture; its depth and normals are imagined as well.
            clip: an ``.npz`` episode, of which frame ``first`` is given, with its depth and normals.
            first: a frame's number.
            instruction: what is to be done; by default what the clip says.
            actions: in its place, for a run that is told what is done: a program, such as ``(FN)(fRL)``.

        Raises:
            ValueError: no such file, or what is said doesn't fit the run.
        """
        if (image is None) == (clip is None):
            raise ValueError("give one of image=FILE, a picture, and clip=FILE, an .npz episode")
        episode = None if clip is None else self.read_frame(Path(clip), check_count("first", first, 0))
        self.given = episode, None if image is None else Path(image)
        yield from self.step(instruction, actions)

    def step(self, instruction: str | None = None, actions: str | None = None) -> Iterator[Piece]:
        """Imagine what follows the same frame, told something else.

        Raises:
            ValueError: no frame was given, or what is said doesn't fit the run.
        """
        episode, image = self.given
        if episode is None and image is None:
            raise ValueError("begin with an image or a clip")
        yield from self.imagine(episode, image, self.tell(instruction, actions, episode))

    def tell(self, instruction: str | None, actions: str | None, episode: Episode | None) -> list[int]:
        """What is said of each unit that follows, by number."""
        reads = self.trained.collator.reads
        if reads.walks:
            if instruction is not None or actions is None:
                raise ValueError('this run is told what is done: give actions="(FN)(fRL)" and no instruction')
            return [NUMBERS[code] for code in ActionProgram.parse(actions).codes]
        if actions is not None:
            raise ValueError("this run is told what is to be done: give instruction= and no actions")
        text = instruction if instruction is not None or episode is None else episode.text
        number: int = reads.find(text, "instruction=")
        return [number] * self.units

    def read_frame(self, file: Path, first: int) -> Episode:
        """A frame of an episode, with what is known of it.

        Raises:
            ValueError: there is none.
        """
        episode = read_episode(file, Form(**as_plain(self.trained.config.task.form)))
        if not 0 <= first < len(episode.frames_THWC):
            raise ValueError(f"first={first} must be 0 to {len(episode.frames_THWC) - 1}, the frames of {file}")
        known = None
        if episode.geometry is not None:
            parts = {name: each[first : first + 1] for name, each in vars(episode.geometry).items() if each is not None}
            known = replace(episode.geometry, **parts)
        return Episode(episode.frames_THWC[first : first + 1], None, None, text=episode.text, geometry=known)

    @torch.no_grad()
    def imagine(self, episode: Episode | None, image: Path | None, told: list[int]) -> Iterator[Piece]:
        """Imagine, and show it."""
        world, module = self.trained.module.world, self.trained.module
        streams = [row_stream(self.seed, "imagine", 0)]
        if episode is not None:
            batch = self.trained.collator.view([episode], "clip").to(self.trained.device)
            (state, _), scale = module.build(batch), find_scales(batch.depth_BTHW.float())
        else:
            frame_HWC = np.array(open_image(Path(str(image)), f"image={image}"))
            if fitted := describe_fit(frame_HWC, self.trained.collator.size):
                yield Piece("text", fitted)
            state, scale = self.imagine_first(frame_HWC, streams), torch.ones(1, 1, 1, 1)
        prompts_1U = torch.tensor([told], device=self.trained.device)
        units = world.draw_units(self.sampler, state, prompts_1U, streams)
        pictures, cameras = world.show(torch.cat((state.to(units), units), 2))
        maps = read_pictures(world.codec, pictures, {"disparity": scale})  # whose nearest point it is
        relative_N44 = cameras.poses_BN44[0].clone()
        relative_N44[:, :3, 3] *= scale.flatten()
        lenses_N33 = torch.cat((cameras.lenses_BN33[0, 1:2], cameras.lenses_BN33[0, 1:]))
        poses_T44, lenses_T33 = interpolate(chain(relative_N44[1:]), lenses_N33, world.stride)
        shown = {name: each[0].cpu() for name, each in maps.items()}
        yield Piece("text", self.describe(pictures, lenses_N33[:1], told))
        yield from self.show(shown, poses_T44.cpu(), lenses_T33.cpu())

    def imagine_first(self, frame_HWC: NDArray[np.uint8], streams: list[torch.Generator]) -> Tensor:
        """The state of a picture, of which depth, normals and lens are imagined."""
        world, model = self.trained.module.world, self.trained.config.model
        world.check_size(model.height, model.width)
        frames = fit_frames(frame_HWC[None], (model.height, model.width)).to(self.trained.device)
        picture = draw_colours(frames[None], torch.float32)
        codes = world.encode(dict.fromkeys(world.written.coded, picture))
        nothing = torch.zeros(1, 1, dtype=torch.long, device=self.trained.device)
        state: Tensor = world.draw_units(
            self.sampler, world.write({"colours": codes["colours"]}, None), nothing, streams
        )
        return state

    def describe(self, pictures: Mapping[str, Tensor], lens_133: Tensor, told: list[int]) -> str:
        """How much was imagined, and what is done in it, where the run reads that."""
        frames = pictures["colours"].shape[2]
        words = f"{len(told)} unit(s), {frames} frames\n"
        if (reader := getattr(self.trained.module.net, "reader", None)) is None:
            return words
        actions = reader(pictures, lens_133)[0].tolist()
        return (
            words + "actions " + ", ".join(" ".join(f"{number:.2f}" for number in action) for action in actions) + "\n"
        )

    def show(self, maps: Mapping[str, Tensor], poses_T44: Tensor, lenses_T33: Tensor) -> Iterator[Piece]:
        """Pictures side by side and each by itself, numbers, and points of each frame."""
        shades = {"disparity": shade_depth, "normals": shade_normals}
        frames = {"colours": to_pixels(maps["colours"])}
        frames |= {name: shades[name](each.float().numpy()) for name, each in maps.items() if name in shades}
        beside = place_beside([enlarge(each) for each in frames.values()])
        yield Piece("clip", Clip(beside, self.rate), "imagined.mp4")
        for name, each in frames.items():
            yield Piece("clip", Clip(each, self.rate), FILES[name])
        if "disparity" not in maps:
            return
        depth_THW = maps["disparity"]
        arrays = {"depth": depth_THW, "nearest": depth_THW[0].min(), "poses": poses_T44, "intrinsics": lenses_T33}
        arrays |= {"normals": maps["normals"]} if "normals" in maps else {}
        yield Piece("cameras", Space({name: each.float().numpy() for name, each in arrays.items()}), "space.npz")
        scene = build_scene(maps["colours"], depth_THW, lenses_T33, poses_T44, maps.get("normals"), self.rate)
        for number, cloud in enumerate(scene.clouds):
            yield Piece("cloud", cloud, f"points/{number:03d}.ply")
        yield Piece("cloud", scene, "scene.glb")
