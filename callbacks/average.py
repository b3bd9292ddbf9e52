"""The mean of weights over steps, which is validated and saved in place of the weights themselves."""

from typing import Annotated

from annotated_types import Interval
from pytorch_lightning.callbacks import EMAWeightAveraging


def average_weights(decay: Annotated[float, Interval(gt=0, lt=1)] | None) -> EMAWeightAveraging | None:
    """Lightning's exponential moving average, updated at every step; ``None``: none.

    A checkpoint has the mean as its weights, and beside it the weights that training goes on with. Buffers are copied:
    the mean of whole numbers, such as places of ids, is none of them.

    Args:
        decay: share of the mean that stays at each step, such as 0.999.
    """
    return None if decay is None else EMAWeightAveraging(use_buffers=False, decay=decay)
