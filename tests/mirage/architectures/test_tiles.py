"""Images as tiles: as many as are measured, within bounds, and side by side in a picture."""

import pytest
import torch
from PIL import Image

from mirage_pl.mirage.model.backbone import load_processor
from mirage_pl.mirage.probing.sight import join_tiles
from mirage_pl.mirage.stock.find import find_inputs
from tests.mirage.architectures.test_mistakes import write_folder

TILES = ["gemma3", "internvl", "smolvlm"]
SIZES = [(1, 1), (1, 40), (300, 17), (113, 112), (56, 57), (2000, 3), (112, 56), (90, 250), (170, 170)]


@pytest.fixture(scope="module", params=TILES)
def inputs(request, tmp_path_factory):
    return find_inputs(load_processor(str(write_folder(request.param, tmp_path_factory.mktemp("tiles")))))


def test_an_image_of_any_size_is_cut_into_as_many_tiles_as_its_size_says(inputs):
    for images in (inputs.bounded("input", {}), inputs.bounded("helper", {})):
        for width, height in SIZES:
            tiles_P3SS = inputs.cut(images, [Image.new("RGB", (width, height), (9, 200, 3))])
            assert len(tiles_P3SS) == inputs.num_tiles(images, width, height)
            tokens = inputs.tokens(images, width, height)
            assert tokens.count(inputs.image_id) == len(tiles_P3SS) * inputs.num_features
            assert inputs.apart or len(set(tokens)) == 1


def test_a_helper_image_is_one_tile(inputs):
    assert all(inputs.num_tiles(inputs.bounded("helper", {}), *size) == 1 for size in SIZES)


def test_bounds_of_pixels_that_no_number_of_tiles_meets_are_refused_and_others_bound_it(inputs):
    for role, bounds in (("helper", {"max": 10**6}), ("input", {"min": 5, "max": 9}), ("input", {"max": 9})):
        with pytest.raises(ValueError, match=rf"^pixels\.{role}"):
            inputs.bounded(role, bounds)
    if "Gemma" in type(inputs.processor).__name__:
        with pytest.raises(ValueError, match="shows every image at its own size; set null"):
            inputs.bounded("input", {"max": 10**6})
        return
    free, one = inputs.bounded("input", {}), inputs.bounded("input", {"max": 56 * 56})
    assert inputs.tiles(free, 300, 100) != inputs.tiles(one, 300, 100) == (1, 1)
    assert inputs.bounds_name(one) != inputs.bounds_name(free)


def test_tiles_lie_side_by_side_and_the_whole_is_spread_over_them():
    tiles = [torch.tensor([[1.0, 2], [3, 4]]) * 10**number for number in range(6)]
    whole = torch.tensor([[6.0, 12], [18, 24]])
    joined_RC = join_tiles(torch.cat([*tiles, whole]).unsqueeze(0), 2, 3)[0]
    for row in range(4):
        for column in range(6):
            tile = tiles[row // 2 * 3 + column // 2]
            spread = whole[row // 2, column // 3] / 6
            assert joined_RC[row, column] == tile[row % 2, column % 2] + spread
    assert joined_RC.sum() == sum(tile.sum() for tile in tiles) + whole.sum()
