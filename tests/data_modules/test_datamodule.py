import pickle

import pytest

from data_modules.loading.batches import EpochBatches, TokenBatches
from data_modules.loading.datamodule import DataModule, Kept, warn_of_repeats
from data_modules.loading.loader import Loading, ResumableLoader
from data_modules.samples import Sample, Text


def loader(kind, num_workers=0):
    batches = {
        "fixed": EpochBatches(10, 3, seed=7),
        "tokens": TokenBatches([(9,), (3,), (40,), (11,), (8,), (30,), (20,), (35,), (7,), (5,)], 60, seed=7),
    }[kind]
    context = {"multiprocessing_context": "forkserver", "persistent_workers": True} if num_workers else {}
    return ResumableLoader(list(range(10)), batches, num_workers=num_workers, collate_fn=list, **context)


def stream(loader, count):
    batches = []
    while len(batches) < count:
        for batch in loader:
            batches.append(batch)
            if len(batches) == count:
                break
    return batches


@pytest.mark.parametrize(
    ("kind", "num_workers", "stop"),
    [("fixed", 0, stop) for stop in range(1, 8)]
    + [("tokens", 0, stop) for stop in range(1, 12)]
    + [("fixed", 2, 2), ("fixed", 2, 3), ("tokens", 2, 2), ("tokens", 2, 5)],  # in mid-epoch, and at its end
)
def test_a_resumed_loader_hands_out_the_batches_that_would_have_come(kind, num_workers, stop):
    straight = stream(loader(kind), 12)
    first, second = loader(kind, num_workers), loader(kind, num_workers)
    before = stream(first, stop)
    second.load_state_dict(first.state_dict())
    assert before + stream(second, 12 - stop) == straight


def test_epochs_differ_in_order_and_hold_each_sample_at_most_once():
    batches = stream(loader("fixed"), 6)
    epochs = [sum(batches[:3], []), sum(batches[3:], [])]
    assert epochs[0] != epochs[1]
    assert all(len(set(epoch)) == 9 for epoch in epochs)


class Words:
    """A collator for which a word is a token; question and answer are two segments."""

    def __call__(self, samples):
        return [sample.question[0].text for sample in samples]

    def widths(self, sample):
        return len(sample.question[0].text.split()), len(sample.answer[0].text.split())


class Listed(list):
    """Samples that can't be told from those of another split."""

    def identities(self):
        return {}


class Files:
    def read(self, file):
        return Listed(read(file))


def read(file):
    """Rows of 4, 2, 5, … words and answers of 1, 2, 3, …."""
    return [
        Sample(where=f"{file}:{line}", question=(Text("word " * words + str(line)),), answer=(Text("yes " * line),))
        for line, words in enumerate([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], start=1)
    ]


def data(max_tokens=None, max_length=None, on_overlong="error"):
    module = DataModule(
        dataset=Files(),
        files={"train": "train.jsonl", "val": None, "test": "test.jsonl"},
        collate=Words(),
        loader=Loading(4, max_tokens, max_length, on_overlong, eval_batch_size=3),
        seed=0,
    )
    module.setup("fit")
    module.setup("test")
    return module


def test_max_tokens_fills_training_batches_by_the_collators_widths():
    collate, rows = Words(), read("train.jsonl")
    widths = [collate.widths(row) for row in rows]
    expected = [[rows[index].question[0].text for index in batch] for batch in TokenBatches(widths, 30, seed=0)]
    assert list(data(max_tokens=30).train_dataloader()) == expected
    assert len({len(batch) for batch in expected}) > 1


def test_without_max_tokens_training_batches_have_batch_size_rows_and_no_width_is_asked_for():
    module = data()
    module.collate = list
    assert [len(batch) for batch in module.train_dataloader()] == [4, 4]


def test_evaluation_keeps_its_order_and_batch_size_whatever_max_tokens():
    batches = list(data(max_tokens=30).test_dataloader())
    assert [len(batch) for batch in batches] == [3, 3, 3, 1]
    assert sum(batches, []) == Words()(read("test.jsonl"))


def test_a_row_longer_than_max_tokens_is_refused_by_name():
    assert len(data(max_tokens=16).train_dataloader()) > 0
    with pytest.raises(ValueError, match=r"^train.jsonl:6: .* 16 tokens, .* loader.max_tokens=15; .*=16 or more"):
        data(max_tokens=15)


def words(batches):
    return [text.split() for batch in batches for text in batch]


@pytest.mark.parametrize("max_tokens", [None, 60])
def test_overlong_rows_are_dropped_where_that_is_asked_for_and_said(caplog, max_tokens):
    module = data(max_tokens, max_length=12, on_overlong="drop")
    lengths = [sum(Words().widths(row)) for row in read("train.jsonl")]
    short = [row.question[0].text.split() for row, n in zip(read("train.jsonl"), lengths, strict=True) if n <= 12]
    assert 4 < len(short) < len(lengths)
    assert f"{len(lengths) - len(short)} of {len(lengths)} samples are longer than loader.max_length=12" in caplog.text
    trained = words(module.train_dataloader())
    assert len(trained) >= 4
    assert all(text in short for text in trained)
    assert len(words(module.test_dataloader())) == len(lengths)  # a score is of all questions


