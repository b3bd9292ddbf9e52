"""A program of another Python that answers through a pipe: JSON with bytes behind it, nothing that runs code."""

import json
import os
import select
import struct
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from data_modules.worlds.world import WorldFailure

LENGTHS = struct.Struct(">II")
"""Before each message: bytes of its JSON, and bytes that follow it."""
LONGEST = 1 << 16
"""Bytes of JSON in an answer at most."""


class Pipe:
    """A started program.

    Args:
        command: the program and its arguments.
        patience: seconds that an answer may take.

    Raises:
        ValueError: there is no such program.
    """

    def __init__(self, command: Sequence[str], patience: float) -> None:
        self.command, self.patience = command, patience
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (it is open as long as the program runs)
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, bufsize=0
            )
        except OSError as error:
            raise ValueError(f"{command[0]} can't be started ({error.strerror}); correct task.python") from None
        weakref.finalize(self, end_process, self.process)

    def ask(self, request: Mapping[str, Any], num_bytes: int = 0) -> tuple[dict[str, Any], bytes]:
        """Ask, and wait for the answer with so many bytes behind it.

        Raises:
            WorldFailure: the program ended, takes too long, says that it failed, or answers otherwise.
        """
        text, until = json.dumps(request).encode(), time.monotonic() + self.patience
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(LENGTHS.pack(len(text), 0) + text)
        except OSError:
            raise self.describe_end(request) from None
        length, behind = LENGTHS.unpack(self.read(LENGTHS.size, until, request))
        if length > LONGEST or behind not in (0, num_bytes):
            raise WorldFailure(
                f"{self.command[-1]} answered {request['ask']} with {length} + {behind} bytes, not up to {LONGEST} + "
                f"{num_bytes}"
            )
        try:
            answer = json.loads(self.read(length, until, request))
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise WorldFailure(f"{self.command[-1]} answered {request['ask']} with what is no JSON object")
        if "error" in answer:
            raise WorldFailure(f"{self.command[-1]} failed at {request['ask']}: {answer['error']}")
        if behind != num_bytes:
            raise WorldFailure(f"{self.command[-1]} answered {request['ask']} without its {num_bytes} bytes")
        return answer, self.read(behind, until, request)

    def read(self, count: int, until: float, request: Mapping[str, Any]) -> bytes:
        """Read so many bytes of an answer."""
        assert self.process.stdout is not None
        content, pipe = b"", self.process.stdout.fileno()
        while len(content) < count:
            if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
                raise WorldFailure(
                    f"{self.command[-1]} took more than {self.patience:g} s to {request['ask']}; raise task.patience"
                )
            part = os.read(pipe, min(LONGEST, count - len(content)))
            if not part:
                raise self.describe_end(request)
            content += part
        return content

    def describe_end(self, request: Mapping[str, Any]) -> WorldFailure:
        """Say how the program ended, with the last line that it printed."""
        end_process(self.process)
        self.log.seek(max(0, self.log.seek(0, os.SEEK_END) - 4096))
        lines = self.log.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
        return WorldFailure(
            f"{self.command[-1]} ended at {request['ask']} with exit code {self.process.returncode}: {last}"
        )


def end_process(process: "subprocess.Popen[bytes]") -> None:
    """Close a program's input, at which it should end, and end it otherwise."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    for end in (process.poll, process.terminate, process.kill):
        end()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            continue
        return
