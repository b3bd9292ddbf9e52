"""Small true files of every kind a source opens, with the columns that data sets are published with."""

import csv
import gzip
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
from hydra.utils import instantiate
from PIL import Image

from data_modules.files.packed import PackedImage
from tests.conftest import compose

PLAIN = {"text_input": "{q}", "text_output": "{a}", "image_input": "image"}
"""A mapping for the rows of ``plain``."""


def task(name, *overrides):
    """The data set of a task's config."""
    return instantiate(compose("data", f"task={name}", *overrides).task.dataset)


def plain(number, **changes):
    """A row of columns that only a mapping reads, with an image of the folder ``pictured``."""
    return {"q": f"q{number}", "a": f"a{number}", "image": f"images/{number}.png", "note": [number]} | changes


def picture(shade):
    content = io.BytesIO()
    Image.new("RGB", (28, 28), (shade, 0, 0)).save(content, "PNG")
    return content.getvalue()


def cell(shade):
    """An image as Hugging Face stores it."""
    return {"bytes": picture(shade), "path": f"{shade}.png"}


def blink(number):
    """A row with BLINK's columns; its second image is missing where ``number`` is odd."""
    return {
        "idx": f"val_Jigsaw_{number}",
        "sub_task": "Jigsaw",
        "prompt": "Which piece?",
        "question": "q",
        "choices": ["the second image", "the third image"],
        "answer": "(A)",
        "image_1": cell(number),
        "image_2": None if number % 2 else cell(100 + number),
        "image_3": cell(200 + number),
        "image_4": None,
    }


def sat(number):
    """A row with SAT's columns, one or two images."""
    return {
        "image_bytes": [picture(number + item) for item in range(1 + number % 2)],
        "question": f"q{number}",
        "answers": ["left", "right"],
        "question_type": "obj_movement",
        "correct_answer": "left",
    }


def zebra(number):
    """A row with Zebra-CoT's columns."""
    return {
        "Question": f"<image_start>[problem_image_1]<image_end> {number}",
        "Text Reasoning Trace": "THOUGHT 0: <image_start>[reasoning_image_1]<image_end>",
        "Final Answer": "7",
        "problem_image_1": cell(number),
        "reasoning_image_1": None if number % 3 else cell(50 + number),
    }


def comt(number):
    """A row with the columns of ILVR's CoMT, two latent blocks in its plan."""

    def step(name):
        return {"type": "latent", "helper_image": f"images_comt/creation/{name}.png"}

    def say(content):
        return {"type": "text", "content": content}

    return {
        "text_input": f"Which angle? (A) 20° (B) {number}°",
        "image_input": ["images_comt/creation/0.png"],
        "sequence_plan": [
            say("Draw BD. "),
            step(number),
            say("Extend it. "),
            step(number + 1),
            say("So both are equal."),
            say(f"The final answer is: {number}°"),
        ],
        "original_final_answer": f"{number}°",
    }


IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
TYPES = {"image_4": IMAGE, "image_bytes": pa.list_(pa.binary())}


def parquet(file, rows, group=3):
    table = pa.Table.from_pylist(rows)
    for name in TYPES.keys() & set(table.column_names):
        table = table.set_column(
            table.column_names.index(name), name, pa.array([row[name] for row in rows], TYPES[name])
        )
    pq.write_table(table, file, row_group_size=group)
    return file


def jsonl(file, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (gzip.open if file.suffix == ".gz" else open)(file, "wt").write(text)
    return file


def tar(file, members, kind=tarfile.REGTYPE):
    with tarfile.open(file, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, "elsewhere"
            archive.addfile(info, io.BytesIO(content))
    return file


def shard(file, numbers):
    members = []
    for number in numbers:
        row = json.dumps({"question": f"q{number}"}).encode()
        members += [(f"./data/{number:05}.JSON", row), (f"./data/{number:05}.helper.png", picture(number))]
        members += [(f"./data/{number:05}.txt", b"caption \xc3\xa9")]
    return tar(file, members)


def table(file, rows):
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return file


def plainly(value):
    """Replace every reference by the image it names, as a slow full read of the file would give."""
    if isinstance(value, PackedImage):
        return value.read_bytes()
    if isinstance(value, dict):
        return {key: plainly(item) for key, item in value.items()}
    return [plainly(item) for item in value] if isinstance(value, list) else value


def full_read(file):
    """Every row of a Parquet file at once; an image struct as its bytes."""

    def strip(value):
        return value["bytes"] if isinstance(value, dict) and "bytes" in value else value

    return [{key: strip(value) for key, value in row.items()} for row in pq.read_table(file).to_pylist()]


def every_kind(folder):
    rows = [{"a": number, "text": "x" * number} for number in range(9)]
    return [
        jsonl(folder / "a.jsonl", rows),
        jsonl(folder / "b.jsonl.gz", rows),
        parquet(folder / "c.parquet", [sat(number) for number in range(9)]),
        shard(folder / "d.tar", range(9)),
        table(folder / "e.csv", [["a", "text"], *([number, f'"{number}",\r\n'] for number in range(9))]),
    ]
