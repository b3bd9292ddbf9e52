"""The benchmark of data runs, small, and prints its figures."""

import json

from benchmarks.data import main


def test_the_figures_of_data_come_out_small(capsys):
    main(["--mazes", "70", "--rows", "20000", "--json"])
    figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert figures["make"]["rows"] == 70
    assert figures["read"]["rows"] == 64
    assert figures["index"]["megabytes"] < figures["index"]["floor_megabytes"]
    assert all(value > 0 for figure in figures.values() for value in figure.values())
