import numpy as np
import pytest
from PIL import Image

from data_modules.images import open_image
from data_modules.samples import Picture, Sample, Text
from integrations.lmms_eval.messages import read_messages, write_messages


def said(*content, role="user"):
    return {"role": role, "content": [*content]}


def text(words):
    return {"type": "text", "text": words}


def noise(mode, size=(31, 23)):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    image = Image.fromarray(pixels)
    return image if mode == "RGBA" else image.convert("LA" if mode == "LA" else "RGB").convert(mode)


def test_texts_and_images_keep_their_order_and_a_marker_in_a_text_is_a_word():
    image, other = noise("RGB"), noise("L")
    messages = [
        said(text("Be brief."), role="system"),
        said({"type": "image", "url": image}, text("Is <image> "), {"type": "image", "url": other}),
    ]
    sample = read_messages(messages, "vstar/test:3")
    assert [type(part) for part in sample.question] == [Text, Picture, Text, Picture]
    assert [part.text for part in sample.question if isinstance(part, Text)] == ["Be brief.\n\n", "Is <image> "]
    assert (sample.where, sample.answer) == ("vstar/test:3", ())
    shown = [np.asarray(open_image(part.path, "row")) for part in sample.question if isinstance(part, Picture)]
    assert (shown[0] == np.asarray(image)).all()
    assert (shown[1] == np.asarray(other.convert("RGB"))).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_an_opened_image_of_any_mode_is_shown_as_its_file_would_be(mode, tmp_path):
    image = noise(mode)
    sample = read_messages([said({"type": "image", "url": image}, text("?"))], "row")
    shown = open_image(sample.question[0].path, "row")
    if mode in ("LA", "RGBA"):
        page = Image.new("RGB", image.size, "white")
        page.paste(image.convert("RGB"), mask=image.getchannel("A"))
        assert shown.tobytes() == page.tobytes()
    else:
        assert shown.tobytes() == image.convert("RGB").tobytes()
    noise("RGB").save(tmp_path / "a.png")
    named = read_messages([said({"type": "image", "url": str(tmp_path / "a.png")}, text("?"))], "row")
    assert open_image(named.question[0].path, "row").tobytes() == noise("RGB").tobytes()


def test_a_question_of_ours_comes_back_as_it_was(tmp_path):
    noise("RGB").save(tmp_path / "a.png")
    sample = Sample("a.jsonl:1", (Text("See "), Picture(tmp_path / "a.png"), Text(": <image>?")), (Text("B"),))
    back = read_messages(write_messages(sample), "vsp/test:0")
    assert (back.question[0], back.question[2]) == (sample.question[0], sample.question[2])
    assert open_image(back.question[1].path, "row").tobytes() == noise("RGB").tobytes()


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        (
            [said({"type": "video", "url": "a.mp4"})],
            "row: the question has a part of type video; runs are shown texts and",
        ),
        ([said(text("a"), role="assistant")], "row: no turn of a user"),
        (
            [said({"type": "image", "url": "https://example.org/a.png"})],
            "row: image https://example.org/a.png is on the web",
        ),
    ],
)
def test_what_a_run_cannot_be_asked_is_one_line(messages, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_messages(messages, "row")
