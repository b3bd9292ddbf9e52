import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """A folder with three small pictures."""
    (tmp_path / "images").mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (28, 28)).save(tmp_path / "images" / f"{name}.png")
    return tmp_path
