"""Processes that load or draw images, and end with the one they work for."""

import os
import signal
from multiprocessing import parent_process
from threading import Thread
from typing import Any


def end_with_parent(*_: Any) -> None:
    """End this process when the one that asked for it ends: of a SIGKILL a fork server's children hear nothing.

    Called at the start of a worker, whatever it is given. A terminal sends Ctrl-C to all processes; the one they work
    for decides when to end, and needs them until then.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=wait_and_end, daemon=True).start()


def wait_and_end() -> None:
    """Wait for the end of the process that asked for this one, and end."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
