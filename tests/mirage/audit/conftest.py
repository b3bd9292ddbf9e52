"""Answers that all begin with a block, of questions that have counterfactuals."""

from itertools import accumulate

import pytest

from data_modules.vsp.planning import VSP
from mirage_pl.mirage.audit.interventions import AuditInterventions
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.decoding.sampling import Decoding


class Swapped:
    """The counterfactual of every question but the first is the next one."""

    def __init__(self, samples):
        self.next = dict(zip(map(id, samples[1:]), [*samples[2:], samples[0]], strict=True))

    def counterfactual(self, sample):
        return self.next.get(id(sample))

    def states(self, sample):
        return VSP().states(sample)


@pytest.fixture
def probe(talkative, collator, samples):
    """Interventions on answers that all begin with a block, in batches of two and of four."""
    talkative.level = -1e9
    decoding, decoder = Decoding(9), Decoder(collator.processor, collator.latent_size)
    parts = [samples[end - width : end] for end, width in zip(accumulate((2, 4)), (2, 4), strict=True)]
    baseline = [decoder(talkative, collator.prompts(part), decoding) for part in parts]
    probe = AuditInterventions(talkative, collator.processor, collator, decoding, samples, baseline)
    probe.dataset = Swapped(samples)
    return probe
