"""A world model that is told what is to be done, a reader of what is done, and acting by both."""

import json
import math
from ctypes.util import find_library
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from PIL import Image

from data_modules.episodes.episode import Episode
from data_modules.worlds import rendering
from data_modules.worlds.discs import Discs
from data_modules.worlds.views import View
from data_modules.worlds.world import WorldFailure
from mirage_pl.deepverse.evaluations.acting import ExpertClips, ImaginedActions
from mirage_pl.deepverse.evaluations.actions import ReadTrial
from mirage_pl.deepverse.evaluations.other_clips import OtherClips
from mirage_pl.deepverse.model.codec import StateCodec
from mirage_pl.deepverse.model.mmdit import MMDiT, MmditSizes, Said
from mirage_pl.deepverse.model.prompts import ReleasedPrompts, WordTable
from mirage_pl.deepverse.model.sampler import Sampler
from mirage_pl.deepverse.reading import PictureReader, PlaceReader, PointReader
from mirage_pl.deepverse.said import Actions, Instructions
from mirage_pl.engine import evaluate
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.evaluation.games import Game
from mirage_pl.engine.sessions import infer
from mirage_pl.engine.training import fit
from tests.conftest import compose
from tests.deepverse.conftest import QUIET
from tests.lanes import build_once

SENTENCES = ["go to the red disc", "Go to the blue disc"]
TINY = [
    *("task=pushing_depth", "modalities=rgbdn", "task.side=16", "model.height=16", "model.width=16", "task.length=10"),
    *("task.episodes={train: 6, val: 2, test: 4}", "task.policies=[0, mixed]", "task.window={length: 9, hop: 4}"),
    *("model.vae.sizes.channels=[8,8,8]", "model.vae.sizes.groups=4", "callbacks.scores=null", "loader.batch_size=3"),
]
TOLD = ["says=instruction", "given=1", "model.transformer={layers: 1, heads: 2, head_dim: 16}"]
needs_drawing = pytest.mark.skipif(
    not any(map(find_library, rendering.LIBRARIES.values())), reason="neither EGL nor OSMesa is here"
)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A data folder with episodes in which a hand is told where to go, of 16 x 16 pixels."""

    def draw(folder):
        cfg = compose("train", "stage=deepverse/vae", *TINY, f"data={folder}")
        instantiate(cfg.task.data.maker, num_workers=1).make()

    return build_once(tmp_path_factory, "told_depth", draw)


@pytest.fixture(scope="module")
def runs(told, tmp_path_factory):
    """A folder with runs of a VAE, a world model that is told instructions, and a reader, of two steps each."""
    folder = tmp_path_factory.mktemp("told_runs")
    for stage, more in (
        ("vae", ["stage.max_steps=2"]),
        ("world_model", [*TOLD, "optimizer=adamw"]),
        ("inverse_dynamics", [*TOLD, "reader.channels=[8, 8]", "coded=0.5"]),
    ):
        given = [*TINY, *QUIET, "stage.max_steps=2", f"data={told}", f"runs={folder}", f"run_dir={folder}/{stage}"]
        fit.run(compose("train", f"stage=deepverse/{stage}", *given, *more))
    return folder


def test_an_instruction_is_said_of_each_unit_and_none_where_nothing_is_to_be_done():
    reads, frames = Instructions(SENTENCES), np.zeros((9, 4, 4, 3), np.uint8)
    assert reads(Episode(frames, None, None, text="GO to the blue disc"), 4, "x") == [2, 2]
    assert reads(Episode(frames, None, None), 4, "x") == [0, 0]
    with pytest.raises(ValueError, match=r"here: 'wait' is none of the 2 sentences of says.sentences; add it"):
        reads(Episode(frames, None, None, text="wait"), 4, "here")
    with pytest.raises(ValueError, match=r"says.sentences is empty"):
        Instructions([])
    with pytest.raises(ValueError, match="says=instruction"):
        Actions()(Episode(frames, np.zeros((8, 2), np.float32), None), 4, "x")


def test_words_of_instructions_are_shared_and_released_texts_are_found_by_instruction_and_robot(tmp_path):
    table = WordTable(SENTENCES, "Arm", 6, 4)
    tokens, valid, pooled = table(torch.tensor([0, 1, 2]))
    assert valid.sum(1).tolist() == [1, 6, 6]
    assert torch.equal(tokens[1, [0, 1, 2, 4, 5]], tokens[2, [0, 1, 2, 4, 5]])
    assert not torch.equal(tokens[1, 3], tokens[2, 3])
    words = table.pooled(table.words_Nn[1])
    torch.testing.assert_close(pooled[1], words.sum(0) / 6**0.5)
    embed = lambda number: {  # noqa: E731
        "prompt_embeds": torch.full((1, 3, 6), float(number)),
        "prompt_attention_mask": torch.tensor([[1, 1, 0]]),
        "pooled_prompt_embeds": torch.full((1, 4), float(number)),
    }
    names = ["empty", "go to the red disc Arm", "go to the blue disc Arm"]
    torch.save({name: embed(number) for number, name in enumerate(names)}, tmp_path / "texts.pt")
    texts = ReleasedPrompts(str(tmp_path / "texts.pt"), 6, 4, SENTENCES, "Arm")
    assert texts(torch.tensor([2, 0]))[2][:, 0].tolist() == [2, 0]
    with pytest.raises(ValueError, match="lacks 'go to the red disc Leg' and 1 more"):
        ReleasedPrompts(str(tmp_path / "texts.pt"), 6, 4, SENTENCES, "Leg")
    with pytest.raises(ValueError, match="tokens of 6 numbers and summaries of 4"):
        ReleasedPrompts(str(tmp_path / "texts.pt"), 8, 4, SENTENCES, "Arm")


@pytest.mark.parametrize("kind", ["pictures", "places", "points"])
def test_a_reader_sees_two_frames_alone_each_clip_by_itself(kind):
    torch.manual_seed(0)
    codec = StateCodec(modalities="rgbdn")
    if kind == "points":
        reader = PointReader(codec, 2, 2, [8, 8], 8)
        with pytest.raises(ValueError, match="modalities=rgb has no depth"):
            PointReader(StateCodec(modalities="rgb"), 2, 2, [8], 8)
    elif kind == "places":
        reader = PlaceReader(codec, 2, [8, 8], 4, 8)
    else:
        reader = PictureReader(codec, 2, (16, 16), [8, 8], 8)
    pictures = {name: torch.rand(3, 3, 5, 16, 16) for name in codec.coded}
    lens = torch.tensor([[20.0, 0, 8], [0, 20, 8], [0, 0, 1]]).expand(3, 3, 3)
    actions = reader(pictures, lens)
    assert actions.shape == (3, 4, 2)
    part = {name: each[1:2, :, 2:4] for name, each in pictures.items()}
    torch.testing.assert_close(reader(part, lens[:1])[0, 0], actions[1, 2])
    for name in codec.coded:
        other = {**pictures, name: pictures[name].flip(2)}
        assert not torch.allclose(reader(other, lens), actions)


@needs_drawing
def test_actions_are_read_from_true_frames_codes_and_imagined_ones(runs, told):
    folder = runs / "inverse_dynamics"
    metrics = evaluate.run(compose("evaluate", f"ckpt={folder}", "evaluation=deepverse/actions", "ahead=2", "steps=1"))
    assert set(metrics["conditions"]) == {"still", "codes", "imagined"}
    (file,) = folder.rglob("predictions.jsonl")
    index = told / "pushing_depth-16px" / "test.jsonl"
    names = [json.loads(line)["episode"] for line in index.read_text().splitlines()]
    for row in map(json.loads, file.read_text().splitlines()):
        line, first = map(int, row["where"].rpartition(":")[2].split("@"))
        actions = np.load(index.parent / names[line - 1])["actions"][first : first + 8]
        assert row["conditions"]["still"]["error"] == pytest.approx(np.abs(actions).mean(), abs=1e-5)
        assert row["error"] != row["conditions"]["codes"]["error"] != row["conditions"]["imagined"]["error"]


@needs_drawing
def test_a_model_that_is_told_is_scored_by_normals_points_and_another_instruction(runs):
    metrics = evaluate.run(
        compose("evaluate", f"ckpt={runs}/world_model", "evaluation=deepverse/prediction", "ahead=2", "steps=1")
    )
    assert set(metrics["conditions"]) == {"copy_last", "codes", "wrong_instruction", "no_depth"}
    assert {"angle", "angle_mean", "within", "chamfer", "angle_depth", "absrel_refined", "gain"} <= set(
        metrics["measures"]
    )
    assert "yaw" not in metrics["measures"]
    with pytest.raises(ValueError, match="wrong_turn"):
        evaluate.run(
            compose(
                "evaluate", f"ckpt={runs}/world_model", "evaluation=deepverse/prediction", "conditions=[wrong_turn]"
            )
        )


@needs_drawing
def test_episodes_are_played_by_what_is_imagined_beside_scripts(runs):
    given = ["evaluation=deepverse/control", "starts=3", "at_once=2", "length=6", "ahead=1", "execute=3", "steps=1"]
    metrics = evaluate.run(compose("evaluate", f"ckpt={runs}/inverse_dynamics", *given))
    assert set(metrics["conditions"]) == {"random", "expert", "expert_clip", "wrong_instruction"}
    for wrong, words in (("execute=5", "execute=5, but ahead=1"), ("conditions=[simulator]", "simulator")):
        with pytest.raises((ValueError, InstantiationException), match=words):
            evaluate.run(compose("evaluate", f"ckpt={runs}/inverse_dynamics", *given, wrong))


@needs_drawing
def test_the_experts_clip_is_what_it_would_do_and_the_world_stays_as_it_was(runs):
    module = load_trained(runs / "inverse_dynamics").module
    world = Discs(side=16, verbs=["touch"])
    world.reset(np.random.default_rng(0))
    state, chooser = world.save(), ExpertClips(module, None, None, 1, 1, 0, str)
    views = chooser.look(world)
    np.testing.assert_array_equal(world.save(), state)
    for view in views:
        np.testing.assert_array_equal(view.frame_HWC, world.draw())
        world.step(world.choose_expert_action())
    assert len(views) == 5


class Plans:
    """A module whose imagination is a plan that depends on what is told and on when it looks."""

    def __init__(self):
        self.net, self.looks = self, []

    def __call__(self, work, views, told, streams):
        self.looks.append((len(views), list(told)))
        look = len(self.looks)
        actions = np.array([[[look, step] for step in range(4)] for _ in told], float)
        return actions, np.full((len(told), 4, 2, 2, 3), look, np.uint8)


class Tells:
    """What is said has its length as its number."""

    def __init__(self):
        self.reads = self

    def find(self, text, where):
        return len(text or "")


class Table:
    """A world that counts its steps; it breaks down when it has taken so many."""

    width, side, reached = 2, 2, False
    intrinsics_33 = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1]], np.float32)

    def __init__(self, breaks=None):
        self.taken, self.breaks = [], breaks

    def look(self):
        if self.breaks is not None and len(self.taken) >= self.breaks:
            raise WorldFailure("gone")
        return View(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.float32), np.eye(4, dtype=np.float32))


def test_so_many_actions_of_a_plan_are_taken_before_the_next_look_and_broken_simulators_are_left_out():
    module = Plans()
    chooser = ImaginedActions(module, Tells(), Sampler(1), 1, 3, 0, lambda world: "abc")
    games = [Game(Table(), 0), Game(Table(breaks=0), 1)]
    chooser.begin(games)
    taken = [chooser.choose(games)[0].tolist() for _ in range(5)]
    assert taken == [[1, 0], [1, 1], [1, 2], [2, 0], [2, 1]]
    assert module.looks == [(1, [3]), (1, [3])]
    assert games[1].failure == "gone"
    assert [int(frame[0, 0, 0]) for frame in chooser.imagined[0]] == [1, 1, 1, 2, 2, 2]
    assert chooser.choose(games)[1].tolist() == [0, 0]


@needs_drawing
def test_what_follows_a_frame_is_written_side_by_side_and_as_points_of_each_frame(runs, told, tmp_path):
    clip = told / "pushing_depth-16px/episodes/test_0.npz"
    given = ["session=deepverse/imagine", f"ckpt={runs}/inverse_dynamics", "steps=1", "units=1"]
    (use,) = infer.run(compose("infer", *given, f"clip={clip}", "first=2", f"out={tmp_path}/a"))
    names = [file.removeprefix(f"{tmp_path}/a/") for file in use["files"]]
    points = [f"points/{number:03d}.ply" for number in range(5)]
    assert names == ["imagined.mp4", "colours.mp4", "depth.mp4", "normals.mp4", "space.npz", *points, "scene.glb"]
    assert use["text"].startswith("1 unit(s), 5 frames\nactions ")
    space, episode = np.load(tmp_path / "a/space.npz"), np.load(clip)
    assert {name: array.shape for name, array in space.items()} == {
        "depth": (5, 16, 16),
        "nearest": (),
        "poses": (5, 4, 4),
        "intrinsics": (5, 3, 3),
        "normals": (5, 16, 16, 3),
    }
    assert np.isfinite(space["depth"]).all()
    assert space["nearest"] > 0.2 * episode["depth"][2].min()
    Image.fromarray(episode["frames"][0]).save(tmp_path / "x.png")
    said = [f"image={tmp_path}/x.png", "instruction=go to the red disc"]
    (use,) = infer.run(compose("infer", *given, *said, f"out={tmp_path}/b"))
    assert len(use["files"]) == 11
    for wrong, words in (
        ("actions='(FN)'", "give instruction="),
        ("first=99", "first=99 must be 0 to 9"),
        ("instruction=wait", "'wait' is none of the 12 sentences"),
        ("clip=null", "give image=FILE"),
    ):
        with pytest.raises(ValueError, match=words):
            infer.run(compose("infer", *given, f"clip={clip}", wrong, f"out={tmp_path}/c"))


def test_a_units_action_is_named_by_the_mean_of_its_steps_and_by_how_its_camera_moves():
    trial = ReadTrial.__new__(ReadTrial)
    trial.evaluation, world = SimpleNamespace(edge=9.0, reach=0.17), SimpleNamespace(stride=2)
    trial.module = SimpleNamespace(world=world)
    steps = torch.tensor([[1, 0, 0.2], [0.4, 0, -0.1], [0, -1.3, 1], [0, -0.8, 0.9]])
    assert trial.name_units(steps) == ["FN", "LR"]

    def move(ahead, right, degrees):
        angle = math.radians(degrees)
        pose = torch.eye(4)
        pose[0, 0] = pose[2, 2] = math.cos(angle)
        pose[0, 2], pose[2, 0] = math.sin(angle), -math.sin(angle)
        pose[0, 3], pose[2, 3] = right, ahead
        return pose

    moves = [(0.48, 0, 0), (0.34, -0.34, 18), (-0.48, 0.1, -18), (0.1, 0.1, 5)]
    assert [trial.name_motion(move(*each)) for each in moves] == ["FN", "fLR", "BL", "SN"]


def test_a_clip_is_told_what_another_one_is_and_one_that_is_told_nothing_stays():
    said = {"a": 1, "b": 1, "c": 0, "d": 2, "e": 3}
    clips = [SimpleNamespace(where=where, read=lambda where=where: where) for where in said]
    collate = SimpleNamespace(stride=4, reads=lambda episode, stride, where: [said[episode]])
    others = OtherClips(clips, collate)
    prompts = torch.tensor([[0, number, number] for number in said.values()])
    batch = Told(tuple(clips), prompts)
    changed = others.misinstruct(batch).prompts_BN
    assert changed[:, 0].tolist() == [0] * 5
    assert changed[:, 1].tolist() == changed[:, 2].tolist() == [2, 2, 0, 1, 1]
    alone = OtherClips(clips[:2], collate).misinstruct(Told(tuple(clips[:2]), prompts[:2]))
    assert torch.equal(alone.prompts_BN, prompts[:2])


@dataclass(frozen=True)
class Told:
    """What of a batch is looked at."""

    samples: tuple
    prompts_BN: torch.Tensor


def test_a_noisy_unit_goes_past_the_layers_as_much_as_its_time_says():
    sizes = MmditSizes(1, 2, 8, 5, 2, 6, 4, 4, 4, straight=True)
    net, unit = MMDiT(sizes), torch.randn(2, 5, 1, 4, 4)
    said, times = Said(torch.zeros(2, 1, 6), torch.ones(2, 1), torch.zeros(2, 4)), torch.tensor([1.0, 900.0])
    assert net([unit, unit], times, said).abs().max() == 0
    net.straight.linear.bias.data.copy_(torch.arange(5.0))
    torch.testing.assert_close(net([unit, unit], times, said), unit * torch.arange(5.0).view(1, 5, 1, 1, 1))
    torch.nn.init.normal_(net.straight.linear.weight)
    first, second = net([unit[:1].expand(2, -1, -1, -1, -1)], times, said)
    assert not torch.allclose(first, second)
