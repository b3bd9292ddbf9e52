import shutil
from dataclasses import replace
from itertools import zip_longest

import pytest
import torch
from PIL import Image

from data_modules.images import open_image
from data_modules.samples import Latent, Picture, Sample, Text
from mirage_pl.mirage.batch import IGNORE
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.model.backbone import load_processor
from mirage_pl.mirage.placing import Row, cut, place
from tests.conftest import REPO

PAD, LATENT = 0, 9


def rows(*texts):
    return [Row(list(text), [IGNORE if token == LATENT else token for token in text]) for text in texts]


def test_a_row_is_cut_into_text_and_latent_in_turn():
    pieces = cut(rows([1, 2, LATENT, LATENT, 3, LATENT])[0], LATENT)
    assert [piece.tokens for piece in pieces] == [[1, 2], [LATENT, LATENT], [3], [LATENT], []]
    assert [piece.tokens for piece in cut(rows([1])[0], LATENT)] == [[1]]


def test_latent_blocks_stand_in_the_same_columns_of_every_row():
    batch = place(rows([1, 2, 3, 9, 9, 4], [5, 9, 9, 6, 7], [8, 8]), LATENT, PAD)
    assert batch.tokens_BT.tolist() == [[1, 2, 3, 9, 9, 4, 0], [0, 0, 5, 9, 9, 6, 7], [0, 8, 8, 0, 0, 0, 0]]
    assert [(s.start, s.stop, s.latent) for s in batch.segments] == [(0, 3, False), (3, 5, True), (5, 7, False)]
    assert batch.latent_BT.sum(1).tolist() == [2, 2, 0]
    assert batch.real_BT.sum(1).tolist() == [6, 5, 2]


def test_a_column_predicts_the_next_real_token_across_padding():
    batch = place(rows([1, 9, 2, 3, 9, 4], [5, 9, 6, 9, 7]), LATENT, PAD)
    assert batch.tokens_BT[1].tolist() == [5, 9, 0, 6, 9, 7]
    assert batch.targets_BT[1].tolist() == [IGNORE, 6, IGNORE, IGNORE, 7, IGNORE]
    assert batch.targets_BT[0].tolist() == [IGNORE, 2, 3, IGNORE, 4, IGNORE]


def test_blocks_of_different_lengths_start_in_the_same_column():
    batch = place(rows([1, 9, 2, 9, 9, 3], [4, 4, 9, 9, 9, 5]), LATENT, PAD)
    assert batch.tokens_BT.tolist() == [[0, 1, 9, 0, 0, 2, 9, 9, 3], [4, 4, 9, 9, 9, 5, 0, 0, 0]]
    assert batch.sizes == ((1, 2), (3,))
    assert batch.lengths == (6, 6)
    assert (batch.num_real, batch.num_columns, batch.supervised) == (12, 18, 4)
    assert [(s.start, s.stop) for s in batch.blocks] == [(2, 5), (6, 8)]
    assert batch.places_N.tolist() == [0, 0, 1, 0, 1, 2]


def decoded(collator, tokens):
    return collator.tokenizer.decode([token for token in tokens.tolist() if token != collator.image_pad])


def test_a_direct_answer_thinks_in_latents_first(processor, samples):
    collator = Collator(processor, latent_size=2, latents=True, helpers=True)
    batch = collator(samples[:1])
    text = decoded(collator, batch.tokens_BT[0][batch.real_BT[0]])
    block = "<|latent_start|><|latent_pad|><|latent_pad|><|latent_end|>"
    assert text.startswith("<|im_start|>user\n<|vision_start|><|vision_end|>Write the shortest")
    assert text.endswith(f"<|im_start|>assistant\n{block}{samples[0].answer_text}<|im_end|>")
    supervised = [token for token in batch.targets_BT[0].tolist() if token != IGNORE]
    expected = f"<|latent_start|><|latent_end|>{samples[0].answer_text}<|im_end|>"
    assert collator.tokenizer.decode(supervised) == expected


