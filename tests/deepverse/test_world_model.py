"""The world model: what a step learns, by hand; what is said and remembered; its scores, and a walk through it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from PIL import Image

from mirage_pl.deepverse.evaluations.motion import correlate, measure_motion
from mirage_pl.deepverse.evaluations.prediction_words import verdict
from mirage_pl.deepverse.model.cameras import invert, relate
from mirage_pl.deepverse.model.flow import build_noise_pyramid, build_pyramid, enlarge
from mirage_pl.deepverse.model.prompts import CODES, NUMBERS, PROMPTS, PromptTable, ReleasedPrompts, turn_prompts
from mirage_pl.deepverse.model.rollout import Rollout, WindowSizes
from mirage_pl.deepverse.model.sampler import Sampler
from mirage_pl.deepverse.pictures import draw_colours, find_scales
from mirage_pl.deepverse.stages.world_model import weigh_moves
from mirage_pl.engine import evaluate, export
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.sessions import infer
from tests.conftest import compose
from tests.deepverse.conftest import SMALL, STAGE, compose_small, compose_world


@pytest.fixture(scope="module")
def pair(walks17):
    """A module that isn't trained, and a batch of four clips, the last ones with a past."""
    cfg = compose_world("train", f"data={walks17}")
    torch.manual_seed(0)
    module, collate = instantiate(cfg.stage.module).eval(), instantiate(cfg.stage.collator)
    rows = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    return module, collate([rows[0], rows[1], rows[2], rows[5]])


def wake(module):
    """Weights that aren't 0."""
    for number, weight in enumerate(module.net.transformer.parameters()):
        stream = torch.Generator().manual_seed(number)
        weight.data = 0.2 * torch.randn(weight.shape, generator=stream)


def test_a_units_prompt_is_what_was_done_in_it_and_the_first_ones_nothing(pair, walks17):
    _, batch = pair
    assert batch.prompts_BN.shape == (4, 3)
    assert batch.prompts_BN[:, 0].tolist() == [0] * 4
    for row, clip in enumerate(batch.samples):
        episode = np.load(clip.entry.file)
        for unit in (1, 2):
            forward, right, clockwise = episode["actions"][clip.first + 4 * unit - 1]
            sentence = PROMPTS[batch.prompts_BN[row, unit]]
            assert ("counterclockwise" in sentence, "hasn't changed" in sentence) == (clockwise < 0, clockwise == 0)
            assert ("forward" in sentence) == (forward > 0 and right == 0)
        np.testing.assert_allclose(batch.poses_BN44[row], episode["poses"][clip.first : clip.first + 9 : 4])
    assert len(PROMPTS) == len(CODES) == 28
    turned = turn_prompts(torch.arange(28))
    assert sorted(turned.tolist()) == list(range(28))
    assert [CODES[turned[NUMBERS[code]]] for code in ("fRN", "fRL", "fRR")] == ["fRL", "fRR", "fRN"]


def test_a_clip_is_reminded_of_the_nearest_view_before_it_and_the_first_of_a_walk_of_none(pair):
    _, batch = pair
    firsts = [clip.first for clip in batch.samples]
    assert firsts == [0, 4, 8, 8]
    assert batch.remembered_B.tolist() == [False, True, True, True]
    for row in (1, 2, 3):
        episode, first = np.load(batch.samples[row].entry.file), firsts[row]
        frames = [
            frame
            for frame in range(0, first, 4)
            if (episode["frames"][frame] == batch.memory_BTCHW[row, 0].permute(1, 2, 0).numpy()).all()
        ]
        assert frames
        np.testing.assert_allclose(batch.memory_poses_BN44[row, 0], episode["poses"][frames[0]])
        np.testing.assert_allclose(batch.memory_depth_BTHW[row, 0], episode["depth"][frames[0]])


def test_states_say_where_cameras_are_in_the_unit_of_the_first_pictures_nearest_point(pair):
    module, batch = pair
    states, memory = module.build(batch)
    assert states.shape == (4, 38, 3, 4, 4)
    scale = find_scales(batch.depth_BTHW).flatten()
    torch.testing.assert_close(scale, batch.depth_BTHW[:, 0].flatten(1).amin(1))
    for row in range(4):
        _, _, rays = module.net.codec.split(states[row : row + 1])
        poses, lenses = module.net.codec.decode_rays(rays[0].transpose(0, 1), scale[row])
        torch.testing.assert_close(poses, relate(batch.poses_BN44[row]), atol=1e-3, rtol=0)
        torch.testing.assert_close(lenses[:, :2, :2], batch.lenses_BN33[row, :, :2, :2], rtol=1e-3, atol=1e-3)
        _, _, rays = module.net.codec.split(memory[row : row + 1])
        pose, _ = module.net.codec.decode_rays(rays[0].transpose(0, 1), scale[row])
        wanted = invert(batch.poses_BN44[row, :1]) @ batch.memory_poses_BN44[row]
        torch.testing.assert_close(pose, wanted, atol=1e-3, rtol=0)


