import errno
import json
import logging
import os
import pickle
import subprocess
import sys
import time
from copy import deepcopy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mirage_pl.mirage.features import FeatureCache, fingerprint, read_header

GRID = (1, 4, 6)


def features(seed, dtype=torch.float32):
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)).to(dtype)


def opened(folder, name="tower"):
    cache = FeatureCache(folder)
    cache.use(name)
    return cache


def stored(folder, *keys):
    """A folder with one shard that holds these keys, and the shard."""
    before = set(folder.rglob("*.safetensors"))
    cache = opened(folder)
    for key in keys:
        cache.put(key, features(ord(key)), GRID)
    cache.flush()
    (shard,) = set(folder.rglob("*.safetensors")) - before
    return shard


def holds(cache, key):
    found = cache.get(key)
    return found is not None and torch.equal(found[0], features(ord(key))) and found[1] == GRID


def flip(shard, position):
    content = bytearray(shard.read_bytes())
    content[position] ^= 1
    shard.write_bytes(content)


# what is stored


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_features_come_back_bit_for_bit_in_their_dtype_and_with_their_grid(tmp_path, dtype):
    cache = opened(tmp_path)
    given = {"a": (features(1, dtype), (1, 4, 6)), "b": (features(2, dtype)[:2], (2, 2, 2))}
    for key, (features_nD, grid) in given.items():
        cache.put(key, features_nD, grid)
    cache.flush()
    for reader in (cache, opened(tmp_path)):
        for key, (features_nD, grid) in given.items():
            found_nD, found_grid = reader.get(key)
            assert found_nD.dtype == dtype
            assert torch.equal(found_nD, features_nD)
            assert found_grid == grid


def test_a_shard_is_an_ordinary_safetensors_file(tmp_path):
    shard = stored(tmp_path, "a", "b")
    assert shard.parent == tmp_path / "tower"
    assert {key: value.tolist() for key, value in load_file(shard).items()} == {
        key: features(ord(key)).tolist() for key in "ab"
    }


def test_slices_and_gradients_are_left_behind_and_later_changes_do_not_reach_what_was_put(tmp_path):
    cache, whole_nD = opened(tmp_path), torch.stack([features(ord("a")), features(0)], 2).requires_grad_()
    cache.put("a", whole_nD[..., 0], GRID)
    with torch.no_grad():
        whole_nD.zero_()
    cache.flush()
    assert holds(cache, "a")
    assert not cache.get("a")[0].requires_grad


def test_features_of_inference_mode_can_be_stored(tmp_path):
    cache = opened(tmp_path)
    with torch.inference_mode():
        cache.put("a", features(ord("a")) * 1, GRID)
        cache.flush()
    assert holds(cache, "a")


def test_changing_what_was_read_does_not_change_what_is_stored(tmp_path):
    stored(tmp_path, "a")
    cache = opened(tmp_path)
    cache.get("a")[0].zero_()
    assert holds(cache, "a")


def test_a_shard_is_written_whenever_enough_is_pending(tmp_path):
    cache = FeatureCache(tmp_path, shard_mb=2.5 * features(0).nbytes / 1e6)
    cache.use("tower")
    counts = []
    for key in "abcdefg":
        cache.put(key, features(ord(key)), GRID)
        counts.append(len(list(tmp_path.rglob("*.safetensors"))))
    assert counts == [0, 0, 1, 1, 1, 2, 2]
    assert [holds(cache, key) for key in "abcdefg"] == [True] * 6 + [False]


def test_a_key_that_is_pending_or_stored_is_not_stored_again(tmp_path):
    cache = opened(tmp_path)
    cache.put("a", features(ord("a")), GRID)
    cache.put("a", features(0), GRID)
    cache.flush()
    cache.put("a", features(0), GRID)
    cache.flush()
    opened(tmp_path).put("a", features(0), GRID)
    assert holds(cache, "a")
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


@pytest.mark.parametrize("shape", [(6,), (5, 3), (0, 3), (6, 0), (1, 6, 3)])
def test_features_that_are_not_of_their_grid_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match=r"aren't those of a \(1, 4, 6\) grid"):
        opened(tmp_path).put("a", torch.ones(shape), GRID)


