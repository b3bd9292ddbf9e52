import pytest

from data_modules.datamodule import EpochBatches, ResumableLoader


def loader(num_workers=0, **options):
    rows = list(range(10))
    context = {"multiprocessing_context": "forkserver", "persistent_workers": True} if num_workers else {}
    return ResumableLoader(
        rows, EpochBatches(10, 3, seed=7, **options), num_workers=num_workers, collate_fn=list, **context
    )


def stream(loader, count):
    batches = []
    while len(batches) < count:
        for batch in loader:
            batches.append(batch)
            if len(batches) == count:
                break
    return batches


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_resumed_loader_hands_out_the_batches_that_would_have_come(stop, num_workers):
    straight = stream(loader(), 8)
    first, second = loader(num_workers), loader(num_workers)
    before = stream(first, stop)
    second.load_state_dict(first.state_dict())
    assert before + stream(second, 8 - stop) == straight


def test_epochs_differ_in_order_and_hold_each_sample_at_most_once():
    batches = stream(loader(), 6)
    epochs = [sum(batches[:3], []), sum(batches[3:], [])]
    assert epochs[0] != epochs[1]
    assert all(len(set(epoch)) == 9 for epoch in epochs)


def test_ranks_share_each_global_batch_without_repetition():
    one = EpochBatches(12, 4, seed=0)
    two = [EpochBatches(12, 2, seed=0, rank=rank, num_ranks=2) for rank in (0, 1)]
    for whole, *parts in zip(one, *two, strict=True):
        assert sorted(whole) == sorted(parts[0] + parts[1])


def test_a_data_set_smaller_than_a_batch_fills_one_up():
    assert [len(batch) for batch in EpochBatches(2, 5, seed=0)] == [5]
