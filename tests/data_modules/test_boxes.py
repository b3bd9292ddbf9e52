import pickle
from io import BytesIO

import pytest
from PIL import Image

from data_modules.files.inline import InlineImage
from data_modules.image_check import check_image, image_key
from data_modules.images import image_size, open_image
from data_modules.rows.boxes import BoxError, Region, fit_box, read_boxes
from data_modules.rows.jsonl import locate
from tests.data_modules.published import scene


@pytest.mark.parametrize(
    ("value", "boxes"),
    [
        (None, []),
        ("", []),
        ([], []),
        ([1, 2, 3, 4], [(1, 2, 3, 4)]),
        ([[1, 2, 3.5, 4], [0, 0, 1, 1]], [(1, 2, 3.5, 4), (0, 0, 1, 1)]),
        ("[1, 2, 3, 4]", [(1, 2, 3, 4)]),
        ("[[1, 2, 3, 4], [5, 6, 7, 8]]", [(1, 2, 3, 4), (5, 6, 7, 8)]),
        ("cot/a[1].jpg###[1,2,3,4]", [(1, 2, 3, 4)]),
    ],
)
def test_boxes_are_read_however_data_sets_write_them(value, boxes):
    assert read_boxes(value) == boxes


@pytest.mark.parametrize(
    "value",
    [
        "cot/a.jpg",
        "[1, 2, 3]",
        [1, 2, 3],
        [[1, 2, 3, 4], [1, 2]],
        [1, 2, 3, True],
        7,
        [1, 2, 3, float("inf")],
        [1, 2, 3, 10**400],
        {},
    ],
)
def test_what_is_no_box_is_refused(value):
    with pytest.raises(ValueError, match=r"a box must be \[left, top, right, bottom\], four numbers, got"):
        read_boxes(value)


@pytest.mark.parametrize(
    ("box", "unit", "bounds"),
    [
        ((10, 20, 30, 40), "pixel", (10, 20, 30, 40)),
        ((10.2, 20.9, 30.1, 39.5), "pixel", (10, 20, 31, 40)),
        ((0.1, 0.5, 0.7, 1.0), "fraction", (10, 25, 70, 50)),
        ((-0.6, 0, 100.8, 50), "pixel", (0, 0, 100, 50)),
        ((0, 0, 1.009, 1.0), "fraction", (0, 0, 100, 50)),
        ((0.501, 0.501, 0.502, 0.502), "fraction", (50, 25, 51, 26)),
    ],
)
def test_a_box_covers_every_pixel_that_it_touches_and_is_cut_at_the_edge(box, unit, bounds):
    assert fit_box(box, unit, (100, 50)) == bounds


@pytest.mark.parametrize(
    ("box", "unit", "problem", "fix"),
    [
        ((10, 20, 10, 40), "pixel", "has no area", "correct it"),
        ((10, 40, 30, 20), "pixel", "has no area", "correct it"),
        ((10, 20, 103, 40), "pixel", "leaves the image, which has 100 × 50 pixels", "correct it"),
        ((-3, 20, 30, 40), "pixel", "leaves the image", "correct it"),
        ((100.2, 20, 100.9, 40), "pixel", "leaves the image", "correct it"),
        ((0.1, 0.1, 0.9, 0.9), "pixel", "looks like fractions", "correct it, or task.columns.box_unit=fraction"),
        ((10, 20, 30, 40), "fraction", "leaves the image", "correct it, or task.columns.box_unit=pixel"),
        ((0.1, 0.1, 1.1, 0.9), "fraction", "leaves the image", "correct it"),
    ],
)
def test_a_box_that_is_none_of_its_image_says_why_and_what_to_do(box, unit, problem, fix):
    with pytest.raises(BoxError, match=problem) as error:
        fit_box(box, unit, (100, 50))
    assert error.value.fix == fix


def test_a_region_is_an_image_like_any_other(tmp_path):
    (tmp_path / "a.png").write_bytes(scene())
    region = locate(Region("a.png", (10.0, 20.0, 40.0, 44.0), "pixel"), tmp_path)
    assert image_size(region, "row") == open_image(region, "row").size == (30, 24)
    assert open_image(region, "row").tobytes() == open_image(tmp_path / "a.png", "row").crop((10, 20, 40, 44)).tobytes()
    check_image(region, "row")
    assert image_key(region) not in (
        image_key(tmp_path / "a.png"),
        image_key(Region(tmp_path / "a.png", (0, 0, 9, 9), "pixel")),
    )
    assert pickle.loads(pickle.dumps(region)) == region
    inline = Region(InlineImage(scene()), (10.0, 20.0, 40.0, 44.0), "pixel")
    assert open_image(inline, "row").tobytes() == open_image(region, "row").tobytes()


def test_a_region_is_of_the_image_as_it_is_shown(tmp_path):
    upright = Image.open(BytesIO(scene()))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    region = Region(tmp_path / "a.png", (10.0, 20.0, 40.0, 44.0), "pixel")
    assert open_image(region, "row").tobytes() == upright.crop((10, 20, 40, 44)).tobytes()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, r"row: image \S*a.png in the box \[0, 0, 9, 9\] does not exist"),
        (
            b"no image",
            r"row: image \S*a.png in the box \[0, 0, 9, 9\] cannot be read \(it is no image of a known kind\)",
        ),
        (scene()[:100], r"row: image \S*a.png in the box .* cannot be read \(.*\); replace the file"),
    ],
)
def test_a_region_of_an_image_that_cannot_be_read_says_so(tmp_path, content, complaint):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        open_image(Region(tmp_path / "a.png", (0.0, 0.0, 9.0, 9.0), "pixel"), "row")
