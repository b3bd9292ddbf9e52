import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hydra.utils import instantiate
from torch.utils.data import DataLoader

from data_modules.loading.datamodule import check_disjoint
from data_modules.rows.rows import Rows
from data_modules.samples import Latent, Picture, Text
from data_modules.scores import Scores
from mirage_pl.mirage.collator import Collator
from tests.conftest import compose
from tests.data_modules.source_files import (
    PLAIN,
    blink,
    cell,
    comt,
    jsonl,
    parquet,
    picture,
    plain,
    sat,
    shard,
    task,
    zebra,
)


def test_blinks_rows_are_asked_in_their_own_words_and_graded_by_letter(tmp_path):
    rows = task("blink_jigsaw").read(parquet(tmp_path / "val.parquet", [blink(number) for number in range(4)]))
    even, odd = rows[0], rows[1]
    assert [type(part) for part in even.question] == [Picture, Picture, Picture, Text]
    assert [part.path.read_bytes() for part in even.question[:-1]] == [picture(0), picture(100), picture(200)]
    assert [part.path.read_bytes() for part in odd.question[:-1]] == [picture(1), picture(201)]
    assert even.question[-1].text == "Which piece?\nAnswer with the letter in \\boxed{}."
    assert even.answer_text == r"\boxed{A}"
    assert rows.grade(even, r"\boxed{A}") == Scores({"success": True}, "success", "Jigsaw")
    assert rows.grade(even, r"\boxed{B}").outcome == "wrong"
    hidden = parquet(tmp_path / "test.parquet", [blink(0) | {"answer": "hidden"}])
    with pytest.raises(ValueError, match=r"test.parquet:row 0: the right answer 'hidden' is not among the choices"):
        task("blink_jigsaw").read(hidden)


