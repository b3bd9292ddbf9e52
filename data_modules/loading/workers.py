"""Processes that load or draw images, and end with their parent."""

import os
import signal
from multiprocessing import parent_process
from threading import Thread
from typing import Any


def end_with_parent(*_: Any) -> None:
    """Have this process end when its parent ends: children of a fork server don't notice that it was killed.

    An initializer of workers, whatever its arguments. A terminal sends Ctrl-C to all processes; workers ignore it, as
    their parent decides when to end and needs them until then.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=wait_and_end, daemon=True).start()


def wait_and_end() -> None:
    """Wait for the end of the parent process, and exit."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
