"""That the benchmarks run and print what others read; how fast anything is, is theirs to say."""

import json
import subprocess
import sys

import pytest
import torch

from benchmarks.latents import FIGURES, NEEDS_GPU, Setting, measure, print_table
from benchmarks.timing import Pair
from benchmarks.workload import Workload
from tests.conftest import REPO


def test_json_is_one_object_on_stdout_with_the_keys_at_its_top():
    command = [sys.executable, "-m", "benchmarks.latents", "--json", "--repeats", "5", "--only", "jacobi_speedup"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO, check=True)
    found = json.loads(done.stdout)
    assert found["jacobi_speedup"] > 0
    assert found["details"]["jacobi_speedup"]["spread"][0] <= found["jacobi_speedup"]
    assert {"batch_speedup", "stage2_over_stage1", "generation_speedup", "memory_ratio"} <= FIGURES.keys()


def test_a_table_says_which_figures_need_a_gpu_and_how_to_get_them(capsys):
    setting = Setting("cpu", "tiny", 5)
    figures = measure(setting, "epoch_speedup")
    print_table(figures, setting)
    shown = " ".join(capsys.readouterr().out.split())
    assert [figure["key"] for figure in figures] == ["epoch_speedup", "data_wait_share"]
    for key in NEEDS_GPU:
        assert key in shown
    assert "--device cuda" in shown


def test_a_ratio_is_the_median_over_neighbouring_runs():
    pair = Pair(ours=[1.0, 2.0, 4.0], theirs=[3.0, 2.0, 8.0])
    assert pair.ratio == 2.0
    assert pair.spread == (1.0, 3.0)


@pytest.mark.parametrize("length", [100, 260])
def test_rows_are_as_long_as_asked_and_each_has_one_block(length):
    work = Workload("tiny", "cpu", torch.float32)
    batch = work.batch(work.rows(16, length))
    assert all(0.89 * length <= row <= 1.11 * length for row in batch.lengths)
    assert batch.sizes == ((4,),) * 16
    assert all(batch.images.known)
    assert (batch.tokens_BT == work.ids["<|image_pad|>"]).sum() == len(batch.images.features_MD)
