"""Notice signals at once, even while the main thread is in a long call, and act on them where it is safe."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import Any


class SignalListener:
    """Handlers of some signals, and a thread that is woken the moment one arrives.

    Python runs a handler between two instructions of the main thread, which one that waits in a collective operation
    never reaches. The operating system writes the signal's number to a socket at once, and the thread reads it there.

    Args:
        numbers: of the signals.
        handle: called in the main thread, with a signal's number.
        hear: called in the thread, with a signal's number.
    """

    def __init__(self, numbers: Iterable[int], handle: Callable[[int], None], hear: Callable[[int], None]) -> None:
        self.numbers, self.handle, self.hear = tuple(numbers), handle, hear
        self.process = 0
        self.before: dict[int, Any] = {}
        self.sockets: tuple[socket.socket, socket.socket] | None = None
        self.woken = -1

    def open(self) -> None:
        """Install the handlers; outside the main thread, where Python allows none, do nothing."""
        if self.before or threading.current_thread() is not threading.main_thread():
            return
        self.process = os.getpid()
        self.sockets = socket.socketpair()
        for end in self.sockets:
            end.setblocking(end is self.sockets[0])
        self.before = {number: signal.signal(number, self._note) for number in self.numbers}
        self.woken = signal.set_wakeup_fd(self.sockets[1].fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=[self.sockets[0]], name="signals", daemon=True).start()

    def close(self) -> dict[int, Any]:
        """Restore the previous handlers, and return them."""
        handlers, self.before = self.before, {}
        if self.sockets is not None:
            signal.set_wakeup_fd(self.woken)
            self.sockets[1].close()
            self.sockets = None
        for number, handler in handlers.items():
            signal.signal(number, handler)
        return handlers

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Pass the signal on; loading processes, which inherit this handler, ignore it."""
        if os.getpid() == self.process:
            self.handle(number)

    def _listen(self, end: socket.socket) -> None:
        """Read numbers until the other end is closed."""
        with end:
            while number := end.recv(1):
                if number[0] in self.numbers:
                    self.hear(number[0])


def stop_listening() -> None:
    """Detach a forked process: its signals would be read in its parent."""
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=stop_listening)
