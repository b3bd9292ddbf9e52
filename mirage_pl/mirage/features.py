"""Keep the features of a frozen vision tower on disk, so that each image passes the tower once.

A folder holds one subfolder for each :func:`fingerprint` of tower and settings, and in it shards in the safetensors
format: one tensor for each image, named by the hash of the image file's bytes. Shards are never changed or merged, and
appear under their name only when whole; so any number of processes may read and write one folder without a lock.

Nothing that is read is trusted: what is damaged or gone counts as never stored. A failed write stops storing, not the
training. Shards aren't mapped into memory: a process dies when a mapped file is cut short or vanishes from a network
disk. The store knows neither the model nor the batch.

Shapes: n merged features of an image, D width.
"""

import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import safetensors.torch
import torch
from torch import Tensor, nn

from data_modules.images import ImageSource
from mirage_pl.engine.checkpoints.parts import whole, whole_shape

log = logging.getLogger(__name__)

Grid = tuple[int, int, int]
"""Frames, patch rows and patch columns of an image before merging."""

SHARD, DRAFT = ".safetensors", ".draft"
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
SETTLED_S, ABANDONED_S = 2, 24 * 3600


def fingerprint(tower: nn.Module, settings: dict[str, Any]) -> str:
    """Name everything that features depend on besides the image's bytes.

    Args:
        tower: its state dict is hashed: names, dtypes, shapes and bytes.
        settings: whatever else changes features and can be written as JSON: the tower's config, the image processor's
            settings, the precision it runs in.

    Returns:
        40 hexadecimal digits.
    """
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=20)
    for name, weight in tower.state_dict(keep_vars=True).items():
        digest.update(f"\n{name} {weight.dtype} {tuple(whole_shape(weight))}\n".encode())
        with whole(weight) as all_of_it:
            digest.update(raw(all_of_it))
    return digest.hexdigest()


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a tensor of any dtype on any device, without a copy where it is dense and on the CPU."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def checksum(data: bytes | bytearray | memoryview, key: str, dtype: torch.dtype, shape: Any, grid: Grid) -> int:
    """CRC-32 of an entry: its data, and all that is needed to understand them."""
    return zlib.crc32(data, zlib.crc32(f"{key} {dtype} {tuple(shape)} {grid}".encode()))


class Entry(NamedTuple):
    """Where an image's features lie, and what they must be: ``size`` bytes from byte ``start`` of ``shard``."""

    shard: Path
    start: int
    size: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    grid: Grid
    crc: int

    def read(self, key: str) -> Tensor:
        """Read the features.

        Raises:
            OSError: the shard can't be read.
            ValueError: it holds something else.
        """
        data = bytearray(self.size)
        with self.shard.open("rb") as file:
            file.seek(self.start)
            file.readinto(data)
        if checksum(data, key, self.dtype, self.shape, self.grid) != self.crc:
            raise ValueError("an entry's checksum differs")
        return torch.frombuffer(data, dtype=self.dtype).view(self.shape)


def read_header(shard: Path) -> Iterator[tuple[str, Entry]]:
    """Read which entries a shard holds, and where; of the data only that they are as long as promised.

    Raises:
        Exception: of any kind, where the header is damaged.
    """
    with shard.open("rb") as file:
        whole, start = os.fstat(file.fileno()).st_size, 8 + int.from_bytes(file.read(8), "little")
        if not 8 < start <= whole:
            raise ValueError(f"{whole} bytes are too few")
        header = json.loads(file.read(start - 8))
    notes = header.pop("__metadata__")
    for key, tensor in header.items():
        begin, end = tensor["data_offsets"]
        if not 0 <= begin < end <= whole - start:
            raise ValueError("it is cut short")
        frames, rows, columns, crc = map(int, notes[key].split())
        shape, grid = tuple(tensor["shape"]), (frames, rows, columns)
        yield key, Entry(shard, start + begin, end - begin, DTYPES[tensor["dtype"]], shape, grid, crc)


def settled(changed_ns: int) -> bool:
    """Whether a time of change is so long ago that one more change would show in it: clocks of disks are coarse."""
    return time.time_ns() - changed_ns > SETTLED_S * 1e9