def test_the_baseline_sees_the_same_answer_without_latents(processor, samples):
    batch = Collator(processor, latent_size=2, latents=False, helpers=False)(samples)
    assert not batch.latent_BT.any()
    assert batch.helpers is None
    assert len(batch.segments) == 1


def test_a_share_of_rows_is_trained_on_with_helper_images_in_the_question(processor, samples):
    plain = Collator(processor, latent_size=2, latents=False, helpers=False)
    some = Collator(processor, latent_size=2, latents=False, helpers=False, revealed=0.5)
    every = Collator(processor, latent_size=2, latents=False, helpers=False, revealed=1)
    rows = [replace(samples[0], where=f"train.jsonl:{number}") for number in range(60)]
    told = [some.lesson(row) == every.lesson(row) for row in rows]
    assert 20 < sum(told) < 40
    assert told == [some.lesson(replace(row, where=f"/elsewhere/{row.where}")).question != row.question for row in rows]
    for row, is_told in zip(rows[:6], told, strict=False):
        batch, helper = some([row]), next(part for part in row.answer if isinstance(part, Latent))
        shown = plain([replace(row, question=(*row.question, Picture(helper.path)))] if is_told else [row])
        assert torch.equal(batch.tokens_BT, shown.tokens_BT)
        assert torch.equal(batch.images.pixels_PF, shown.images.pixels_PF)
        assert some.widths(row) == (batch.tokens_BT.shape[1],)
        assert (helper.path in some.images(row)) == is_told
        assert torch.equal(some.prompts([row]).tokens_BT, plain.prompts([row]).tokens_BT)
        assert helper.path not in some.images(row, answers=False)


def test_an_image_takes_one_token_a_cell_at_28_pixels(processor, samples):
    collator = Collator(processor, latent_size=1, latents=False, helpers=False)
    batch = collator.prompts(samples[:2])
    assert (batch.tokens_BT == collator.image_pad).sum(1).tolist() == [9, 16]
    assert batch.real_BT[:, -1].all()
    assert (batch.targets_BT == IGNORE).all()


def test_a_rows_widths_are_those_of_its_segments_without_an_image_being_decoded(processor, samples, monkeypatch):
    helper = next(part for part in samples[0].answer if isinstance(part, Latent))
    twice = replace(samples[1], answer=(Text("a b"), helper, Text("c"), replace(helper, size=5)))
    rows = [*samples, twice, replace(samples[2], answer=(Text("no block"),))]
    for latents in (True, False):
        collator = Collator(processor, latent_size=2, latents=latents, helpers=False)
        batch = collator(rows)
        with monkeypatch.context() as patch:
            patch.setattr(Image.Image, "load", None)
            widths = [collator.widths(row) for row in rows]
        assert [s.stop - s.start for s in batch.segments] == [max(c) for c in zip_longest(*widths, fillvalue=0)]
        assert list(batch.lengths) == [sum(width) for width in widths]


def test_text_around_a_latent_block_keeps_its_place(processor, samples):
    picture = samples[0].question[0]
    helper = next(part for part in samples[0].answer if isinstance(part, Latent))
    sample = Sample("x:1", (picture, Text("q")), (Text("<think>a</think>"), helper, Text("b")))
    collator = Collator(processor, latent_size=1, latents=True, helpers=False)
    batch = collator([sample])
    expected = "<think>a</think><|latent_start|><|latent_pad|><|latent_end|>b<|im_end|>"
    assert decoded(collator, batch.tokens_BT[0]).endswith(expected)


@pytest.mark.parametrize("latent_size", [0, -1, 1.5, "abc"])
def test_no_latents_a_block_is_refused(processor, latent_size):
    with pytest.raises(ValueError, match="latent_size=.* must be a whole number of 1 or more"):
        Collator(processor, latent_size, latents=True, helpers=True)


