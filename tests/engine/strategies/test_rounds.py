"""Where weights are in parts, a round gathers them once, and processes share it."""

import json

import pytest

from tests.contract.stages import Stage
from tests.engine.strategies.conftest import FSDP2, ZERO3, run_to_the_end


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", ["zero3", "fsdp2"])
def test_weights_are_whole_for_as_long_as_a_round_takes_and_each_process_does_its_share(data, tmp_path, name, whole):
    acts = f"+callbacks.acts={{_target_: tests.engine.strategies.record.Acts, folder: {tmp_path}/acts}}"
    strategy = {"zero3": ZERO3, "fsdp2": FSDP2}[name]
    more = [f"run_dir={tmp_path}/run", "loader.batch_size=2", "callbacks.scores=null", "trainer.limit_val_batches=0"]
    options = [*more, f"rollouts.whole={whole}", "reference=copy", acts, *strategy]
    run_to_the_end(tmp_path, (2, Stage("ivideogpt/rlvr").overrides(data, *options)))
    first, second = (
        [json.loads(line) for line in (tmp_path / "acts" / f"acts{rank}.jsonl").read_text().splitlines()]
        for rank in range(2)
    )
    assert len(first) == len(second) >= 2, "rounds"
    for one, other in zip(first, second, strict=True):
        together = {*one["prompts"], *other["prompts"]}
        assert len(together) == 2
        assert (one["prompts"] != other["prompts"]) == whole
        assert ((one["parts"], other["parts"]) == ([0, 0], [0, 0])) == whole
