"""A file of rows for ``python -m mirage_pl.data``."""

import json

import pytest
from PIL import Image


@pytest.fixture
def mine(tmp_path):
    """Twelve rows of two images each, of which three ask the same."""
    rows = []
    for number in range(12):
        color = (10 * max(number, 2), 0, 0)  # rows 0, 1 and 2 are alike
        for name, size in (("input", (56, 28)), ("helper", (28, 28))):
            Image.new("RGB", size, color).save(tmp_path / f"{name}-{number}.png")
        rows.append(
            {
                "text_input": "<image>How red?",
                "image_input": f"input-{number}.png",
                "image_output": f"helper-{number}.png",
                "text_output": f"<output_image>{'very ' * number}red",
            }
        )
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
