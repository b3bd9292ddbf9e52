"""Every architecture answers many together as it answers each alone, and says where latents look."""

from types import SimpleNamespace

import pytest
import torch

from data_modules.images import image_size
from data_modules.samples import Picture
from mirage_pl.engine.serving.chat import End, Mark, Message, Options, Question
from mirage_pl.mirage.chat import Together, ask
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.decoding.sampling import Decoding
from tests.mirage.conftest import Scripted

OPTIONS = [Options(), Options(temperature=1.0, seed=3), Options(max_tokens=5), Options(temperature=0.7, seed=1)]


@pytest.fixture
@torch.no_grad()
def answer(net, collator, processor, rows):
    decoder = Decoder(processor, 3)
    talkative = Scripted(net.backbone, net.compression, net.recurrence).eval()
    prompts = collator.prompts(rows)
    hidden_BTD = net.columns(prompts, embeds := net.embed(prompts)).peek(embeds.inputs_BTD)
    talkative.word, talkative.level = decoder.latent_start, hidden_BTD[prompts.real_BT][:, 0].median()
    module = SimpleNamespace(net=talkative, decoder=decoder)

    def write(questions):
        together = Together(module, collator, [ask(each, collator, "", Decoding(12), 4096) for each in questions])
        answers = [[] for _ in questions]
        while not all(events and isinstance(events[-1], End) for events in answers):
            for number, event in together.step(()):
                answers[number].append(event)
        return answers

    return write


def plain(event):
    return event if not isinstance(event, Mark) else (event.number, event.note, [len(look) for look in event.looks])


@pytest.mark.usefixtures("exact")
def test_many_are_answered_as_each_alone(answer, rows, collator):
    questions = []
    for number, row in enumerate(rows):
        parts = tuple(part.path if isinstance(part, Picture) else part.text for part in row.question)
        questions.append(Question((Message("user", parts),), OPTIONS[number % len(OPTIONS)], marks=True))
    together = answer(questions)
    for question, events in zip(questions, together, strict=True):
        assert list(map(plain, events)) == list(map(plain, answer([question])[0]))
    looked = 0
    for row, events in zip(rows, together, strict=True):
        pictures = [part for part in row.question if isinstance(part, Picture)]
        for mark in (event for event in events if isinstance(event, Mark) and event.looks):
            assert len(mark.looks) == len(pictures)
            tiles = [collator.pictures.tiles(image_size(part.path, row.where)) for part in pictures]
            for look, (down, across) in zip(mark.looks, tiles, strict=True):
                assert len(look) % down == len(look[0]) % across == 0
            looked += 1
    assert looked
