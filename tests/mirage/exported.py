"""Networks whose answers have latents, some of which end, and the folders that are exported of them."""

from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

import torch

from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.model.backbone import load_backbone, load_processor
from mirage_pl.mirage.model.codes import Codes, Pads, Snapped, Words
from mirage_pl.mirage.model.compression import Average
from mirage_pl.mirage.model.feedback import Matched, Raw
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import Jacobi, OnePass, Sequential
from mirage_pl.mirage.model.writer import Writer

TINY = str(Path(__file__).resolve().parents[2] / "assets" / "tiny")
SIZE = 3
PARTS: dict[str, Any] = {
    "raw": (Raw, Sequential),
    "matched": (Matched, Sequential),
    "jacobi": (Raw, lambda: Jacobi(2)),
    "both": (Matched, lambda: Jacobi(3)),
    "queries": (Raw, lambda: OnePass(5)),
    "snapped": (lambda: Snapped(codes=8, memory=0.5), lambda: OnePass(5)),
    "pads": (Pads, Sequential),
    "writer": (lambda: Writer(7), Sequential),
    "both_written": (lambda: Writer(7), lambda: OnePass(5)),
    "words": (lambda: Words(8, 0.5), lambda: OnePass(5)),
}
"""Name -> how hidden states are fed back, and how a block is computed."""


@lru_cache(1)
def parts() -> tuple[Any, Decoder, Collator]:
    """Processor, decoder and collator of the tiny model."""
    processor = load_processor(TINY)
    return processor, Decoder(processor, SIZE), Collator(processor, SIZE, latents=True, helpers=False)


def build_net(name: str = "raw") -> LatentVLM:
    """A tiny network of random weights that differ much from place to place, in float64."""
    _, decoder, _ = parts()
    torch.manual_seed(2)
    backbone = load_backbone(TINY, "float32", random_weights=True).eval()
    feedback, recurrence = PARTS[name]
    net = LatentVLM(backbone, Average(), recurrence(), feedback=feedback())
    with torch.no_grad():
        for weight in net.decoder.layers.parameters():
            weight.mul_(3 if weight.dim() > 1 else 1)
        for token, place, strength in ((decoder.latent_start, 0, 1.3), (decoder.end, 1, 0.8)):
            backbone.lm_head.weight[token] = 0
            backbone.lm_head.weight[token, place] = strength  # so that blocks open, and answers end, now and then
        if isinstance(net.recurrence, OnePass):
            net.recurrence.queries.weight.normal_()
        if isinstance(net.feedback, Matched):
            net.feedback.norm.fill_(4.56)
        if isinstance(net.feedback, Codes):
            net.feedback.codes_CD.normal_(std=0.3)
            net.feedback.counts_C[1:] = 1
        if isinstance(net.feedback, Writer):
            net.feedback.correction.up_DH.normal_(std=0.3, generator=torch.Generator().manual_seed(5))
        if isinstance(net.feedback, Words | Pads):
            net.feedback.words.weight.normal_(std=0.3, generator=torch.Generator().manual_seed(5))
    return net.double()


@lru_cache(len(PARTS))
def export_net(name: str = "raw") -> tuple[LatentVLM, Path]:
    """A network, and a folder that was exported of it once."""
    from mirage_pl.mirage.export.folder import write_folder

    net, folder = build_net(name), Path(mkdtemp(prefix=f"export-{name}-"))
    write_folder(folder, *describe(net), "5GB")
    return net, folder


def describe(net: LatentVLM) -> tuple[Any, Any]:
    """What an export is given of a network: a module and its run."""
    _, decoder, collator = parts()
    run = SimpleNamespace(
        collator=collator,
        config=SimpleNamespace(stage=SimpleNamespace(name="stage2"), task={"prompt": None, "max_new_tokens": 8}),
    )
    return SimpleNamespace(net=net, decoder=decoder), run