NAMES = ("colours", "disparity", "rays")


def test_a_steps_losses_are_squared_errors_of_directions_row_by_row(pair, monkeypatch):
    module, batch = pair
    wake(module)
    net, (states, _), heard, wanted = module.net, module.build(batch), {}, []
    forward = net.transformer.forward
    monkeypatch.setattr(
        net.transformer,
        "forward",
        lambda *given: heard.update(noisy=given[0][-1], answer=forward(*given)) or heard["answer"],
    )
    for row, clip in enumerate(batch.samples):
        alone = module.losses(take(batch, slice(row, row + 1)))
        drawn = module.draw(clip, 3)
        stage, units = drawn.key
        noise = build_noise_pyramid(torch.randn(states[row, :, :1].shape, generator=drawn.stream)[None], 2)[stage]
        clean, edges = build_pyramid(states[row : row + 1, :, units - 1 : units], 2), net.flow.stages[stage]
        before = edges.start * noise + (1 - edges.start) * enlarge(clean[0]) if stage else noise
        target = before - (edges.end * noise + (1 - edges.end) * clean[stage])
        noisy = drawn.ratio * before + (1 - drawn.ratio) * (before - target)
        torch.testing.assert_close(heard["noisy"], noisy, atol=1e-5, rtol=1e-5)
        error = (heard["answer"] - target).square()[0]
        wanted.append([error[:16].mean().item(), error[16:32].mean().item(), error[32:].mean().item()])
        assert [alone[name].item() for name in NAMES] == pytest.approx(wanted[-1], rel=1e-4)
    losses = module.losses(batch)
    assert [losses[name].item() for name in NAMES] == pytest.approx(np.mean(wanted, 0), rel=1e-4)


def test_what_moves_counts_more_by_its_share_and_all_places_together_the_same():
    newest = torch.rand(2, 4, 1, 6, 8)
    clean = newest.clone()
    clean[0, :, :, 2, 3:5] += torch.tensor([1.0, 3.0])
    assert weigh_moves(clean, newest, 0.0).unique().tolist() == [1]
    weights = weigh_moves(clean, newest, 0.5)[0, 0, 0]
    assert weights[2, 3:5].tolist() == pytest.approx([0.5 + 0.5 * 12, 0.5 + 0.5 * 36])
    assert weights.mean().item() == pytest.approx(1)
    assert weights[0].unique().tolist() == [0.5]
    assert weigh_moves(clean, newest, 0.5)[1].isfinite().all()


def take(batch, rows):
    """A batch of some of its rows."""
    tensors = {name: getattr(batch, name)[rows] for name in batch.__dataclass_fields__ if name != "samples"}
    return replace(batch, samples=batch.samples[rows], **tensors)


def test_text_memory_and_the_past_are_dropped_at_their_rates_and_long_pasts_are_coarse(walks17, pair):
    cfg = compose_world("train", f"data={walks17}")
    module = instantiate(cfg.stage.module).train()
    clip, drawn = pair[1].samples[0], []
    for step in range(600):
        module.step = step
        drawn.append(module.draw(clip, 3))
    shares = [
        np.mean(each)
        for each in ([d.key[1] == 1 for d in drawn], [d.says for d in drawn], [d.remembers for d in drawn])
    ]
    assert shares == pytest.approx([0.1, 0.9 * 0.9, 0.9 * 0.7], abs=0.05)
    assert {d.key for d in drawn} == {(0, 1), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3)}
    for step in range(4):
        module.step = step
        assert [key for key in module.list_keys(3) if key[1] > 1] == ([(0, 3), (1, 2)], [(0, 2), (1, 3)])[step % 2]
    assert 0 <= min(d.share for d in drawn) < max(d.share for d in drawn) < 0.1
    assert min(d.ratio for d in drawn) > 0
    with pytest.raises(ValueError, match="0 to 1"):
        type(module.rates)(0.1, 2.0, 0.1, 0.1)


