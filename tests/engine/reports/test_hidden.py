"""A measure that the task doesn't grade is on no page and in no table; its numbers stay in the files."""

import json

from mirage_pl.engine.evaluation.tables import print_scores
from mirage_pl.engine.reports import command
from mirage_pl.engine.reports.evaluation import write_report
from tests.engine.reports.folders import answer, log, make_run


def test_it_is_left_out_of_console_and_pages_and_a_graded_one_is_not(tmp_path, capsys):
    for hidden in (["optimal"], []):
        root = tmp_path / str(bool(hidden))
        folders = []
        for seed in (1, 2):
            run = make_run(root / f"runs/sft-seed{seed}", seed=seed)
            log(run, "val/optimal", [0.1, 0.2])
            answer(run, "yynn", {"zeros": "ynnn"}, hidden=hidden)
            folders.append(run / "evaluation" / "vsp")
        metrics = json.loads((folders[0] / "metrics.json").read_text())
        print_scores(metrics | {"name": "sft"}, [])
        write_report(root / "page.html", folders)
        command.run([str(root / "runs"), "--out", str(root / "study")])
        written = [capsys.readouterr().out, (root / "page.html").read_text(), (root / "study/report.html").read_text()]
        written.append((root / "study/results.md").read_text())
        assert [("optimal" in text.lower()) for text in written] == [not hidden] * 4
        assert metrics["optimal"]["all"]["n"] == 4
