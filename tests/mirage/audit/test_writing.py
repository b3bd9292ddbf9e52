"""Which target is it: constructed writers, judged by slots whose right answer is known."""

from dataclasses import fields, replace

import pytest
import torch

from mirage_pl.mirage.audit.decodability import probe_states
from mirage_pl.mirage.audit.table import Slots
from mirage_pl.mirage.audit.writing import judge_writing

ROWS, BLOCKS, PARTS, KINDS, WIDTH = 60, 2, 4, 3, 24


def draw_slots(seed=0):
    """Boards of four parts of three kinds, of which one or two change from picture to picture; a latent a part.

    A part's vector says what it shows, and a little of all other parts, as features of one picture do. Everything is
    written right.
    """
    random = torch.Generator().manual_seed(seed)
    states = torch.randint(KINDS, (ROWS, BLOCKS + 1, PARTS), generator=random)
    for step in range(1, BLOCKS + 1):
        states[:, step] = states[:, step - 1]
        for row in range(ROWS):
            parts = torch.randperm(PARTS, generator=random)[: 1 + row % 2]
            states[row, step, parts] = (states[row, step, parts] + 1 + row % (KINDS - 1)) % KINDS
    other = states.clone()
    other[:, 1:, 0] = (other[:, 1:, 0] + 1) % KINDS
    look = torch.randn(PARTS, KINDS, WIDTH, generator=random)
    around = torch.randn(PARTS, KINDS, WIDTH, generator=random)

    def draw(boards):
        shown = torch.stack([look[part][boards[..., part]] for part in range(PARTS)], dim=2)
        hints = torch.stack([around[part][boards[..., part]] for part in range(PARTS)], dim=2).sum(2, keepdim=True)
        return shown + 0.2 * hints + 5  # nearly parallel, as features of pictures are

    true, last = draw(states[:, 1:]), draw(states[:, :-1])
    return Slots(true, true, true, last, draw(other[:, 1:]), states[:, 1:], states[:, :-1])


def means(judged, source):
    return {name: measure[source]["all"]["mean"] for name, measure in judged["measures"].items()}


@pytest.fixture(scope="module")
def slots():
    return draw_slots()


def test_a_writer_of_true_latents_is_right_in_everything_and_a_copyist_in_nothing_that_has_changed(slots):
    judged = judge_writing(slots)
    assert judged["written"] == 1.0
    assert set(means(judged, "free").values()) == {1.0}
    copied = means(judged, "last")
    assert (copied["changed"], copied["told_apart"], copied["state"]) == (0.0, 0.0, 0.0)
    assert judged["measures"]["changed"]["gain"]["difference"] == 1.0
    assert judged["measures"]["changed"]["gain"]["p"] < 1e-6
    cosine = torch.cosine_similarity(slots.last_RJkD, slots.true_RJkD, dim=-1).mean()
    assert cosine > 0.95, "which says nothing"


def test_what_is_given_away_in_teacher_forcing_is_seen_by_place(slots):
    """The first place of each block is written as the picture before, all others right."""
    leaky = slots.true_RJkD.clone()
    leaky[:, :, 0] = slots.last_RJkD[:, :, 0]
    judged = judge_writing(replace(slots, forced_RJkD=leaky, free_RJkD=slots.last_RJkD))["measures"]
    for name in ("changed", "told_apart"):
        places = [place["mean"] for place in judged[name]["forced"]["places"]]
        assert places[0] == 0.0
        assert places[1:] in ([1.0] * 3, [None] * 3), "all that differ from the changed question are in the first place"
        assert judged[name]["free"]["all"]["mean"] == 0.0


def test_the_same_vector_for_all_is_near_to_none_and_noise_is_at_chance(slots):
    constant = torch.ones_like(slots.true_RJkD)
    rounding = 1e-7 * torch.randn(slots.true_RJkD.shape, generator=torch.Generator().manual_seed(2))
    for same in (constant, constant + rounding):
        judged = judge_writing(replace(slots, forced_RJkD=same, free_RJkD=same))
        assert set(means(judged, "forced").values()) == {0.0}
        assert judged["measures"]["told_apart"]["gain"]["difference"] <= 0.0
    noise = torch.randn(slots.true_RJkD.shape, generator=torch.Generator().manual_seed(1))
    judged = judge_writing(replace(slots, free_RJkD=noise))
    assert means(judged, "free")["told_apart"] == pytest.approx(judged["measures"]["told_apart"]["chance"], abs=0.2)
    assert means(judged, "free")["block_retrieved"] < 0.1
    assert judged["measures"]["changed"]["chance"] == pytest.approx(1 / KINDS, abs=0.02)
    assert means(judged, "free")["changed"] == pytest.approx(1 / KINDS, abs=0.12)


