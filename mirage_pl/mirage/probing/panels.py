"""Gather what the pictures of latents show: of the whole test set, and of single rows.

Shapes: n latents of one row, k of one block, N of all rows, D width, T columns, V vocabulary, R rows and C columns of
an image's merged features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from data_modules.images import open_image
from data_modules.samples import Latent, Picture, Sample
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.probing import geometry
from mirage_pl.mirage.probing.reading import count_latents, embed_latents, join_answers
from mirage_pl.mirage.probing.sight import (
    compare_patches,
    compute_features,
    divide_attention,
    find_peaks,
    join_tiles,
    project_on_plane,
    record_attention,
    thin_vectors,
)
from mirage_pl.mirage.probing.sight_pictures import (
    ATTENTION,
    RESEMBLANCE,
    Strip,
    draw_geometry,
    draw_plane,
    draw_strips,
)

MAX_ROWS = 100
"""Rows whose images are used for the plane and the mean helper feature, besides the rows that are drawn."""
MAX_POINTS = 300
"""Points of each kind in the plane."""


def has_helpers(collate: Collator, sample: Sample) -> bool:
    """Whether a row has readable helper images, each large enough for the latents of its block."""
    parts = [part for part in sample.answer if isinstance(part, Latent)]
    try:
        tokens = [collate.pictures.num_tokens(part, sample.where) for part in parts]
    except ValueError:  # the file is missing or isn't an image
        return False
    return bool(parts) and all(n >= (part.size or collate.latent_size) for n, part in zip(tokens, parts, strict=True))


@dataclass
class Panels:
    """Pictures of a test set's latents.

    Args:
        net: the model.
        collate: makes prompts and helper images.
        samples: the test set, in order; at least one answer has latents.
        answers: tokens of each answer, latent slots included.
        latents: of each row, ``[n, D]``.
        targets: compressed helper features of each row; empty unless all rows have both these and latents.
        rows: to draw one by one; those without latents are skipped.
    """

    net: LatentVLM
    collate: Collator
    samples: Sequence[Sample]
    answers: Sequence[Sequence[int]]
    latents: Sequence[Tensor]
    targets: Sequence[Tensor]
    rows: Sequence[int]

    def __post_init__(self) -> None:
        self.latents, self.targets = ([row.cpu() for row in rows] for rows in (self.latents, self.targets))
        self.places = [place_RD.double().mean(0) for place_RD in geometry.group_by_place(self.latents)]
        self.rows = [row for row in self.rows if len(self.latents[row])]
        having = [row for row, latents in enumerate(self.latents) if len(latents)]
        self.sources = sorted({*having[:MAX_ROWS], *self.rows})

    def draw(self) -> Iterator[tuple[str, Image]]:
        """Yield all pictures by name."""
        yield "geometry", self.geometry()
        yield "plane", draw_plane(*project_on_plane(self.points()))
        for row in self.rows:
            if strips := list(self.strips(row)):
                text = self.collate.tokenizer.decode(self.answers[row], skip_special_tokens=True)
                yield f"row-{row}", draw_strips(f"{Path(self.samples[row].where).name}, answered: {text}", strips)

    def geometry(self) -> Image:
        """Draw the distributions behind the numbers of :meth:`Interventions.describe`."""
        words_VD = self.net.words().cpu()
        vectors = {"latents": self.latents, "token embeddings": [words_VD], "targets": self.targets}
        norms = {name: torch.cat(list(rows)).double().norm(dim=-1) for name, rows in vectors.items() if rows}
        within, across = geometry.cosine_within(self.latents), geometry.cosine_across(self.latents)
        return draw_geometry(
            {
                f"same row: mean {within:.3g}": geometry.compare_within(self.latents),
                f"same place, other row: mean {across:.3g}": geometry.compare_across(
                    [self.latents[row] for row in self.sources]
                ),
            },
            geometry.compute_spectrum(self.latents),
            {f"{name}: mean {lengths.mean():.3g}": lengths for name, lengths in norms.items()},
            geometry.compare_with_targets(self.latents, self.targets) if self.targets else None,
        )

    @cached_property
    def features(self) -> dict[int, tuple[list[Tensor], list[Tensor]]]:
        """Row -> features of its input images and of its helper images, for all rows in ``sources``."""
        return {row: self.encode_images(row) for row in self.sources}

    @torch.no_grad()
    def encode_images(self, row: int) -> tuple[list[Tensor], list[Tensor]]:
        """Features ``[R, C, D]`` of a row's input images and of its helper images."""
        sample = self.samples[row]
        images = self.collate.prompts([sample]).images
        helpers = self.collate.helper_images([sample])[0] if has_helpers(self.collate, sample) else None
        inputs, theirs = (compute_features(self.net, each) if each else [] for each in (images, helpers))
        return inputs, theirs

    @cached_property
    def mean_D(self) -> Tensor:
        """The mean helper feature: averaged within each image, then over images."""
        means = [f_RCD.double().mean((0, 1)) for _, helpers in self.features.values() for f_RCD in helpers]
        return torch.stack(means).mean(0)

    @torch.no_grad()
    def points(self) -> dict[str, Tensor]:
        """Vectors that the plane shows, ``[N, D]`` each, by name."""
        prompts = [self.collate.prompts([self.samples[row]]).tokens_BT[0].tolist() for row in self.sources]
        groups = {
            "input images": [f_RCD.flatten(0, 1) for inputs, _ in self.features.values() for f_RCD in inputs],
            "helper images": [f_RCD.flatten(0, 1) for _, helpers in self.features.values() for f_RCD in helpers],
            "words of questions": [self.words(prompts)],
            "words of answers": [self.words([self.answers[row] for row in self.sources])],
            "latents": [self.latents[row] for row in self.sources],
        }
        vectors = {name: thin_vectors(torch.cat(parts), MAX_POINTS) for name, parts in groups.items() if parts}
        return {name: vectors_ND for name, vectors_ND in vectors.items() if len(vectors_ND)}

    def words(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Embeddings of the distinct tokens of some texts, without special tokens."""
        special = {*self.collate.tokenizer.all_special_ids, self.collate.image_pad, self.collate.latent_pad}
        tokens = sorted({token for text in texts for token in text} - special)
        return self.net.embed_tokens(torch.tensor(tokens, device=self.net.backbone.device, dtype=torch.long)).cpu()

    def strips(self, row: int) -> Iterator[Strip]:
        """Yield, block by block, what the latents attend to in each input image, and resemble in the helper image."""
        sample, sizes = self.samples[row], count_latents(self.collate, self.answers[row])
        inputs, helpers = self.features[row]
        pictures = [open_image(part.path, sample.where) for part in sample.question if isinstance(part, Picture)]
        planned = [part.path for part in sample.answer if isinstance(part, Latent)]
        heats, totals = self.attended(row, [(len(f_RCD), f_RCD.shape[1]) for f_RCD in inputs])
        layers, attending = len(self.net.decoder.layers), len(self.net.architecture.attending)
        some = "" if attending == layers else f"\nin {attending} of {layers}\nlayers"
        first = 0
        for number, size in enumerate(sizes):
            block = slice(first, first + size)
            name = f"block {number + 1}: " if len(sizes) > 1 else ""
            for picture, tiled_nRC in zip(pictures, heats, strict=True):
                rows, columns = self.collate.pictures.tiles(picture.size)
                heat_nRC = join_tiles(tiled_nRC, rows, columns)
                tiles = f"\n({rows} × {columns} tiles)" if rows * columns > 1 else ""
                label = f"{name}attention\nto the\ninput image{some}{tiles}"
                captions = [
                    f"latent {latent + 1}\n{totals['image'][latent]:.0%} on images\npeak {heat_nRC[latent].max():.1%}"
                    for latent in range(*block.indices(len(heat_nRC)))
                ]
                yield Strip(picture, label, heat_nRC[block], captions, ATTENTION)
            if number < len(helpers):
                picture = open_image(planned[number], sample.where)
                yield self.resembled(picture, f"{name}cosine\nto the\nhelper image", row, block, helpers[number])
            first = block.stop

    @torch.no_grad()
    def attended(self, row: int, sides: Sequence[tuple[int, int]]) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Attention of a row's latents, averaged over layers that attend, as :func:`.sight.divide_attention` has it."""
        prompt = self.collate.prompts([self.samples[row]])
        batch = join_answers(self.collate, prompt, [self.answers[row]]).to(self.net.backbone.device)
        shares_nT = record_attention(self.net, batch, embed_latents(self.net, batch, [self.latents[row]])).mean(0).cpu()
        image_T = (batch.tokens_BT[0] == self.collate.image_pad).cpu()
        return divide_attention(shares_nT, image_T, batch.latent_BT[0].cpu(), sides)

    def resembled(self, picture: Image, label: str, row: int, block: slice, features_RCD: Tensor) -> Strip:
        """Make a strip of the patches that the latents of one block resemble in its helper image."""
        latents_kD = self.latents[row][block]
        means = torch.stack(self.places[block]), self.mean_D
        heat_kRC, raw_kRC = compare_patches(latents_kD, features_RCD, means), compare_patches(latents_kD, features_RCD)
        cells = find_peaks(heat_kRC)
        captions = []
        for latent, best in enumerate(cells):
            cosines = " ".join(f"{heat_kRC[latent][cell]:.2f}" for cell in best)
            captions.append(f"latent {block.start + latent + 1}\n{cosines}\nraw {raw_kRC[latent][best[0]]:.2f}")
        return Strip(picture, label, heat_kRC, captions, RESEMBLANCE, cells)
