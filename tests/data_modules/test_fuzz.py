"""Damage of every kind, drawn by seed: what comes out is a row, or one line that names file and row."""

import csv
import gzip
import io
import json
import zipfile
from functools import cache
from random import Random

import pytest
from PIL import Image

from data_modules.images import open_image
from data_modules.rows.rows import Rows
from data_modules.samples import Text
from tests.data_modules.published import lvr_row, monet_row, vstar_row
from tests.data_modules.source_files import PLAIN, blink, comt, jsonl, parquet, plain, sat, shard, task, zebra

task = cache(task)

ODD = [None, True, 0, -1, 1e400, float("nan"), 10**400, "", " ", "a", "\n", "\0", "\ud800", "<image>", "<output_image>"]
ODD += ["../../../etc/passwd", "/etc/passwd", "images", "images/0.png", "x" * 5000, "{q}", [], [None], ["a"] * 40, [[]]]
ODD += [{}, {"type": "latent"}, {"type": "text", "content": "<output_image>"}, {"bytes": None, "path": "images/0.png"}]

FORMATS = ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "TGA", "ICO"]

HELPED = PLAIN | {"image_output": "helper"}


def damaged(content, random):
    """Overwrite, cut, drop, repeat, insert or clear some bytes, once or a few times."""
    for _ in range(random.randint(1, 3)):
        start = random.randrange(len(content) + 1)
        end = min(len(content), start + random.choice([1, 2, 4, 40, 400]))
        piece = content[start:end]
        content = random.choice(
            [
                content[:start] + random.randbytes(len(piece)) + content[end:],
                content[:start] + b"\xff" * len(piece) + content[end:],
                content[:start] + bytes(len(piece)) + content[end:],
                content[:start] + piece + content[start:],
                content[:start] + random.randbytes(9) + content[start:],
                content[:start] + content[end:],
                content[:start],
            ]
        )
    return content


def changed(value, random):
    """Put something odd in the place of one value, at any depth; or drop it, or give it another name."""
    if not isinstance(value, dict | list) or not value or random.random() < 0.1:
        return random.choice(ODD)
    if isinstance(value, list):
        place = random.randrange(len(value))
        return [*value[:place], changed(value[place], random), *value[place + 1 :]]
    key = random.choice(list(value))
    rest = {name: entry for name, entry in value.items() if name != key}
    if random.random() < 0.2:
        return rest | random.choice([{}, {f"{key}s": value[key]}, {"a\nb": value[key]}])
    return rest | {key: changed(value[key], random)}


def mapped(columns):
    """The data set of a mapping."""
    return Rows(columns=columns)


def fresh(folder, suffix, random):
    """A name that no other case has: what is known of a file is kept by its name."""
    return folder / f"{random.getrandbits(48):x}{suffix}"


def written(file, content):
    file.write_bytes(content)
    return file


def boxed_and_spoken():
    """Rows with boxes, conversations and choices, with the images of ``pictured``."""
    turns = [("human", "<image>\nWhere?"), ("gpt", "[0.1, 0.2, 0.3, 0.4]"), ("human", "<image>"), ("gpt", "there")]
    spoken = [{"from": speaker, "value": value} for speaker, value in turns]
    boxed = {"image": ["images/0.png", "images/0.png###[2, 3, 20, 24]"], "conversations": spoken, "dataset": "vsr"}
    marked = lvr_row(0, [[0.1, 0.2, 0.9, 0.8]]) | {"image": "images/0.png"}
    helped = json.loads(json.dumps(monet_row(0)).replace("Visual_CoT/images/0_", "images/").replace("Visual_CoT/", ""))
    chosen = vstar_row(0) | {"image": "images/0.png"}
    columns = {"A": "left", "B": "right", "C": "up", "D": None, "image": "images/0.png", "answer": "B"}
    asked = columns | {"question": "Where?", "category": "single"}
    pairs = {"visual_cot": boxed, "lvr": marked, "monet": helped, "vstar": chosen, "hrbench": asked}
    return [(task(name), row) for name, row in pairs.items()]


def odd_rows(folder, random):
    """Rows of JSON with odd values, for one of the mappings."""
    of_sat = sat(1) | {"image_bytes": ["images/0.png", "images/1.png"]}
    of_zebra = zebra(0) | {"problem_image_1": "images/0.png", "reasoning_image_1": "images/1.png"}
    read, row = random.choice(
        [
            (mapped(HELPED), plain(1, helper="images/2.png")),
            (task("comt"), json.loads(json.dumps(comt(1)).replace("images_comt/creation", "images"))),
            (task("sat"), of_sat),
            (task("zebra_cot"), of_zebra),
            *boxed_and_spoken(),
        ]
    )
    return read, jsonl(
        fresh(folder, ".jsonl", random), [row, changed(row, random), changed(changed(row, random), random)]
    )


def bent_lines(folder, random):
    """JSONL with bytes that are wrong."""
    content = jsonl(folder / "whole.jsonl", [plain(number, helper="images/2.png") for number in range(3)]).read_bytes()
    return mapped(HELPED), written(fresh(folder, ".jsonl", random), damaged(content, random))


