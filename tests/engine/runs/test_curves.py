"""What a run logged, as curves."""

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from mirage_pl.engine.runs.curves import read_curves


def test_a_resumed_run_counts_each_step_once_and_the_later_value(tmp_path: Path) -> None:
    for number, values in enumerate([{0: 9.0, 1: 8.0, 2: 7.0}, {2: 5.0, 3: 4.0}]):
        with SummaryWriter(str(tmp_path / "tensorboard"), filename_suffix=f".{number}") as writer:
            for step, value in values.items():
                writer.add_scalar("train/text", value, step, walltime=number * 100 + step)
    assert read_curves(tmp_path) == {"train/text": [(0, 9.0), (1, 8.0), (2, 5.0), (3, 4.0)]}
    assert read_curves(tmp_path / "nothing") == {}
