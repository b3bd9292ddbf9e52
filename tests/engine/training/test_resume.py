"""A run that is stopped anywhere goes on as if nothing had been: the same rows, draws, losses and weights."""

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint

from mirage_pl.engine.training.lightning import settle_epochs
from tests.engine.training.toy import LAST, Kill, Recorder, Stopped, new_data, new_module, same, train, weights_of

WAYS = {
    "steps": {"max_steps": 8},
    "epochs": {"max_epochs": 3},
    "both, steps end it": {"max_steps": 8, "max_epochs": 50},
    "both, epochs end it": {"max_steps": 80, "max_epochs": 3},
    "epochs, validated in them": {"max_epochs": 3, "val_check_interval": 2},
    "epochs, validated at their ends": {"max_epochs": 3, "check_val_every_n_epoch": 1, "val_check_interval": 1.0},
    "steps, validated in epochs": {"max_steps": 8, "val_check_interval": 2},
    "accumulated epochs": {"max_epochs": 3, "accumulate_grad_batches": 2},
    "accumulated steps": {"max_steps": 5, "accumulate_grad_batches": 2},
    "some batches of epochs": {"max_epochs": 4, "limit_train_batches": 2},
    "some batches of steps": {"max_steps": 8, "limit_train_batches": 2},
    "a share of accumulated epochs": {"max_epochs": 3, "accumulate_grad_batches": 2, "limit_train_batches": 0.9},
    "overfit": {"max_epochs": 5, "overfit_batches": 2},
}
LOADING = {"rows": {}, "tokens": {"max_tokens": 6}, "workers": {"num_workers": 2}}


def run(folder, loading, callbacks=(), stop=0, save=True, resume=False, **way):
    folder.mkdir(exist_ok=True)
    recorder = Recorder(folder, stop, save)
    try:
        trainer = train(folder, new_module(), new_data(**loading), [recorder, *callbacks], resume, **way)
    except Stopped:
        trainer = None
    return trainer, recorder.batches


@pytest.mark.parametrize("loading", ["rows", "tokens"])
@pytest.mark.parametrize("way", WAYS)
def test_a_run_saved_after_any_step_goes_on_exactly(tmp_path, way, loading):
    straight, expected = run(tmp_path / "straight", LOADING[loading], **WAYS[way])
    steps, every = straight.global_step, WAYS[way].get("accumulate_grad_batches", 1)
    ends = [index + 1 for index, batch in enumerate(expected) if batch[0] > (expected[index - 1][0] if index else 0)]
    assert steps == len(ends)
    for stop in ends[:-1]:
        folder = tmp_path / f"stop{stop}"
        _, before = run(folder, LOADING[loading], stop=stop, **WAYS[way])
        trainer, after = run(folder, LOADING[loading], resume=True, **WAYS[way])
        assert before + after == expected, f"stopped after batch {stop}, accumulating {every}"
        assert trainer.global_step == steps
        assert same(weights_of(trainer), weights_of(straight))


def test_it_is_the_same_with_loading_processes(tmp_path):
    way = WAYS["epochs"]
    straight, expected = run(tmp_path / "straight", {}, **way)
    _, before = run(tmp_path / "run", LOADING["workers"], stop=4, **way)
    trainer, after = run(tmp_path / "run", LOADING["workers"], resume=True, **way)
    assert before + after == expected
    assert same(weights_of(trainer), weights_of(straight))


HOOKS = [
    "on_train_batch_start",
    "on_validation_start",
    "on_validation_end",
    "on_train_epoch_end",
    "on_train_epoch_start",
]


