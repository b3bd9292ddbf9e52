"""How TesserAct's clips are prepared, learnt and drawn: the public reference's own numbers on its inputs."""

from functools import partial

import pytest
import torch

from mirage_pl.deepverse.model.tesseract_images import crop_and_resize, prepare_image
from mirage_pl.deepverse.model.tesseract_sampler import (
    Guidance,
    Solver,
    add_noise,
    decode_clip,
    draw_clip,
    encode_image,
    find_clean,
    find_velocity,
    list_shares,
    list_times,
    measure_loss,
)
from tests.deepverse.tesseract.test_tesseract_parity import build
from tests.deepverse.test_parity import cases, close, compare


def compare_images(rebuild, ours, wanted, reach):
    """Float images within a share of their range."""
    probe = rebuild.probe(ours, len(wanted["values"]))
    assert probe["shape"] == wanted["shape"]
    assert max(abs(a - b) for a, b in zip(probe["values"], wanted["values"], strict=True)) <= reach
    assert abs(probe["norm"] - wanted["norm"]) <= 0.01 * wanted["norm"]


def test_pictures_are_cut_and_resized_as_the_references_are(rebuild, expected):
    for case, wanted in cases(expected, "crop_resize"):
        given, size = rebuild.image_inputs(case), tuple(case["to"])
        compare_images(rebuild, crop_and_resize(given["rgb"].float(), size), wanted["float_rgb"], 1e-4 * 255)
        compare_images(rebuild, crop_and_resize(given["normal"], size).float(), wanted["uint8_normal"], 1)
        compare_images(rebuild, crop_and_resize(given["normal"], size, "nearest").float(), wanted["nearest"], 0)
        depth = crop_and_resize(given["depth"][..., None], size)[..., 0]
        compare_images(rebuild, depth, wanted["depth"], 1e-4)


def test_what_is_encoded_is_the_references_and_other_depth_is_refused_unless_asked_for_as_released(rebuild, expected):
    for case, wanted in cases(expected, "preparation"):
        given, size = rebuild.image_inputs(case), tuple(case["to"])
        depth = given["depth"][..., None] if case.get("stored") == 3 else given["depth"]
        inputs = given["rgb"], depth, given["normal"], size
        if "error" in wanted:
            assert prepare_image(*inputs).shape == (1, 9, *size)
            with pytest.raises(ValueError, match="can't copy it"):
                prepare_image(*inputs, compat=True)
            continue
        ours = prepare_image(*inputs, compat=True)
        compare_images(rebuild, ours, wanted["encoder_side"], 1 / 127)
        close(ours.min(), wanted["range"][0], 0.01)
        close(ours.max(), wanted["range"][1], 0.01)
        image = ours if ours.min() < 0 and wanted["range"][0] > -0.5 else (ours + 1) / 2
        for name, third in zip(("rgb", "depth", "normal"), image.chunk(3, 1), strict=True):
            compare_images(rebuild, third, wanted[name], 1 / 255 + 1e-6 if name == "normal" else 3e-4)
        if case.get("depth_range", [0, 1]) != [0, 1]:
            with pytest.raises(ValueError, match="must be 0 .near. to 1"):
                prepare_image(*inputs)
        else:
            assert torch.equal(prepare_image(*inputs), ours)


def test_the_schedule_is_the_references(expected):
    wanted, shares = expected["schedule"], list_shares()
    for time, share in wanted["alphas_cumprod"].items():
        reach = 1e-3 * share if time in ("979", "998") else 1e-5
        assert abs(float(shares[int(time)]) - share) <= reach
    for steps, times in wanted["timesteps"].items():
        assert list_times(int(steps)) == times
    for steps, values in wanted["constant_v_half_no_noise"].items():
        solver, code, one = Solver(int(steps)), torch.ones(()), torch.ones(())
        codes, adds = [], []
        for number in range(int(steps)):
            before = solver.before
            more = solver.step(number, code, torch.tensor(0.5), one)
            solver.before = before
            code = solver.step(number, code, torch.tensor(0.5), 0 * one)
            codes.append(float(code))
            adds.append(float(more - code))
        shown = slice(None) if len(values) == int(steps) else [*range(5), *range(-5, 0)]
        for ours, theirs in ((codes, values), (adds, wanted["noise_multiplier"][steps])):
            picked = ours if isinstance(shown, slice) else [ours[place] for place in shown]
            assert max(abs(a - b) for a, b in zip(picked, theirs, strict=True)) <= 1e-5
    with pytest.raises(ValueError, match="steps=0"):
        Solver(0)


