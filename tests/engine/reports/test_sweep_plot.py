"""What tells the runs of a sweep apart, and the plot over it."""

import json
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from mirage_pl.engine.reports import command as report
from mirage_pl.engine.reports.axes import find_axes, list_measures, list_settings
from mirage_pl.engine.reports.sweep import print_results, shorten_names, summarize_runs
from mirage_pl.engine.reports.sweep_plot import draw_sweep
from mirage_pl.engine.seams import Measure
from tests.conftest import compose
from tests.engine.reports.folders import answer, make_run, score_clips


def write_run(root, loss, *overrides):
    """A run as training leaves it, but for its checkpoints."""
    folder = root / f"run{len(list(root.glob('run*')))}"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        OmegaConf.to_yaml(compose("train", f"run_dir={folder}", *overrides), resolve=True)
    )
    (folder / "metrics.json").write_text(json.dumps({"step": 5, "val/loss": loss}))
    return folder


def axes_of(folders):
    return find_axes([list_settings(Path(folder) / "config.yaml") for folder in folders])


def test_axes_are_what_was_swept_and_not_what_follows_from_it(tmp_path):
    swept = [
        ("stage=stage1", "latent_size=2", "seed=1", "stage.module.optimizer.lr=0.1"),
        ("stage=stage1", "latent_size=4", "seed=1", "stage.module.optimizer.lr=0.1"),
        ("stage=sft", "latent_size=2", "seed=1", "stage.module.optimizer.lr=0.1"),
        ("stage=stage1", "latent_size=2", "seed=2", "stage.module.optimizer.lr=0.1"),
        ("stage=stage1", "latent_size=2", "seed=1", "stage.module.optimizer.lr=0.2"),
        ("stage=stage1", "latent_size=2", "seed=1", "stage.module.optimizer.lr=0.2", "compression=grid"),
        ("stage=stage1", "latent_size=2", "seed=1", "stage.module.optimizer.lr=0.2", "memory.checkpointing=true"),
    ]
    places = axes_of([write_run(tmp_path, 1.0, *overrides) for overrides in swept])
    assert {name: [place[name] for place in places] for name in places[0]} == {
        "latent_size": [2, 4, 2, 2, 2, 2, 2],
        "stage": ["stage1", "stage1", "sft", "stage1", "stage1", "stage1", "stage1"],
        "compression": ["Average"] * 5 + ["Grid", "Average"],
        "memory.checkpointing": ["false"] * 6 + ["true"],
        "stage.module.optimizer.lr": [0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2],
        "seed": [1, 1, 1, 2, 1, 1, 1],
    }


def test_runs_of_a_study_differ_in_their_method(tmp_path):
    swept = [("study.method=a",), ("study.method=b", "latent_size=8", "compression=grid"), ("study.method=a", "seed=2")]
    places = axes_of([write_run(tmp_path, 1.0, *overrides) for overrides in swept])
    assert places == [{"method": "a", "seed": 42}, {"method": "b", "seed": 42}, {"method": "a", "seed": 2}]


def test_equal_runs_in_two_folders_have_no_axes(tmp_path):
    assert axes_of([write_run(tmp_path, 1.0), write_run(tmp_path, 2.0)]) == [{}, {}]


def result(loss, success=None, **axes):
    return {"val/loss": loss, "axes": axes} | ({} if success is None else {"test/success": success})


def drawn(axes):
    """Of each line of a plot: where its points are, and how far its bars reach."""
    found = []
    for line, _, (bars,) in (container.lines for container in axes.containers):
        reach = [[low, high] for (_, low), (_, high) in bars.get_segments()]
        found.append((list(line.get_xdata()), list(line.get_ydata()), reach, line.get_linestyle()))
    return found