def test_codes_are_the_same_whatever_is_remembered(pair):
    module, batch = pair
    flat = lambda: [code for codes in module.recall(batch) for code in codes.values()]  # noqa: E731
    first = flat()
    most, module.codes.most, module.codes.rows = module.codes.most, 0, {}
    for ours, wanted in zip(flat(), first, strict=True):
        torch.testing.assert_close(ours, wanted, atol=2e-3, rtol=2e-3)  # together, as ranks that share weights do
    module.codes.most = most
    assert all(torch.equal(*both) for both in zip(flat(), first, strict=True))


def test_what_is_said_is_a_table_of_moves_and_turns_or_the_releases_texts(tmp_path):
    table = PromptTable(8, 6)
    tokens, valid, pooled = table(torch.tensor([0, NUMBERS["FL"], NUMBERS["FR"], NUMBERS["SL"]]))
    assert (tokens.shape, valid.shape, pooled.shape) == ((4, 2, 8), (4, 2), (4, 6))
    assert torch.equal(tokens[1, 0], tokens[2, 0])
    assert torch.equal(tokens[1, 1], tokens[3, 1])
    assert not torch.equal(tokens[0], tokens[1])
    embed = lambda number: {  # noqa: E731
        "prompt_embeds": torch.full((1, 3, 5), float(number)),
        "prompt_attention_mask": torch.tensor([[1, 1, 0]]),
        "pooled_prompt_embeds": torch.full((1, 4), float(number)),
    }
    texts = {prompt: embed(number) for number, prompt in enumerate(PROMPTS)}
    torch.save(texts, tmp_path / "texts.pt")
    tokens, valid, pooled = ReleasedPrompts(str(tmp_path / "texts.pt"), 5, 4)(torch.tensor([27, 0]))
    assert (tokens[:, 0, 0].tolist(), pooled[:, 0].tolist(), valid.tolist()) == (
        [27, 0],
        [27, 0],
        [[True, True, False]] * 2,
    )
    torch.save({"empty": texts["empty"]}, tmp_path / "few.pt")
    for name, words in (("few.pt", "lacks .Stay where"), ("gone.pt", "can't be read")):
        with pytest.raises(ValueError, match=words):
            ReleasedPrompts(str(tmp_path / name), 5, 4)


def test_a_run_begins_with_the_newest_vae_and_measures_its_codes(run_of_world, walks17):
    vae, world = load_trained(run_of_world / "vae").module, load_trained(run_of_world / "world").module
    for name, weight in vae.vae.state_dict().items():
        assert torch.equal(weight, world.net.vae.state_dict()[name])
    assert bool(world.net.measured)
    cfg = compose_world("train", f"data={walks17}")
    rows = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    parts = [torch.stack(world.encode(instantiate(cfg.stage.collator)([rows[row]]))) for row in range(len(rows))]
    first = torch.cat([part[:, 0, :, 0].flatten() for part in parts])
    assert world.net.codec.first == pytest.approx([first.mean().item(), first.std().item()], rel=1e-3, abs=1e-3)
    assert world.net.codec.later != world.net.codec.first


@pytest.fixture(scope="module")
def scored(run_of_world):
    folder = run_of_world / "world"
    metrics = evaluate.run(
        compose("evaluate", f"ckpt={folder}", "evaluation=deepverse/prediction", "ahead=2", "steps=1")
    )
    file = folder / "evaluation/raycast/predictions.jsonl"
    return metrics, [json.loads(line) for line in file.read_text().splitlines()]


def test_walks_are_scored_against_copying_unit_by_unit(scored, walks17):
    metrics, rows = scored
    assert set(metrics["conditions"]) == {
        "copy_last",
        "codes",
        "wrong_turn",
        "no_memory",
        "placebo_memory",
        "no_rays",
        "no_depth",
    }
    index = walks17 / "raycast-16x16" / "test.jsonl"
    names = [json.loads(line)["episode"] for line in index.read_text().splitlines()]
    for row in rows:
        line, first = map(int, row["where"].rpartition(":")[2].split("@"))
        episode = np.load(index.parent / names[line - 1])
        frames, depth = episode["frames"] / 255, episode["depth"]
        level = lambda at, copied=frames[first]: -10 * np.log10(((frames[at] - copied) ** 2).mean() + 1e-8)  # noqa: E731, B023
        copied = row["conditions"]["copy_last"]
        assert copied["psnr_all"] == pytest.approx(np.mean([level(first + at) for at in range(1, 5)]), abs=1e-3)
        assert copied["psnr_last"] == pytest.approx(np.mean([level(first + at) for at in range(5, 9)]), abs=1e-3)
        errors = [(np.abs(depth[first] - far) / far).mean() for far in depth[first + 1 : first + 5]]
        assert copied["absrel"] == pytest.approx(np.mean(errors), abs=1e-4)
        pose = np.linalg.inv(episode["poses"][first]) @ episode["poses"][first + 4]
        np.testing.assert_allclose(row["true_step"], pose[:3, 3], atol=1e-4)
        assert row["true_turn"] == pytest.approx(np.degrees(np.arctan2(pose[0, 2], pose[2, 2])), abs=0.05)
        assert row["conditions"]["codes"]["turn_error"] < 1
        assert row["conditions"]["codes"]["move_error"] < 0.05
        assert row["conditions"]["wrong_turn"]["psnr_last"] is None
        assert (row["conditions"]["no_memory"]["psnr_all"] is None) == (first == 0)
        assert (row["psnr"] is None) == (row["group"] == "at rest")  # not absent: reports read the first measure


