"""Start a program that ends with what started it, however that ends: ``python doom_start.py PROGRAM ARGUMENT …``.

ViZDoom's simulator would wait for its controller forever otherwise. Run by a plain Python, so it imports nothing else.
"""

import ctypes
import os
import signal
import sys

PDEATHSIG = 1
"""Of Linux's ``prctl``: a signal for when the parent has died; it survives that another program takes over."""


def main() -> None:
    """Ask for the signal, and become the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL)
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
