"""The plan's arithmetic by hand, and against DeepSpeed's own estimates."""

import subprocess
import sys

import pytest

from launch import plan
from launch.layouts import LAYOUTS, Cluster, Layout, Load, share
from tests.conftest import REPO, compose

BY_NAME = {layout.name: layout for layout in LAYOUTS}
LOAD = Load(parameters=10, trained=8, unit=3, gathered=12, weight_bytes=2, activation_bytes=100, accumulate=2)


def test_layouts_by_hand_on_four_gpus():
    def numbers(name, gpus=4):
        one = share(BY_NAME[name], LOAD, gpus)
        return one.weights, one.gradients, one.states, one.host, one.sent

    assert numbers("ddp", 1) == (20, 16, 32, 0, 0)
    assert numbers("ddp") == (20, 32, 32, 0, 24)
    assert numbers("deepspeed_zero1") == (20, 16 + 8, 24, 0, 24)
    assert numbers("deepspeed_zero2") == (20, 4 + 8, 24, 0, 36)
    assert numbers("deepspeed_zero2_offload") == (20, 0, 0, 32, 36)
    assert numbers("fsdp2") == (5, 4, 8, 0, 96)
    assert numbers("deepspeed_zero3") == (5, 4 + 8, 24, 0, 96)
    assert numbers("deepspeed_zero3_offload") == (0, 0, 0, 32 + 5, 96)
    assert share(BY_NAME["deepspeed_zero3"], LOAD, 4).buffers == 2 * (3 * 8 + 10)
    infinity, offload = (share(BY_NAME[f"deepspeed_zero{kind}"], LOAD, 4) for kind in ("_infinity", "3_offload"))
    assert (infinity.gpu, infinity.disk, infinity.sent) == (offload.gpu, offload.host, offload.sent)
    assert infinity.host == 2 * 6 * 2.5 + 64 * 2.5


def test_what_deepspeed_estimates_for_a_7b_is_what_is_planned():
    zero12 = pytest.importorskip("deepspeed.runtime.zero.stage_1_and_2").estimate_zero2_model_states_mem_needs
    zero3 = pytest.importorskip("deepspeed.runtime.zero.stage3").estimate_zero3_model_states_mem_needs
    load = Load(7_615_616_512, 7_615_616_512, 1, 1, 2, 0)

    def states(name, gpus):
        one = share(BY_NAME[name], load, gpus)
        return one.weights + one.gradients + one.states

    for nodes in (1, 2, 8):
        assert states("deepspeed_zero2", 8 * nodes) == pytest.approx(zero12(load.parameters, 8, nodes, False)[1])
        assert states("deepspeed_zero3", 8 * nodes) == pytest.approx(
            zero3(load.parameters, 0, 8, nodes, False)[1], 0.12
        )
    assert states("deepspeed_zero2_offload", 8) == zero12(load.parameters, 8, 1, True)[1]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_the_smallest_cluster_fits_and_no_smaller_one_does(layout):
    cluster = Cluster(gpu=132, node=70, disk=100, gpus_per_node=4, max_nodes=50)
    load = Load(10, 8, 1, 1, 2, 100)
    fitting = [gpus for gpus in cluster.sizes() if cluster.fits(share(layout, load, gpus), gpus)]
    assert cluster.smallest(layout, load) == (min(fitting) if fitting else None)
    assert list(cluster.sizes())[:5] == [1, 2, 4, 8, 12]


def test_a_plan_names_the_strategy_that_fits_and_torch_waits_for_its_model():
    command = "import sys, launch.plan; sys.argv[1:] = ['model=qwen2_5_vl_72b', 'strategy=deepspeed_zero2']"
    command += "; before = 'torch' in sys.modules; launch.plan.main(); print(before)"
    ended = subprocess.run([sys.executable, "-c", command], cwd=REPO, capture_output=True, text=True, check=True)
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("qwen2_5_vl_72b: 73,410,777,344 parameters")
    assert lines[-2].startswith("deepspeed_zero2 does not fit on 8 GPUs of 79 GiB, nor on any number")
    assert lines[-1] == "False"


