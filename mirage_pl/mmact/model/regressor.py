"""The baseline: a network that maps a state and words to numbers at once. Shapes: as in ``batch``, D width."""

import torch
from torch import Tensor, nn

from mirage_pl.mmact.model.network import Scales


class Regressor(nn.Module):
    """Words as their mean vector, beside the numbers of the state, through hidden layers.

    Args:
        words: ids of text.
        width: of hidden layers, and a quarter of it of words' vectors.
        layers: hidden ones.
        chunk: steps of a chunk.
        scales: of states and actions.
    """

    def __init__(self, words: int, width: int, layers: int, chunk: int, scales: Scales) -> None:
        super().__init__()
        self.scales = scales
        self.table = nn.Embedding(words, width // 4)
        widths = [width // 4 + len(scales.state.shift_D), *[width] * layers]
        pairs = zip(widths, widths[1:], strict=False)
        self.inner = nn.Sequential(*(part for pair in pairs for part in (nn.Linear(*pair), nn.SiLU())))
        self.outer = nn.Linear(width, chunk * len(scales.action.shift_D))

    def forward(self, ids_BL: Tensor, keys_BL: Tensor, states_BS: Tensor) -> Tensor:
        """Numbers of a chunk within [-1, 1], about, [B, N].

        Args:
            ids_BL: ids of all kinds; those of text are the words.
            keys_BL: bool: what is no padding.
            states_BS: in the data's own units.
        """
        words_BL = keys_BL & (ids_BL < self.table.num_embeddings)
        vectors_BLD = self.table(ids_BL * words_BL) * words_BL[..., None]
        mean_BD = vectors_BLD.sum(1) / words_BL.sum(1, keepdim=True).clamp(min=1)
        out_BN: Tensor = self.outer(self.inner(torch.cat((mean_BD, self.scales.state(states_BS)), 1)))
        return out_BN
