"""How far decoding that approximates departs from what it approximates."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from mirage_pl.mmact.model.decoding import Decoder


def measure_deviation(decode: Decoder, fill_in: Callable[[Decoder], NDArray[np.float64]]) -> Mapping[str, float]:
    """``deviation`` and ``departs`` of some rows; nothing where decoding is exact.

    Args:
        decode: as it is used.
        fill_in: by a way to decode -> what it fills in, a row of numbers or ids each.
    """
    if decode == decode.exact:
        return {}
    away = np.abs(fill_in(decode) - fill_in(decode.exact))
    return {"deviation": float(away.mean()), "departs": float(away.any(1).mean())}
