"""Batches that a stage gathers itself come in the order of its steps, and nothing is gathered ahead."""

import pytest

from data_modules.loading.gathered import Gathered, GatheredBatches, GatheredData
from data_modules.loading.loader import Loading, ResumableLoader


class Stage:
    """Notes what it is asked for."""

    def __init__(self):
        self.asked = []

    def gather(self, step):
        self.asked.append(("gather", step))

    def pick(self, step, part, size):
        self.asked.append(("pick", step, part))
        return [f"{step}.{part}.{row}" for row in range(size)]


def loader_of(stage, rank=0, num_ranks=1, accumulate=1, steps=3):
    batches = GatheredBatches(steps, 2, 0, rank, num_ranks, accumulate)
    return ResumableLoader(Gathered(stage, batches), batches, collate_fn=lambda items: items[0], num_workers=0)


def test_a_step_is_gathered_before_it_is_drawn_and_not_before_it_is_asked_for():
    stage = Stage()
    batches = iter(loader_of(stage))
    assert next(batches) == ["0.0.0", "0.0.1"]
    assert stage.asked == [("gather", 0), ("pick", 0, 0)]
    assert next(batches) == ["1.0.0", "1.0.1"]
    assert stage.asked[2:] == [("gather", 1), ("pick", 1, 0)]


def test_steps_are_counted_on_from_epoch_to_epoch_and_by_a_loader_that_resumes():
    whole, loader = Stage(), loader_of(Stage(), steps=3)
    first = loader_of(whole, steps=3)
    rows = [batch[0] for _ in range(2) for batch in first]
    assert rows == [f"{step}.0.0" for step in range(6)]
    for stop in range(1, 6):
        resumed = loader_of(Stage(), steps=3)
        resumed.load_state_dict({"epoch": stop // 3, "handed_out": stop % 3, "division": loader.division})
        assert [batch[0] for _ in range(stop // 3, 2) for batch in resumed] == rows[stop:]


def test_ranks_share_a_batch_and_accumulated_batches_share_what_is_gathered():
    stages = [Stage(), Stage()]
    shares = [list(loader_of(stage, rank, 2, accumulate=2, steps=1)) for rank, stage in enumerate(stages)]
    assert shares == [[["0.0.0", "0.0.2"], ["0.1.0", "0.1.2"]], [["0.0.1", "0.0.3"], ["0.1.1", "0.1.3"]]]
    assert stages[0].asked == stages[1].asked == [("gather", 0), ("pick", 0, 0), ("pick", 0, 1)]


def test_loading_processes_are_refused():
    options = {"dataset": None, "files": {}, "collate": None, "seed": 0}
    with pytest.raises(ValueError, match="num_workers=2"):
        GatheredData(10, loader=Loading(num_workers=2), **options)
