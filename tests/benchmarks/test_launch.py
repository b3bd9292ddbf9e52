"""The benchmark of starting runs comes out, once around."""

import json

from benchmarks import launch
from benchmarks.launch import main


def test_the_figures_of_starting_come_out(capsys):
    main(["--repeats", "1", "--no-slurm", "--json"])
    figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert figures.keys() == {"imports", "train"}
    assert all(value > 0 for figure in figures.values() for value in figure.values())


def test_the_figures_of_answers_come_out(capsys, monkeypatch):
    monkeypatch.setattr(launch, "ANSWERS", ["mirage_pl.data --cfg job"])
    main(["--repeats", "1", "--answers"])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("mirage_pl.data --cfg job")