def bent_gzip(folder, random):
    """The same, packed before or after."""
    content = b"".join(json.dumps(plain(number)).encode() + b"\n" for number in range(3))
    packed = random.choice([damaged(gzip.compress(content), random), gzip.compress(damaged(content, random))])
    return mapped(PLAIN), written(fresh(folder, ".jsonl.gz", random), packed)


@cache
def published(folder, name, make):
    """A whole Parquet file of a published kind, small enough for damage to hit all of it."""
    return parquet(folder / f"whole-{name}.parquet", [make(number) for number in range(4)], group=2).read_bytes()


def bent_parquet(folder, random):
    """A Parquet file with bytes that are wrong, more often near its end, where it says what is in it."""
    name, make = random.choice([("blink_jigsaw", blink), ("sat", sat), ("zebra_cot", zebra)])
    content = published(folder, name, make)
    cut = random.choice([0, len(content) * 3 // 4])
    return task(name), written(fresh(folder, ".parquet", random), content[:cut] + damaged(content[cut:], random))


def bent_tar(folder, random):
    """A tar file with bytes that are wrong."""
    columns = {"text_input": "{json.question}", "image_input": "helper.png", "text_output": "{txt}"}
    content = shard(folder / "whole.tar", range(3)).read_bytes()
    return mapped(columns), written(fresh(folder, ".tar", random), damaged(content, random))


def bent_table(folder, random):
    """A table with bytes that are wrong."""
    rows = [["q", "a", "image"], *(['say "x"\n, y', f"a{number}", f"images/{number}.png"] for number in range(3))]
    content = io.StringIO(newline="")
    csv.writer(content).writerows(rows)
    return mapped(PLAIN), written(fresh(folder, ".csv", random), damaged(content.getvalue().encode(), random))


def bent_zip(folder, random):
    """A zip file of images with bytes that are wrong."""
    place = fresh(folder, "", random)
    place.mkdir()
    with zipfile.ZipFile(
        place / "images.zip", "w", random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    ) as archive:
        for number in range(3):
            archive.writestr(f"images/{number}.png", (folder / f"images/{number}.png").read_bytes())
    written(place / "images.zip", damaged((place / "images.zip").read_bytes(), random))
    return mapped(PLAIN), jsonl(place / "rows.jsonl", [plain(number) for number in range(3)])


def bent_images(folder, random):
    """Image files with bytes that are wrong, beside the rows and within a Parquet file."""
    stream = io.BytesIO()
    kind = random.choice(FORMATS)
    Image.effect_noise((40, 30), 60).convert("RGB").save(stream, kind)
    content = damaged(stream.getvalue(), random)
    if random.random() < 0.5:
        bent = written(fresh(folder, ".img", random), content)
        return mapped(PLAIN), jsonl(fresh(folder, ".jsonl", random), [plain(0), plain(1, image=bent.name)])
    rows = [blink(0), blink(1) | {"image_1": {"bytes": content, "path": "1.img"}}]
    return task("blink_jigsaw"), parquet(fresh(folder, ".parquet", random), rows)


DAMAGES = [odd_rows, bent_lines, bent_gzip, bent_parquet, bent_tar, bent_table, bent_zip, bent_images]


def complaints(read, file):
    """Read a file as far as it goes, images decoded.

    Returns:
        What was said of the file, or of each bad row; and the number of good rows.
    """
    try:
        rows = read.opened(file)
    except ValueError as error:
        return {str(file): str(error)}, 0
    said = {}
    for index in range(len(rows)):
        try:
            sample = rows[index]
            for part in (*sample.question, *sample.answer):
                if not isinstance(part, Text):
                    open_image(part.path, sample.where)
            rows.check(sample)
            rows.identity(sample)
        except ValueError as error:
            said[rows.source.where(index)] = str(error)
    return said, len(rows) - len(said)


def fuzz(folder, damage, cases):
    """Read damaged files, and see that every complaint is one line, not too long, that names file and row."""
    bad = good = 0
    for case in range(cases):
        read, file = damage(folder, Random(f"{damage.__name__} {case}"))
        try:
            said, fine = complaints(read, file)
        except Exception as error:
            error.add_note(f"case {case}")
            raise
        for where, message in said.items():
            assert message.startswith(where), f"case {case}: {message}"
            assert "\n" not in message.removeprefix(where), f"case {case}: {message}"
            assert len(message) < 5000, f"case {case}: {message:.200}"
        bad, good = bad + len(said), good + fine
    assert min(bad, good) > cases / 20, f"{bad} bad rows and {good} good ones: the damage is too small, or too large"


@pytest.fixture(autouse=True)
def small_images(monkeypatch):
    """A damaged header may ask for as many pixels as are allowed; let that be few."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_data_is_a_row_or_one_line_that_names_file_and_row(pictured, damage):
    fuzz(pictured, damage, 60)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_data_is_so_ten_thousand_times(pictured, damage):
    fuzz(pictured, damage, 1_700)
