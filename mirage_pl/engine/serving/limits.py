"""How much a server takes on."""

from collections.abc import Sequence
from dataclasses import dataclass


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
    hosts: Sequence[str] = ()
