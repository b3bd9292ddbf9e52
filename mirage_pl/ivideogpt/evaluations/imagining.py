"""What a world model makes of clips, of their context alone and of all their frames, whole or with something missing.

Shapes: B clips, T context frames, F others, C channels, H x W pixels in [0, 1], n codes of a frame, A of an action.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from data_modules.episodes.clips import Clip
from mirage_pl.engine.training.draws import row_stream
from mirage_pl.ivideogpt.batch import Batch
from mirage_pl.ivideogpt.evaluations.clips import GRAY, Seen
from mirage_pl.ivideogpt.evaluations.measures import FrameScores
from mirage_pl.ivideogpt.model.rollout import ImaginedClips, Sampling, imagine
from mirage_pl.ivideogpt.model.transformer import symlog
from mirage_pl.ivideogpt.model.world import WorldModel

Values = dict[str, Sequence[float | None]]


class Given(NamedTuple):
    """Some clips, as the model takes them.

    Attributes:
        samples: where they are from.
        context_BTCHW: frames that are given.
        rest_BFCHW: those to be imagined.
        actions_BFA: what leads to each of these; ``None`` for a model without actions.
        codes_BFn: of these, which stand after the true context.
        rewards_BF: of getting to them, in symlog; ``None``: the clips have none, or the model predicts none.
    """

    samples: Sequence[Clip]
    context_BTCHW: Tensor
    rest_BFCHW: Tensor
    actions_BFA: Tensor | None
    codes_BFn: Tensor
    rewards_BF: Tensor | None


class Imagining:
    """A world model, and how its clips are drawn and counted.

    Args:
        module: its ``net`` is the model, called as a whole, so that it works where weights are in parts.
        sampling: how codes are chosen.
        compat: the context's frames count too, as their codes have them.
        seed: of what is drawn; each clip's draws depend on nothing else but its place.
    """

    def __init__(self, module: Any, sampling: Sampling, compat: bool, seed: int) -> None:
        self.module, self.sampling, self.compat, self.seed = module, sampling, compat, seed

    @property
    def world(self) -> WorldModel:
        """The model."""
        world: WorldModel = self.module.net
        return world

    def take(self, batch: Batch) -> Given:
        """Take a batch apart."""
        tokenizer = self.world.tokenizer
        frames_BTCHW = batch.frames_BTCHW.to(tokenizer.dtype) / 255
        context_BTCHW, rest_BFCHW = tokenizer.divide(frames_BTCHW)
        codes_BFn = self.world(tokenizer.encode, frames_BTCHW)[1]
        rewards_BF = None
        if batch.rewards_BS is not None and self.world.has_reward:
            rewards_BF = symlog(batch.rewards_BS[:, self.world.context_length - 1 :].float())
        actions_BFA = self.module.take_actions(batch)
        return Given(batch.samples, context_BTCHW, rest_BFCHW, actions_BFA, codes_BFn, rewards_BF)

    def go_on(self, given: Given) -> Seen:
        """Clips as they go on from their context; and what is thought of them, all true frames before known."""
        imagined = self.imagine(given, self.sampling, 0)
        values = self.judge(given, imagined) | self.judge_seen(given)
        return self.count(given, imagined.frames_BFCHW, values)

    def go_on_otherwise(self, given: Given, actions_BFA: Tensor | None) -> Seen:
        """The same with other actions."""
        return self.go_on(given._replace(actions_BFA=actions_BFA))

    def go_on_from_gray(self, given: Given) -> Seen:
        """The same from a gray context."""
        return self.go_on(given._replace(context_BTCHW=torch.full_like(given.context_BTCHW, GRAY)))

    def copy(self, given: Given) -> Seen:
        """The newest context frame, again and again."""
        copies_BFCHW = given.context_BTCHW[:, -1:].expand_as(given.rest_BFCHW)
        return self.count(given, copies_BFCHW, {"repetition": repeat_share(torch.zeros_like(given.codes_BFn))})

    def reconstruct(self, given: Given) -> Seen:
        """Clips through their codes and back: what no model over these codes can exceed by much."""
        clip = self.module.reconstruct(torch.cat((given.context_BTCHW, given.rest_BFCHW), 1))
        return self.count(given, clip.dynamics_BFCHW.clamp(0, 1), {"repetition": repeat_share(given.codes_BFn)})

    def draw(self, given: Given, sampling: Sampling, draws: int, scores: FrameScores) -> dict[str, Any]:
        """Draw clips several times.

        Returns:
            ``mean`` and ``best`` values of each clip, their curves of PSNR, the ``frames`` of the first draw, and their
            ``truth``.
        """
        seen, tables = list[Seen](), list[dict[str, Tensor]]()
        for draw in range(draws):
            imagined = self.imagine(given, sampling, draw)
            seen.append(self.count(given, imagined.frames_BFCHW, self.judge(given, imagined)))
            frames_BFCHW = seen[-1].frames_BFCHW
            assert frames_BFCHW is not None
            others = {name: torch.tensor(each) for name, each in seen[-1].values.items() if None not in each}
            tables.append(scores(frames_BFCHW.float(), seen[-1].truth_BFCHW.float()) | others)
        return {"frames": seen[0].frames_BFCHW, "truth": seen[0].truth_BFCHW, **summarize_draws(tables, scores)}

    def imagine(self, given: Given, sampling: Sampling, draw: int) -> ImaginedClips:
        """Imagine clips; each has random numbers of its own for each draw."""
        streams: list[Generator] | None = None
        if sampling.temperature:
            streams = [row_stream(self.seed, Path(clip.where).name, draw) for clip in given.samples]
        arguments = given.context_BTCHW, given.rest_BFCHW.shape[1], given.actions_BFA, sampling, streams
        return self.world(imagine, self.world, *arguments)

    def count(self, given: Given, frames_BFCHW: Tensor, values: Values) -> Seen:
        """The frames that are scored, and what they should be."""
        if not self.compat:
            return Seen(frames_BFCHW, given.rest_BFCHW, values)
        tokenizer = self.world.tokenizer
        context_BTN = self.world(tokenizer.encode_context, given.context_BTCHW)
        scene = self.world(tokenizer.decode_context, context_BTN, given.context_BTCHW)
        parts = (scene.frames_BTCHW.clamp(0, 1), frames_BFCHW), (given.context_BTCHW, given.rest_BFCHW)
        return Seen(torch.cat(parts[0], 1), torch.cat(parts[1], 1), values)

    def judge(self, given: Given, imagined: ImaginedClips) -> Values:
        """How often codes repeat, and how far off rewards are, in what was imagined."""
        values: Values = {"repetition": repeat_share(imagined.ids_BFn)}
        if given.rewards_BF is not None and imagined.rewards_BF is not None:
            error_BF = (symlog(imagined.rewards_BF.float()) - given.rewards_BF).square()
            values["reward_error"] = error_BF.mean(1).tolist()
        return values

    def judge_seen(self, given: Given) -> Values:
        """Cross-entropy of the true codes in nats, and how far off rewards are, given all true frames before each."""
        context_BTN = self.world(self.world.tokenizer.encode_context, given.context_BTCHW)
        predicted = self.world(self.world.read_codes, context_BTN, given.codes_BFn, given.actions_BFA)
        transformer, states = self.world.transformer, predicted.states
        logits_BFnK = self.world(transformer.predict_codes, states.before_codes_BFnD).float()
        nats_BFn = F.cross_entropy(logits_BFnK.movedim(-1, 1), given.codes_BFn, reduction="none")
        values: Values = {"cross_entropy": nats_BFn.mean((1, 2)).tolist()}
        if given.rewards_BF is not None:
            rewards_BF = self.world(transformer.predict_rewards, states.after_codes_BFD).float()
            values["reward_error_seen"] = (rewards_BF - given.rewards_BF).square().mean(1).tolist()
        return values


def repeat_share(codes_BFn: Tensor) -> list[float | None]:
    """The share of each clip's frames, without the first, whose codes are those of the frame before."""
    if codes_BFn.shape[1] < 2:
        return [None] * len(codes_BFn)
    return (codes_BFn[:, 1:] == codes_BFn[:, :-1]).all(2).float().mean(1).tolist()


def summarize_draws(tables: Sequence[Mapping[str, Tensor]], scores: FrameScores) -> dict[str, Any]:
    """The mean of draws, and the best by each measure on its own, as published; all of them by clip.

    Args:
        tables: of each draw: scores of frames, [B, F], and other values, [B].
        scores: says which of the former are better if higher.
    """
    values = {name: torch.stack([each[name].float().cpu() for each in tables]) for name in tables[0]}
    clips = {name: value.mean(2) if value.ndim == 3 else value for name, value in values.items()}
    higher = {name for name, measure in scores.measures.items() if measure.better == "higher"}
    best = {name: (value.amax(0) if name in higher else value.amin(0)).tolist() for name, value in clips.items()}
    psnr_DBF, leading_B = values["psnr"], clips["psnr"].argmax(0)
    return {
        "mean": {name: value.mean(0).tolist() for name, value in clips.items()},
        "best": best,
        "mean_curves": psnr_DBF.mean(0).tolist(),
        "best_curves": psnr_DBF[leading_B, torch.arange(len(leading_B))].tolist(),
    }
