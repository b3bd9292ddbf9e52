"""Codes in a sequence, for any number of frames and any grid."""

import pytest
import torch

from mirage_pl.ivideogpt.model.layout import IGNORE, TokenLayout

SIZES = [(7, 5, 9, 4, 1, 1), (7, 5, 9, 4, 3, 2), (3, 11, 1, 1, 2, 5), (4, 4, 16, 1, 1, 7)]
"""Books, codes of a context and of a dynamics frame, context frames, dynamics frames."""


def make_codes(context_codes, dynamics_codes, context_tokens, dynamics_tokens, context_length, num_dynamics):
    stream = torch.Generator().manual_seed(0)
    layout = TokenLayout(context_codes, dynamics_codes, context_tokens, dynamics_tokens, context_length)
    context = torch.randint(context_codes, (2, context_length, context_tokens), generator=stream)
    return layout, context, torch.randint(dynamics_codes, (2, num_dynamics, dynamics_tokens), generator=stream)


def write_out(layout, context, dynamics):
    """One sequence, slot by slot."""
    tokens = []
    for frame in context:
        tokens += [layout.slot1, *frame.tolist()]
    for frame in dynamics:
        tokens += [layout.slot2, *(code + layout.context_codes for code in frame.tolist())]
    return tokens[1:]


@pytest.mark.parametrize("sizes", SIZES)
def test_codes_are_joined_and_split_again(sizes):
    layout, context, dynamics = make_codes(*sizes)
    ids = layout.join(context, dynamics)
    assert ids.tolist() == [write_out(layout, *clip) for clip in zip(context, dynamics, strict=True)]
    assert ids.shape[1] == layout.length(sizes[-1])
    assert layout.num_dynamics(ids.shape[1]) == sizes[-1]
    assert all(torch.equal(*pair) for pair in zip(layout.split(ids), (context, dynamics), strict=True))


@pytest.mark.parametrize("sizes", SIZES)
def test_in_each_place_only_its_own_kind_of_token_is_legal_and_codes_alone_are_learnt(sizes):
    layout, context, dynamics = make_codes(*sizes)
    ids = layout.join(context, dynamics)
    kinds = {layout.slot1: "S1", layout.slot2: "S2"}
    for place, (token, legal) in enumerate(zip(ids[0].tolist(), layout.legal(sizes[-1]), strict=True)):
        kind = kinds.get(token, "context" if token < layout.context_codes else "dynamics")
        same = [
            kinds.get(other, "context" if other < layout.context_codes else "dynamics") == kind
            for other in range(layout.vocabulary)
        ]
        assert legal.tolist() == same
        assert (layout.labels(ids)[0, place] == token) == (kind == "dynamics")
    assert int((layout.labels(ids) != IGNORE).sum()) == dynamics.numel()


def test_a_token_that_is_no_code_is_refused_and_as_released_becomes_the_nearest():
    layout, context, dynamics = make_codes(7, 5, 9, 4, 2, 2)
    ids = layout.join(context, dynamics)
    ids[0, -1], ids[1, -1], ids[0, 0] = layout.slot2, 3, 9
    with pytest.raises(ValueError, match="1 token.*context"):
        layout.split(ids)
    released = TokenLayout(7, 5, 9, 4, 2, compat=True)
    assert released.split(ids)[0][0, 0, 0] == 6
    assert released.split(ids)[1][:, -1, -1].tolist() == [4, 0]


def test_sizes_that_make_no_clip_are_refused_in_a_line():
    layout, context, dynamics = make_codes(7, 5, 9, 4, 2, 2)
    for refused, words in (
        (lambda: layout.length(0), "needs a frame after its 2 context"),
        (lambda: layout.num_dynamics(layout.length(2) + 1), "are no clip"),
        (lambda: layout.join(context[:, :1], dynamics), "don't fit"),
        (lambda: layout.join(context, dynamics[..., :3]), "don't fit"),
        (lambda: TokenLayout(7, 0, 9, 4, 2), "dynamics_codes=0"),
    ):
        with pytest.raises(ValueError, match=words):
            refused()


@pytest.mark.parametrize("sizes", SIZES)
def test_a_place_is_the_same_in_every_frame_of_a_kind(sizes):
    layout, context, dynamics = make_codes(*sizes)
    context_place = [layout.context_tokens, *range(layout.context_tokens)] * layout.context_length
    after = [layout.context_tokens + 1 + place for place in range(layout.dynamics_tokens + 1)] * dynamics.shape[1]
    places = layout.places(0, layout.length(dynamics.shape[1]))
    assert places.tolist() == [*context_place[1:], *after]
    assert layout.num_places == places.max() + 1
    assert torch.equal(layout.places(2, 5), places[2:7])
