"""Choose as answers are sampled, and record how likely each choice was.

Shapes: B rows, V vocabulary, D width, C columns so far, S actions of a row.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from data_modules.samples import Sample
from mirage_pl.engine.training.draws import row_stream
from mirage_pl.mirage.decoding.sampling import Choice, Decoding
from mirage_pl.mirage.losses import to_float32
from mirage_pl.mirage.rl.actions import Replay


class Recorder(Choice):
    """Draw tokens and latents of answers, each row from streams of its own.

    Args:
        decoding: of each row; they share a temperature above 0 and draw from all tokens.
        samples: one per row.
        device: of the logits.
        latents: what a latent is to the policy.
        banned: ids of tokens that are never drawn: what stands for latents and images isn't text.
    """

    def __init__(
        self,
        decoding: Sequence[Decoding],
        samples: Sequence[Sample],
        device: torch.device,
        latents: Replay,
        banned: Sequence[int],
    ) -> None:
        super().__init__(decoding, samples, device)
        self.decoding, self.latents, self.banned = decoding, latents, list(banned)
        self.names = [Path(sample.where).name for sample in samples]
        self.chosen: list[tuple[Tensor, Tensor]] = []
        self.written: list[tuple[Tensor, Tensor]] = []
        self.latest_B = torch.zeros(len(samples), device=device)

    def __call__(self, logits_BV: Tensor, count_B: Tensor) -> Tensor:
        """Choose token ids ``[B]``."""
        log_BV = allowed_logs(logits_BV, self.decoding[0].temperature, self.banned)
        chosen_B = super().__call__(logits_BV.index_fill(-1, self._ids(logits_BV), -torch.inf), count_B)
        self.latest_B = log_BV.gather(1, chosen_B.unsqueeze(1)).squeeze(1)
        return chosen_B

    def feed(self, states_BD: Tensor, text_B: Tensor, latent_B: Tensor, count_B: Tensor) -> Tensor:
        """Draw the latents of the rows that write one; note the likelihood of what each row writes."""
        self.chosen.append((text_B, self.latest_B))
        if not self.latents.likely:
            return states_BD
        latents_BD = states_BD
        if self.latents.noisy and latent_B.any():
            latents_BD = torch.where(latent_B.unsqueeze(1), self._draw(states_BD, latent_B, count_B), states_BD)
        self.written.append((latent_B, self.latents.density(latents_BD, states_BD)))
        return latents_BD

    def text(self) -> list[Tensor]:
        """Log-probabilities ``[S]`` of each row's tokens, the one that ends it among them."""
        return rows_of(self.chosen)

    def densities(self) -> list[Tensor]:
        """Log-densities of each row's latents."""
        return rows_of(self.written)

    def _draw(self, states_BD: Tensor, latent_B: Tensor, count_B: Tensor) -> Tensor:
        noise_BD = torch.zeros(states_BD.shape)
        for row in latent_B.nonzero().flatten().tolist():
            stream = row_stream(self.decoding[row].seed, f"latents of {self.names[row]}", int(count_B[row]))
            noise_BD[row] = torch.randn(states_BD.shape[1], generator=stream)
        return self.latents.draw(states_BD, noise_BD.to(states_BD.device))

    def _ids(self, logits_BV: Tensor) -> Tensor:
        return torch.tensor(self.banned, device=logits_BV.device)


def allowed_logs(logits_MV: Tensor, temperature: float, banned: Sequence[int]) -> Tensor:
    """Log-probabilities ``[M, V]`` of the distribution that tokens are drawn from."""
    ids = torch.tensor(list(banned), device=logits_MV.device)
    return (to_float32(logits_MV).index_fill(-1, ids, -torch.inf) / temperature).log_softmax(-1)


def rows_of(columns: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """The values of each row, from columns of (which rows have one, values), on the CPU."""
    if not columns:
        return []
    there_CB = torch.stack([there_B for there_B, _ in columns]).cpu()
    values_CB = torch.stack([values_B for _, values_B in columns]).cpu()
    return [values_CB[there_CB[:, row], row] for row in range(there_CB.shape[1])]