def test_a_caption_says_where_helper_images_stand(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(picture(0))
    text = "First<output_image>then<output_image>\n\\boxed{A}"
    row = {"text_input": "Why?", "text_output": text, "image_output": ["a.png", "b.png"]}
    rows = task("jsonl").read(jsonl(tmp_path / "train.jsonl", [row]))
    assert rows.caption(rows[0]) == "Why?\nanswer: First[helper image 1]then[helper image 2]\n\\boxed{A}"


def asked(sample):
    """The choices of a question, by letter, read off its text."""
    lines = sample.question[-1].text.split("\n")
    return {line[1]: line[4:] for line in lines if line.startswith("(")}


def test_sats_choices_are_shuffled_by_row_and_seed_and_the_letter_follows(tmp_path):
    file = parquet(tmp_path / "SAT_val.parquet", [sat(number) for number in range(40)])
    rows = task("sat").read(file)
    for number, sample in enumerate(rows):
        assert len(sample.question) == 2 + number % 2
        assert asked(sample)[sample.answer_text[len(r"\boxed{")]] == "left"
        assert set(asked(sample).values()) == {"left", "right"}
        assert rows.grade(sample, sample.answer_text).group == "obj_movement"
    letters = [sample.answer_text for sample in rows]
    assert 8 < Counter(letters)[r"\boxed{A}"] < 32
    assert [sample.answer_text for sample in task("sat").read(file)] == letters
    assert [sample.answer_text for sample in task("sat", "task.data_seed=1").read(file)] != letters


def test_helper_images_may_be_files_named_by_the_row(tmp_path):
    (tmp_path / "helpers").mkdir()
    for number in range(2):
        (tmp_path / f"helpers/{number}.png").write_bytes(picture(70 + number))
    option = "task.columns.image_output='helpers/{row}.png'"
    rows = task("sat", option).read(parquet(tmp_path / "SAT_train.parquet", [sat(0), sat(1)]))
    assert [sample.answer[0].path.read_bytes() for sample in rows] == [picture(70), picture(71)]
    with pytest.raises(ValueError, match=r"three.parquet:row 2: image .*helpers/2.png does not exist"):
        task("sat", option).read(parquet(tmp_path / "three.parquet", [sat(0), sat(1), sat(2)]))


def test_rotations_ask_a_row_again_with_its_choices_one_further(tmp_path):
    row = sat(0) | {"answers": ["left", "right", "up"]}
    file = parquet(tmp_path / "a.parquet", [row, row | {"question": "another"}])
    rows = task("sat", "task.rotations=3", "task.shuffle=false").read(file)
    assert len(rows) == 6
    assert [list(asked(sample).values()) for sample in rows][:3] == [
        ["left", "right", "up"],
        ["right", "up", "left"],
        ["up", "left", "right"],
    ]
    assert [sample.answer_text for sample in rows] == [rf"\boxed{{{letter}}}" for letter in "ACBACB"]
    assert rows[4].where == f"{file}:row 1, choices rotated by 1"
    assert len({rows.identity(sample) for sample in rows}) == 2, "whatever the order, it is the same question"
    with pytest.raises(IndexError):
        rows[6]


def test_zebras_thoughts_become_text_and_latent_blocks(tmp_path):
    rows = task("zebra_cot").read(parquet(tmp_path / "train.parquet", [zebra(0), zebra(3)]))
    sample = rows[1]
    assert [type(part) for part in sample.question] == [Picture, Text]
    assert sample.question[0].path.read_bytes() == picture(3)
    assert [type(part) for part in sample.answer] == [Text, Latent, Text]
    assert sample.answer[1].path.read_bytes() == picture(53)
    assert sample.answer_text == "THOUGHT 0: \n\\boxed{7}"
    assert rows.grade(sample, r"\boxed{ 7 }").values["success"]
    lacking = parquet(tmp_path / "b.parquet", [zebra(0), zebra(1)])
    with pytest.raises(ValueError, match=r"b.parquet:row 1: the text shows image reasoning_image_1, .* 0 images"):
        task("zebra_cot").read(lacking)


def test_comts_plans_become_several_latent_blocks_and_rows_without_one_are_graded_too(pictured, processor):
    (pictured / "images_comt/creation").mkdir(parents=True)
    for number in range(4):
        (pictured / f"images_comt/creation/{number}.png").write_bytes(picture(number))
    test = comt(2) | {"sequence_plan": None}
    train, asked = (
        task("comt").read(jsonl(pictured / name, [row])) for name, row in (("A.jsonl", comt(2)), ("B.jsonl", test))
    )
    drawn = [Latent(pictured / f"images_comt/creation/{number}.png") for number in (2, 3)]
    ends = Text("So both are equal.The final answer is: 2°")
    assert train[0].answer == (Text("Draw BD. "), drawn[0], Text("Extend it. "), drawn[1], ends)
    assert train[0].meta["original_final_answer"] == "2°"
    for rows in (train, asked):
        assert rows[0].question == (
            Picture(pictured / "images_comt/creation/0.png"),
            Text("Which angle? (A) 20° (B) 2°"),
        )
        assert rows.grade(rows[0], "I think.\nThe final answer is: 2°").values["success"]
        assert rows.grade(rows[0], "The final answer is: 20°").outcome == "wrong"
    batch = Collator(processor, latent_size=1, latents=True, helpers=True)(list(train))
    assert len(batch.helpers.grids) == 2


def test_tar_shards_serve_objects_texts_and_images_by_column(tmp_path):
    columns = {"text_input": "{json.question}", "image_input": "helper.png", "text_output": "{txt}"}
    rows = Rows(columns).read(shard(tmp_path / "shard.tar", range(3)))
    assert rows[2].question[0].path.read_bytes() == picture(2)
    assert (rows[2].question[1].text, rows[2].answer_text) == ("q2", "caption é")
    assert rows[2].where == f"{tmp_path}/shard.tar:data/00002"


def test_paths_start_at_each_files_own_folder_and_further_columns_are_kept(pictured):
    (pictured / "other/images").mkdir(parents=True)
    (pictured / "other/images/5.png").write_bytes(picture(55))
    jsonl(pictured / "other/a.jsonl.gz", [plain(5)])
    jsonl(pictured / "a.jsonl", [plain(5)])
    rows = Rows(PLAIN).read([pictured / "a.jsonl", str(pictured / "other/*.gz")])
    assert [sample.question[0].path.read_bytes() for sample in rows] == [picture(5), picture(55)]
    assert rows[0].meta["note"] == [5]
    rooted = Rows(PLAIN, image_root=pictured).read([pictured / "a.jsonl", str(pictured / "other/*.gz")])
    assert [sample.question[0].path.read_bytes() for sample in rooted] == [picture(5), picture(5)]


def test_files_are_mixed_by_weights_that_yaml_gives(pictured):
    jsonl(pictured / "a.jsonl", [plain(number) for number in range(4)])
    jsonl(pictured / "b.jsonl", [plain(number) for number in range(4, 8)])
    files = f"[{{file: {pictured}/a.jsonl, weight: 2}}, {{file: '{pictured}/b*.jsonl', weight: 0.5}}]"
    columns = "{text_input: '{q}', text_output: '{a}', image_input: image}"
    cfg = compose("train", "task=jsonl", f"task.train_file={files}", f"task.columns={columns}", "task.val_file=null")
    module = instantiate(cfg.task.data, collate=list)
    module.setup("fit")
    served = Counter(sample.where for sample in module.datasets["train"])
    assert [served[f"{pictured}/a.jsonl:{line}"] for line in range(1, 5)] == [2] * 4
    assert len(served) == 4 + 2
    for bad in ({"fil": "a"}, {"file": "a.jsonl", "weight": "2"}, 3):
        with pytest.raises(ValueError, match="is no file to read; give a path, a glob"):
            Rows().read([bad])


def test_a_batch_of_packed_images_is_that_of_the_same_images_as_files(pictured, processor):
    files = [plain(number, helper=f"images/{number + 4}.png") for number in range(4)]
    packed = [row | {"image": cell(number), "helper": cell(number + 4)} for number, row in enumerate(files)]
    columns = PLAIN | {"image_output": "helper"}
    loose = Rows(columns).read(jsonl(pictured / "a.jsonl", files))
    inside = Rows(columns).read(parquet(pictured / "a.parquet", packed))
    collate = Collator(processor, latent_size=1, latents=True, helpers=True)
    one, other = collate(list(loose)), collate(list(inside))
    assert one.images.grids == other.images.grids
    for left, right in ((one, other), (collate.prompts(list(loose)), collate.prompts(list(inside)))):
        assert torch.equal(left.tokens_BT, right.tokens_BT)
        assert torch.equal(left.images.pixels_PF, right.images.pixels_PF)
    assert torch.equal(one.targets_BT, other.targets_BT)
    assert torch.equal(one.helpers.pixels_PF, other.helpers.pixels_PF)
    assert [collate.widths(sample) for sample in loose] == [collate.widths(sample) for sample in inside]
    assert [loose.identity(sample) for sample in loose] == [inside.identity(sample) for sample in inside]
    workers = DataLoader(inside, 4, collate_fn=collate, num_workers=1, multiprocessing_context="forkserver")
    assert torch.equal(next(iter(workers)).helpers.pixels_PF, one.helpers.pixels_PF)


def test_a_loaders_workers_read_what_the_first_process_unpacked(pictured):
    rows = Rows(PLAIN).read(jsonl(pictured / "a.jsonl.gz", [plain(number) for number in range(4)]))
    expected = list(rows)
    (pictured / "a.jsonl.gz").unlink()  # nobody can unpack it again
    loader = DataLoader(rows, 2, collate_fn=list, num_workers=2, multiprocessing_context="forkserver")
    assert [sample for batch in loader for sample in batch] == expected


def test_large_files_are_checked_row_by_row_and_not_compared(pictured):
    file = jsonl(pictured / "rows.jsonl", [plain(0), plain(1, q=None), plain(2)])
    rows = Rows(PLAIN, check_rows=2).read(file)
    assert rows[2].answer_text == "a2"
    with pytest.raises(ValueError, match="rows.jsonl:2: the question is null"):
        rows[1]
    assert rows.identities() == {}
    assert not check_disjoint({"train": rows, "val": rows})
    small = Rows(PLAIN).read(jsonl(pictured / "small.jsonl", [plain(0)]))
    assert check_disjoint({"train": small, "val": Rows(PLAIN).read(jsonl(pictured / "b.jsonl", [plain(1)]))})
    with pytest.raises(ValueError, match="1 sample.* of val are in train too"):
        check_disjoint({"train": small, "val": Rows(PLAIN).read(jsonl(pictured / "c.jsonl", [plain(0)]))})


def test_a_row_is_drawn_with_its_pictures_and_the_answer_below(pictured):
    rows = Rows(PLAIN).read(jsonl(pictured / "rows.jsonl", [plain(0, image=["images/0.png", "images/11.png"])]))
    empty, drawn = rows.draw(rows[0], ""), rows.draw(rows[0], "one line\nanother")
    assert drawn.width == empty.width > 2 * 28
    assert drawn.height > empty.height
    assert drawn.crop((0, 0, *empty.size)).tobytes() == empty.tobytes()
    assert min(drawn.crop((0, empty.height, *drawn.size)).convert("L").getdata()) < 100, "the answer is written"
    rows.draw(replace(rows[0], question=(Text("q"),)), "an answer to a question without pictures")


def test_mazes_in_parquet_train_and_score_as_they_do_in_files(data, train_config, tmp_path):
    from mirage_pl.engine.evaluation import scoring
    from tests.engine.training.test_train import losses_of

    source = data / "vsp-28px"
    for split in ("train", "val", "test"):
        rows = [json.loads(line) for line in (source / f"{split}.jsonl").read_text().splitlines()]
        for row in rows:
            for key in ("image_input", "image_output"):
                path = row[key] if isinstance(row[key], str) else row[key][0]
                row[key] = {"bytes": (source / path).read_bytes(), "path": path}
        parquet(tmp_path / f"{split}.parquet", rows)
    files = [f"task.{split}_file={tmp_path}/{split}.parquet" for split in ("train", "val", "test")]
    packed = ["task=jsonl", "task.grader=data_modules.vsp.planning.grade_plan", "task.max_new_tokens=16", *files]
    plain = train_config(
        "stage=stage1", f"run_dir={tmp_path}/plain", f"features={tmp_path}/one", "task.max_new_tokens=16"
    )
    inside = compose("train", *packed, "stage=stage1", f"run_dir={tmp_path}/inside", f"features={tmp_path}/two")
    for key in ("trainer", "loader", "callbacks", "runs", "data"):
        inside[key] = plain[key]
    assert losses_of(inside) == losses_of(plain)
    scores = [
        scoring.run(compose("evaluate", f"ckpt={tmp_path}/{name}", "decoding.max_new_tokens=16", *options))
        for name, options in {"plain": [f"data={data}", *PER_LEVEL], "inside": packed}.items()
    ]
    assert scores[0]["success"] == scores[1]["success"]
    assert scores[0]["test"]["digest"] != ""
    assert scores[1]["test"]["seen"] == 0


PER_LEVEL = ["task.per_level={train: 12, val: 4, test: 4}"]


CHOSEN = {"text_input": "{q}\n{lettered}", "text_output": "{letter}", "choices": "c", "right": "r"}


def chosen(folder, *pairs, name="chosen"):
    return jsonl(folder / f"{name}.jsonl", [{"q": f"q{n}", "c": c, "r": r} for n, (c, r) in enumerate(pairs)])


def test_what_a_right_choice_is_follows_from_all_rows_of_a_file(tmp_path):
    words, numbers = ["left", "up", "down"], [1, 2, 3]
    for pairs, letters in (
        ([(words, 1), (numbers, 1)], "BB"),
        ([([1, 2, 9], 9), (numbers, 1)], "CA"),
        ([(words, "B"), (["B", "A"], "B")], "BB"),
        ([(words, "down"), (["B", "A"], "B")], "CA"),
    ):
        rows = Rows(CHOSEN, "choice").read(chosen(tmp_path, *pairs))
        assert "".join(sample.answer_text for sample in rows) == letters
    unclear = chosen(tmp_path, (numbers, 1), (numbers, 2))
    for read in (Rows(CHOSEN, "choice").read, lambda file: list(Rows(CHOSEN, "choice").problems(file))):
        with pytest.raises(ValueError, match=r"chosen.jsonl:1: .* A \(1\) as .* B \(2\) as .*right_is=itself or index"):
            read(unclear)
    mixed = chosen(tmp_path, (words, 1), (words, "down"), name="mixed")
    with pytest.raises(ValueError, match=r"mixed.jsonl:2: .* is the choice itself, but that of .*mixed.jsonl:1 is not"):
        Rows(CHOSEN, "choice").read(mixed)
    for right_is, letters in (("itself", "AB"), ("index", "BC"), ("index1", "AB")):
        rows = Rows(CHOSEN | {"right_is": right_is}, "choice").read(unclear)
        assert "".join(sample.answer_text for sample in rows) == letters


def test_rows_without_an_answer_are_asked_but_not_graded(tmp_path, caplog):
    words = ["left", "up"]
    rows = Rows(CHOSEN, "choice").read(chosen(tmp_path, (words, "up"), (words, None)))
    assert [sample.answer_text for sample in rows] == ["B", ""]
    assert rows.grade(rows[0], "B").values["success"]
    assert rows.grade(rows[1], "B") == Scores({}, "ungraded", "rows")
    official = Rows().read(jsonl(tmp_path / "official.jsonl", [{"text_input": "q", "image_input": []}]))
    assert not official.grade(official[0], "a").values
    hidden = jsonl(tmp_path / "hidden.jsonl", [{"q": "q", "c": words}, {"q": "p", "c": words}])
    with caplog.at_level("WARNING"):
        rows = Rows(CHOSEN, "choice").read(hidden)
    assert "hidden.jsonl has no column r: its rows are asked, not graded" in caplog.text
    assert [rows.grade(sample, "B").values for sample in rows] == [{}, {}]
    assert list(Rows(CHOSEN, "choice").problems(hidden)) == []


def test_a_column_named_without_braces_is_read_and_a_misspelt_one_is_not_its_name(tmp_path):
    file = jsonl(tmp_path / "rows.jsonl", [{"question": f"q{n}", "answer": f"a{n}"} for n in range(3)])
    rows = Rows({"text_input": "question", "text_output": "answer"}).read(file)
    assert [sample.answer_text for sample in rows] == ["a0", "a1", "a2"]
    for read in ("read", "problems"):
        with pytest.raises(ValueError, match="text_input=questoin would be the same text .*did you mean question"):
            list(getattr(Rows({"text_input": "questoin", "text_output": "answer"}), read)(file))
