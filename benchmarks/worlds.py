"""A world model against the published way of calling the same networks: ``python -m benchmarks.worlds``.

``clips``: rollouts of 16 frames, two of them context, action by action with their rewards; ``candidates``: the same of
one scene, as a planner has them; both over one cache, against the prefix run anew for every frame. ``--see`` decodes
each frame. ``world_step``: an update of the world model, from pixels to weights; ``world_step_known``: from clips that
it has met before, whose codes it remembers. ``tokenizer_step``: one of tokenizer and discriminator, eight frames a
clip, against the published two halves. The other side is ``published_worlds``.

Options: ``--only``, ``--model`` (``tiny``; ``tiny16``: a frame of its context has 16 x 16 codes, as published; the
published ``ctx64`` and ``ctx64_medium``), ``--rows``, ``--repeats``, ``--json``. Times are seconds of the processor,
which other processes hardly change, or of the clock where there is a GPU.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

import mirage_pl.engine.cli  # noqa: F401  registers the resolvers
from benchmarks.published_worlds import attention_with_weights, reconstruct_anew, roll_out_anew, world_loss
from benchmarks.timing import Pair, in_turns
from mirage_pl.ivideogpt.batch import Batch
from mirage_pl.ivideogpt.losses import join_frames
from mirage_pl.ivideogpt.model.discriminator import hinge
from mirage_pl.ivideogpt.model.rollout import Rollout
from mirage_pl.ivideogpt.model.tokenizer import Reconstruction
from mirage_pl.ivideogpt.model.world import WorldModel

CONF = Path(__file__).resolve().parents[1] / "conf"
MODELS = {
    "tiny": ["model=ivideogpt/tiny", "model.transformer.places=false"],
    "tiny16": ["model=ivideogpt/tiny", "model.transformer.places=false", "model.tokenizer.sizes.context_patch=1"],
    "ctx64": ["model=ivideogpt/ctx64"],
    "ctx64_medium": ["model=ivideogpt/ctx64_medium"],
}
LENGTH, CONTEXT = 16, 2
TOGETHER = 0.9


def build(stage: str, model: str, *overrides: str) -> Any:
    """A stage's module with random weights."""
    given = [f"stage=ivideogpt/{stage}", *MODELS[model], f"context_length={CONTEXT}", "callbacks.scores=null"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [*given, *overrides])
    torch.manual_seed(0)
    return instantiate(config.stage.module)


def draw_clips(rows: int, resolution: int, length: int = LENGTH) -> Tensor:
    """Clips of noise; what they show doesn't matter to time."""
    return torch.rand(rows, length, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))


def compare(ours: Callable[[], object], theirs: Callable[[], object], repeats: int, warmup: int) -> Pair:
    """Time both sides."""
    return in_turns(ours, theirs, repeats, warmup, perf_counter if torch.cuda.is_available() else process_time)


