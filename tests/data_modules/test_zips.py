import pickle
import zipfile

import pytest

from data_modules.files.zips import find_zipped
from data_modules.images import image_size, open_image
from data_modules.rows.jsonl import locate
from data_modules.rows.rows import Rows
from tests.data_modules.source_files import PLAIN, jsonl, picture, plain


def archive(file, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(file, "a", compression) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return file


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("inside", ["images/3.png", "3.png", "part/images/3.png"])
def test_an_image_is_found_in_a_zip_file_beside_its_row_as_in_a_folder(tmp_path, compression, inside):
    folder = tmp_path / "part"
    folder.mkdir()
    archive(folder / "images.zip", {"readme.txt": "x" * 99, inside: picture(3)}, compression)
    rows = Rows(PLAIN).read(jsonl(folder / "a.jsonl", [plain(3)]))
    image = rows[0].question[0].path
    assert image.read_bytes() == picture(3)
    assert str(image) == f"{folder}/images.zip:{inside}"
    assert image_size(image, "row") == open_image(image, "row").size == (28, 28)
    assert pickle.loads(pickle.dumps(image)) == image


def test_a_file_comes_before_a_zip_file_and_what_is_nowhere_is_named_by_its_path(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(1))
    archive(tmp_path / "all.zip", {"a.png": picture(2), "b.png": picture(3)})
    assert locate("x/a.png", tmp_path) == tmp_path / "a.png"
    assert locate("x/b.png", tmp_path).read_bytes() == picture(3)
    assert locate("x/c.png", tmp_path) == tmp_path / "x/c.png"
    assert find_zipped(tmp_path / "none", ["a.png"]) is None


def test_a_zip_file_that_appears_or_changes_is_read_anew(tmp_path):
    assert locate("a.png", tmp_path) == tmp_path / "a.png"
    archive(tmp_path / "a.zip", {"b.png": picture(1)})
    assert locate("b.png", tmp_path).read_bytes() == picture(1)
    archive(tmp_path / "a.zip", {"a.png": picture(2)})
    assert locate("a.png", tmp_path).read_bytes() == picture(2)


def test_a_damaged_zip_file_is_one_line(tmp_path):
    file = archive(tmp_path / "images.zip", {"images/3.png": picture(3)}, zipfile.ZIP_DEFLATED)
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    row = jsonl(tmp_path / "a.jsonl", [plain(3)])
    with pytest.raises(ValueError, match=r"a.jsonl:1: \S*images.zip can't be read as a zip file .* download it again"):
        Rows(PLAIN).read(row)
    start = whole.index(b"images/3.png") + len(b"images/3.png")
    file.write_bytes(whole[:start] + b"\xff" * 20 + whole[start + 20 :])
    image = locate("images/3.png", tmp_path)
    with pytest.raises(ValueError, match=r"row: image \S*images.zip:images/3.png cannot be read"):
        open_image(image, "row")
    with zipfile.ZipFile(tmp_path / "rare.zip", "w", zipfile.ZIP_BZIP2) as target:
        target.writestr("rare.png", picture(1))
    with pytest.raises(ValueError, match=r"image rare.png in \S*rare.zip is encrypted or packed in a rare way"):
        locate("rare.png", tmp_path)
