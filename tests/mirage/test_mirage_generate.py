"""The file that an export carries decodes as we do, in stock transformers: the same tokens and latents."""

import ast
import sys
from pathlib import Path

import pytest
import torch

from data_modules.samples import Latent, Picture, Sample, Text
from mirage_pl.mirage.decoding.sampling import Choice as OurChoice
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.export import mirage_generate
from mirage_pl.mirage.export.mirage_generate import Choice, Mirage
from tests.mirage.exported import PARTS, SIZE, export_net, parts

COLUMNS = 32


@pytest.fixture(scope="module")
def asked(samples):
    """Rows with prompts of several lengths, two images, and none; what the file is asked; the sizes of blocks."""
    helper = next(part for part in samples[0].answer if isinstance(part, Latent))
    rows = [*samples[:2], Sample("a:1", (*samples[2].question, Text(" and "), *samples[3].question), ())]
    rows += [Sample("a:2", (Text("Read the map."),), (Latent(helper.path, 1), Text("a"), Latent(helper.path, 5)))]
    texts = ["".join("<image>" if isinstance(p, Picture) else p.text for p in row.question) for row in rows]
    images = [[part.path for part in row.question if isinstance(part, Picture)] for row in rows]
    return rows, texts, images, [(), (), (), (1, 5)]


@pytest.fixture(scope="module")
def mirage():
    return Mirage.load(export_net()[1], "cpu")


def blocks(tokens, mirage):
    """Sizes of the blocks of an answer."""
    marks = "".join({mirage.latent_start: "s", mirage.latent_pad: "p"}.get(token, ".") for token in tokens)
    return [len(block) - len(block.lstrip("p")) for block in marks.split("s")[1:]]


@pytest.mark.parametrize("name", PARTS)
def test_a_batch_is_answered_as_by_us_token_by_token(asked, name):
    (net, folder), (_, decoder, collator) = export_net(name), parts()
    rows, texts, images, sizes = asked
    mirage = Mirage.load(folder, "cpu")
    ours = decoder(net, collator.prompts(rows), Decoding(COLUMNS))
    theirs = mirage.generate(texts, images, sizes, max_new_tokens=COLUMNS)
    assert [answer.tokens for answer in theirs] == ours.tokens
    assert [answer.text for answer in theirs] == ours.texts
    assert [answer.finished for answer in theirs] == ours.finished
    for answer, latents in zip(theirs, ours.latents, strict=True):
        assert len(answer.latents) == len(latents)
        assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(answer.latents, latents, strict=True))
    opened = [blocks(tokens, mirage) for tokens in ours.tokens]
    assert max(map(len, opened)) >= 2, "one block after another"
    assert len(set(ours.finished)) == 2, "one row goes on when another has ended"


def test_the_parts_that_differ_make_another_answer(asked):
    """Else the test above would hold whatever the file makes of feedback and recurrence."""
    _, texts, images, sizes = asked
    answers = [Mirage.load(export_net(name)[1], "cpu").generate(texts, images, sizes, COLUMNS) for name in PARTS]
    latents = [next(latent for answer in row for latent in answer.latents[1:]) for row in answers]
    assert not any(torch.allclose(one, other) for one, other in zip(latents[:-1], latents[1:], strict=True))


def test_a_batch_is_answered_as_its_rows_are(asked, mirage):
    _, texts, images, sizes = asked
    together = mirage.generate(texts, images, sizes, COLUMNS)
    for row, answer in enumerate(together):
        alone = mirage.generate([texts[row]], [images[row]], [sizes[row]], COLUMNS)[0]
        assert (alone.tokens, alone.finished) == (answer.tokens, answer.finished)


def test_blocks_have_the_sizes_that_were_asked_for(asked, mirage):
    _, texts, images, _ = asked
    given, others = (
        [blocks(answer.tokens, mirage) for answer in mirage.generate(texts, images, sizes, COLUMNS)]
        for sizes in ([(2, 1)] * 4, None)
    )
    full = [row[:-1] for row in given]  # the last may be cut
    assert any(len(row) > 2 for row in full)
    assert all(row == ([2, 1] + [SIZE] * len(row))[: len(row)] for row in full)
    assert {size for row in others for size in row[:-1]} == {SIZE}


@pytest.fixture
def drawn_alike(asked, monkeypatch):
    """Options of drawing, with which the file gets the random numbers that we have."""
    options = {"temperature": 1.2, "top_p": 0.9, "top_k": 40, "seed": 3}

    def choose(*given, **more):
        choice = Choice(*given, **more)
        choice.random_BT = OurChoice(Decoding(COLUMNS, **options), asked[0], torch.device("cpu")).random_BS
        return choice

    monkeypatch.setattr(mirage_generate, "Choice", choose)
    return options


def test_draws_are_ours_with_the_same_random_numbers(asked, mirage, drawn_alike):
    (net, _), (_, decoder, collator) = export_net(), parts()
    rows, texts, images, sizes = asked
    ours = decoder(net, collator.prompts(rows), Decoding(COLUMNS, **drawn_alike))
    theirs = mirage.generate(texts, images, sizes, COLUMNS, **drawn_alike)
    assert [answer.tokens for answer in theirs] == ours.tokens
    assert [answer.text for answer in theirs] == ours.texts


