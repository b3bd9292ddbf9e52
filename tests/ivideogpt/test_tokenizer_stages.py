"""What a step of the tokenizer sees and loses."""

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from mirage_pl.engine.adapters.parts import locate_parts, part_of
from mirage_pl.engine.training.optim import parameter_groups
from mirage_pl.ivideogpt.augment import Augmentation, Views
from mirage_pl.ivideogpt.batch import Collator, resize_frames
from mirage_pl.ivideogpt.losses import FrameLosses
from mirage_pl.ivideogpt.model.quantizer import Quantized
from mirage_pl.ivideogpt.model.tokenizer import Reconstruction
from mirage_pl.ivideogpt.stages.tokenizer import balance
from tests.ivideogpt.conftest import compose_small

STILL = Augmentation([1, 1], [1, 1], 0, 0)
PUBLISHED = Augmentation([0.8, 1], [0.9, 1.1], 0.1, 0.05)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_pixel_that_moved_weighs_more_and_the_losses_are_those_computed_by_hand():
    context, rest = torch.full((1, 1, 3, 2, 2), 0.5), torch.full((1, 1, 3, 2, 2), 0.5)
    rest[0, 0, 0, 0, 0] = 1.0
    codes = Quantized(torch.zeros(1, 1), torch.zeros(1, 1, 1), torch.tensor(0.25))
    clip = Reconstruction(context + 0.1, rest + 0.2, codes, codes)
    losses = FrameLosses(8.0, 0.0, None)(context, rest, clip)
    assert losses["recon"].item() == pytest.approx(0.2 * (3 * 1 + 1 * 9) / 4)
    assert FrameLosses(0.0, 0.0, None)(context, rest, clip)["recon"].item() == pytest.approx(0.2)
    assert losses["context_recon"].item() == pytest.approx(0.1)
    assert FrameLosses(0.0, 3.0, None)(context, rest, clip)["context_recon"].item() == pytest.approx(0.1 + 3 * 0.01)
    assert (losses["vq"].item(), losses["dynamics_vq"].item(), losses["perceptual"].item()) == (0.25, 0.25, 0)


def test_a_perceptual_network_is_read_from_its_file_and_stays_as_it_is(tmp_path):
    class Distance(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, x, y):
            return self.scale * (x - y).abs().mean((1, 2, 3))

    pair = (torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    torch.jit.trace(Distance(), pair).save(str(tmp_path / "distance.pt"))
    losses = FrameLosses(0.0, 0.0, str(tmp_path / "distance.pt"))
    context, rest = torch.rand(1, 1, 3, 4, 4), torch.rand(1, 1, 3, 4, 4)
    codes = Quantized(torch.zeros(1, 1), torch.zeros(1, 1, 1), torch.tensor(0.0))
    clip = Reconstruction(context, (rest + 0.1).requires_grad_(), codes, codes)
    loss = losses(context, rest, clip)["perceptual"]
    loss.backward()
    assert loss.item() == pytest.approx(2.0 * 0.2 / 2)
    assert clip.dynamics_BFCHW.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in losses.network.parameters())
    (tmp_path / "none.pt").write_text("no network")
    for path, words in (("none.pt", "no TorchScript file"), ("gone.pt", "does not exist")):
        with pytest.raises(ValueError, match=words):
            FrameLosses(0.0, 0.0, str(tmp_path / path))


def test_a_clip_is_changed_by_one_draw_for_all_of_its_frames():
    frame = torch.rand(1, 3, 16, 16, generator=stream())
    clip = frame.repeat(4, 1, 1, 1)
    changed = PUBLISHED(clip, stream(1))
    assert changed.shape == clip.shape
    assert not torch.allclose(changed, clip)
    torch.testing.assert_close(changed[1:], changed[:1].expand(3, -1, -1, -1))
    assert torch.equal(PUBLISHED(clip, stream(1)), changed)
    assert not torch.allclose(PUBLISHED(clip, stream(2)), changed)


def test_some_frames_are_picked_in_their_order_and_the_context_always():
    clip = torch.arange(9.0)[:, None, None, None].expand(-1, 3, 2, 2)
    seen = Views(3, STILL)(clip, 2, stream())[:, 0, 0, 0].tolist()
    assert (len(seen), seen[:2], seen) == (5, [0, 1], sorted(seen))
    assert Views(20, STILL)(clip, 2, stream())[:, 0, 0, 0].tolist() == list(range(9))
    draws = {tuple(Views(3, STILL)(clip, 2, stream(seed))[:, 0, 0, 0].tolist()) for seed in range(20)}
    assert len(draws) > 5


def test_a_clips_draws_depend_on_seed_step_and_clip_and_not_on_its_batch(squares):
    picked = ["picked=1", "augment.jitter=0.1", "augment.area=[0.5,1]"]
    cfg = compose_small("train", f"data={squares}", *picked)
    module, collate = instantiate(cfg.stage.module), instantiate(cfg.stage.collator)
    rows = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    batch = collate([rows[0], rows[1]])
    module.train()
    together, alone = module.take_frames(batch), module.take_frames(collate([rows[1]]))
    assert together.shape == (2, 2, 3, 16, 16)
    assert torch.equal(together[1], alone[0])
    module.step = 1
    assert not torch.equal(module.take_frames(collate([rows[1]]))[0], alone[0])
    assert torch.equal(module.eval().take_frames(batch), batch.frames_BTCHW / 255)


