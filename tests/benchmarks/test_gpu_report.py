"""The report of a GPU goes on whatever happens to a row, and says what happened."""

import json

import pytest
import torch

from benchmarks import gpu_report
from benchmarks.gpu_report import ROWS, Row, main
from benchmarks.lora import measure


def test_a_step_with_an_adapter_is_measured_beside_one_without():
    figures = measure("cpu", "tiny", ["full", "lora", "qlora"])
    assert figures["lora"]["trained"] < figures["full"]["trained"]
    assert figures["lora_memory_ratio"] > 0
    assert figures["qlora_time_ratio"] > 0


FAKES = {
    "good": Row("json.tool --help", 20, "prints no figures"),
    "lacking": Row("benchmarks.nothing", 20, "isn't there"),
    "endless": Row("http.server 0", 0.5, "never ends"),
    "late": Row("json.tool --help", 20, "has no time left"),
}


def test_rows_that_fail_hang_or_come_too_late_say_so_and_the_others_go_on(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_report, "ROWS", ROWS | FAKES)
    monkeypatch.setattr(gpu_report, "call", quick(gpu_report.call))
    names = ["lacking", "endless", "good", "memory"]
    main(["--rows", *names, "--device", "cpu", "--shape", "tiny", "--out", f"{tmp_path}/report.json"])
    *shown, last = capsys.readouterr().out.strip().splitlines()
    found = json.loads(last)
    assert json.loads((tmp_path / "report.json").read_text()) == found
    assert list(found["rows"]) == names
    assert {name: row["state"] for name, row in found["rows"].items()} == dict.fromkeys(names, "failed") | {
        "memory": "done"
    }
    assert "No module named benchmarks.nothing" in found["rows"]["lacking"]["why"]
    assert found["rows"]["endless"]["why"] == "it took longer than 0 s"
    assert "printed no figures" in found["rows"]["good"]["why"]
    assert len(shown) == 1 + len(names)
    assert "memory_ratio 0.5" in shown[-1]


def quick(call):
    """Measure nothing: a figure is what the command printed."""

    def called(command, limit):
        if "benchmarks.latents" in command:
            return 0, json.dumps({"memory_ratio": 0.5, "details": {"memory_ratio": {"value": 0.5}}}), ""
        return call(command, limit)

    return called


def test_what_comes_after_the_time_is_left_out(monkeypatch):
    monkeypatch.setattr(gpu_report, "ROWS", FAKES)
    found = gpu_report.report(["late"], {}, seconds=1)
    assert found["rows"]["late"]["state"] == "left out"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_machine_without_a_gpu_says_so_in_one_line():
    with pytest.raises(SystemExit, match="^error: this machine has no GPU that torch can use; --device cpu"):
        main(["--rows", "lora"])


def test_every_row_names_a_module_that_is_there():
    for row in ROWS.values():
        name = row.words.split()[0]
        assert name == "pytest" or (gpu_report.REPO / f"{name.replace('.', '/')}.py").is_file()
