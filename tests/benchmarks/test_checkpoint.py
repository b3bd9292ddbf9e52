"""The benchmark of saving runs, small, and prints its figures."""

import json

from benchmarks.checkpoint import main


def test_the_figures_of_saving_come_out_small(capsys):
    main(["--repeats", "1", "--gib", "0.01", "--json"])
    figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert figures.keys() == {"tiny", "wide"}
    assert all(value > 0 for figure in figures.values() for value in figure.values())
    assert all(figure["overlapped"] <= figure["written"] for figure in figures.values())