def test_a_turn_is_right_in_the_third_that_was_told():
    def pose(degrees, ahead=0.0):
        angle = np.radians(degrees)
        rows = [
            [np.cos(angle), 0, np.sin(angle), 0],
            [0, 1, 0, 0],
            [-np.sin(angle), 0, np.cos(angle), ahead],
            [0, 0, 0, 1],
        ]
        return torch.tensor(rows, dtype=torch.float32)

    for told, ours, right in (
        ("FR", 12, True),
        ("FR", 5, False),
        ("FN", -5, True),
        ("FL", -12, True),
        ("FL", 12, False),
    ):
        motion = measure_motion(pose(ours), pose(18, 1.0), NUMBERS[told], 9.0, 0.24)
        assert motion.measures["yaw"] is right
        assert motion.measures["turn_error"] == pytest.approx(18 - ours, abs=0.01)
        assert motion.measures["move_error"] == pytest.approx(1)
        assert motion.moves
    assert not measure_motion(pose(3), pose(0), NUMBERS["SN"], 9.0, 0.24).moves
    assert measure_motion(pose(3), pose(0), 0, 9.0, 0.24).measures["yaw"] is None
    assert correlate([(1, 2), (2, 4), (3, 6)]) == pytest.approx(1)
    assert correlate([(0, 2), (0, 4)]) is None


def test_what_the_verdict_says_agrees_with_the_interval():
    def say(low, high):
        change = {"difference": (low + high) / 2, "low": low, "high": high, "n": 9}
        measure = {"kind": "mean", "better": "higher", "unit": "dB", "meaning": ""}
        return verdict(
            {
                "measures": {"psnr": measure},
                "conditions": {"wrong_turn": {"measures": {"psnr": {"difference": change}}}},
            }
        )

    assert say(-3, -2)[0].startswith("It turns as it is told: +2.5")
    assert say(-1, 1)[0].startswith("It isn't shown to turn as it is told")
    assert "it is worse" in say(1, 2)[0]
    assert list(verdict({"measures": {}})) == []


def test_a_walk_out_of_a_picture_is_written_with_what_was_done_depth_cameras_and_points(run_of_world, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)).save(tmp_path / "x.png")
    given = ["session=deepverse/walk", f"ckpt={run_of_world}/world", f"image={tmp_path}/x.png", "steps=1"]
    (use,) = infer.run(compose("infer", *given, f"out={tmp_path}/a", "actions='(FN)(FN)(fRL)(SR)'"))
    assert use["text"].startswith("4 action(s), 17 frames")
    assert [file.rpartition("/")[2] for file in use["files"]] == [
        "walk.mp4",
        "colours.mp4",
        "depth.mp4",
        "cameras.npz",
        "last.ply",
    ]
    cameras = np.load(use["files"][3])
    assert cameras["poses"].shape == (17, 4, 4)
    turned = cameras["poses"][:, :3, :3]
    np.testing.assert_allclose(turned @ turned.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (17, 3, 3)), atol=1e-4)
    for wrong, words in (("actions='(XN)'", "step 1"), ("clip=x.npz", "image=FILE"), ("image=null", "image=FILE")):
        with pytest.raises(ValueError, match=words):
            infer.run(compose("infer", *given, f"out={tmp_path}/b", wrong))


