"""A whole window as the public reference draws it, the units that it trains on, and how it cuts a first picture."""

import pytest
import torch

from mirage_pl.deepverse.model.cameras import chain
from mirage_pl.deepverse.model.codec import StateCodec
from mirage_pl.deepverse.model.flow import PyramidFlow, build_pyramid, count_units, list_history
from mirage_pl.deepverse.model.mmdit import MMDiT, MmditSizes, Said
from mirage_pl.deepverse.model.sampler import Sampler, UnitNoise
from tests.deepverse.test_parity import cases, close, compare

CODEC, FLOW = StateCodec(compat=True), PyramidFlow(3, 0.3333, compat=True)


@pytest.fixture(scope="module")
def nets(rebuild, expected):
    """The tiny transformers by name, with the reference's weights."""
    found = {}
    for name, shapes in expected["shapes"]["mmdit"].items():
        found[name] = MMDiT(MmditSizes(**rebuild.MMDIT[name])).eval()
        found[name].load_state_dict(rebuild.state_dict(shapes))
    return found


class Watched:
    """A network that notes what it is asked."""

    def __init__(self, net):
        self.net, self.calls, self.times, self.rows = net, 0, [], set()
        self.shapes = []

    def __call__(self, sequence, times, said):
        self.calls += 1
        self.times.append(times[0].item())
        self.rows.add(len(times))
        shapes = [[entry.shape[2], *entry.shape[3:]] for entry in sequence]
        self.shapes += [shapes] if not self.shapes or self.shapes[-1] != shapes else []
        return self.net(sequence, times, said)


def begin(case, inputs):
    """What the first unit is drawn after, [1, 38, n, h, w]: a picture alone, or units."""
    codes = [None if inputs[key] is None else CODEC.standardise(inputs[key]) for key in ("rgb", "disparity")]
    return CODEC.join(codes[0], codes[1], inputs["rays"])


def say(text, memory=None):
    on = None if memory is None else torch.ones(1, dtype=torch.bool)
    return Said(text["tokens"], text["mask"], text["pooled"], memory, on)


def draw_window(rebuild, case, net):
    """All units of a window; of the drawn ones what each stage leaves, too."""
    inputs = rebuild.sampler_inputs(case, rebuild.MMDIT[case["config"]])
    sampler = Sampler(case["steps"], 3.5, 6.0, 16 if case.get("no_depth") else None)
    past, drawn, extra = begin(case, inputs), [], case["given"] == 0
    for number in range(case["units"] - case["given"]):
        unit = case["given"] + number
        start = inputs["start"][:, :, unit + extra : unit + extra + 1]
        sizes = [(1, 38, 1, *(side // 2 ** (2 - stage) for side in start.shape[3:])) for stage in (1, 2)]
        noise = UnitNoise(
            start, [inputs["block"](number, stage, size) for stage, size in zip((1, 2), sizes, strict=True)]
        )
        said = say(inputs["text"][case["prompts"][unit]], inputs["memory"])
        drawn.append(sampler.draw(FLOW, net, past, said, say(inputs["text"]["empty"]), noise))
        past = drawn[-1][-1] if extra and not number else torch.cat((past, drawn[-1][-1]), 2)
    return past, drawn


def test_windows_are_drawn_as_the_references_are_unit_by_unit_and_stage_by_stage(rebuild, expected, nets):
    for case, wanted in cases(expected, "sampler"):
        net = Watched(nets[case["config"]])
        states, drawn = draw_window(rebuild, case, net)
        assert net.calls == wanted["network_calls"]
        close(torch.tensor(net.times[: len(wanted["timesteps"])]) / 1000, torch.tensor(wanted["timesteps"]) / 1000)
        asked = [each for unit in wanted["context"].values() for each in unit["sequences"]]
        assert net.shapes == asked
        assert net.rows == {unit["rows"] for unit in wanted["context"].values()}
        for ours, probes in zip(drawn, wanted["first_units_per_stage"], strict=False):
            for state, probe in zip(ours, probes, strict=True):
                compare(rebuild, state, probe, 3e-4)
        colours, disparity, rays = CODEC.split(states)
        compare(rebuild, colours, wanted["rgb_latents"], 3e-4)
        compare(rebuild, disparity, wanted["disparity_latents"], 3e-4)
        later = rays[0, :, 1:].transpose(0, 1)
        mean, deviation = CODEC.ray_constants(later)
        compare(rebuild, (later * deviation + mean).transpose(0, 1)[None], wanted["rays_after_1"], 3e-4)
        poses, lenses = CODEC.decode_rays(later)
        close(chain(poses), wanted["pose"], 2e-3)
        focal = torch.tensor(wanted["f"])
        close(lenses[:, 0, 0] / focal[1:], torch.ones(len(lenses)), 2e-3)


def test_units_of_each_stage_are_the_references_by_rank_and_turn(expected):
    for case in expected["training"]["units_per_stage"]:
        for rank, turns in enumerate(case["low_mid_high_by_rank_and_turn"]):
            for turn, wanted in enumerate(turns):
                assert count_units(case["max_units"], case["group"], rank, turn) == wanted


def test_what_weighs_nothing_isnt_asked_and_no_guidance_is_the_said_direction():
    texts = {
        name: {"tokens": torch.rand(1, 2, 3), "mask": torch.ones(1, 2), "pooled": torch.rand(1, 4)} for name in "ab"
    }
    empty, said, memory = say(texts["a"]), say(texts["b"]), say(texts["b"], torch.rand(1, 6, 1, 4, 4))
    weights = lambda *scales, told=said: [each for each, _ in Sampler(1, *scales).list_variants(told, empty)]  # noqa: E731
    assert weights(1.0, 1.0) == [1]
    assert weights(1.0, 1.0, told=memory) == [1]
    assert weights(3.5, 6.0, told=memory) == [-2.5, -2.5, 6.0]
    assert weights(3.5, 6.0) == [-2.5, 3.5]
    with pytest.raises(ValueError, match="steps=0"):
        Sampler(0)


def test_a_pyramid_has_the_newest_unit_finest():
    pyramid = build_pyramid(torch.rand(1, 2, 4, 8, 8), 3)
    assert [entry.shape[2:] for entry in list_history(pyramid, 4, 2)] == [(2, 2, 2), (1, 4, 4), (1, 8, 8)]