@pytest.mark.parametrize("way", ["epochs, validated in them", "epochs, validated at their ends", "both, steps end it"])
def test_a_run_killed_in_any_hook_goes_on_from_its_last_checkpoint(tmp_path, way):
    straight, expected = run(tmp_path / "straight", {}, **WAYS[way])
    for hook in HOOKS:
        for call in (1, 2):
            folder = tmp_path / f"{hook}{call}"
            saving = {"dirpath": folder, "filename": "last", "save_top_k": 1, "enable_version_counter": False}
            kill = Kill(hook, call + 1)
            _, before = run(folder, {}, [ModelCheckpoint(every_n_train_steps=2, **saving), kill], **WAYS[way])
            if not (folder / LAST).exists():
                continue
            trainer, after = run(folder, {}, resume=True, **WAYS[way])
            assert after == expected[len(expected) - len(after) :]
            assert len(before) + len(after) - len(expected) in (0, 1), hook
            assert same(weights_of(trainer), weights_of(straight))


def test_checkpoints_of_validation_and_of_an_epochs_end_go_on_exactly(tmp_path):
    for number, (way, saving) in enumerate(
        [
            (WAYS["epochs, validated in them"], {"monitor": "val/loss", "save_top_k": -1}),
            (WAYS["epochs, validated at their ends"], {"monitor": "val/loss", "save_top_k": -1}),
            (WAYS["epochs"], {"every_n_epochs": 1, "save_on_train_epoch_end": True, "save_top_k": -1}),
            (WAYS["steps"], {"every_n_epochs": 1, "save_on_train_epoch_end": True, "save_top_k": -1}),
        ]
    ):
        folder = tmp_path / f"{number}"
        saver = ModelCheckpoint(folder / "saved", "{step}-{epoch}", **saving)
        straight, expected = run(folder, {}, [saver], **way)
        for file in sorted((folder / "saved").iterdir()):
            (folder / LAST).write_bytes(file.read_bytes())
            trainer, after = run(folder, {}, resume=True, **way)
            assert after == expected[len(expected) - len(after) :], (file.name, way)
            assert same(weights_of(trainer), weights_of(straight)), (file.name, way)


@pytest.mark.parametrize("way", ["epochs", "steps"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 2}, "trained with 3 rows a batch .* can't be continued with 2 rows"),
        ({"size": 11}, "10 rows in all, and can't be continued with .*11 rows in all"),
    ],
)
def test_other_batches_or_data_are_refused(tmp_path, way, change, words):
    run(tmp_path, {}, stop=2, **WAYS[way])
    with pytest.raises(ValueError, match=words):
        run(tmp_path, change, resume=True, **WAYS[way])


def test_a_longer_run_goes_on_after_its_end(tmp_path):
    straight, expected = run(tmp_path / "straight", {}, max_epochs=4)
    trainer, before = run(tmp_path / "run", {}, max_epochs=2)
    trainer.save_checkpoint(tmp_path / "run" / LAST, weights_only=False)
    _, after = run(tmp_path / "run", {}, resume=True, max_epochs=4)
    assert [batch[:3] for batch in before + after] == [batch[:3] for batch in expected]  # the schedule is another
    assert straight.global_step == len(before + after)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("ends", [[1], [1, 2], [3], [1, 2, 3, 4], [2, 4]])
def test_epochs_that_a_number_of_steps_cut_short_are_counted_once(tmp_path, ends, accumulate):
    way = {"accumulate_grad_batches": accumulate, "limit_train_batches": 3 if accumulate == 1 else 4}
    size = {"size": 3 * way["limit_train_batches"]}
    straight, expected = run(tmp_path / "straight", size, max_epochs=3, **way)
    batches = []
    for limits in [*({"max_steps": end} for end in ends), {"max_steps": 80, "max_epochs": 3}]:
        trainer, more = run(tmp_path / "run", size, resume=True, **limits, **way)
        settle_epochs(trainer)
        trainer.save_checkpoint(tmp_path / "run" / LAST, weights_only=False)
        batches += more
    assert [batch[:3] for batch in batches] == [batch[:3] for batch in expected]  # the schedule is another
    assert trainer.global_step == straight.global_step
    assert trainer.current_epoch == 3


def test_overfitting_takes_the_same_batches_every_epoch(tmp_path):
    _, batches = run(tmp_path, {}, **WAYS["overfit"])
    assert [batch[1:3] for batch in batches] == [batch[1:3] for batch in batches[:2]] * 5