def test_what_is_learnt_is_the_references(rebuild, expected):
    for case, wanted in cases(expected, "training"):
        given, times = rebuild.train_inputs(case), torch.tensor(case["timestep"])
        noisy = add_noise(given["clean"], given["noise"], times)
        compare(rebuild, noisy, wanted["noisy"], 1e-5)
        clean = find_clean(noisy, given["output"], times)
        compare(rebuild, clean, wanted["denoised"], 1e-5)
        velocity = find_velocity(given["clean"], given["noise"], times)
        compare(rebuild, velocity, wanted["perfect_velocity"], 1e-5)
        assert (find_clean(noisy, velocity, times) - given["clean"]).abs().max() < 1e-5
        losses = measure_loss(clean, given["clean"], times, torch.tensor(case["mask"]))
        for ours, name in zip(losses, ("rgb", "depth", "normal"), strict=True):
            close(ours, wanted["loss"][name], 1e-5)
        close(losses.sum(), wanted["total"], 1e-5)
        whole = measure_loss(clean, given["clean"], times, torch.ones(len(times), 3)).mean()
        close(whole, wanted["unmasked"], 1e-5)
        close((given["output"] - velocity).square().mean(), wanted["unmasked_equals_velocity_mse"], 1e-5)


def test_guided_velocities_are_the_references_and_the_first_frame_is_the_text_rows(rebuild, expected):
    for case, wanted in cases(expected, "guidance"):
        given, guidance = rebuild.guidance_inputs(case), Guidance(case["text_guidance"], case["image_guidance"])
        assert len(guidance.rows) == case["rows"]
        combined = guidance.combine(given["predictions"])
        compare(rebuild, combined, wanted["combined"], 1e-5)
        compare(rebuild, combined[:, 0], wanted["frame_0"], 1e-5)
        after = Solver(4).step(
            0, given["latents"], combined, rebuild.noise(case["seed"], "step/0", *given["latents"].shape)
        )
        compare(rebuild, after, wanted["after_first_of_4_steps"], 1e-5)
    with pytest.raises(ValueError, match="needs guidance by text"):
        Guidance(1.0, 1.5)


@torch.no_grad()
def test_a_whole_clip_is_drawn_and_decoded_as_the_references_is(rebuild, expected):
    for case, wanted in cases(expected, "sampler"):
        config, rows, seen = rebuild.CONFIGS[case["config"]], [], []
        given = rebuild.sampler_inputs(case, config)
        net = rebuild.stand_in_network
        if case["network"] == "weights":
            net, _ = build(rebuild, expected, case["config"])
        guidance = Guidance(case["text_guidance"], case["image_guidance"])

        def ask(maps, text, times, net=net, guidance=guidance, rows=rows, seen=seen):
            rows.append(maps)
            said = net(maps, text, times)
            seen.append(guidance.combine(said))
            return said

        encode = partial(rebuild.stand_in_encoder, latent=config["latent"])
        image = encode_image(given["image"] * 2 - 1, encode, given["latents"].shape[1])

        def noise(number, given=given, case=case):
            return rebuild.noise(case["seed"], f"step/{number}", *given["latents"].shape)

        texts = given["text"], given["negative"]
        codes = draw_clip(ask, image, texts, given["latents"], noise, guidance, case["steps"])
        reach = 3e-4 if case["network"] == "weights" else 1e-4
        compare(rebuild, rows[0], wanted["first_input"], reach)
        compare(rebuild, rows[0][:1, :1], wanted["image_latents"], reach)
        for ours, theirs in zip(seen, wanted["combined"], strict=True):
            compare(rebuild, ours, theirs, reach)
        after = [maps[:1] for maps in rows[1:]]
        for ours, theirs in zip(after, wanted["latents"], strict=False):
            noisy = torch.cat(ours.chunk(6, 2)[::2], 2)
            compare(rebuild, noisy, theirs, reach)
        compare(rebuild, codes, wanted["latents"][-1], reach)
        frames = decode_clip(codes, rebuild.stand_in_decoder)
        for name in ("rgb", "depth", "normal"):
            compare(rebuild, frames[name], wanted["frames"][name], reach)


def test_codes_are_shown_as_the_references_are(rebuild, expected):
    for case, wanted in cases(expected, "decoding"):
        frames = decode_clip(rebuild.decode_inputs(case), rebuild.stand_in_decoder)
        for name in ("rgb", "depth", "normal"):
            compare(rebuild, frames[name], wanted[name], 1e-5)
