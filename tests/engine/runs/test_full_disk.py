"""Where no more can be written, what is there stays whole, and a run dies of what it can't save alone."""

import errno
import json
import resource
from types import SimpleNamespace

import pytest

from callbacks.presence import Presence
from mirage_pl.engine.errors import find_mistake
from mirage_pl.engine.runs.folder import write_json, write_text

TRAINER = SimpleNamespace(is_global_zero=True, global_step=1, max_steps=2, callback_metrics={})


@pytest.fixture
def full():
    """No file of this process may grow beyond some bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_cannot_be_written_stays_what_it_was_and_nothing_lies_beside_it(tmp_path, full):
    file = tmp_path / "metrics.json"
    write_json(file, {"step": 1})
    with pytest.raises(OSError, match="too large") as refused:
        write_text(file, "x" * 1000)
    assert json.loads(file.read_text()) == {"step": 1}
    assert list(tmp_path.iterdir()) == [file]
    assert refused.value.errno == errno.EFBIG
    assert "(File too large); allow larger files (ulimit -f)" in str(find_mistake(refused.value))


def test_a_run_does_not_die_of_its_sign_of_life(tmp_path, full):
    presence = Presence(str(tmp_path))
    presence._write(TRAINER, "running", "x" * 1000)
    assert not (tmp_path / "status.json").exists()
