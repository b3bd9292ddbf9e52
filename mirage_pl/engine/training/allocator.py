"""Keep freed memory on CPUs, so that a training step doesn't fault its pages in again."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
KEEP = {M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 * 2**20, M_MMAP_MAX: 0}
GIVE_BACK = {M_TRIM_THRESHOLD: 128 * 2**10, M_TOP_PAD: 128 * 2**10, M_MMAP_MAX: 65536}
"""glibc's defaults."""


def keep_freed_memory(keep: bool = True) -> bool:
    """Have glibc reuse the memory of freed tensors instead of handing it back to the system.

    Args:
        keep: ``False`` restores glibc's defaults.

    Returns:
        Whether the setting took effect; it needs glibc on Linux.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = KEEP if keep else GIVE_BACK
    return mallopt is not None and all(mallopt(option, value) for option, value in settings.items())
