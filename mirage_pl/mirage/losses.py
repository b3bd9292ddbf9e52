"""The two losses of Mirage.

Shapes: M supervised positions, V vocabulary, N latents, D width.
"""

from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy


def text_ce(logits_MV: Tensor, targets_M: Tensor) -> Tensor:
    """Mean cross-entropy over supervised tokens, computed in float32."""
    return cross_entropy(logits_MV.float(), targets_M)


def latent_cosine(predicted_ND: Tensor, target_ND: Tensor) -> Tensor:
    """One minus the mean cosine similarity of each hidden state with the latent it should become (L_visual)."""
    return 1 - cosine_similarity(predicted_ND.float(), target_ND.float(), dim=-1).mean()
