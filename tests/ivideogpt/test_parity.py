"""The reference implementation's own numbers, on its inputs: codes, frames, losses, gradient norms, sequences."""

import hashlib
from functools import partial

import pytest
import torch

from mirage_pl.ivideogpt.model.coders import Sizes
from mirage_pl.ivideogpt.model.discriminator import Discriminator, hinge
from mirage_pl.ivideogpt.model.layout import IGNORE, TokenLayout
from mirage_pl.ivideogpt.model.quantizer import VQ, FiniteScalar
from mirage_pl.ivideogpt.model.tokenizer import Tokenizer, shrink_context

close = partial(pytest.approx, rel=1e-4, abs=1e-4)
close_norm = partial(pytest.approx, rel=1e-3, abs=1e-6)
PUBLISHED = {
    "ctx_vae64": {"resolution": 64, "block_out_channels": [128, 256, 512], "max_att_resolution": 16},
    "ctx_vae": {"resolution": 256, "block_out_channels": [128, 256, 256, 512, 768], "max_att_resolution": 32},
}
"""What the presets ``conf/model/ivideogpt/`` of the published sizes are made of."""


def build_tokenizer(config, context_length):
    books = config["num_vq_embeddings"], config["num_dyn_embeddings"]
    sizes = {name: value for name, value in config.items() if not name.startswith("num_")}
    return Tokenizer(Sizes(**sizes, context_length=context_length), *(partial(VQ, num_codes=book) for book in books))


def fill(rebuild, module, salt):
    """The module with the reference's weights, in evaluation mode."""
    drawn = {name: rebuild.draw(name, weight.shape, salt) for name, weight in module.state_dict().items()}
    for name in [name for name in drawn if name.endswith("weight_u")]:
        stem = name.removesuffix("_u")
        drawn[name], drawn[f"{stem}_v"] = rebuild.spectral_vectors(drawn[f"{stem}_orig"])
    module.load_state_dict(drawn)
    return module.eval()


def layout_for(config, case):
    """The layout of a case whose codes are drawn."""
    books = config["num_vq_embeddings"], config["num_dyn_embeddings"]
    return TokenLayout(*books, 256, 16, case["T0"], compat=True)


def grad_norm(module):
    return torch.stack([weight.grad.norm() for weight in module.parameters() if weight.grad is not None]).norm().item()


def compare_norms(module, norms):
    grads = {name: weight.grad for name, weight in module.named_parameters()}
    assert {name: grads[name].norm().item() for name in norms} == close_norm(norms)


def compare(rebuild, tensor, expected):
    probe = rebuild.probe(tensor)
    assert probe["mean"] == close(expected["mean"])
    assert probe["std"] == close(expected["std"])
    assert probe["at"] == close(expected["at"])


