r"""Whether two mathematical answers are equal, as the library math-verify says.

It reads LaTeX with a grammar, never with ``eval``. What a model writes can still make algebra run for ever
(``10^{10^{10}}``) or take all memory, so it is done in a process of its own, which is ended when it takes too long.
"""

import atexit
import json
import os
import resource
import subprocess
import sys
from functools import cache
from select import select

from data_modules.rows.answers import plain_characters

SECONDS = 5
"""Most time for one comparison."""

MAX_LENGTH = 400
"""Most characters of an answer that is given to the library."""

MEMORY = 4 << 30
"""Most bytes of address space of the process."""

START_SECONDS = 120
"""Most time for the library to be loaded."""


def equal(truth: str, answer: str) -> bool | None:
    """Say whether an answer equals the truth, both LaTeX or plain; ``None`` where the answer can't be read.

    Raises:
        ValueError: the truth can't be read.
    """
    truth, answer = plain_characters(truth), plain_characters(answer)
    verdict = _process().ask(truth, answer) if max(len(truth), len(answer)) <= MAX_LENGTH else "answer"
    if verdict == "truth":
        raise ValueError(f"nothing to grade against; {truth!r:.200} is no mathematical answer that can be read")
    return None if verdict == "answer" else verdict == "equal"


class _Judge:
    """The process; it is started when it is first asked, and anew when it had to be ended."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.owner = os.getpid()

    def ask(self, truth: str, answer: str) -> str:
        """Compare: ``equal``, ``other``, or which of the two can't be read."""
        if self.process is None or self.process.poll() is not None or self.owner != os.getpid():
            self._start()
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps([truth, answer]) + "\n")
            self.process.stdin.flush()
        except OSError:
            self.end()
            return "answer"
        return self._line(SECONDS) or "answer"

    def end(self) -> None:
        """End the process, if there is one of ours."""
        if self.process is not None and self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
        self.process = None

    def _start(self) -> None:
        code = "from data_modules.rows.mathematics import serve; serve()"
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        self.owner = os.getpid()
        if self._line(START_SECONDS) != "ready":
            raise RuntimeError("math-verify can't be loaded; run make setup")

    def _line(self, seconds: float) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        ready, _, _ = select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline().strip() if ready else ""
        if not line:
            self.end()
        return line


@cache
def _process() -> _Judge:
    judge = _Judge()
    atexit.register(judge.end)
    return judge


def serve() -> None:
    """Answer comparisons, a line of JSON each, until the other end closes."""
    from math_verify import LatexExtractionConfig, parse, verify

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    reading = [LatexExtractionConfig(boxed_match_priority=0)]

    def read(text: str) -> list[object]:
        forms = parse(f"\\boxed{{{text}}}", reading, parsing_timeout=None, fallback_mode="no_fallback")
        return [form for form in forms if not isinstance(form, str)]

    print("ready", flush=True)
    for line in sys.stdin:
        truth, answer = map(read, json.loads(line))
        if not truth or not answer:
            print("answer" if truth else "truth", flush=True)
            continue
        print("equal" if verify(truth, answer, timeout_seconds=None) else "other", flush=True)
