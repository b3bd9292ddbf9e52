"""What an evaluation prints: with many measures, on a narrow console."""

import pytest

from mirage_pl.engine.evaluation.tables import print_conditions, print_scores, show_progress
from mirage_pl.engine.words import PlainWords
from tests.engine.test_console import read_tables

NAMES = ("psnr_all", "psnr_last", "ssim", "absrel", "absrel_last", "chamfer", "angle_depth", "angle_image", "agreement")
NAMES += ("turn_error", "move_error", "move_aside", "move_ahead")
CONDITIONS = ("copy_last", "codes", "wrong_turn", "no_memory", "placebo_memory", "wrong_instruction")


def number(place, value):
    """A number that is told from all others by its digits."""
    mean = value + place / 100
    return {"mean": mean, "low": mean - 0.5, "high": mean + 0.5, "n": 40 + place}


def scores(groups):
    measures = {"psnr": {"kind": "mean", "unit": "dB"}, "yaw": {"kind": "share"}, "fvd": {"kind": "set"}}
    measures |= {name: {"kind": "mean", "better": "lower", "unit": "degrees"} for name in NAMES}
    metrics = {name: {group: number(place, 20) for place, group in enumerate(groups)} for name in measures}
    metrics["yaw"] = {
        group: {"mean": place / 40, "low": 0.0, "high": 1.0, "n": 9} for place, group in enumerate(groups)
    }
    differences = [
        {"difference": -0.0156, "low": -0.0235, "high": -0.0066 - place / 1000, "n": 9} for place in range(9)
    ]
    conditions = {
        name: number(place, 12) | {"difference": differences[place], "moved": {"mean": place / 8, "n": 9}}
        for place, name in enumerate(CONDITIONS)
    }
    return metrics | {
        "name": "world",
        "measures": measures,
        "conditions_in": "conditions",
        "conditions": conditions,
        "ungraded": 0,
    }


@pytest.mark.parametrize("groups", [["all"], ["at rest", "known map", "new map", "all"], [*map(str, range(11)), "all"]])
@pytest.mark.parametrize("width", [80, 140])
def test_names_and_numbers_are_there_in_full_and_the_main_measure_comes_first(groups, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    metrics = scores(groups)
    print_scores(metrics, [])
    printed = capsys.readouterr().out
    tables = read_tables(printed)
    assert printed.startswith("world\n")
    assert max(map(len, printed.splitlines())) <= width
    cells = [cell for table in tables for row in table for cell in row]
    assert set(groups) | {name for name in metrics["measures"] if name != "psnr"} | {"n"} <= set(cells)
    for place in range(len(groups)):
        assert cells.count(f"{20 + place / 100:.2f} degrees") == len(NAMES)
        assert cells.count(f"{100 * place / 40:.1f} %") == 1
        assert str(40 + place) in cells
    text = "\n".join("\n".join(row) for row in tables[0])
    assert text.index("psnr") < min(
        [text.index(name) for name in metrics["measures"] if f"\n{name}" in text and name != "psnr"], default=len(text)
    )
    assert all(f"[{19.5 + place / 100:.2f}, {20.5 + place / 100:.2f}]" in text for place in range(len(groups)))


def test_without_a_terminal_lines_say_how_far_an_evaluation_is(capsys, monkeypatch):
    batches = [[{}] * 3, [{}] * 3, [{}] * 2]
    assert list(show_progress(iter(batches), 8, "Scoring 8 items")) == batches
    assert capsys.readouterr().out == "", "it took no time"
    monkeypatch.setattr("mirage_pl.engine.evaluation.tables.LINE_EVERY_S", 0.0)
    list(show_progress(iter(batches), 8, "Scoring 8 items"))
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Scoring 8 items: 3/8  0.0 min left")
    assert second.startswith("Scoring 8 items: 6/8")


def test_conditions_with_their_differences_and_what_else_differs_fit_a_narrow_console(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_conditions(scores(["all"]), PlainWords)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    cells = {cell for table in read_tables(printed) for row in table for cell in row}
    assert {*CONDITIONS, "moved", "12.03 dB", "[11.53, 12.53]", "-0.0156 dB", "[-0.0235, -0.0066]", "0.25"} <= cells