def test_what_is_kept_is_still_its_data_set(tmp_path):
    rows = [Sample(f"a:{line}", (Text(str(line)),), ()) for line in range(5)]

    class Named(list):
        title = "squares"

    kept = Kept(Named(rows), [1, 3])
    again = pickle.loads(pickle.dumps(Kept(rows, [1, 3])))
    assert [sample.where for sample in again] == ["a:1", "a:3"] == [kept[0].where, kept[1].where]
    assert kept.title == "squares"


def test_no_row_short_enough_is_an_error_even_where_rows_may_be_dropped():
    with pytest.raises(ValueError, match=r"loader.max_length=2, and no row has fewer"):
        data(max_length=2, on_overlong="drop")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "loader.max_tokens=0 must be 1 or more"),
        ({"max_tokens": -5}, "loader.max_tokens=-5 must be 1 or more"),
        ({"max_length": 0}, "loader.max_length=0 must be 1 or more"),
        ({"on_overlong": "cut"}, "loader.on_overlong=cut is unknown; choose error or drop"),
    ],
)
def test_impossible_limits_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        data(**options)


def test_the_batches_of_an_optimizer_step_are_known_with_its_first():
    batches = EpochBatches(13, 2, seed=7, accumulate=3)
    resumed = ResumableLoader(list(range(13)), batches, collate_fn=list)
    straight = stream(ResumableLoader(list(range(13)), EpochBatches(13, 2, seed=7, accumulate=3), collate_fn=list), 12)
    resumed.load_state_dict({"epoch": 0, "handed_out": 3, "division": resumed.division})
    for number, batch in enumerate(resumed, start=3):
        assert batch == straight[number]
        first = number - number % 3
        assert resumed.step_batches == straight[first : first + 3]
    assert resumed.state_dict() == {"epoch": 1, "handed_out": 0, "division": resumed.division}


def loader_of(batches):
    return ResumableLoader(list(range(48)), batches, collate_fn=list)


@pytest.mark.parametrize(("ranks", "accumulate"), [(1, 1), (2, 2), (4, 1)])
def test_steps_that_are_cut_otherwise_are_not_gone_on_with(ranks, accumulate):
    state = loader_of(EpochBatches(48, 2, seed=7, num_ranks=2)).state_dict()
    rows = "" if ranks == 2 else f"{2 * ranks} rows a batch of all processes"
    steps = "" if accumulate == 1 else f"{accumulate} batches a step"
    message = f"was trained with .* can't be continued with {rows}{steps}.*; set trainer.devices, .* init_from=RUN"
    with pytest.raises(ValueError, match=message):
        loader_of(EpochBatches(48, 2, seed=7, num_ranks=ranks, accumulate=accumulate)).load_state_dict(state)


def test_fewer_ranks_with_more_rows_each_go_on_with_the_rows_that_would_have_come():
    two = [loader_of(EpochBatches(48, 2, seed=7, rank=rank, num_ranks=2)) for rank in (0, 1)]
    batches = zip(*(stream(loader, 20) for loader in two), strict=True)
    straight = [sorted(first + second) for first, second in batches]
    early = loader_of(EpochBatches(48, 2, seed=7, num_ranks=2))
    stream(early, 5)
    one = loader_of(EpochBatches(48, 4, seed=7))
    one.load_state_dict(early.state_dict())
    assert [sorted(rows) for rows in stream(one, 15)] == straight[5:]


def test_batches_by_tokens_are_gone_on_with_by_as_many_ranks_alone():
    state = loader_of(TokenBatches([[1]] * 48, 4, seed=7)).state_dict()
    with pytest.raises(ValueError, match="trained with 1 processes.* can't be continued with 2 processes"):
        loader_of(TokenBatches([[1]] * 48, 2, seed=7, num_ranks=2)).load_state_dict(state)


@pytest.mark.parametrize(
    ("size", "ranks", "first", "said"), [(3, 1, True, 3), (4, 1, True, 0), (7, 2, True, 3), (3, 1, False, 0)]
)
def test_a_batch_larger_than_the_rows_says_that_it_repeats_some(caplog, size, ranks, first, said):
    with caplog.at_level("WARNING"):
        warn_of_repeats(size, 4, ranks, first)
    assert caplog.text.count(f"set loader.batch_size={said}") == bool(said)
    assert ("each batch repeats rows" in caplog.text) == bool(said)


def test_training_without_a_file_of_rows_is_refused():
    data = DataModule(None, {"train": None, "val": None, "test": None}, None, Loading(), 0)
    with pytest.raises(ValueError, match="task.train_file is null; give task.train_file=FILE"):
        data.setup("fit")
