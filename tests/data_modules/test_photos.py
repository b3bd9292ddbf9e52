import numpy as np
import pytest
from PIL import Image, ImageOps

from data_modules.jigsaw.photos import photo_names, read_photo
from data_modules.jigsaw.procedural import draw_scene


def test_a_photograph_is_turned_as_its_exif_data_says_and_cut_in_the_middle(tmp_path):
    image = draw_scene("wide", 168).crop((0, 0, 168, 112))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter, clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    expected = np.rot90(np.asarray(image), -1)[28:-28]
    assert np.array_equal(read_photo(tmp_path / "turned.png", 112), expected)


def test_a_large_jpeg_read_the_fast_way_is_nearly_the_one_read_in_full(tmp_path):
    draw_scene("large", 1200).crop((0, 0, 1200, 900)).save(tmp_path / "x.jpg", quality=95)
    slow = ImageOps.fit(Image.open(tmp_path / "x.jpg").convert("RGB"), (112, 112))
    fast = read_photo(tmp_path / "x.jpg", 112)
    assert np.abs(np.asarray(slow).astype(int) - np.asarray(fast)).mean() < 3


def test_grey_and_transparent_photographs_become_rgb(tmp_path):
    for mode in ("L", "RGBA", "P"):
        draw_scene("x", 56).convert(mode).save(tmp_path / f"{mode}.png")
        assert read_photo(tmp_path / f"{mode}.png", 56).mode == "RGB"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("text.jpg", b"no picture", r"text.jpg cannot be read"),
        ("empty.png", b"", r"empty.png cannot be read"),
        ("small.png", None, r"small.png has 60x40 pixels, too few for task.side=56"),
    ],
)
def test_a_bad_photograph_is_named_with_what_is_wrong(tmp_path, name, content, complaint):
    if content is None:
        Image.new("RGB", (60, 40)).save(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        read_photo(tmp_path / name, 56)


def test_photographs_are_listed_in_one_order_whatever_their_suffixes_case(tmp_path):
    for name in ("b.JPG", "a.webp", "c.txt", "sub/d.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert photo_names(tmp_path) == ["a.webp", "b.JPG", "sub/d.jpeg"]


def test_a_scene_is_decided_by_its_name():
    assert draw_scene("a", 56) == draw_scene("a", 56)
    assert draw_scene("a", 56) != draw_scene("b", 56)
    assert draw_scene("a", 56).size == (56, 56)