class Shards:
    """What the shards of one folder hold; shards that others add are found when something is missed.

    Args:
        folder: may not be there yet, or be deleted at any time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index: dict[str, Entry] = {}
        self._seen: set[str] = set()
        self._scanned_ns = 0
        self._warned: set[Path] = set()

    def get(self, key: str) -> tuple[Tensor, Grid] | None:
        """Read an entry; a damaged one is forgotten, with a warning."""
        if key not in self._index:
            self._scan()
        if not (entry := self._index.get(key)):
            return None
        try:
            return entry.read(key), entry.grid
        except (OSError, ValueError) as error:
            del self._index[key]
            self._warn(entry.shard, error)
            return None

    def add(self, content: bytes) -> None:
        """Write one more shard: beside and renamed, so that it is never seen half-written.

        Raises:
            OSError: it can't be written; nothing is left behind.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # Names rise with time: of two entries a scan keeps the later, and that is the one that replaced a damaged one.
        shard = self.folder / f"{time.time_ns():020}-{uuid4().hex}{SHARD}"
        draft = shard.with_suffix(DRAFT)
        try:
            with draft.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, shard)
        finally:
            draft.unlink(missing_ok=True)

    def remove_abandoned(self) -> None:
        """Remove the drafts that killed processes left more than a day ago, as far as we may."""
        with suppress(OSError):
            for draft in self.folder.glob(f"*{DRAFT}"):
                if time.time() - draft.stat().st_mtime > ABANDONED_S:
                    draft.unlink()

    def _scan(self) -> None:
        """Read the headers of shards that are new since the last scan."""
        try:
            changed_ns = self.folder.stat().st_mtime_ns
            if changed_ns == self._scanned_ns:
                return
            new = {name for name in os.listdir(self.folder) if name.endswith(SHARD)} - self._seen
        except OSError:  # nothing is stored yet, or the folder was deleted
            return
        for shard in sorted(self.folder / name for name in new):
            try:
                self._index.update(dict(read_header(shard)))
            except Exception as error:  # what a damaged header can make a parser do has no end
                self._warn(shard, error)
        self._seen |= new
        self._scanned_ns = changed_ns if settled(changed_ns) else 0

    def _warn(self, shard: Path, error: Exception) -> None:
        """Warn once about a damaged shard; one that was deleted is no damage."""
        if not isinstance(error, FileNotFoundError) and shard not in self._warned:
            self._warned.add(shard)
            log.warning("feature cache: %s is damaged (%s); what it held is computed anew", shard, error)


class FeatureCache:
    """Merged features by the content of an image file, on disk.

    It is off until :meth:`use`. A copy, pickled or deep, uses the same folder and has nothing pending.

    Args:
        folder: made when it is first written to; ``None``: the cache stays off.
        shard_mb: megabytes to gather before a shard is written.
    """

    def __init__(self, folder: str | Path | None, shard_mb: float = 64) -> None:
        self.root, self.shard_bytes = folder and Path(folder), shard_mb * 1e6
        self._shards: Shards | None = None
        self.writable = True
        self._keys: dict[ImageSource, tuple[int, int, str]] = {}
        self._pending: dict[str, tuple[Tensor, Grid]] = {}
        self._pending_bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        shards = self._shards and Shards(self._shards.folder)
        return self.__dict__ | {"_shards": shards, "_keys": {}, "_pending": {}, "_pending_bytes": 0}

    def use(self, fingerprint: str) -> None:
        """Turn the cache on, for features of one fingerprint; what is pending for another is written first."""
        folder = self.root and self.root / fingerprint
        if not folder or (self._shards and self._shards.folder == folder):
            return
        self.flush()
        self._shards = Shards(folder)
        self._shards.remove_abandoned()

    def key(self, source: ImageSource) -> str:
        """Hash the bytes of an image file, the same wherever it is; an unchanged one is read once.

        Returns:
            40 hexadecimal digits.

        Raises:
            OSError: it can't be read; ``FileNotFoundError`` where there is no file.
        """
        stat = source.stat()
        known = self._keys.get(source)
        if known and known[:2] == (stat.st_mtime_ns, stat.st_size):
            return known[2]
        key = hashlib.blake2b(source.read_bytes(), digest_size=20).hexdigest()
        if stat.st_mtime_ns and settled(stat.st_mtime_ns):  # of an image within a row the bytes would be kept
            self._keys[source] = stat.st_mtime_ns, stat.st_size, key
        return key

    def get(self, key: str) -> tuple[Tensor, Grid] | None:
        """Read an image's features; what is pending is not found.

        Returns:
            Features ``[n, D]`` on the CPU in the dtype they were stored in, the caller's to change, and the image's
            grid; ``None`` where they aren't stored or are damaged.
        """
        return self._shards.get(key) if self._shards else None

    def put(self, key: str, features_nD: Tensor, grid: Grid) -> None:
        """Store an image's features, in a while; a key that is stored or pending is ignored.

        Args:
            key: of the image, from :meth:`key`.
            features_nD: on any device; copied.
            grid: frames, patch rows and patch columns of the image.

        Raises:
            ValueError: the features aren't of this grid.
        """
        frames, rows, columns = grid
        if features_nD.ndim != 2 or not features_nD.numel() or frames * rows * columns % len(features_nD):
            raise ValueError(f"features of shape {tuple(features_nD.shape)} aren't those of a {grid} grid; give [n, D]")
        # get() reads the entry: an index alone may still promise what get() in a worker found to be damaged.
        if not self._shards or not self.writable or key in self._pending or self.get(key):
            return
        features_nD = features_nD.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        self._pending[key] = features_nD, grid
        self._pending_bytes += features_nD.nbytes
        if self._pending_bytes >= self.shard_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what is pending. Where that fails, warn once and store nothing from then on."""
        if not self._shards or not self._pending:
            return
        pending, self._pending, self._pending_bytes = self._pending, {}, 0
        notes = {}
        for key, (features_nD, grid) in pending.items():
            crc = checksum(raw(features_nD), key, features_nD.dtype, features_nD.shape, grid)
            notes[key] = " ".join(map(str, (*grid, crc)))
        content = safetensors.torch.save({key: features_nD for key, (features_nD, _) in pending.items()}, notes)
        try:
            self._shards.add(content)
        except OSError as error:
            self.writable = False
            log.warning("feature cache: can't write in %s (%s); going on without storing", self._shards.folder, error)
