"""Work that processes divide comes back whole and in order, in all of them."""

import pytest

from mirage_pl.engine.rl import sharing

ITEMS = list("abcde")


def work(items):
    return [item.upper() for item in items]


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_each_process_does_its_share_and_has_the_results_of_all(monkeypatch, ranks):
    monkeypatch.setattr(sharing.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(sharing.distributed, "get_world_size", lambda: ranks)
    done = []
    for rank in range(ranks):

        def gather(shares, own, rank=rank):
            shares[:] = [work(ITEMS[other::ranks]) for other in range(ranks)]
            assert own == shares[rank]
            done.extend(own)

        monkeypatch.setattr(sharing.distributed, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(sharing.distributed, "all_gather_object", gather)
        assert sharing.do_shares(ITEMS, work, divided=True) == work(ITEMS)
        assert sharing.do_shares(ITEMS, work, divided=False) == work(ITEMS)
    assert sorted(done) == work(ITEMS), "nothing is done twice"


def test_one_process_does_all():
    assert sharing.do_shares(ITEMS, work, divided=True) == work(ITEMS)