def test_draws_depend_on_seed_and_row_but_not_on_the_batch(asked, mirage):
    _, texts, images, sizes = asked
    three, two, other = (
        mirage.generate(texts[:n], images[:n], sizes[:n], COLUMNS, temperature=1.5, seed=seed)
        for n, seed in ((3, 0), (2, 0), (3, 1))
    )
    assert [answer.tokens for answer in two] == [answer.tokens for answer in three[:2]]
    assert [answer.tokens for answer in other] != [answer.tokens for answer in three]


def test_an_answer_ends_before_a_stop_string(asked, mirage, drawn_alike):
    (net, _), (_, decoder, collator) = export_net(), parts()
    rows, texts, images, sizes = asked
    free = mirage.generate(texts, images, sizes, COLUMNS, **drawn_alike)
    text = max((answer.text for answer in free), key=len)
    assert len(text) > 4
    stop = [text[len(text) // 2 :][:2]]
    ours = decoder(net, collator.prompts(rows), Decoding(COLUMNS, stop=stop, **drawn_alike))
    theirs = mirage.generate(texts, images, sizes, COLUMNS, stop, **drawn_alike)
    assert [answer.text for answer in theirs] == ours.texts
    assert [answer.tokens for answer in theirs] == ours.tokens
    assert [answer.finished for answer in theirs] == ours.finished
    assert sum(len(answer.tokens) for answer in theirs) < sum(len(answer.tokens) for answer in free)


def test_an_image_is_seen_as_we_see_it(tmp_path, mirage):
    """Transparent, of 16 bits, lying on its side, grey: the same pixels as ours."""
    import numpy as np
    from PIL import Image

    from data_modules.images import open_image

    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    files = {
        "rgba.png": Image.fromarray(noise),
        "la.png": Image.fromarray(noise[..., :2], "LA"),
        "palette.png": Image.fromarray(noise).quantize(16),
        "deep.png": Image.fromarray(noise[..., 0].astype(np.uint16) * 257 + 3),
        "grey.jpg": Image.fromarray(noise[..., 0]),
    }
    for name, image in files.items():
        image.save(tmp_path / name)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise[..., :3]).save(tmp_path / "turned.jpg", exif=exif)
    for name in (*files, "turned.jpg"):
        ours = open_image(tmp_path / name, name)
        assert np.array_equal(np.asarray(mirage_generate.open_image(tmp_path / name)), np.asarray(ours)), name


@pytest.mark.parametrize(
    ("question", "images", "options", "message"),
    [
        ("a <image> b", [], {}, r"1 <image> marker\(s\) for 0 image"),
        ("say <|latent_start|>", [], {}, r"names the token <\|latent_start\|>"),
        ("a", [], {"latent_sizes": [[0]]}, "a block has 1 latent or more"),
        ("a", [], {"max_new_tokens": 0}, "must be 1 or more"),
        ("a", [], {"stop": "x"}, "a list of strings"),
        ("a", [], {"temperature": -1.0}, "must be 0 or more"),
        ("a", [], {"top_p": 0.0}, "above 0 and at most 1"),
    ],
)
def test_what_cannot_be_answered_is_refused(mirage, question, images, options, message):
    with pytest.raises(ValueError, match=message):
        mirage.generate([question], [images], **options)


def test_a_word_that_looks_like_a_marker_is_written_with_a_backslash(mirage):
    assert mirage.render(r"the word \<image>", 0).count("the word <image>") == 1


def test_a_folder_of_another_origin_is_refused(mirage):
    from copy import copy

    stranger = copy(mirage.model)
    stranger.config = copy(mirage.model.config)
    del stranger.config.mirage
    with pytest.raises(ValueError, match="config.json has no key mirage"):
        Mirage(stranger, mirage.processor, {})


def test_it_is_a_command_in_its_folder(asked, mirage, monkeypatch, capsys):
    _, texts, images, _ = asked
    folder = export_net()[1]
    argv = ["mirage_generate.py", "--image", str(images[0][0]), "--question", texts[0], "--max-new-tokens", "12"]
    monkeypatch.setattr(sys, "argv", [*argv, "--device", "cpu"])
    code = compile((folder / "mirage_generate.py").read_text(), str(folder / "mirage_generate.py"), "exec")
    exec(code, {"__name__": "__main__", "__file__": str(folder / "mirage_generate.py")})
    answer = mirage.generate(texts[:1], images[:1], max_new_tokens=12)[0]
    assert capsys.readouterr().out.startswith(f"{answer.text}\n({len(answer.latents)} latents")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image", "nowhere.png", "--question", "a"], "error: .*nowhere.png"),
        (["--question", "a <image> b"], "error: 1 <image> marker"),
        (["--question", "a", "--top-p", "2"], "error: .*at most 1"),
        (["--question", "a", "--model", "."], r"error: .*\."),
    ],
)
def test_a_mistake_on_its_command_line_is_one_line(monkeypatch, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mirage_generate.py", "--model", str(export_net()[1]), "--device", "cpu", *words])
    with pytest.raises(SystemExit, match=message) as caught:
        mirage_generate.main()
    assert "\n" not in str(caught.value)


def test_it_needs_torch_and_transformers_only():
    tree = ast.parse(Path(mirage_generate.__file__).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    roots = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert roots == {"torch", "transformers", "safetensors", "PIL", "numpy"}  # transformers brings safetensors
