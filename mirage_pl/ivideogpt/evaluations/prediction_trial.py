"""A world model on some clips, under each condition."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data_modules.episodes.clips import Clip
from mirage_pl.engine.reports.panels import render_png
from mirage_pl.engine.seams import OWN, Drawn, Once, Row
from mirage_pl.ivideogpt.batch import Batch
from mirage_pl.ivideogpt.evaluations.clips import ClipTrial, Seen
from mirage_pl.ivideogpt.evaluations.fvd import Features, compare_halves, frechet_distance
from mirage_pl.ivideogpt.evaluations.horizon import draw_horizon, measure_horizon
from mirage_pl.ivideogpt.evaluations.imagining import Given, Imagining, Values
from mirage_pl.ivideogpt.evaluations.prediction_words import BASELINE, write_fvd
from mirage_pl.ivideogpt.evaluations.unigram import Unigram

if TYPE_CHECKING:
    from mirage_pl.ivideogpt.evaluations.prediction import Predict

COPY, TOKENIZER, SHUFFLED, ZERO, GRAY = BASELINE, "tokenizer", "shuffled_actions", "no_actions", "no_context"
UNIGRAM, MEAN, BEST = "unigram", "drawn", "best_drawn"
CONDITIONS = (COPY, TOKENIZER, SHUFFLED, ZERO, GRAY, UNIGRAM, MEAN, BEST)
DRAWN = (MEAN, BEST)
AT_ONCE = 32


class PredictTrial(ClipTrial):
    """One world model on some clips.

    Args:
        evaluation: its options.
        module: of a world model's stage.
        data: its collator and batch size are used.
        once: keeps scores, so that an interrupted evaluation goes on.
        rows: the data set.
        clips: the items.

    Raises:
        ValueError: no FVD can be had of these clips.
    """

    def __init__(
        self, evaluation: "Predict", module: Any, data: Any, once: Once, rows: Any, clips: Sequence[Clip]
    ) -> None:
        super().__init__(evaluation.scores, module, data, once, rows, clips, AT_ONCE)
        self.evaluation, self.fvd = evaluation, evaluation.fvd
        self.imagining = Imagining(module, evaluation.sampling, evaluation.compat, evaluation.seed)
        self.fvd.check(len(clips), self.count_frames())
        self.places = {clip.where: place for place, clip in enumerate(clips)}
        self.distances: dict[tuple[str, ...], float] = {}

    @property
    def conditions(self) -> Sequence[str]:
        """Those that were asked for, or all that this model can be given.

        Raises:
            ValueError: one that was asked for can't be made.
        """
        reasons = {} if self.evaluation.draws else dict.fromkeys(DRAWN, "draws=0")
        unread = {failure["where"] for failure in self.failures}
        if len({clip.entry.where for clip in self.clips if clip.where not in unread}) < 2:
            reasons[SHUFFLED] = "there is one episode"
        if not self.imagining.world.action_dim:
            reasons |= dict.fromkeys((SHUFFLED, ZERO), "the model takes no actions")
        if self.evaluation.given is None:
            return [name for name in CONDITIONS if name not in reasons]
        if impossible := [name for name in self.evaluation.given if name in reasons]:
            raise ValueError(f"conditions={impossible[0]} can't be made: {reasons[impossible[0]]}; leave it out")
        return self.evaluation.given

    def see(self, batch: Batch, condition: str) -> Seen:
        """What is made of a batch under a condition, with features where it has an FVD."""
        given, imagining = self.imagining.take(batch), self.imagining
        make: Mapping[str, Callable[[], Seen]] = {
            OWN: lambda: imagining.go_on(given),
            COPY: lambda: imagining.copy(given),
            TOKENIZER: lambda: imagining.reconstruct(given),
            SHUFFLED: lambda: imagining.go_on_otherwise(given, self.list_others_actions(given)),
            ZERO: lambda: imagining.go_on_otherwise(given, torch.zeros_like(given.actions_BFA)),  # type: ignore[arg-type]
            GRAY: lambda: imagining.go_on_from_gray(given),
            UNIGRAM: lambda: self.count_codes(given),
            MEAN: lambda: self.draw_often(given, "mean"),
            BEST: lambda: self.draw_often(given, "best"),
        }
        seen = make[condition]()
        kept = dict(seen.kept)
        if condition in self.fvd.scored and seen.frames_BFCHW is not None:
            kept["features"] = self.fvd.see(seen.frames_BFCHW)
        if condition == OWN:
            kept |= {"codes": given.codes_BFn, "rewards": given.rewards_BF}
            kept |= {"true_features": self.fvd.see(seen.truth_BFCHW)} if self.fvd.scored else {}
        return replace(seen, kept=kept)

    def list_others_actions(self, given: Given) -> Tensor:
        """For each clip the actions of one of another episode, half the test set away."""
        assert given.actions_BFA is not None
        first, number = self.imagining.world.context_length - 1, len(self.clips)
        actions = list[Any]()
        for clip in given.samples:
            start = self.places[clip.where] + number // 2
            others = (self.clips[(start + step) % number] for step in range(number))
            known = (read_actions(other) for other in others if other.entry.where != clip.entry.where)
            actions.append(next(each for each in known if each is not None))
        return torch.from_numpy(np.stack(actions))[:, first:].to(given.actions_BFA)

    def count_codes(self, given: Given) -> Seen:
        """What is known without a model: how often codes are in their places elsewhere, and the mean reward."""
        names = [clip.where for clip in given.samples]
        errors = [self.unigram.reward_error(name) for name in names]
        values: Values = {"cross_entropy": [self.unigram.nats(name) for name in names]}
        return Seen(None, given.rest_BFCHW, values | {"reward_error": errors, "reward_error_seen": errors})

    @cached_property
    def unigram(self) -> Unigram:
        """Of the true codes of all clips."""
        codes, rewards, units = dict[str, Tensor](), dict[str, Tensor](), dict[str, str]()
        for part in self.parts[OWN]:
            for place, row in enumerate(part["rows"]):
                codes[row["where"]], units[row["where"]] = part["codes"][place].cpu(), row["unit"]
                if part["rewards"] is not None:
                    rewards[row["where"]] = part["rewards"][place].cpu()
        return Unigram(codes, rewards, units, self.tokenizer.dynamics_quantize.num_codes)

    def draw_often(self, given: Given, which: str) -> Seen:
        """The ``mean`` of several draws, or the ``best`` by each measure; the frames are those of the first draw."""
        evaluation, first = self.evaluation, self.places[given.samples[0].where]
        drawing = partial(self.imagining.draw, given, evaluation.drawing, evaluation.draws, self.scores)
        drawn = self.once(f"draws-{first}", drawing)
        return Seen(drawn["frames"], drawn["truth"], drawn[which], curves=drawn[f"{which}_curves"])

    def over_all(self, condition: str, rows: Sequence[Row]) -> Mapping[str, float]:
        """FVD of some clips, where there are enough of them."""
        names = tuple(row["where"] for row in rows)
        if condition not in self.fvd.scored or len(names) < self.fvd.least:
            return {}
        if (condition, *names) not in self.distances:
            sets = self.gather(condition, "features", names), self.gather(OWN, "true_features", names)
            self.distances[condition, *names] = frechet_distance(*sets)
        return {"fvd": self.distances[condition, *names]}

    def gather(self, condition: str, key: str, names: Sequence[str]) -> Features:
        """Features of clips in this order, in float64."""
        places = {
            row["where"]: feature.cpu()
            for part in self.parts[condition]
            for row, feature in zip(part["rows"], part[key], strict=True)
        }
        return torch.stack([places[name] for name in names]).double().numpy()

    def summarize(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """``horizon``: PSNR by frame under every condition so far, and the gain over copying; what FVD is read with."""
        facts = {"fvd_facts": self.describe()} if self.fvd.scored else {}
        return {"horizon": measure_horizon(self.curves, BASELINE, [row["unit"] for row in rows]), **facts}

    def count_frames(self) -> int:
        """Frames of a clip that are scored."""
        given = 0 if self.evaluation.compat else self.imagining.world.context_length
        return max((clip.window.length - given for clip in self.clips[:1]), default=0)

    def describe(self) -> Mapping[str, Any]:
        """What an FVD must be read with: clips, frames, and what halves of other episodes are apart."""
        rows = [row for part in self.parts[OWN] for row in part["rows"]]
        if not self.fvd.scored or len(rows) < self.fvd.least:
            return {}
        return {"fvd_clips": len(rows), "fvd_frames": self.count_frames(), **self.halves}

    @cached_property
    def halves(self) -> Mapping[str, float]:
        """FVD of clips and those of other episodes."""
        rows = [row for part in self.parts[OWN] for row in part["rows"]]
        names = [row["where"] for row in rows]
        ours_ND = self.gather(OWN, "features", names) if OWN in self.fvd.scored else None
        return compare_halves(ours_ND, self.gather(OWN, "true_features", names), [row["unit"] for row in rows])

    def remark(self, rows: Sequence[Row]) -> Sequence[str]:
        """FVD, never without what it must be read with."""
        value = self.over_all(OWN, rows).get("fvd")
        return () if value is None else (write_fvd(value, self.describe()),)

    def pictures(self, rows: Sequence[int]) -> Iterator[tuple[str, Drawn]]:
        """Draw the curves over frames."""
        horizon = self.summarize([row for part in self.parts[OWN] for row in part["rows"]])["horizon"]
        if horizon["gain"]:
            yield "horizon", Image.open(BytesIO(render_png(draw_horizon(horizon, BASELINE))))


def read_actions(clip: Clip) -> Any:
    """The actions of a clip; ``None`` if it has none, or can't be read."""
    try:
        return clip.read().actions_SA
    except ValueError:
        return None
