"""Units a second of a walk: our order of calls against the published one, same weights: ``python -m benchmarks.walks``.

``model=deepverse/tiny`` with random weights walks through windows of five units, two of them given. The other side
draws noise block by block and takes a fifth step, which moves by a thousandth; see ``published_walks``. Both encode
what a window is given and decode all of it. The floor is what the calls of the network alone come to.

Options: ``--steps`` (ours in a stage, 2; with 4 both move as often), ``--units``, ``--guided`` (text 3.5 and memory 6
on both sides, as published, in place of none), ``--closed-noise`` (on both sides), ``--by-unit`` (a unit at a time, as
one walks with keys), ``--repeats``, ``--json``. Times are seconds of the processor.
"""

import argparse
import json
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

import mirage_pl.engine.cli  # noqa: F401  registers the resolvers
from benchmarks.published_walks import published_schedule
from benchmarks.timing import in_turns
from mirage_pl.deepverse.model.memory import choose_alike
from mirage_pl.deepverse.model.prompts import NUMBERS
from mirage_pl.deepverse.model.rollout import Rollout, WindowSizes
from mirage_pl.deepverse.model.sampler import Sampler
from mirage_pl.deepverse.model.world import World

CONF = Path(__file__).resolve().parents[1] / "conf"
PUBLISHED = 5
"""Calls of the network in a stage."""
GUIDANCE = 3.5, 6.0


def build() -> World:
    """The tiny world model with random weights, none of them 0."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", ["stage=deepverse/world_model"])
    torch.manual_seed(0)
    net: World = instantiate(cfg.stage.module.net).eval()
    for weight in net.transformer.parameters():
        weight.data = 0.05 * torch.randn_like(weight)
    return net


class Walker:
    """Walks, unit by unit or in whole windows.

    Args:
        net: the model.
        units: of a walk after the first.
        guided: whether with guidance.
        by_unit: whether units are asked for one at a time.
        closed: whether the other side draws noise as we do.
        steps: ours in a stage.
    """

    def __init__(self, net: World, units: int, guided: bool, by_unit: bool, closed: bool, steps: int) -> None:
        self.net, self.by_unit, self.closed, self.steps = net, by_unit, closed, steps
        self.scales = GUIDANCE if guided else (1.0, 1.0)
        self.codes = [NUMBERS[code] for _, code in zip(range(units), ["FN", "FR", "SR"] * units, strict=False)]
        height, width = (side * net.vae.sizes.space for side in (12, 16))
        self.picture = torch.rand((3, height, width), generator=torch.Generator().manual_seed(0)) * 2 - 1

    def walk(self, steps: int) -> Rollout:
        """One walk."""
        sizes = WindowSizes(units=5, given=2)
        rollout = Rollout(self.net, Sampler(steps, *self.scales), sizes, choose_alike, 0)
        rollout.begin(self.picture)
        for part in [[code] for code in self.codes] if self.by_unit else [self.codes]:
            rollout.go(part)
        return rollout

    def ours(self) -> Rollout:
        """As we do it."""
        return self.walk(self.steps)

    def theirs(self) -> Rollout:
        """As published."""
        with published_schedule(self.net, self.closed):
            return self.walk(PUBLISHED)


def main() -> None:
    """Print how many times longer the published order takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--units", type=int, default=12)
    parser.add_argument("--guided", action="store_true")
    parser.add_argument("--by-unit", action="store_true")
    parser.add_argument("--closed-noise", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    walker = Walker(build(), options.units, options.guided, options.by_unit, options.closed_noise, options.steps)
    clock = perf_counter if torch.cuda.is_available() else process_time
    pair = in_turns(walker.ours, walker.theirs, options.repeats, 1, clock)
    (low, high), rate = pair.spread, (options.units + 1) / min(pair.ours)
    figure: dict[str, Any] = {"ratio": pair.ratio, "low": low, "high": high, "units_a_second": rate}
    floor = PUBLISHED / options.steps
    print(
        f"{pair.ratio:.2f} times ({low:.2f} to {high:.2f}), the network's calls alone {floor:.2f}; "
        f"{rate:.1f} units a second, as published {(options.units + 1) / min(pair.theirs):.1f}"
    )
    if options.json:
        options.json.write_text(json.dumps(figure | {"floor": floor, "guided": options.guided}, indent=2))


if __name__ == "__main__":
    main()
