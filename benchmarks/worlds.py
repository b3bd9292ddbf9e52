"""A world model against the published way of calling the same network: ``python -m benchmarks.worlds``.

``rollout``: a clip of 16 frames over one cache, against the prefix run anew for every frame: the published pattern,
with logits of its last token alone, which is kinder than the published ones of all. ``world_step``: a step of the world
model against one that puts all tokens before all of the vocabulary. ``tokenizer_step``: an update of tokenizer and
discriminator from one batch, against halves that take a batch each. Options: ``--only``, ``--model`` (``tiny``, or the
published ``ctx64``), ``--rows``, ``--repeats``, ``--json``.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

import mirage_pl.engine.cli  # noqa: F401  registers the resolvers
from benchmarks.timing import Pair, in_turns
from mirage_pl.ivideogpt.batch import Batch
from mirage_pl.ivideogpt.losses import join_frames
from mirage_pl.ivideogpt.model.discriminator import hinge
from mirage_pl.ivideogpt.model.layout import IGNORE
from mirage_pl.ivideogpt.model.rollout import imagine
from mirage_pl.ivideogpt.model.world import WorldModel

CONF = Path(__file__).resolve().parents[1] / "conf"
LENGTH = 16


def build(stage: str, model: str, *overrides: str) -> Any:
    """A stage's module with random weights."""
    given = [f"stage=ivideogpt/{stage}", f"model=ivideogpt/{model}", "callbacks.scores=null", *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", given)
    torch.manual_seed(0)
    return instantiate(config.stage.module)


def draw_clips(rows: int, resolution: int, length: int = LENGTH) -> Tensor:
    """Clips of noise; what they show doesn't matter to time."""
    return torch.rand(rows, length, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def roll_out_anew(world: WorldModel, context_BTN: Tensor, actions_BFA: Tensor) -> Tensor:
    """Greedy codes of clips as published: before each frame the whole prefix is run, then its codes one by one."""
    transformer = world.transformer
    llm, layout = transformer.llm, transformer.layout
    embeds = llm.model.embed_tokens(layout.prompt(context_BTN))
    slots_B1 = torch.full((len(context_BTN), 1), layout.slot2)
    frames = []
    for action_BA in actions_BFA.unbind(1):
        slot = llm.model.embed_tokens(slots_B1) + transformer.embed_actions(action_BA)[:, None]
        embeds, cache, codes, new = torch.cat((embeds, slot), 1), DynamicCache(), list[Tensor](), None
        for _ in range(layout.dynamics_tokens):
            hidden = llm.model(inputs_embeds=embeds if new is None else new, past_key_values=cache, use_cache=True)
            codes.append(transformer.predict_codes(hidden.last_hidden_state[:, -1]).argmax(-1))
            new = llm.model.embed_tokens(codes[-1][:, None] + layout.context_codes)
        frames.append(torch.stack(codes, 1))
        embeds = torch.cat((embeds, llm.model.embed_tokens(frames[-1] + layout.context_codes)), 1)
    return torch.stack(frames, 1)


def time_rollout(model: str, rows: int, repeats: int) -> Pair:
    """Both ways of a rollout, frames decoded at its end; their codes must be the same."""
    world: WorldModel = build("world_model", model, "context_length=2").net.eval()
    context_BTCHW = draw_clips(rows, world.tokenizer.sizes.resolution, 2)
    actions_BFA = torch.zeros(rows, LENGTH - 2, world.action_dim)

    def theirs() -> Tensor:
        with torch.no_grad():
            context_BTN = world.tokenizer.encode_context(context_BTCHW)
            ids_BFn = roll_out_anew(world, context_BTN, actions_BFA)
            world.tokenizer.decode_frames(ids_BFn, world.tokenizer.decode_context(context_BTN, context_BTCHW))
        return ids_BFn

    ours = lambda: imagine(world, context_BTCHW, LENGTH - 2, actions_BFA).ids_BFn  # noqa: E731
    if not torch.equal(ours(), theirs()):
        raise ValueError("both ways of a rollout must write the same codes")
    return in_turns(ours, theirs, repeats, warmup=0)


def time_world_step(model: str, rows: int, repeats: int) -> Pair:
    """A step of the world model, from pixels to gradients."""
    module = build("world_model", model, "context_length=2", "reward=false")
    world: WorldModel = module.net
    clips, batch = draw_clips(rows, world.tokenizer.sizes.resolution), Batch((), torch.zeros(0))
    actions = torch.zeros(rows, LENGTH - 2, world.action_dim)

    def theirs() -> None:
        predicted = world.read(clips, actions)
        layout = world.transformer.layout
        labels_BL = predicted.ids_BL.clone()
        labels_BL[:, : layout.prompt_length] = IGNORE
        logits = world.transformer.llm.lm_head(predicted.states.all_BLD).float()
        F.cross_entropy(logits[:, :-1].flatten(0, 1), labels_BL[:, 1:].flatten(), ignore_index=IGNORE).backward()
        module.zero_grad()

    def ours() -> None:
        module.net(module.lose, clips, actions, batch)["codes"].backward()
        module.zero_grad()

    return in_turns(ours, theirs, repeats, warmup=1)


def time_tokenizer_step(model: str, rows: int, repeats: int) -> Pair:
    """An update of tokenizer and discriminator; eight frames of a clip, two of them context."""
    module = build("tokenizer_gan", model, "context_length=2", "picked=null")
    module.step = 10**9  # the discriminator has begun
    frames = (draw_clips(rows, module.tokenizer.sizes.resolution, 8) * 255).to(torch.uint8)
    batch, judge = Batch((), frames), module.net.discriminator

    def update(turn: str, lose: Callable[[], dict[str, Tensor]]) -> None:
        module.net.tokenizer.requires_grad_(turn == "generator")
        judge.requires_grad_(turn == "discriminator")
        sum(lose().values(), torch.zeros(())).backward()
        module.zero_grad()

    def ours() -> None:
        for turn in ("generator", "discriminator"):
            update(turn, partial(module.losses_in, turn, batch))

    def lose_anew() -> dict[str, Tensor]:
        clips = module.take_frames(batch)
        fake = join_frames(module.net.tokenizer(clips)).detach()
        return {"judge": hinge(judge(clips.flatten(0, 1)), judge(fake))}

    def theirs() -> None:
        update("generator", partial(module.losses_in, "generator", batch))
        update("discriminator", lose_anew)

    return in_turns(ours, theirs, repeats, warmup=1)


WORK: dict[str, Callable[[str, int, int], Pair]] = {
    "rollout": time_rollout,
    "world_step": time_world_step,
    "tokenizer_step": time_tokenizer_step,
}


def main() -> None:
    """Print how many times longer the published way takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=WORK, default=list(WORK))
    parser.add_argument("--model", choices=("tiny", "ctx64"), default="tiny")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = {}
    for name in options.only:
        pair = WORK[name](options.model, options.rows, options.repeats)
        low, high = pair.spread
        figures[name] = {"ratio": pair.ratio, "low": low, "high": high, "ours": min(pair.ours)}
        print(f"{name}: {pair.ratio:.2f} times ({low:.2f} to {high:.2f}); ours {min(pair.ours):.2f} s", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