def digest_names(module):
    lines = sorted(f"{name} {list(weight.shape)}" for name, weight in module.state_dict().items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_the_published_parameters_by_part_and_by_name(rebuild, expected, name):
    counts = expected["parameter_counts"]["tokenizer"][name]
    sizes = Sizes(**PUBLISHED[name], layers_per_block=2, latent_channels=64, context_length=2)
    with torch.device("meta"):
        tokenizer = Tokenizer(sizes, partial(VQ, num_codes=8192), partial(VQ, num_codes=8192))
    ours = {part: sum(weight.numel() for weight in module.parameters()) for part, module in tokenizer.named_children()}
    total = {"total": sum(ours.values()), "state_dict_sha": digest_names(tokenizer)}
    assert ours | total == counts
    assert (tokenizer.sizes.grid, tokenizer.sizes.dynamics_grid) == (16, 4)


def test_discriminators_have_the_published_parameters(rebuild, expected):
    counts = {
        f"depth{depth}": sum(weight.numel() for weight in Discriminator(512, depth).parameters()) for depth in (4, 6)
    }
    assert counts == expected["parameter_counts"]["discriminator"]


def test_weights_have_the_names_and_shapes_of_the_release(rebuild, expected):
    for name, shapes in expected["state_dicts"].items():
        kind, *what = name.split("_")
        if kind == "transformer":
            continue
        module = Discriminator(64, 4)
        if kind == "tokenizer":
            module = build_tokenizer(rebuild.TOKENIZERS[what[0]], int(what[-1]))
        assert {key: list(weight.shape) for key, weight in module.state_dict().items()} == shapes, name


def test_a_sequence_is_the_references(rebuild, layout_case):
    case, wanted = layout_case, layout_case["expect"]
    codes = rebuild.codes(case, case["num_vq"], case["num_dyn"])
    layout = TokenLayout(case["num_vq"], case["num_dyn"], 256, 16, case["T0"], compat=True)
    frames = case["T"] - case["T0"]
    ids = layout.join(*codes)
    labels = layout.labels(ids)
    first, second = layout.slots1(), layout.slots2(frames)
    assert ids.shape[1] == layout.length(frames) == wanted["length"]
    assert (layout.slot1, layout.slot2) == (wanted["slot1_id"], wanted["slot2_id"])
    assert (first.tolist(), second.tolist()) == (wanted["slot1_positions"], wanted["slot2_positions"])
    assert (rebuild.sha(ids), rebuild.sha(labels)) == (wanted["sequence_sha"], wanted["labels_sha"])
    assert ids[0, :4].tolist() == wanted["first_ids"]
    assert ids[0, -4:].tolist() == wanted["last_ids"]
    assert ids[0, second[0] - 2 : second[0] + 4].tolist() == wanted["around_first_slot2"]
    counts = {name: wanted[name] for name in ("labelled", "ignored", "first_labelled", "labelled_slot2")}
    learnt = labels[0] != IGNORE
    ours = {
        "labelled": int(learnt.sum()),
        "ignored": int((~learnt).sum()),
        "first_labelled": int(learnt.int().argmax()),
    }
    assert ours | {"labelled_slot2": int((labels[0] == layout.slot2).sum())} == counts
    assert all(torch.equal(*pair) for pair in zip(layout.split(ids), codes, strict=True))
    assert layout.legal(frames).gather(1, ids.T).all()


def test_a_clip_through_its_codes_is_the_references(rebuild, tokenizer_case):
    case, wanted = tokenizer_case, tokenizer_case["expect"]
    config = rebuild.TOKENIZERS[case["config"]]
    tokenizer = fill(rebuild, build_tokenizer(config, case["T0"]), case["salt"])
    frames = rebuild.frames(case, config["resolution"])
    context, rest = tokenizer.divide(frames)
    codes = tokenizer.encode(frames)
    assert [ids.tolist() for ids in codes] == [wanted["context_codes"], wanted["dynamics_codes"]]
    layout = tokenizer.layout(compat=True)
    ids = layout.join(*codes)
    assert (rebuild.sha(ids), rebuild.sha(layout.labels(ids))) == (wanted["sequence_sha"], wanted["labels_sha"])
    scene = tokenizer.decode_context(codes[0])
    compare(rebuild, scene.frames_BTCHW, wanted["context_frames"])
    compare(rebuild, tokenizer.decode_frames(codes[1], scene), wanted["dynamics_frames"])
    tokenizer.zero_grad()
    losses = measure_losses(tokenizer(frames), context, rest, case)
    losses["total"].backward()
    assert {name: loss.item() for name, loss in losses.items()} == close(wanted["losses"])
    assert grad_norm(tokenizer) == close_norm(wanted["grad_norm"])
    compare_norms(tokenizer, wanted["grad_norms"])


def measure_losses(clip, context, rest, case):
    off, context_off = clip.dynamics_BFCHW - rest, clip.context_BTCHW - context
    losses = {"recon_l1": off.abs().mean(), "context_recon_l1": context_off.abs().mean()}
    losses |= {"recon_l2": off.square().mean(), "context_recon_l2": context_off.square().mean()}
    losses |= {"vq_context": clip.context.loss, "vq_dynamics": clip.dynamics.loss}
    quantized, share = clip.context.loss + clip.dynamics.loss, case["T0"] / case["T"]
    balanced = (1 - share) * losses["recon_l1"] + share * losses["context_recon_l1"]
    return losses | {
        "total": losses["recon_l1"] + losses["context_recon_l1"] + quantized,
        "total_balanced": balanced + quantized,
    }


def test_a_discriminators_part_in_the_loss_is_the_references(rebuild, tokenizer_case):
    case, wanted = tokenizer_case, tokenizer_case["expect"]["with_gan"]
    config = rebuild.TOKENIZERS[case["config"]]
    tokenizer = fill(rebuild, build_tokenizer(config, case["T0"]), case["salt"])
    discriminator = fill(rebuild, Discriminator(64, 4), case["salt"])
    frames = rebuild.frames(case, config["resolution"])
    clip = tokenizer(frames)
    fake = torch.cat((clip.context_BTCHW, clip.dynamics_BFCHW), 1).flatten(0, 1)
    generator_loss = -discriminator(fake).mean()
    total = measure_losses(clip, *tokenizer.divide(frames), case)["total"] + 0.8 * generator_loss
    total.backward()
    assert generator_loss.item() == close(wanted["generator_loss"])
    assert total.item() == close(wanted["total"])
    assert grad_norm(tokenizer) == close_norm(wanted["grad_norm"])
    compare_norms(tokenizer, {name: norm for name, norm in wanted.items() if "." in name})


def test_a_tokenizer_with_fewer_context_frames_is_the_references(rebuild, shrink_context_case):
    case, wanted = shrink_context_case, shrink_context_case["expect"]
    config = rebuild.TOKENIZERS[case["config"]]
    before = fill(rebuild, build_tokenizer(config, case["from_T0"]), case["salt"])
    tokenizer = build_tokenizer(config, case["T0"]).eval()
    tokenizer.load_state_dict(shrink_context(before.state_dict(), case["from_T0"], case["T0"]))
    context, dynamics = tokenizer.encode(rebuild.frames(case, config["resolution"]))
    assert tokenizer.layout().join(context, dynamics).tolist() == wanted["sequence"]
    scene = tokenizer.decode_context(context)
    frames = torch.cat((scene.frames_BTCHW, tokenizer.decode_frames(dynamics, scene)), 1)
    compare(rebuild, frames, wanted["frames"])


def test_codes_become_the_references_frames_all_at_once_and_one_by_one(rebuild, detokenize_case):
    case, wanted = detokenize_case, detokenize_case["expect"]
    config = rebuild.TOKENIZERS[case["config"]]
    tokenizer = fill(rebuild, build_tokenizer(config, case["T0"]), case["salt"])
    layout = layout_for(config, case)
    ids = layout.join(*rebuild.codes(case, config["num_vq_embeddings"], config["num_dyn_embeddings"]))
    with torch.no_grad():
        context, dynamics = layout.split(ids)
        scene = tokenizer.decode_context(context)
        frames = tokenizer.decode_frames(dynamics, scene)
        alone = [tokenizer.decode_frames(dynamics[:, [frame]], scene) for frame in range(dynamics.shape[1])]
        ids[:, -16:-13] = torch.tensor([5, layout.slot1, layout.slot2])
        illegal = tokenizer.decode_frames(layout.split(ids)[1][:, -1:], scene)
    compare(rebuild, scene.frames_BTCHW, wanted["context_frames"])
    compare(rebuild, frames, wanted["dynamics_frames"])
    compare(rebuild, alone[-1], wanted["last_frame"])
    torch.testing.assert_close(torch.cat(alone, 1), frames, rtol=0, atol=1e-4)
    compare(rebuild, illegal, wanted["illegal_last_frame"])


def test_a_discriminator_is_the_references(rebuild, discriminator_case):
    case, wanted = discriminator_case, discriminator_case["expect"]
    discriminator = fill(rebuild, Discriminator(case["hidden"], case["depth"]), case["salt"])
    real, fake = (discriminator(images) for images in rebuild.image_pair(case))
    assert list(real.shape) == wanted["logit_shape"]
    compare(rebuild, real, wanted["real"])
    compare(rebuild, fake, wanted["fake"])
    loss = hinge(real, fake)
    loss.backward()
    assert sum(weight.numel() for weight in discriminator.parameters()) == wanted["parameters"]
    assert loss.item() == close(wanted["hinge"])
    assert -fake.mean().item() == close(wanted["generator_loss"])
    assert grad_norm(discriminator) == close_norm(wanted["grad_norm"])
    compare_norms(discriminator, wanted["grad_norms"])


def test_rounding_to_levels_is_the_references(rebuild, fsq_case):
    case, wanted = fsq_case, fsq_case["expect"]
    vectors, weights = rebuild.fsq_inputs(case)
    quantizer = FiniteScalar(len(case["levels"]), case["levels"])
    ids, codes, loss = quantizer(vectors.requires_grad_())
    (weights * codes).sum().backward()
    assert (quantizer.num_codes, ids.tolist(), loss.item()) == (wanted["codes"], wanted["ids"], 0)
    compare(rebuild, codes, wanted["quantised"])
    assert codes[0, 0].tolist() == close(wanted["first"])
    assert vectors.grad.norm().item() == close_norm(wanted["grad_norm"])
    compare(rebuild, vectors.grad, wanted["grad"])
    torch.testing.assert_close(quantizer.look_up(ids), codes)
