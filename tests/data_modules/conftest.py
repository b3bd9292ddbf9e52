import pytest
from PIL import Image

from tests.data_modules.source_files import picture


@pytest.fixture
def folder(tmp_path):
    """A folder with three small pictures."""
    (tmp_path / "images").mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (28, 28)).save(tmp_path / "images" / f"{name}.png")
    return tmp_path


@pytest.fixture
def pictured(tmp_path):
    """A folder with twelve small pictures, ``images/0.png`` and so on, each of another shade."""
    (tmp_path / "images").mkdir()
    for number in range(12):
        (tmp_path / f"images/{number}.png").write_bytes(picture(number))
    return tmp_path