def time_rollout(model: str, rows: int, repeats: int, see: bool, scenes: int) -> Pair:
    """Both ways of a rollout.

    Raises:
        ValueError: they write other codes, but for a few rows that numbers in single precision lead apart.
    """
    world: WorldModel = build("world_model", model).net.eval()
    context_BTCHW = draw_clips(scenes, world.tokenizer.sizes.resolution, CONTEXT)
    actions_BFA = torch.randn(rows, LENGTH - CONTEXT, world.action_dim, generator=torch.Generator().manual_seed(0))
    torch.nn.init.normal_(world.transformer.action_linear.weight, std=0.1)  # type: ignore[union-attr]

    def ours(count: int = LENGTH - CONTEXT) -> Tensor:
        rollout = Rollout(world, context_BTCHW, count)
        rollout = rollout if scenes == rows else rollout.repeat(rows // scenes)
        return torch.stack([rollout.step(action_BA, see).ids_Bn for action_BA in actions_BFA[:, :count].unbind(1)], 1)

    def theirs(count: int = LENGTH - CONTEXT) -> Tensor:
        with torch.no_grad():
            context_BTN = world.tokenizer.encode_context(context_BTCHW).repeat_interleave(rows // scenes, 0)
            scene = world.tokenizer.decode_context(context_BTN, context_BTCHW.repeat_interleave(rows // scenes, 0))
        return roll_out_anew(world, context_BTN, actions_BFA[:, :count], scene if see else None)[0]

    alike = (ours(2) == theirs(2)).all(2).all(1).float().mean().item()
    if alike < TOGETHER:
        raise ValueError(f"both ways of a rollout must write the same codes, but do so in {alike:.0%} of rows")
    return compare(ours, theirs, repeats, warmup=0)


def time_clips(model: str, rows: int, repeats: int, see: bool) -> Pair:
    """Clips that have nothing in common."""
    return time_rollout(model, rows, repeats, see, rows)


def time_candidates(model: str, rows: int, repeats: int, see: bool) -> Pair:
    """What a planner tries from one scene."""
    return time_rollout(model, rows, repeats, see, 1)


def time_world_step(model: str, rows: int, repeats: int, _: bool, known: bool = False) -> Pair:
    """An update of the world model from clips that it meets for the first time, or that are ``known``."""
    module = build("world_model", model, "reward=false", "optimizer=adamw")
    world: WorldModel = module.net
    clips, batch = draw_clips(rows, world.tokenizer.sizes.resolution), Batch((), torch.zeros(0))
    actions_BFA = torch.zeros(rows, LENGTH - CONTEXT, world.action_dim)
    weights = [weight for weight in world.parameters() if weight.requires_grad]
    own, stock = module.make_optimizer(weights), torch.optim.AdamW(weights, 1e-4)

    def theirs() -> None:
        with attention_with_weights():
            world_loss(world, clips, actions_BFA).backward()
        stock.step()
        stock.zero_grad()

    def ours() -> None:
        if not known:
            module.memory.codes.clear()
        module.net(module.lose, clips, actions_BFA, batch)["codes"].backward()
        own.step()
        own.zero_grad()

    return compare(ours, theirs, repeats, warmup=1)


def time_tokenizer_step(model: str, rows: int, repeats: int, _: bool) -> Pair:
    """An update of tokenizer and discriminator."""
    module = build("tokenizer_gan", model, "picked=null", "model.decode=plain", "motion=0")
    module.step = 10**9  # the discriminator has begun
    tokenizer, judge = module.net.tokenizer, module.net.discriminator
    batch = Batch((), (draw_clips(rows, tokenizer.sizes.resolution, 8) * 255).to(torch.uint8))
    parts = {"generator": tokenizer, "discriminator": judge}
    own = {name: module.turns[name].optimizer([*part.parameters()]) for name, part in parts.items()}
    stock = {name: torch.optim.AdamW(part.parameters(), 5e-4) for name, part in parts.items()}

    def finish(loss: Tensor, part: str, optimizers: dict[str, Any]) -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts[part].parameters(), 1.0)
        optimizers[part].step()
        optimizers[part].zero_grad()

    def ours() -> None:
        for turn, part in parts.items():
            module.net.requires_grad_(False)
            part.requires_grad_(True)
            finish(sum(module.losses_in(turn, batch).values(), torch.zeros(())), turn, own)

    def reconstruct() -> tuple[Tensor, Reconstruction]:
        clips_BTCHW = module.take_frames(batch)
        with attention_with_weights():
            return clips_BTCHW, reconstruct_anew(tokenizer, clips_BTCHW)

    def theirs() -> None:
        module.net.requires_grad_(True)  # gradients of the judge are computed in the other half, too
        clips_BTCHW, clip = reconstruct()
        losses = module.reconstruction_losses(clips_BTCHW, clip)
        finish(sum(losses.values(), -judge(join_frames(clip)).mean()), "generator", stock)
        judge.zero_grad()
        clips_BTCHW, clip = reconstruct()  # of a batch of its own, and with all that gradients would need
        finish(hinge(judge(clips_BTCHW.flatten(0, 1)), judge(join_frames(clip).detach())), "discriminator", stock)

    return compare(ours, theirs, repeats, warmup=1)


WORK: dict[str, Callable[[str, int, int, bool], Pair]] = {
    "clips": time_clips,
    "candidates": time_candidates,
    "world_step": time_world_step,
    "world_step_known": partial(time_world_step, known=True),
    "tokenizer_step": time_tokenizer_step,
}


def main() -> None:
    """Print how many times longer the published way takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=WORK, default=list(WORK))
    parser.add_argument("--model", choices=MODELS, default="tiny")
    parser.add_argument("--rows", type=int, nargs="*", default=[16])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--see", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = []
    for name in options.only:
        for rows in options.rows:
            pair = WORK[name](options.model, rows, options.repeats, options.see)
            low, high = pair.spread
            figure = {"ratio": pair.ratio, "low": low, "high": high, "ours": min(pair.ours), "theirs": min(pair.theirs)}
            figures.append({"name": name, "model": options.model, "rows": rows, "see": options.see, **figure})
            print(
                f"{name}, {options.model}, {rows} rows{', seen' * options.see}: {pair.ratio:.2f} times "
                f"({low:.2f} to {high:.2f}); ours {min(pair.ours):.2f} s, published {min(pair.theirs):.2f} s",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