# who sees it


def test_before_a_fingerprint_is_chosen_nothing_is_found_or_kept(tmp_path):
    stored(tmp_path, "a")
    cache = FeatureCache(tmp_path)
    assert cache.get("a") is None
    cache.put("b", features(0), GRID)
    cache.flush()
    cache.use("tower")
    cache.flush()
    assert holds(cache, "a")
    assert cache.get("b") is None


def test_another_fingerprint_sees_nothing_and_what_is_pending_goes_where_it_belongs(tmp_path):
    cache = opened(tmp_path)
    cache.put("a", features(ord("a")), GRID)
    cache.use("other tower")
    assert cache.get("a") is None
    cache.flush()
    cache.use("tower")
    assert holds(cache, "a")
    assert opened(tmp_path, "other tower").get("a") is None


def test_choosing_the_same_fingerprint_again_keeps_what_is_pending(tmp_path):
    cache = opened(tmp_path)
    cache.put("a", features(ord("a")), GRID)
    cache.use("tower")
    assert not list(tmp_path.rglob("*.safetensors"))
    cache.flush()
    assert holds(cache, "a")


def test_a_cache_that_missed_finds_what_another_flushed_a_moment_later(tmp_path):
    early = opened(tmp_path)
    for key in "abcdef":
        assert early.get(key) is None
        stored(tmp_path, key)
        assert holds(early, key)


def test_a_shard_that_came_within_the_same_tick_of_a_coarse_clock_is_found(tmp_path):
    folder = stored(tmp_path, "a").parent
    now = (time.time(),) * 2
    os.utime(folder, now)
    cache = opened(tmp_path)
    assert cache.get("b") is None
    stored(tmp_path, "b")
    os.utime(folder, now)
    assert holds(cache, "b")


def test_a_folder_that_has_been_quiet_is_listed_once_and_each_header_read_once(tmp_path, monkeypatch):
    first = stored(tmp_path, "a")
    listed, read = [], []
    listdir, header = os.listdir, read_header
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(folder) or listdir(folder))
    monkeypatch.setattr("mirage_pl.mirage.features.read_header", lambda shard: read.append(shard) or header(shard))
    cache = opened(tmp_path)
    os.utime(first.parent, (time.time() - 60,) * 2)
    assert cache.get("b") is None
    assert cache.get("c") is None
    assert holds(cache, "a")
    assert (len(listed), read) == (1, [first])
    listed.clear(), read.clear()
    content = first.read_bytes()
    (second := first.with_name("z.safetensors")).write_bytes(content)
    assert cache.get("c") is None
    assert (len(listed), read) == (1, [second])


@pytest.mark.parametrize("copy", [deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))], ids=["deep", "pickled"])
def test_a_copy_reads_the_same_folder_and_never_writes_what_the_original_has_pending(tmp_path, copy):
    stored(tmp_path, "a")
    cache = opened(tmp_path)
    assert holds(cache, "a")
    cache.put("b", features(ord("b")), GRID)
    twin = copy(cache)
    twin.flush()
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1
    assert holds(twin, "a")
    cache.flush()
    assert holds(twin, "b")


WRITER = """
import pickle, sys, torch
cache = pickle.loads(bytes.fromhex(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for key in sys.argv[2]:
    cache.put(key, torch.randn(6, 3, generator=torch.Generator().manual_seed(ord(key))), (1, 4, 6))
    cache.flush()
"""


def test_two_processes_that_write_at_once_lose_nothing(tmp_path):
    cache = opened(tmp_path)
    assert cache.get("a") is None
    command = [sys.executable, "-c", WRITER, pickle.dumps(cache).hex()]
    keys = ["abcdefghijklm", "hijklmnopqrst"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, half], **pipes) for half in keys]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.communicate()[0] or writer.returncode for writer in writers] == [0, 0]
    assert all(holds(cache, key) for key in "".join(keys))
    assert not list(tmp_path.rglob("*.draft"))


# what is damaged


def header_end(shard):
    return 8 + int.from_bytes(shard.read_bytes()[:8], "little")


def emptied(shard):
    shard.write_bytes(b"")


