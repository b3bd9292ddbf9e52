"""Ways to fill in a chunk of actions, with one network: ``python -m benchmarks.decoders``.

The release's vocabulary and prompt of 910 ids, random weights of a small transformer, one row. ``one step`` reads the
chunk's places over bins alone. Against it: ``published``, one pass with a mask of all pairs and logits of all places
over all ids; re-masking in 8 steps, as published, and with a prompt that sees itself alone, whose keys are computed
once; with keys that are stale; and what confidence saves. Deviations are from the same steps done exactly, in ids.
Options: ``--width``, ``--layers``, ``--repeats``, ``--json``.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from benchmarks.timing import seconds
from mirage_pl.mmact.model.backbone import Ask, Backbone, Kept, Sizes
from mirage_pl.mmact.model.decoding import HIDDEN, Decode, Decoder
from mirage_pl.mmact.model.text_decoding import Commit
from mirage_pl.mmact.model.vocabulary import Span, lay_out_released

VOCAB, PROMPT, SLOTS, STEPS = lay_out_released(), 910, 56, 8
MIB = 2**20


@dataclass
class Passes:
    """Forward passes over one row, as a decoder asks for them.

    Attributes:
        net: the transformer.
        ids_1L: prompt, what begins the chunk, its slots, what ends it.
        whole: each is as published: all pairs in a mask, all ids at all places.
        sees_all: prompts see what is filled in.
        head: bytes of the largest logits of a pass.
        count: passes.
    """

    net: Backbone
    ids_1L: Tensor
    whole: bool = False
    sees_all: bool = True
    head: int = field(init=False, default=0)
    count: int = field(init=False, default=0)

    @property
    def places_1L(self) -> Tensor:
        """The slots."""
        place_1L = torch.arange(self.ids_1L.shape[1])[None]
        return (place_1L > PROMPT) & (place_1L <= PROMPT + SLOTS)

    def run(self, decode: Decoder) -> Tensor:
        """Fill in a chunk; its ids."""
        kept = Kept(PROMPT + 1, self.sees_all) if decode.stale or not self.sees_all else None
        given_1N = torch.full((1, SLOTS), HIDDEN)
        return decode(lambda slots_1N: self.read(slots_1N, kept), given_1N).ids_BN

    @torch.no_grad()
    def read(self, slots_1N: Tensor, kept: Kept | None) -> Tensor:
        """Logits of bins in all slots."""
        ids_1L, span = self.ids_1L.clone(), Span(0, VOCAB.size) if self.whole else VOCAB.bins
        ids_1L[self.places_1L] = torch.where(slots_1N == HIDDEN, VOCAB["mask"], slots_1N + VOCAB.bins.first).flatten()
        asked_1L = torch.ones_like(ids_1L, dtype=torch.bool) if self.whole else self.places_1L
        keys_1L = torch.ones_like(ids_1L, dtype=torch.bool)
        (logits_NV,) = self.net(ids_1L, keys_1L, [Ask(asked_1L, span)], self.whole, kept)
        self.head, self.count = max(self.head, logits_NV.numel() * logits_NV.element_size()), self.count + 1
        return (logits_NV[self.places_1L[0]][:, VOCAB.bins.rows] if self.whole else logits_NV)[None]


@dataclass(frozen=True)
class Way:
    """A way to fill in.

    Attributes:
        decode: how.
        whole: see :class:`Passes`.
        sees_all: there.
    """

    decode: Decoder
    whole: bool = False
    sees_all: bool = True


REMASK = Decode(STEPS)
WAYS = {
    "one step": Way(Decode()),
    "published, one step": Way(Decode(), whole=True),
    "re-masking": Way(REMASK),
    "re-masking, kept keys": Way(REMASK, sees_all=False),
    "re-masking, stale keys": Way(Decode(STEPS, stale=True)),
    "quotas": Way(Commit(STEPS)),
    "quotas, confidence": Way(Commit(STEPS, confidence=0.005)),
}


def measure(ways: dict[str, Way], net: Backbone, repeats: int) -> dict[str, dict[str, float]]:
    """Passes, milliseconds (median, in turns), MiB of logits in a pass, share of ids unlike those of exact decoding."""
    ids_1L = torch.randint(0, VOCAB.text, (1, PROMPT + SLOTS + 2), generator=torch.Generator().manual_seed(0))
    figures, runs = dict[str, dict[str, float]](), dict[str, Callable[[], Tensor]]()
    for name, way in ways.items():
        passes = Passes(net, ids_1L, way.whole, way.sees_all)
        chosen_1N = passes.run(way.decode)
        anew_1N = Passes(net, ids_1L, way.whole, way.sees_all).run(way.decode.exact)
        unlike = float((chosen_1N != anew_1N).float().mean())
        figures[name] = {"passes": passes.count, "head_mib": passes.head / MIB, "deviation": unlike}
        runs[name] = partial(passes.run, way.decode)
    times = [{name: seconds(run) for name, run in runs.items()} for _ in range(repeats)]
    for name, figure in figures.items():
        figure["ms"] = 1000 * median(turn[name] for turn in times)
    return figures


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    sizes = Sizes(options.layers, options.width, 4, 3 * options.width, 500000.0, 1e-5)
    figures = measure(WAYS, Backbone(sizes, VOCAB.size, False).eval(), options.repeats)
    print(f"{'':24}{'passes':>8}{'ms':>8}{'head MiB':>10}{'ids unlike exact':>18}")
    for name, row in figures.items():
        line = f"{name:24}{row['passes']:8.0f}{row['ms']:8.0f}{row['head_mib']:10.2f}{row['deviation']:18.0%}"
        print(line)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
