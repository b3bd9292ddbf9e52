"""A stage and a compression of one's own."""

from typing import Any

from torch import Tensor

from mirage_pl.mirage.batch import Batch
from mirage_pl.mirage.model.compression import Average
from mirage_pl.mirage.module import Stage1


class Strongest(Average):
    """Strips, as the official strategy makes them; of each the feature that is longest, in place of the mean."""

    def __call__(self, features_nD: Tensor, grid_hw: tuple[int, int], k: int) -> Tensor:
        """Compress one image: features ``[n, D]`` become latents ``[k, D]``."""
        strips_ksD = features_nD[: len(features_nD) // k * k].view(k, -1, features_nD.shape[1])
        longest_k11 = strips_ksD.norm(dim=-1, keepdim=True).argmax(1, keepdim=True)
        return strips_ksD.take_along_dim(longest_k11, 1).squeeze(1)


class Lengths(Stage1):
    """Stage 1 that also teaches how long a latent is: a cosine leaves that to the model."""

    def terms(self, batch: Batch) -> dict[str, int]:
        """As many lengths as latents."""
        terms = super().terms(batch)
        return terms | {"length": terms["latent"]}

    def losses(self, batch: Batch) -> dict[str, Any]:
        """Stage 1's losses; ``length``: squared relative difference of a latent's length to its target's."""
        hidden_BTD, predicted_ND, targets_ND = self.net.teacher_forced(batch)
        ratio_N = predicted_ND.norm(dim=1) / targets_ND.norm(dim=1)
        return {
            "text": self.text_loss(hidden_BTD, batch),
            **self.latent_losses(batch, predicted_ND, targets_ND),
            "length": (ratio_N - 1).square().mean(),
        }