def test_a_missing_image_names_the_row(processor, tmp_path, samples):
    from data_modules.samples import Picture

    sample = Sample("rows.jsonl:3", (Picture(tmp_path / "none.png"),), (Text("x"),))
    with pytest.raises(ValueError, match="rows.jsonl:3: image .*none.png does not exist"):
        Collator(processor, 1, latents=True, helpers=False)([sample])


def test_a_helper_image_smaller_than_a_block_names_row_and_file(processor, samples):
    where = samples[0].where.replace("[", ".")
    with pytest.raises(ValueError, match=f"{where}: helper image .*_path.png makes 9 patch.*fewer than latent_size=10"):
        Collator(processor, 10, latents=True, helpers=True)(samples[:1])


def test_a_row_without_an_answer_is_no_training_row(processor, samples):
    unanswered = Sample("rows.jsonl:2", samples[0].question, ())
    collator = Collator(processor, 1, latents=True, helpers=False)
    with pytest.raises(ValueError, match="rows.jsonl:2: no text_output"):
        collator([unanswered])
    assert len(collator.prompts([unanswered])) == 1


def test_a_batch_moves_as_a_whole(processor, samples):
    batch = Collator(processor, 1, latents=True, helpers=True)(samples).to("meta")
    parts = [batch, batch.images, batch.helpers]
    tensors = [value for part in parts for value in vars(part).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 7
    assert all(tensor.device.type == "meta" for tensor in tensors)


def test_images_are_shown_within_the_bounds_of_their_role(processor, samples, tmp_path):
    own = Collator(processor, 1, latents=True, helpers=True)(samples)
    bounds = {"input": {"min": None, "max": 4000}, "helper": {"min": 40_000, "max": None}}
    collator = Collator(processor, 1, latents=True, helpers=True, pixels=bounds)
    batch = collator(samples)
    assert {h * w * 14**2 for _, h, w in own.images.grids + own.helpers.grids} <= {84**2, 112**2}
    assert {h * w * 14**2 for _, h, w in batch.images.grids} == {56**2}
    assert all(40_000 <= h * w * 14**2 < 60_000 for _, h, w in batch.helpers.grids)
    stock = processor.image_processor(
        images=[open_image(sample.question[0].path, "") for sample in samples],
        size={"shortest_edge": processor.image_processor.size["shortest_edge"], "longest_edge": 4000},
        return_tensors="pt",
    )
    assert torch.equal(batch.images.pixels_PF, stock["pixel_values"])
    collator.shown_processor().save_pretrained(tmp_path)
    shutil.copy(REPO / "assets" / "tiny" / "config.json", tmp_path)
    assert load_processor(str(tmp_path)).image_processor.size["longest_edge"] == 4000
    assert processor.image_processor.size["longest_edge"] > 4000
    assert tuple(sum(collator.widths(sample)) for sample in samples) == batch.lengths


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ({"input": {"min": 9000, "max": 8000}}, r"pixels.input: images of 9000 to 8000 pixels can't be"),
        ({"helper": {"max": 0}}, r"pixels.helper: images of 784 to 0 pixels"),
        ({"output": {"max": 1}}, r"pixels.output is unknown; there are pixels.input and pixels.helper"),
    ],
)
def test_bounds_that_leave_nothing_are_refused(processor, pixels, message):
    with pytest.raises(ValueError, match=message):
        Collator(processor, 1, latents=True, helpers=True, pixels=pixels)


@pytest.mark.parametrize("check", ["decoded", "measured"])
def test_an_image_too_long_for_its_width_is_named(processor, tmp_path, check):
    file = tmp_path / "line.png"
    Image.new("RGB", (6000, 20)).save(file)
    sample = Sample("rows.jsonl:3", (Picture(file), Text("?")), (Text("!"),))
    collator = Collator(processor, 1, latents=False, helpers=False)
    ask = {"decoded": lambda: collator([sample]), "measured": lambda: collator.widths(sample)}[check]
    with pytest.raises(
        ValueError, match=r"rows.jsonl:3: image .*line.png of 6000×20 pixels can't be shown: absolute aspect"
    ):
        ask()
