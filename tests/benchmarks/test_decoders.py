"""That ways to fill in a chunk are compared on one network, each with what it is."""

import torch

from benchmarks.decoders import WAYS, measure
from mirage_pl.mmact.model.backbone import Backbone, Sizes
from mirage_pl.mmact.model.vocabulary import lay_out_released


def test_one_step_asks_for_bins_alone_and_kept_keys_change_no_id():
    torch.manual_seed(0)
    net = Backbone(Sizes(1, 8, 1, 8, 500000.0, 1e-5), lay_out_released().size, False).eval()
    names = ("one step", "published, one step", "re-masking", "re-masking, kept keys", "quotas, confidence")
    figures = measure({name: WAYS[name] for name in names}, net, 1)
    one, published, remasking, kept, confident = figures.values()
    assert (one["passes"], remasking["passes"], kept["passes"]) == (1, 8, 8)
    assert one["head_mib"] == 56 * 2048 * 4 / 2**20
    assert published["head_mib"] == 968 * 136704 * 4 / 2**20
    assert kept["deviation"] == one["deviation"] == remasking["deviation"] == 0
    assert confident["passes"] <= 8
