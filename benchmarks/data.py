"""Making and loading data: ``python -m benchmarks.data``; ``--rows`` and ``--mazes`` make it shorter, ``--json``.

Three figures, each beside a floor that was measured in the same run:

- ``make``: level-6 mazes with their helper images, at 28 pixels a cell, over all cores; floor: encoding the same
  pictures again as PNG, in one process, without thinking of mazes;
- ``read``: rows a second through the DataLoader with two processes, images decoded and cut into patches; floor: the
  same files decoded by Pillow in one process, and nothing else;
- ``index``: memory that a JSONL file of many rows takes, opened and read at random; floor: the rows as a list.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from benchmarks.timing import seconds
from benchmarks.workload import TINY
from data_modules.loading.datamodule import DataModule
from data_modules.loading.loader import Loading
from data_modules.vsp.maker import Generator
from data_modules.vsp.planning import VSP
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.model.backbone import load_processor

INDEX = """
import random, resource, sys
from pathlib import Path
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
from data_modules.rows.rows import Rows
before = resident()
if sys.argv[2] == "ours":
    rows = Rows().read(sys.argv[1])
    picks = random.Random(0).sample(range(len(rows)), 10_000)
    assert all(rows[index].answer_text == str(index) for index in picks)
else:
    import json
    rows = [json.loads(line) for line in open(sys.argv[1])]
print(resident() - before)
"""


def make(folder: Path, mazes: int) -> dict[str, float]:
    """Make mazes, and encode their pictures again."""
    maker = Generator(
        folder=folder,
        levels=[6],
        per_level={"train": mazes, "val": 1, "test": 1},
        cell_px=28,
        hole_rate=0.2,
        prompt="<image>Write the shortest safe path to the goal in \\boxed{}.",
        seed=0,
    )
    ours = seconds(maker.make)
    pictures = [Image.open(file).convert("RGB") for file in sorted((folder / "images").iterdir())[:1000]]
    encoding = seconds(lambda: [encode(picture) for picture in pictures]) / len(pictures)
    return {"seconds": ours, "floor_seconds": encoding * 2 * mazes, "rows": mazes}


def encode(picture: Image.Image) -> bytes:
    """Write a picture as PNG."""
    content = BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def read(folder: Path) -> dict[str, float]:
    """Load an epoch in batches of 32, helper images included, and decode the same files without anything else."""
    collate = Collator(load_processor(str(TINY)), 4, latents=True, helpers=True)
    loading = Loading(32, num_workers=2, eval_batch_size=32)
    data = DataModule(VSP(), {"train": str(folder / "train.jsonl"), "val": None}, collate, loading, seed=0)
    data.setup("fit")
    loader, rows = data.train_dataloader(), len(data.datasets["train"])
    next(iter(loader))  # starts the processes, which stay
    count = len(loader) * 32
    ours = count / seconds(lambda: [None for _ in loader])
    files = sorted((folder / "images").glob("*_train_*"))
    theirs = rows / seconds(lambda: [Image.open(file).convert("RGB") for file in files])
    return {"rows_per_second": ours, "floor_rows_per_second": theirs, "rows": count}


def index(folder: Path, rows: int) -> dict[str, float]:
    """Open a large file, each side in a process of its own."""
    file = folder / "many.jsonl"
    with file.open("w") as target:
        for number in range(rows):
            row = {"text_input": f"Question {number}? " + "word " * 40, "image_input": [], "text_output": str(number)}
            target.write(json.dumps(row) + "\n")
    command = [sys.executable, "-c", INDEX, str(file)]
    sides = {
        side: float(subprocess.run([*command, side], capture_output=True, text=True, check=True).stdout)
        for side in ("ours", "list")
    }
    return {"megabytes": sides["ours"], "floor_megabytes": sides["list"], "rows": rows}


def table(figures: dict[str, dict[str, float]]) -> str:
    """Lay the figures out, a line each."""
    made, loaded, opened = figures["make"], figures["read"], figures["index"]
    return "\n".join(
        [
            f"make   {made['rows']:.0f} level-6 mazes in {made['seconds']:.1f} s; "
            f"encoding alone, one process: {made['floor_seconds']:.1f} s",
            f"read   {loaded['rows_per_second']:.0f} rows/s with 2 processes; "
            f"decoding alone, one process: {loaded['floor_rows_per_second']:.0f} rows/s",
            f"index  {opened['megabytes']:.0f} MB for {opened['rows']:.0f} rows; as a list: "
            f"{opened['floor_megabytes']:.0f} MB",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mazes", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as name:
        folder = Path(name)
        figures: dict[str, Any] = {"make": make(folder / "mazes", options.mazes), "read": read(folder / "mazes")}
        figures["index"] = index(folder, options.rows)
    print(json.dumps(figures) if options.json else table(figures))


if __name__ == "__main__":
    main()
