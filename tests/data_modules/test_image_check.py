"""Images are decoded before the first batch by several threads, and not again at a later start."""

import os
import time
import warnings
from io import BytesIO
from threading import Lock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_modules import image_check
from data_modules.files import packed
from data_modules.files.inline import InlineImage
from data_modules.image_check import check_image, check_images


@pytest.fixture
def decoded(monkeypatch):
    """Names of the images that were decoded, by a process that knows none yet."""
    names = []
    decode = image_check.decode
    monkeypatch.setattr(image_check, "decode", lambda source: (names.append(str(source)), decode(source)))
    monkeypatch.setattr(image_check, "_DECODED", set())
    return names


@pytest.fixture
def files(tmp_path):
    """A PNG and a JPEG, each a minute old, and half of each."""
    for name in ("a.png", "b.jpg"):
        Image.effect_noise((64, 48), 50).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"half-{name}").write_bytes(content[: len(content) // 2])
    for file in tmp_path.iterdir():
        os.utime(file, (time.time() - 60,) * 2)
    return sorted(tmp_path.iterdir())


def restart(monkeypatch, decoded):
    monkeypatch.setattr(image_check, "_DECODED", set())
    decoded.clear()


def test_sound_images_are_decoded_once_by_all_starts_and_damaged_ones_are_still_refused(
    files, tmp_path, decoded, monkeypatch
):
    record = tmp_path / "new/decoded.txt"
    check_images(iter(files), record, 2)
    assert sorted(decoded) == sorted(map(str, files))
    restart(monkeypatch, decoded)
    check_images(iter(files), record, 2)
    assert sorted(decoded) == [str(file) for file in files if "half" in file.name]
    for file in files:
        if "half" in file.name:
            with pytest.raises(ValueError, match=f"^rows:3: image .*{file.name} cannot be read"):
                check_image(file, "rows:3")
        else:
            check_image(file, "rows:3")
    assert set(decoded) == {str(file) for file in files if "half" in file.name}


def test_an_image_that_changed_or_is_decoded_otherwise_is_decoded_again(files, tmp_path, decoded, monkeypatch):
    image, record = tmp_path / "a.png", tmp_path / "decoded.txt"
    check_images([image], record, 1)
    image.write_bytes(image.read_bytes()[:200])
    restart(monkeypatch, decoded)
    check_images([image], record, 1)
    with pytest.raises(ValueError, match=r"a\.png cannot be read"):
        check_image(image, "rows:1")
    restart(monkeypatch, decoded)
    other = tmp_path / "b.jpg"
    check_images([other], record, 1)
    restart(monkeypatch, decoded)
    monkeypatch.setattr(image_check, "DECODING", "another version")
    check_images([other], record, 1)
    assert decoded == [str(other)]


def test_a_file_written_just_now_may_change_unseen_and_is_decoded_at_the_next_start_too(tmp_path, decoded, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "new.png")
    check_images([tmp_path / "new.png"], tmp_path / "decoded.txt", 1)
    restart(monkeypatch, decoded)
    check_images([tmp_path / "new.png"], tmp_path / "decoded.txt", 1)
    assert decoded == [str(tmp_path / "new.png")]


def test_images_within_rows_are_known_by_their_bytes(files, tmp_path, decoded, monkeypatch):
    sound, damaged = InlineImage((tmp_path / "a.png").read_bytes()), InlineImage(b"no image")
    check_images([sound, damaged], tmp_path / "decoded.txt", 2)
    restart(monkeypatch, decoded)
    check_images([sound, damaged], tmp_path / "decoded.txt", 2)
    assert decoded == [str(damaged)]


@pytest.mark.parametrize("content", [b"", b"\xff\x00 rubbish", b"cut of"])
def test_a_damaged_record_or_a_folder_that_cannot_be_written_costs_time_alone(files, tmp_path, decoded, content):
    record = tmp_path / "decoded.txt"
    record.write_bytes(content)
    check_images(iter(files), record, 2)
    check_images(iter(files), files[0] / "decoded.txt", 2)
    check_images(iter(files), None, 2)
    check_image(tmp_path / "a.png", "rows:1")
    assert decoded.count(str(tmp_path / "a.png")) == 1


def test_two_processes_share_the_work_by_their_record(files, tmp_path, decoded, monkeypatch):
    record = tmp_path / "decoded.txt"
    monkeypatch.setattr(image_check, "BATCH", 1)

    def sources():
        yield tmp_path / "a.png"
        record.open("a").write(f"{image_check.image_key(tmp_path / 'b.jpg')}\n")  # by another process
        yield tmp_path / "b.jpg"

    check_images(sources(), record, 2)
    assert decoded == [str(tmp_path / "a.png")]


def test_threads_leave_the_warning_filters_as_they_were(files):
    before = list(warnings.filters)
    check_images(files * 50, None, 8)
    assert warnings.filters == before


def test_one_thread_at_a_time_reads_a_parquet_file(tmp_path, decoded, monkeypatch):
    content = BytesIO()
    Image.new("RGB", (4, 4), "red").save(content, "png")
    pq.write_table(pa.table({"image": [content.getvalue()] * 64}), tmp_path / "rows.parquet", row_group_size=2)
    busy, read = Lock(), packed._images

    def read_alone(*place):
        assert busy.acquire(blocking=False), "an opened Parquet file isn't made for several readers"
        time.sleep(0.002)
        busy.release()
        return read(*place)

    monkeypatch.setattr(packed, "_images", read_alone)
    monkeypatch.setattr(image_check, "SETTLED_S", -1)
    sources = [packed.PackedImage(tmp_path / "rows.parquet", row, "image") for row in range(64)]
    check_images(sources, tmp_path / "decoded.txt", num_threads=8)
    assert len(decoded) == 64
    assert len(set((tmp_path / "decoded.txt").read_text().split())) == 64