def test_chance_of_repeated_boards_is_how_often_they_come(slots):
    """Every board stands in a quarter of the rows."""
    rows = torch.arange(ROWS) % 4
    few = Slots(*(getattr(slots, f.name)[rows] for f in fields(Slots)))
    noise = torch.randn(few.true_RJkD.shape, generator=torch.Generator().manual_seed(1))
    judged = judge_writing(replace(few, free_RJkD=noise))
    for name in ("retrieved", "block_retrieved"):
        assert judged["measures"][name]["chance"] >= 0.25
        expected = judged["measures"][name]["chance"]
        assert means(judged, "free")[name] == pytest.approx(expected, abs=0.15)
        assert means(judged, "forced")[name] == 1.0
    assert judge_writing(slots)["measures"]["block_retrieved"]["chance"] < 0.05


def test_a_shift_and_a_scale_that_all_latents_share_change_nothing(slots):
    moved = judge_writing(replace(slots, free_RJkD=7 * slots.true_RJkD - 3))
    assert means(moved, "free") == means(judge_writing(slots), "free")


def test_rows_that_have_not_all_their_latents_are_counted_and_left_out(slots):
    free = slots.true_RJkD.clone()
    free[::4] = float("nan")
    judged = judge_writing(replace(slots, free_RJkD=free))
    assert judged["written"] == 0.75
    assert judged["measures"]["block_retrieved"]["free"]["all"]["n"] == ROWS * 3 // 4
    assert judged["measures"]["block_retrieved"]["forced"]["all"]["n"] == ROWS


def test_without_states_or_counterfactuals_the_other_measures_stay(slots):
    unknown, nothing = torch.full((ROWS, BLOCKS, 0), -1), torch.full_like(slots.true_RJkD, float("nan"))
    bare = replace(slots, states_RJP=unknown, before_RJP=unknown, changed_RJkD=nothing)
    judged = judge_writing(bare)["measures"]
    assert judged.keys() == {"retrieved", "told_apart", "block_retrieved"}
    assert judged["told_apart"]["chance"] == 0.5
    assert judged["told_apart"]["free"]["all"]["mean"] == 1.0
    assert probe_states(bare) == {}


def test_a_probe_reads_what_latents_say_on_other_rows_and_no_more_from_a_copy(slots):
    read = probe_states(slots)
    assert read["free"]["changed"]["mean"] > 0.9
    assert read["free"]["state"]["mean"] > 0.9
    assert read["last"]["changed"]["mean"] < 0.5
    assert read["gain"]["low"] > 0.2
    assert read["free_as_true"]["changed"]["mean"] == read["true"]["changed"]["mean"]
    copied = probe_states(replace(slots, free_RJkD=slots.last_RJkD))
    assert copied["free_as_true"]["changed"]["mean"] < 0.2
    assert copied["gain"]["difference"] == 0.0
    noise = torch.randn(slots.true_RJkD.shape, generator=torch.Generator().manual_seed(1))
    assert probe_states(replace(slots, free_RJkD=noise))["free"]["state"]["mean"] < 0.2


def test_what_is_said_in_another_way_is_read_by_a_probe_of_its_own_alone(slots):
    """Numbers in another order, by which nothing is lost."""
    order = torch.randperm(WIDTH, generator=torch.Generator().manual_seed(3))
    read = probe_states(replace(slots, free_RJkD=slots.true_RJkD[..., order]))
    assert read["free"]["changed"]["mean"] > 0.9
    assert read["free_as_true"]["changed"]["mean"] < 0.6
    assert read["forced_as_true"]["changed"]["mean"] > 0.9


def test_a_probe_is_not_fitted_to_the_rows_that_it_is_asked_about(slots):
    """States drawn anew have nothing to do with the vectors: a probe that had seen a row could know them."""
    random = torch.randint(KINDS, slots.states_RJP.shape, generator=torch.Generator().manual_seed(2))
    blind = replace(slots, states_RJP=random, before_RJP=(random + 1) % KINDS)
    assert probe_states(blind)["true"]["changed"]["mean"] == pytest.approx(1 / KINDS, abs=0.12)


def test_pictures_of_two_sizes_have_probes_of_their_own(slots):
    states, before = slots.states_RJP.clone(), slots.before_RJP.clone()
    states[::2, :, 3], before[::2, :, 3] = -1, -1
    mixed = probe_states(replace(slots, states_RJP=states, before_RJP=before))
    assert mixed["true"]["changed"]["mean"] > 0.8