def test_a_stage_against_drift_learns_after_units_that_it_drew_itself_row_by_row(walks17, pair):
    batch = pair[1]
    cfg = compose_small("train", *SMALL, f"data={walks17}", stage="deepverse/self_forcing")
    torch.manual_seed(0)
    module = instantiate(cfg.stage.module).train()
    wake(module)
    states, memory = module.build(batch)

    def look(rows=slice(None)):
        return module.look_back(states[rows], (memory[rows], batch.remembered_B[rows]), take(batch, rows))

    module.own = 1.0
    past = look()
    assert torch.equal(past[:, :, :1], states[:, :, :1])
    assert torch.equal(past[:, :, 2:], states[:, :, 2:])
    assert all((past[row, :, 1] - states[row, :, 1]).abs().max() > 0.01 for row in range(4))
    torch.testing.assert_close(look(slice(2, 3)), past[2:3], atol=1e-5, rtol=1e-4)
    assert all(weight.grad is None for weight in module.parameters())
    module.own = 0.0
    assert torch.equal(look(), states)
    module.own = 1.0
    module.eval()
    assert torch.equal(look(), states)


def test_an_export_is_what_another_run_begins_with(run_of_world, walks17, tmp_path):
    out = export.run(compose("export", f"ckpt={run_of_world}/world", f"out={tmp_path}/out"))
    ours = load_trained(run_of_world / "world").module.net.state_dict()
    begun = instantiate(compose_world("train", f"data={walks17}", f"model.path={out}").stage.module).net
    assert all(
        torch.equal(weight, ours[name]) for name, weight in begun.state_dict().items() if "constants" not in name
    )
    torch.testing.assert_close(begun.constants_22, ours["constants_22"])
    (out / "config.json").write_text('{"codes": {}}')
    for given, words in (("model.transformer.layers=1", "of other sizes"), ("seed=1", "config.json can't be read")):
        with pytest.raises(InstantiationException, match=words):
            instantiate(compose_world("train", f"data={walks17}", f"model.path={out}", given).stage.module)


def test_windows_hand_over_and_the_same_walk_in_two_parts_goes_on_where_it_was(run_of_world):
    trained = load_trained(run_of_world / "world")
    chosen = []

    def remember(past):
        chosen.append((len(past.poses_N44), past.given, len(past.coming_U44)))
        return None if len(past.poses_N44) <= past.given else 0

    def walk(*parts):
        rollout = Rollout(
            trained.module.net,
            Sampler(1),
            WindowSizes(3, 1),
            remember,
            0,
        )
        rollout.begin(
            draw_colours(
                torch.randint(0, 255, (1, 1, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
                torch.float32,
            )[0, :, 0]
        )
        for part in parts:
            rollout.go([NUMBERS[code] for code in part])
        return rollout.walked

    whole, parts = walk(["FN", "FL", "SN", "SN"]), walk(["FN", "FL"], ["SN", "SN"])
    assert whole.colours_3THW.shape[1] == 17
    assert len(whole.poses_N44) == len(whole.lenses_N33) == 5
    assert torch.equal(whole.colours_3THW, parts.colours_3THW)
    assert torch.equal(whole.poses_N44, parts.poses_N44)
    step_by_step = walk(["FN"], ["FL"], ["SN"], ["SN"])
    torch.testing.assert_close(step_by_step.colours_3THW, whole.colours_3THW, atol=1e-5, rtol=1e-5)
    assert chosen == [(1, 1, 2), (3, 1, 2)] * 2 + [(1, 1, 1), (3, 1, 1)]
    with pytest.raises(ValueError, match="1 to 2"):
        WindowSizes(3, 3)
    with pytest.raises(ValueError, match="begin with a picture"):
        Rollout(trained.module.net, None, WindowSizes(3, 1), remember, 0).go([1])


def test_sizes_that_do_not_fit_are_refused(walks17, pair):
    cfg = compose_world("train", f"data={walks17}", "model.height=12")
    collate = instantiate(cfg.stage.collator)
    with pytest.raises(ValueError, match="model.height=12 and model.width=16 must be multiples of 16"):
        instantiate(cfg.stage.module).losses(collate(pair[1].samples))
    with pytest.raises(InstantiationException, match="channels=20, but a state has 38"):
        instantiate(compose_world("train", f"data={walks17}", "model.transformer.channels=20").stage.module)


def test_the_preset_has_the_published_sizes_and_reads_the_releases_codes():
    cfg = compose("train", f"stage={STAGE}", "model=deepverse/deepverse_2b")
    with torch.device("meta"):
        net = instantiate(cfg.stage.module.net)
    assert sum(weight.numel() for weight in net.transformer.parameters()) / 1e9 == pytest.approx(2.029, abs=5e-4)
    assert net.transformer.sizes.channels == net.written.channels == 38
    assert (net.flow.count, net.stride, cfg.model.stride) == (3, 8, 8)
    assert net.written.first is not None