def test_the_numeric_axis_with_most_values_is_below_and_seeds_are_averaged():
    results = [
        result(loss + seed, success, latent_size=k, stage=stage, seed=seed)
        for (k, stage, loss, success) in [(4, "a", 1.0, 0.5), (2, "a", 2.0, 0.25), (4, "b", 3.0, None)]
        for seed in (1, 3)
    ]
    figure = draw_sweep([*results, {"failed": "why"}], {"success": Measure("share")})
    loss, success = figure.axes
    assert (loss.get_title(loc="left"), success.get_title(loc="left")) == ("val/loss", "test/success")
    assert [axes.get_xlabel() for axes in figure.axes] == ["latent_size"] * 2
    assert [text.get_text() for text in loss.get_xticklabels()] == ["2", "4"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["stage a", "stage b"]
    assert drawn(loss) == [
        ([2, 4], [4.0, 3.0], [[3.0, 5.0], [2.0, 4.0]], "-"),
        ([4], [5.0], [[4.0, 6.0]], "-"),
    ]
    assert [line[:2] for line in drawn(success)] == [([2, 4], [0.25, 0.5]), ([], [])]


def test_words_are_points_in_a_row_and_a_failed_loss_is_none():
    figure = draw_sweep(
        [result(2.0, compression="b"), result(1.0, compression="a"), result(np.nan, compression="c")], {}
    )
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["b", "a", "c"]
    assert drawn(axes) == [([0, 1], [2.0, 1.0], [[2.0, 2.0], [1.0, 1.0]], "None")]
    assert figure.legends == []


@pytest.mark.parametrize(("values", "scale"), [((1e-4, 1e-3), "log"), ((2, 8), "linear"), ((0, 10), "linear")])
def test_values_that_span_a_factor_of_ten_stand_on_a_logarithmic_scale(values, scale):
    axes = draw_sweep([result(1.0, lr=value, seed=seed) for value in values for seed in range(5)], {}).axes[0]
    assert (axes.get_xscale(), axes.get_xlabel()) == (scale, "lr")


def test_nothing_to_compare_is_no_plot(tmp_path, capsys):
    runs = [write_run(tmp_path, 1.0), write_run(tmp_path, 2.0)]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sweep.png").write_bytes(b"of an earlier table")
    summarize_runs(dict.fromkeys(map(str, runs), ""), tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["sweep.json"]
    assert draw_sweep([{"axes": {"k": 1}}, {"axes": {"k": 2}}], {}) is None


def test_a_report_on_runs_that_are_not_evaluated_is_their_table_and_plot(tmp_path, capsys):
    for k, loss in [(2, 3.0), (4, 1.5)]:
        write_run(tmp_path, loss, f"latent_size={k}")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.yaml").write_text("no run")
    found = report.run([str(tmp_path)])
    assert {result["val/loss"]: result["axes"] for result in found.values() if "axes" in result} == {
        3.0: {"latent_size": 2},
        1.5: {"latent_size": 4},
    }
    assert json.loads((tmp_path / "report" / "sweep.json").read_text()) == found
    assert (tmp_path / "report" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert f"plot: {tmp_path / 'report' / 'sweep.png'}\n" in printed
    assert "latent_size" in printed
    assert f"failed: {tmp_path / 'broken'}: " in printed


def test_a_report_asked_for_evaluations_that_are_not_there_is_a_mistake(tmp_path):
    write_run(tmp_path, 1.0)
    with pytest.raises(ValueError, match="none of 1 runs has a whole evaluation named vsp"):
        report.run([str(tmp_path), "--label", "vsp"])
    answer(make_run(tmp_path / "sft-seed1"), "yn")
    assert "methods" in report.run([str(tmp_path)])


def test_a_sweep_shows_the_first_measure_whatever_it_is_called(tmp_path, capsys):
    for k in (2, 4):
        score_clips(write_run(tmp_path, 1.0 / k, f"seed={k}"), shift=k)
    results = summarize_runs(dict.fromkeys(map(str, sorted(tmp_path.glob("run*"))), ""), tmp_path / "out")
    assert [round(each["test/psnr"], 2) for each in results.values()] == [27.83, 29.83]
    assert "test/psnr" in capsys.readouterr().out
    figure = draw_sweep(list(results.values()), {"psnr": Measure("mean", "higher", "dB")})
    assert figure.axes[1].get_title(loc="left") == "test/psnr, dB (higher is better)"


def test_names_of_a_sweeps_runs_are_not_broken_on_a_narrow_console(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    runs = tmp_path / "runs" / "study"
    numbers = {f"val/measure_{place}": place / 8 for place in range(9)}
    results = {str(runs / f"stage1-curriculum-seed{seed}"): numbers | {"axes": {"seed": seed}} for seed in range(4)}
    print_results(results)
    printed = capsys.readouterr().out
    assert printed.startswith(f"sweep of runs in {runs}\n")
    assert all(f" {Path(run).name} " in printed for run in results)
    assert all(f" {name} " in printed and f" {number:.4g} " in printed for name, number in numbers.items())
    assert max(map(len, printed.splitlines()[1:])) <= 80


def test_runs_in_the_current_folder_or_far_apart_keep_their_whole_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shorten_names(["a", "b"]) == ("", ["a", "b"])
    assert shorten_names(["runs/x/a", "runs/y/a"]) == ("runs", ["x/a", "y/a"])
    assert shorten_names(["runs/a", "/elsewhere/b"]) == ("", ["runs/a", "/elsewhere/b"])
    assert shorten_names([]) == ("", [])


def test_what_is_logged_in_validation_alone_is_a_measure():
    logged = {"train/text": 1.0, "train/loss": 1.0, "val/loss": 1.0, "val/text": 1.0, "val/psnr": 30.0, "step": 5}
    assert list_measures([logged]) == ["val/psnr"]
    assert list_measures([logged, {"test/lpips": 0.1}]) == ["test/lpips", "val/psnr"]
