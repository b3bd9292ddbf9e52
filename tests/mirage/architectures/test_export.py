"""Every architecture is exported, and answered by the file that an export carries as by us."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch

from data_modules.samples import Picture, Sample, Text
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.export.folder import write_folder
from mirage_pl.mirage.export.mirage_generate import Mirage

SIZE, COLUMNS = 3, 20


def open_blocks(net, decoder, prompts):
    """A copy of a net that opens blocks where some number of its hidden state is large: several, and not all at once.

    Returns:
        The copy and its answers.
    """
    for place in range(20):
        talkative = deepcopy(net)
        with torch.no_grad():
            head = talkative.architecture.head.weight
            head[decoder.latent_start] = 0
            head[decoder.latent_start, place] = 3.0
        answers = decoder(talkative, prompts, Decoding(COLUMNS))
        if len(set(map(len, answers.latents))) > 1 and max(map(len, answers.latents)) > SIZE:
            return talkative, answers
    raise AssertionError("no number of the hidden state opens blocks now and then")


@pytest.mark.usefixtures("exact")
def test_an_export_answers_token_by_token_as_we_do(net, processor, rows, tmp_path):
    decoder, collator = Decoder(processor, SIZE), Collator(processor, SIZE, latents=True, helpers=False)
    images = [part for row in rows[:2] for part in row.question if isinstance(part, Picture)]
    rows = [*rows, Sample("a:1", (Text("No image."),), ()), Sample("a:2", (images[0], Text("or "), images[1]), ())]
    prompts = collator.prompts(rows)
    talkative, ours = open_blocks(net, decoder, prompts)
    run = SimpleNamespace(collator=collator, config=SimpleNamespace(stage=SimpleNamespace(name="stage2"), task={}))
    write_folder(tmp_path, SimpleNamespace(net=talkative, decoder=decoder), run, "5GB")
    texts = ["".join("<image>" if isinstance(p, Picture) else p.text for p in row.question) for row in rows]
    images = [[part.path for part in row.question if isinstance(part, Picture)] for row in rows]
    theirs = Mirage.load(tmp_path, "cpu").generate(texts, images, prompts.sizes, COLUMNS)
    assert [answer.tokens for answer in theirs] == ours.tokens
    assert [answer.finished for answer in theirs] == ours.finished
    for answer, latents in zip(theirs, ours.latents, strict=True):
        assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(answer.latents, latents, strict=True))
