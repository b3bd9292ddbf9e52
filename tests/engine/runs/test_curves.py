"""A run's curves are read from whichever of its loggers kept them."""

import pytest
from torch.utils.tensorboard import SummaryWriter

from mirage_pl.engine.runs.curves import read_curves

CURVES = {"train/loss": [(1, 0.5), (2, 0.25)], "val/loss": [(2, 0.75)]}


def write_events(run):
    with SummaryWriter(run / "tensorboard") as board:
        for tag, curve in CURVES.items():
            for step, value in curve:
                board.add_scalar(tag, value, step)


def write_lines(run):
    (run / "csv").mkdir()
    text = "step,train/loss,val/loss\n1,0.5,\n2,9.0,\n2,0.25,\n2,,0.75\n3,0."
    (run / "csv" / "metrics.csv").write_text(text.removesuffix("3,0."))


@pytest.mark.parametrize("write", [write_events, write_lines])
def test_curves_come_from_either_file(tmp_path, write):
    assert read_curves(tmp_path) == {}
    write(tmp_path)
    assert read_curves(tmp_path) == CURVES


def test_a_line_that_was_cut_short_is_left_out(tmp_path):
    write_lines(tmp_path)
    with (tmp_path / "csv" / "metrics.csv").open("a") as file:
        file.write("3x,0.1,\n4,")
    assert read_curves(tmp_path) == CURVES


def test_a_resumed_run_counts_each_step_once_and_the_later_value(tmp_path):
    for number, values in enumerate([{0: 9.0, 1: 8.0, 2: 7.0}, {2: 5.0, 3: 4.0}]):
        with SummaryWriter(str(tmp_path / "tensorboard"), filename_suffix=f".{number}") as writer:
            for step, value in values.items():
                writer.add_scalar("train/text", value, step, walltime=number * 100 + step)
    assert read_curves(tmp_path) == {"train/text": [(0, 9.0), (1, 8.0), (2, 5.0), (3, 4.0)]}