def test_frames_of_any_size_become_those_of_the_model(squares):
    frames = torch.full((2, 3, 20, 12), 200, dtype=torch.uint8)
    assert torch.equal(resize_frames(frames, 8), torch.full((2, 3, 8, 8), 200, dtype=torch.uint8))
    cfg = compose_small("train", f"data={squares}")
    rows = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    assert Collator(32)([rows[0]]).frames_BTCHW.shape == (1, 3, 3, 32, 32)


def test_until_the_discriminator_begins_the_generator_isnt_judged(squares):
    cfg = compose_small("train", f"data={squares}", "stage=ivideogpt/tokenizer_gan", "model.discriminator.depth=2")
    module, collate = instantiate(cfg.stage.module), instantiate(cfg.stage.collator)
    rows = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    batch, begin = collate([rows[0]]), cfg.stage.module.turns.discriminator.begin
    assert module.losses_in("generator", batch)["gan"].item() == 0
    module.step = begin
    losses = module.losses_in("generator", batch) | module.losses_in("discriminator", batch)
    assert losses["gan"].item() != 0
    assert losses["judge"].item() > 0
    with pytest.raises(InstantiationException, match="depth=4 leaves 1 x 1"):
        instantiate(compose_small("train", "stage=ivideogpt/tokenizer_gan").stage.module)


def save_distance(path):
    """A perceptual network that isn't linear, so that its gradient depends on the frames."""

    class Distance(torch.nn.Module):
        def forward(self, x, y):
            return (x - y).square().mean((1, 2, 3))

    pair = (torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16))
    torch.jit.trace(Distance(), pair).save(str(path))
    return path


def test_an_adaptive_discriminator_moves_the_last_layer_as_much_as_the_perceptual_loss(squares, tmp_path):
    words = ["stage=ivideogpt/tokenizer_gan", "model.discriminator.depth=2", "stage.module.adaptive=true"]
    distance = f"perceptual={save_distance(tmp_path / 'distance.pt')}"
    cfg = compose_small("train", f"data={squares}", *words, distance)
    module, collate = instantiate(cfg.stage.module), instantiate(cfg.stage.collator)
    rows = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    batch, module.step = collate([rows[0]]), cfg.stage.module.turns.discriminator.begin
    losses = module.losses_in("generator", batch)
    last = module.tokenizer.cond_decoder.conv_out.weight
    norms = [
        torch.autograd.grad(losses[name], last, retain_graph=True)[0].norm().item() for name in ("perceptual", "gan")
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert norms[0] > 0
    module.adaptive = False
    assert module.losses_in("generator", batch)["gan"].item() != pytest.approx(losses["gan"].item(), rel=1e-2)
    module.adaptive = True
    with torch.no_grad():
        assert module.losses_in("generator", batch)["gan"].item() != 0
    with pytest.raises(InstantiationException, match="perceptual=null has none"):
        instantiate(compose_small("train", *words).stage.module)


def test_the_weight_that_balances_two_gradients_has_a_limit():
    weight = torch.ones(3, requires_grad=True)
    assert balance((6 * weight).sum(), (2 * weight).sum(), weight).item() == pytest.approx(3)
    assert balance(weight.sum(), (0 * weight).sum(), weight).item() == 1e4
    assert not balance(weight.sum(), weight.sum(), weight).requires_grad


@pytest.mark.parametrize("stage", ["tokenizer", "tokenizer_gan"])
def test_every_weight_of_a_tokenizer_is_of_its_encoder_decoder_or_codebooks(stage):
    words = [f"stage=ivideogpt/{stage}", "model.discriminator.depth=2", "quantizer=vq", "quantizer.num_codes=5"]
    module = instantiate(compose_small("train", *words).stage.module)
    places = locate_parts(module)
    parts = {name: part_of(name, places) for name, _ in module.named_parameters() if "discriminator" not in name}
    assert set(parts.values()) == {"encoder", "decoder", "codebooks"}
    books = {name.split(".")[-3] for name, part in parts.items() if part == "codebooks"}
    assert books == {"quantize", "dynamics_quantize"}


def test_parts_have_learning_rates_of_their_own():
    module = instantiate(compose_small("train", "stage.module.lr_by_part.codebooks=1e-5").stage.module)
    rates = {group["name"]: group.get("lr") for group in parameter_groups(module, 0.0, rates=module.lr_by_part)}
    assert rates == {"codebooks": 1e-5, "rest": None}


def test_options_out_of_their_range_are_refused():
    for refused, words in (
        (lambda: Views(0, STILL), "picked=0"),
        (lambda: Augmentation([0, 1], [1, 1], 0, 0), "area="),
        (lambda: Augmentation([1, 1], [1, 1], 0, 0.6), "hue=0.6"),
    ):
        with pytest.raises(ValueError, match=words):
            refused()