def filled_with_garbage(shard):
    shard.write_bytes(b"garbage!" * 40)


def cut_in_data(shard):
    os.truncate(shard, shard.stat().st_size - 3)


def cut_in_header(shard):
    os.truncate(shard, 30)


def flipped_in_data(shard):
    flip(shard, -1)


def made_another_json(shard):
    end = header_end(shard)
    shard.write_bytes(end.to_bytes(8, "little") + b"[]".ljust(end) + shard.read_bytes()[end:])


def stripped_of_notes(shard):
    content, end = shard.read_bytes(), header_end(shard)
    header = json.loads(content[8:end])
    del header["__metadata__"]
    shard.write_bytes(content[:8] + json.dumps(header).encode().ljust(end - 8) + content[end:])


def promised_a_petabyte(shard):
    content, end = shard.read_bytes(), header_end(shard)
    header = content[8:end].replace(b'"data_offsets":[0,72]', b'"data_offsets":[0,1000000000000000]')
    assert len(header) > end - 8
    shard.write_bytes(len(header).to_bytes(8, "little") + header + content[end:])


OF_DATA = [emptied, filled_with_garbage, cut_in_data, cut_in_header, flipped_in_data]
OF_HEADER = [made_another_json, stripped_of_notes, promised_a_petabyte]
CASES = [(damage, False) for damage in OF_DATA + OF_HEADER] + [(damage, True) for damage in OF_DATA]


@pytest.mark.parametrize(("damage", "while_open"), CASES)
def test_a_damaged_shard_is_a_miss_with_one_warning_and_is_replaced(tmp_path, caplog, damage, while_open):
    shard = stored(tmp_path, "a")
    cache = opened(tmp_path)
    if while_open:
        assert holds(cache, "a")
    damage(shard)
    assert cache.get("a") is None
    assert cache.get("a") is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(shard) in caplog.text
    cache.put("a", features(ord("a")), GRID)
    cache.flush()
    assert holds(cache, "a")
    assert holds(opened(tmp_path), "a")


def test_whichever_byte_of_a_shard_is_flipped_nothing_wrong_is_ever_read(tmp_path):
    shard = stored(tmp_path, "a")
    whole = shard.read_bytes()
    misses = 0
    for position in range(len(whole)):
        flip(shard, position)
        cache = opened(tmp_path)
        missed = cache.get("a") is None
        assert missed or holds(cache, "a")
        misses += missed
        shard.write_bytes(whole)
    assert misses >= features(0).nbytes
    assert holds(opened(tmp_path), "a")


def test_one_damaged_entry_leaves_its_neighbours_alone(tmp_path, caplog):
    flipped_in_data(stored(tmp_path, "a", "b"))
    cache = opened(tmp_path)
    assert [holds(cache, key) for key in "ab"] == [True, False]
    assert len(caplog.records) == 1


def test_many_damaged_entries_of_a_shard_are_one_warning(tmp_path, caplog):
    shard = stored(tmp_path, "a", "b")
    content, end = shard.read_bytes(), header_end(shard)
    shard.write_bytes(content[:end] + bytes(len(content) - end))
    cache = opened(tmp_path)
    assert [cache.get(key) for key in "ab"] == [None, None]
    assert len(caplog.records) == 1


def test_a_writer_that_has_not_noticed_the_damage_a_reader_saw_stores_the_entry_anew(tmp_path):
    shard = stored(tmp_path, "a")
    reader, writer = opened(tmp_path), opened(tmp_path)
    assert holds(writer, "a")
    flipped_in_data(shard)
    assert reader.get("a") is None
    writer.put("a", features(ord("a")), GRID)
    writer.flush()
    assert holds(reader, "a")


def test_a_folder_deleted_during_a_run_is_a_miss_without_a_warning_and_is_made_again(tmp_path, caplog):
    shard = stored(tmp_path, "a")
    cache = opened(tmp_path)
    assert holds(cache, "a")
    shard.unlink()
    shard.parent.rmdir()
    assert cache.get("a") is None
    cache.put("a", features(ord("a")), GRID)
    cache.flush()
    assert holds(cache, "a")
    assert not caplog.records


