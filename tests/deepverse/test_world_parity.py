"""The public reference's own numbers of the transformer and of pyramid flow, on its inputs."""

from collections import Counter
from functools import partial

import pytest
import torch

from mirage_pl.deepverse.model.flow import (
    PyramidFlow,
    build_noise_pyramid,
    build_pyramid,
    corrupt,
    list_history,
)
from mirage_pl.deepverse.model.mmdit import MMDiT, MmditSizes, Said
from mirage_pl.deepverse.model.positions import crop_table, draw_mask, draw_table, draw_turns, list_frames
from mirage_pl.deepverse.model.sampler import Sampler
from tests.deepverse.test_parity import cases, close, compare


@pytest.fixture(scope="module")
def nets(rebuild, expected):
    """The tiny transformers by name, with the reference's weights."""
    return {name: build(rebuild, name, shapes) for name, shapes in expected["shapes"]["mmdit"].items()}


def build(rebuild, name, shapes):
    net = MMDiT(MmditSizes(**rebuild.MMDIT[name])).eval()
    assert {key: list(weight.shape) for key, weight in net.state_dict().items()} == shapes
    net.load_state_dict(rebuild.state_dict(shapes))
    return net


def test_the_transformer_has_the_references_parameters_and_positions(rebuild, expected, nets):
    wanted = expected["mmdit"]
    for name, net in nets.items():
        sizes = net.sizes
        assert sum(weight.numel() for weight in net.parameters()) == wanted["parameters"][name]
        table = draw_table(sizes.table, sizes.base_grid, sizes.width)
        compare(rebuild, table.flatten(0, 1)[None], wanted["position_table"][name], 1e-5)
        for words, crop in wanted["position_crops"][name].items():
            size, whole = (eval(part) for part in words.split("of"))
            ours = crop_table(table, *(tuple(side // sizes.patch for side in pair) for pair in (size, whole)))
            compare(rebuild, ours[None], crop, 1e-4)
        turns = draw_turns(torch.tensor([0, 1, 7]), sizes.head_dim)[:, :4]
        close(turns.real, wanted["rotary"][name]["cos"])
        close(turns.imag, wanted["rotary"][name]["sin"])


def ask(rebuild, case, net):
    """The sequences of a case, and of each the times and what is said: row i belongs to sequence i % n."""
    inputs = rebuild.mmdit_inputs(case, rebuild.MMDIT[case["config"]])
    count = len(case["samples"])
    for number in range(count):
        rows = slice(number, None, count)
        memory = (inputs["memory"][rows], inputs["memory_mask"][rows, 0]) if "memory" in inputs else ()
        said = Said(inputs["text"][rows], inputs["text_mask"][rows], inputs["pooled"][rows], *memory)
        yield inputs["sample"][number], inputs["timestep"][rows], said


@torch.no_grad()
def test_directions_tokens_and_every_block_are_the_references(rebuild, expected, nets):
    for case, wanted in cases(expected, "mmdit"):
        net, inside, watched = nets[case["config"]], wanted["inside"], dict[str, list]()
        blocks = enumerate(net.transformer_blocks)
        hooks = [block.register_forward_hook(partial(keep, watched, number)) for number, block in blocks]
        for number, (sequence, times, said) in enumerate(ask(rebuild, case, net)):
            compare(rebuild, net(sequence, times, said), wanted["output"][number])
            video, context, _, condition = net.embed(sequence, times, said)
            for name, part in (("video_tokens", video), ("context_tokens", context), ("conditioning", condition)):
                watched.setdefault(name, []).append(part)
        for hook in hooks:
            hook.remove()
        for name, part in inside.items():
            compare(rebuild, join(watched[name], name), part)


def keep(watched, number, block, inputs, streams):
    for name, part in zip(("video", "context"), streams, strict=True):
        watched.setdefault(f"block{number}_{name}", []).append(part)


def join(parts, name):
    """Tokens of video one sequence after the other; all else row by row in turn."""
    return torch.cat(parts, 1) if "video" in name else torch.stack(parts, 1).flatten(0, 1)


def test_who_sees_whom_is_as_in_the_reference(rebuild, expected, nets):
    for case, wanted in cases(expected, "mmdit"):
        sequences = list(ask(rebuild, case, nets[case["config"]]))
        for entry in wanted["mask"]:
            sequence, _, said = sequences[entry["sequence"]]
            row = entry["row"] // len(sequences)
            patch = nets[case["config"]].sizes.patch ** 2
            counts = [(part.shape[2], part.shape[3] * part.shape[4] // patch) for part in sequence]
            memory = entry["tokens"].get("memory", 0)
            on = torch.zeros(0) if not memory else said.on_B[row].expand(memory)
            valid = torch.cat((on, said.valid_Bn[row].float()))[None].bool()
            frames = list_frames(counts, valid.shape[1])
            mask = draw_mask(valid, frames)[0]
            names = ["memory"] * memory + ["text" if real else "padding" for real in said.valid_Bn[row].tolist()]
            names += [f"frame{frame}" for frame in frames[valid.shape[1] :].tolist()]
            assert Counter(names) == entry["tokens"]
            assert (int(mask.sum()), mask.numel()) == (entry["allowed"], entry["total"])
            for name, seen in entry["sees"].items():
                ours = {names[place] for place in mask[names.index(name)].nonzero().flatten().tolist()}
                assert ours == set(seen.split()), name


def test_stages_times_steps_and_jumps_are_the_references(rebuild, expected):
    for case, wanted in cases(expected, "scheduler"):
        flow = PyramidFlow(case["stages"], case["gamma"], compat=True)
        close([stage.start for stage in flow.stages], wanted["start_sigma"])
        close([stage.end for stage in flow.stages], wanted["end_sigma"])
        close([stage.jump for stage in flow.stages[1:]], wanted["jump"])
        for index, times in wanted["timestep_at"].items():
            ratios = [1 - int(index) / 1000] * len(flow.stages)
            close(ratios, wanted["ratio_at"][index])
            ours = [stage.time_of(ratio) for stage, ratio in zip(flow.stages, ratios, strict=True)]
            close(torch.tensor(ours) / 1000, torch.tensor(times) / 1000)
        for count, stages in wanted["steps"].items():
            for number, stage in enumerate(stages):
                steps = flow.list_steps(number, int(count))
                close([time / 1000 for time, _, _ in steps], torch.tensor(stage["timestep"]) / 1000)
                close([steps[0][1], *(following for _, _, following in steps)], stage["ratio"])


def test_noise_of_blocks_has_the_references_covariance_and_at_a_third_too(rebuild, expected):
    for case, wanted in cases(expected, "scheduler"):
        white = torch.randn(20_000, 2, 2, generator=torch.Generator().manual_seed(0))
        blocks = PyramidFlow(case["stages"], case["gamma"]).draw_block_noise(white).flatten(1)
        close(blocks.T @ blocks / len(blocks), wanted["block_noise"]["covariance"], 0.05)


def test_what_is_learnt_is_the_references(rebuild, expected):
    for case, wanted in cases(expected, "training"):
        flow, inputs = PyramidFlow(3, case["gamma"]), rebuild.train_inputs(case)
        clean, noise = build_pyramid(inputs["clean"], 3), build_noise_pyramid(inputs["noise"], 3)
        for ours, probe in zip(clean, wanted["pyramid"], strict=True):
            compare(rebuild, ours, probe, 1e-5)
        targets = []
        for stage, told in enumerate(wanted["stage"]):
            rows, units = told["rows"], case["units"][stage]
            ratio = 1 - torch.tensor(case["index"][stage]) / 1000
            close(ratio, told["ratio"])
            close(
                [float(flow.stages[stage].time_of(each)) / 1000 for each in ratio],
                torch.tensor(told["timestep"]) / 1000,
            )
            here = [[level[rows] for level in levels] for levels in (clean, noise)]
            noisy, direction = flow.draw_pair(*here, stage, ratio)
            compare(rebuild, noisy, told["whole_clip_noisy"], 1e-5)
            compare(rebuild, direction, told["whole_clip_target"], 1e-5)
            compare(rebuild, noisy[:, :, units - 1 : units], told["noisy"], 1e-5)
            compare(rebuild, direction[:, :, units - 1 : units], told["target"], 1e-5)
            targets.append(direction[:, :, units - 1 : units])
            history = list_history(here[0], units - 1, stage)
            shapes = [[entry.shape[2], *entry.shape[3:]] for entry in [*history, noisy[:, :, :1]]]
            assert shapes == told["sequence"]
            newest = [inputs["history_noise"](stage, number, entry.shape) for number, entry in enumerate(history[::-1])]
            spoilt = corrupt(history, newest[::-1], torch.tensor(case["c"][stage]))
            for ours, probe in zip(spoilt, told["history"], strict=True):
                compare(rebuild, ours, probe, 1e-5)
        errors = [(0.9 * target + 0.1 - target).square().mean() for target in targets]
        close(sum(errors) / len(errors), wanted["loss_of_0.9_target_plus_0.1"])


def test_guidance_is_the_references(rebuild, expected):
    for case, wanted in cases(expected, "guidance"):
        *directions, state = rebuild.guidance_inputs(case)
        text = torch.zeros(1, 1, 1)
        said = [Said(text, text, text, *((text, text) if number == 2 else ())) for number in range(len(directions))]
        weighed = Sampler(1, 3.5, 6.0).list_variants(said[-1], said[0])
        direction = sum(weight * each for (weight, _), each in zip(weighed, directions, strict=True))
        compare(rebuild, direction, wanted["combined_velocity"], 1e-5)
        compare(rebuild, state - direction, wanted["after_one_full_step"], 1e-5)
