"""Bars of many methods, and curves as bands over seeds."""

import numpy as np

from mirage_pl.engine.reports.page import COLORS, LINES, label_run
from mirage_pl.engine.reports.panels import (
    COLUMNS,
    Bar,
    draw_bands,
    draw_levels,
    draw_panels,
    number_groups,
    render_png,
    summarize_seeds,
)
from mirage_pl.engine.reports.plots import render_svg
from mirage_pl.engine.seams import Measure

SHARE = Measure("share")


def loop_band(seeds):
    """The band said slowly: at every step of any seed, where each seed that has got so far stands."""
    found = []
    for step in sorted({x for curve in seeds for x, _ in curve}):
        values = []
        for curve in seeds:
            for (x0, y0), (x1, y1) in zip(curve, curve[1:], strict=False):
                if x0 <= step < x1:
                    values.append(y0 + (y1 - y0) * (step - x0) / (x1 - x0))
            values += [y for x, y in curve[-1:] if x == step]
        found.append((step, sum(values) / len(values), min(values), max(values)))
    return found


def test_a_band_follows_mean_and_range_of_the_seeds_that_have_got_so_far():
    rng = np.random.default_rng(0)
    seeds = [[(step, rng.random()) for step in range(start, end, 10)] for start, end in [(10, 60), (5, 40), (30, 90)]]
    np.testing.assert_allclose(np.transpose(summarize_seeds(seeds)), loop_band(seeds))


def test_a_band_of_one_seed_is_its_curve():
    assert [list(values) for values in summarize_seeds([[(1, 0.5), (2, 0.25)]])] == [
        [1, 2],
        [0.5, 0.25],
        [0.5, 0.25],
        [0.5, 0.25],
    ]


def test_methods_past_the_last_colour_have_lines_of_their_own():
    count = len(COLORS) * len(LINES)
    figure = draw_bands({"val/loss": {place: [[(0, place), (1, place)]] for place in range(count)}}, {})
    drawn = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(drawn) == count
    assert len({label_run(place, "name") for place in range(count)}) == count


def test_curves_have_a_panel_a_tag_and_name_the_methods_that_have_any():
    curves = {"val/success": {0: [[(0, 0.1), (5, 0.9)]]}, "val/loss": {0: [[(0, 2.0)]], 2: [[(0, 3.0)]]}}
    figure = draw_bands(curves, {"success": SHARE}, ["first", "second", "third"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["val/success", "val/loss"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["first", "third"]
    assert draw_bands(curves, {}).legends == []


def test_panels_draw_each_bar_on_its_line_with_interval_and_seeds():
    share = {"mean": 0.5, "low": 0.25, "high": 1.0}
    panels = {f"panel {index}": {"a": Bar(share, "#ff0000", [0.4, 0.6])} for index in range(COLUMNS)}
    panels["last"] = {"b": Bar({"mean": 0.2, "low": 0.1, "high": 0.3}, "#00ff00")}
    figure = draw_panels(panels, SHARE)
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()] == list(panels)
    first, last = figure.axes[0], figure.axes[COLUMNS]
    assert [text.get_text() for text in first.get_yticklabels()] == ["a", "b"]
    assert [(bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in first.patches] == [(0.5, 0)]
    assert [(bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in last.patches] == [(0.2, 1)]
    np.testing.assert_allclose(first.collections[0].get_segments()[0], [[0.25, 0], [1.0, 0]])
    np.testing.assert_allclose(first.lines[0].get_xdata(), [0.4, 0.6])


def test_pictures_are_png_on_white_and_svg_in_the_page_s_colour():
    figure = draw_panels({"all": {"<b>": Bar({"mean": 0.5, "low": 0.4, "high": 0.6}, "#ff0000")}}, SHARE)
    assert render_png(figure).startswith(b"\x89PNG")
    page = render_svg(figure, "success")
    assert "currentColor" in page
    assert "<b>" not in page


def test_panels_of_a_mean_are_points_on_one_scale_that_all_of_them_fill():
    bars = {"a": {"mean": -20.0, "low": -22.0, "high": -18.0}, "b": {"mean": 5.0, "low": 4.0, "high": 6.0}}
    panels = {title: {name: Bar(number, "#ff0000") for name, number in bars.items()} for title in ("one", "two")}
    figure = draw_panels(panels, Measure("mean"))
    assert all(len(axes.patches) == 0 for axes in figure.axes)
    low, high = figure.axes[1].get_xlim()
    assert -25 < low < -22 < 6 < high < 9


def test_groups_that_count_one_thing_have_its_numbers():
    steps = ["steps_1", "steps_2", "steps_10"]
    assert number_groups(["all", *steps]) == ("steps", dict(zip(steps, (1, 2, 10), strict=True)))
    assert number_groups(["level_3", "level_4", "all"]) == ("", {}), "two points are no curve"
    assert number_groups([*steps, "unseen"]) == ("", {})
    assert number_groups(["steps_1", "level_2", "steps_3"]) == ("", {})


def test_levels_are_a_line_a_method_over_what_is_counted_with_their_intervals():
    share = {"mean": 0.5, "low": 0.25, "high": 1.0}
    levels = {4: {"a": Bar(share, "#ff0000")}, 1: {"a": Bar(share | {"mean": 0.75}, "#ff0000")}}
    levels[2] = {"a": Bar(share, "#ff0000"), "b": Bar({"mean": 0.1}, "#0000ff")}
    figure = draw_levels("steps", levels, "success", SHARE)
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert [round(x) for x in lines["a"].get_xdata()] == [1, 2, 4]
    assert list(lines["a"].get_ydata()) == [0.75, 0.5, 0.5]
    assert list(lines["b"].get_ydata()) == [0.1], "a method that was given other groups too"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert (axes.get_xlabel(), list(axes.get_xticks())) == ("steps", [1, 2, 4])
    assert render_png(figure).startswith(b"\x89PNG")
