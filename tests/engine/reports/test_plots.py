"""Plots on a page."""

from math import inf, nan

import pytest

from mirage_pl.engine.reports import plots
from mirage_pl.engine.reports.plots import MAX_POINTS, draw_by, draw_curves, sort_curves, thin_curve
from mirage_pl.engine.seams import Measure

SHARE, DECIBEL = Measure("share"), Measure("mean", "higher", "dB")


def test_long_curves_are_averaged_and_short_ones_kept() -> None:
    assert thin_curve([(0, 1.0), (10, 3.0)]) == [(0, 1.0), (10, 3.0)]
    long = thin_curve([(step, float(step % 2)) for step in range(4 * MAX_POINTS)])
    assert len(long) == MAX_POINTS
    assert long[:2] == [(1.5, 0.5), (5.5, 0.5)]


def test_losses_that_blew_up_are_still_drawn() -> None:
    assert "<path" in draw_curves("train/text", {0: [(0, nan), (1, inf), (2, -inf), (3, 1.0)]})


def test_plots_are_small_and_take_the_page_s_colour() -> None:
    interval = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 10}
    groups = [f"level_{level}" for level in range(3, 9)]
    bars = draw_by(groups, dict.fromkeys(range(6), dict.fromkeys(groups, interval)), "success", SHARE, "group")
    assert len(bars) < 100_000
    assert "currentColor" in bars
    assert "#010203" not in bars
    assert bars == draw_by(groups, dict.fromkeys(range(6), dict.fromkeys(groups, interval)), "success", SHARE, "group")


def axes_of(values, measure, monkeypatch):
    """The axes of a plot of some means with intervals of 1 to each side."""
    figures = []
    monkeypatch.setattr(plots, "render_svg", lambda figure, label: figures.append((figure, label)))
    numbers = {f"g{place}": {"mean": mean, "low": mean - 1, "high": mean + 1} for place, mean in enumerate(values)}
    plots.draw_by(list(numbers), {0: numbers}, "score", measure, "group")
    return figures[0][0].axes[0]


def test_shares_are_bars_on_0_to_100_percent_and_means_points_on_their_own_scale(monkeypatch):
    percent = axes_of([0.25], SHARE, monkeypatch)
    assert (percent.get_xlim(), len(percent.patches)) == ((0, 1.02), 1)
    decibel = axes_of([24.0, 31.0], DECIBEL, monkeypatch)
    low, high = decibel.get_xlim()
    assert 20 < low < 23 < 32 < high < 35
    assert len(decibel.patches) == 0
    assert decibel.get_title(loc="left") == "score, dB (higher is better)"


@pytest.mark.parametrize(("values", "lines_at_0"), [([-5.0, 5.0], 1), ([-9.0, -5.0], 0), ([5.0, 9.0], 0)])
def test_a_scale_on_which_0_lies_has_a_line_there(values, lines_at_0, monkeypatch):
    axes = axes_of(values, Measure("mean", "lower"), monkeypatch)
    assert sum(list(line.get_xdata()) == [0, 0] for line in axes.lines) == lines_at_0


def test_a_number_without_an_interval_is_a_point_alone(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "render_svg", lambda figure, label: figures.append(figure))
    plots.draw_by(["all"], {0: {"all": {"mean": 140.0, "low": None, "high": None}}}, "fvd", Measure("set"), "group")
    assert len(figures[0].axes[0].collections) == 0
    assert len(figures[0].axes[0].lines) == 1


@pytest.mark.parametrize("twin", ["train/loss", "val/loss"])
def test_a_sum_of_one_loss_is_not_shown_twice(twin):
    part = twin.replace("loss", "text")
    curves = sort_curves({3: {twin: [[(0, 1.0)]], part: [[(0, 1.0)]]}}, {})
    assert curves == {part: {3: [[(0, 1.0)]]}}


def test_what_is_0_throughout_is_drawn_only_if_it_is_a_measure():
    zero, some = [(0, 0.0), (1, 0.0)], [(0, 0.0), (1, 0.5)]
    tags = {"train/action_recon": zero, "val/psnr": zero, "train/codes": some, "lr": zero}
    assert list(sort_curves({0: tags}, {"psnr": DECIBEL})) == ["val/psnr", "train/codes", "lr"]
    seeds = {0: {"train/action_recon": [zero]}, 1: {"train/action_recon": [zero, some]}}
    assert list(sort_curves(seeds, {})) == ["train/action_recon"]
    assert sort_curves({0: seeds[0]}, {}) == {}


def test_curves_of_measures_come_first_and_those_of_the_machine_last():
    tags = ["samples/s", "train/loss", "train/text", "val/psnr", "val/text", "lr"]
    curves = sort_curves({0: {tag: [(0, float(place))] for place, tag in enumerate(tags)}}, {"psnr": DECIBEL})
    assert list(curves) == ["val/psnr", "train/text", "val/text", "train/loss", "lr", "samples/s"]


@pytest.mark.parametrize(
    ("tag", "measures", "unit"), [("val/psnr", {"psnr": DECIBEL}, True), ("val/success", {"psnr": DECIBEL}, False)]
)
def test_a_tag_has_the_scale_of_the_measure_that_it_names_and_of_no_other_word(tag, measures, unit):
    drawn = draw_curves(tag, {0: [(0, 20.0), (1, 30.0)]}, plots.find_measure(tag, measures))
    assert ("dB" in drawn) == unit
    assert "100%" not in drawn
