"""How much a server takes on."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limits:
    """The keys of ``serving`` in ``infer.yaml``.

    Attributes:
        batch_size: most answers that are written at a time.
        groups: most groups of answers that are written in turns; what comes while others are written is a new group.
        gather_ms: milliseconds that a question waits for others that are on their way.
        waiting: most requests that wait.
        seconds: that a request may take, from its first byte to its last.
        body_mib: most MiB of a request.
        characters: most characters of a request's texts.
        images: most images of a request.
        megapixels: most millions of pixels of a request's images together.
        hosts: further names of this server, as a proxy gives them.

    Raises:
        ValueError: a number that isn't above 0.
    """

    batch_size: int
    groups: int
    gather_ms: float
    waiting: int
    seconds: float
    body_mib: float
    characters: int
    images: int
    megapixels: float
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        least: dict[str, Any] = {"gather_ms": 0, "waiting": 0, "images": 0}
        for name, value in vars(self).items():
            if name != "hosts" and not value >= least.get(name, 1e-9):
                raise ValueError(f"serving.{name}={value} must be {'0 or more' if name in least else 'above 0'}")
        object.__setattr__(self, "hosts", tuple(self.hosts))