def test_a_draft_of_a_killed_process_is_never_read_and_removed_a_day_later(tmp_path, caplog):
    shard = stored(tmp_path, "a")
    young, old = shard.with_suffix(".draft"), shard.with_name("old.draft")
    shard.rename(young)
    old.write_bytes(young.read_bytes())
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    cache = opened(tmp_path)
    assert cache.get("a") is None
    assert young.exists()
    assert not old.exists()
    assert not caplog.records


# what can't be written


def test_a_folder_that_cannot_be_made_is_one_warning_and_nothing_else(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    cache = opened(tmp_path / "file" / "cache")
    for key in "ab":
        assert cache.get(key) is None
        cache.put(key, features(0), GRID)
        cache.flush()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert str(tmp_path / "file" / "cache") in caplog.text
    assert "Not a directory" in caplog.text


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_one_warning_leaves_nothing_half_written_and_reading_goes_on(
    tmp_path, caplog, monkeypatch, call
):
    shard = stored(tmp_path, "a")
    tried = []

    def full(*_):
        tried.append(call)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    cache = opened(tmp_path)
    for key in "bc":
        cache.put(key, features(ord(key)), GRID)
        cache.flush()
        assert cache.get(key) is None
    assert tried == [call]
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    assert holds(cache, "a")
    assert list(shard.parent.iterdir()) == [shard]


# what an image is called


def test_an_image_is_known_by_its_bytes_not_by_its_path(tmp_path):
    for name, content in {"a.png": b"maze", "b.png": b"maze", "c.png": b"mace"}.items():
        (tmp_path / name).write_bytes(content)
    a, b, c = (FeatureCache(tmp_path).key(tmp_path / name) for name in ("a.png", "b.png", "c.png"))
    assert a == b != c
    assert len(a) == 40


def test_an_image_rewritten_in_place_at_the_same_size_has_another_key(tmp_path):
    cache, image = FeatureCache(tmp_path), tmp_path / "a.png"
    keys, now = [], time.time()
    # the last two within one tick of a coarse clock, too fresh to be trusted
    for content, changed in ((b"maze", now - 3600), (b"mace", now - 1800), (b"math", now), (b"moth", now)):
        image.write_bytes(content)
        os.utime(image, (changed, changed))
        keys.append(cache.key(image))
    assert len(set(keys)) == 4


def test_an_image_that_has_been_quiet_is_read_once(tmp_path, monkeypatch):
    cache, image = FeatureCache(tmp_path), tmp_path / "a.png"
    image.write_bytes(b"maze")
    os.utime(image, (time.time() - 60,) * 2)
    key = cache.key(image)
    monkeypatch.setattr(type(image), "read_bytes", None)
    assert cache.key(image) == key


def test_an_image_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        FeatureCache(tmp_path).key(tmp_path / "a.png")


# what features depend on


def tower(**changes):
    torch.manual_seed(0)
    made = nn.Linear(3, 4)
    made.register_buffer("scale", torch.tensor(2.0))
    with torch.no_grad():
        for name, value in changes.items():
            getattr(made, name).view(-1)[0] = value
    return made


def test_equal_towers_and_settings_have_one_fingerprint():
    name = fingerprint(tower(), {"size": 28, "mean": (0.5, 0.5)})
    assert name == fingerprint(tower().requires_grad_(False), {"mean": [0.5, 0.5], "size": 28})
    assert set(name) <= set("0123456789abcdef")


def test_another_weight_dtype_shape_name_or_setting_is_another_fingerprint():
    narrow = nn.Linear(4, 3)
    narrow.weight = nn.Parameter(tower().weight.reshape(3, 4))
    towers = [tower(), tower(weight=9), tower(bias=9), tower(scale=9), tower().bfloat16(), tower().half(), narrow]
    names = [fingerprint(each, {"size": 28}) for each in towers]
    names += [fingerprint(nn.Sequential(tower()), {"size": 28}), fingerprint(tower(), {"size": 56})]
    assert len(set(names)) == len(names)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_device_does_not_matter():
    assert fingerprint(tower().bfloat16().cuda(), {}) == fingerprint(tower().bfloat16(), {})