def test_recurrence_and_accumulation_send_more_and_checkpointing_keeps_less():
    def planned(*overrides):
        return plan.run(compose("plan", "model=qwen2_5_vl_7b", *overrides))["layouts"]["deepspeed_zero3"]

    stage1, stage2 = planned("stage=stage1"), planned("stage=stage2")
    layers = 28 * 233_057_792 + 3584
    assert stage2["sent"] - stage1["sent"] == pytest.approx(2 * 2 * 4 * layers * 7 / 8)
    assert planned("trainer.accumulate_grad_batches=3")["sent"] == 3 * stage1["sent"]
    assert planned("memory.checkpointing=true")["activations"] < stage1["activations"] / 5


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.path=org/unknown", "model.path=org/unknown is no folder"),
        ("gpus=0", "gpus=0 must be a whole number of 1 or more"),
        ("cluster.gpu_gib=null", "cluster.gpu_gib=null must be"),
        ("trainer.precision=64-true", "trainer.precision=64-true: plan knows"),
        ("stage.freeze=[net.backbone.model.visual.blocks]", "is no whole part of the model"),
        ("strategy.use=horovod", "strategy.use=horovod: plan knows"),
        ("stage.module.optimizer._target_=torch.optim.SGD", "plan knows the states of Adam"),
    ],
)
def test_what_cannot_be_planned_is_one_line(override, said):
    with pytest.raises(ValueError, match=said):
        plan.run(compose("plan", override))


def test_the_header_of_the_72b_says_what_is_planned_and_it_fits_on_the_nodes_it_asks_for():
    cfg = compose("plan", "experiment=paper/vsp_stage1_72b", "gpus=32")
    row = plan.run(cfg)["layouts"]["deepspeed_zero3"]
    said = (REPO / "conf/experiment/paper/vsp_stage1_72b.yaml").read_text().replace("\n#             ", "")
    assert cfg.trainer.devices * cfg.trainer.num_nodes == cfg.gpus
    assert row["fits"]
    gib = {name: f"{row[name] / 2**30:.1f}" for name in plan.SHOWN}
    assert f"weights {gib['weights']}, gradients {gib['gradients']}, AdamW {gib['states']}" in said
    assert f"buffers {gib['buffers']}, activations {gib['activations']}: {gib['gpu']} of 72.7" in said
    assert f"the fewest that hold it are {row['smallest']} GPUs" in said
    assert f"sends {row['sent'] / 2**30:.0f} GiB a step" in said


def test_offloading_to_a_disk_needs_room_there_and_little_memory():
    use = "{_target_: mirage_pl.engine.strategies.deepspeed.DeepSpeed, stage: 3, offload_optimizer: true"
    use += ", offload_parameters: true, offload_optimizer_device: nvme, offload_params_device: nvme}"
    options = ["model=qwen2_5_vl_72b", f"strategy.use={use}", "memory.checkpointing=true", "loader.batch_size=1"]
    made = plan.run(compose("plan", *options))
    row = made["layouts"][made["chosen"]]
    assert made["chosen"] == "deepspeed_zero_infinity"
    assert row["smallest"] == 1
    assert row["host"] < 20 * 2**30 < row["disk"]
    small = plan.run(compose("plan", *options, "cluster.disk_gib=100"))
    assert small["layouts"]["deepspeed_zero_infinity"]["smallest"] > 8


def test_a_strategy_that_is_not_listed_is_a_row_of_its_own():
    use = "{_target_: pytorch_lightning.strategies.DeepSpeedStrategy, stage: 3, offload_optimizer: true}"
    made = plan.run(compose("plan", f"strategy.use={use}"))
    assert made["chosen"] == "deepspeed_zero3_offload_other"
    row = made["layouts"][made["chosen"]]
    assert row["states"] == 0
    assert row["weights"] > 0
    assert plan.read_layout(compose("plan", "strategy=deepspeed_zero2")) == Layout("deepspeed_zero2", 2)
