"""Questions of many, answered together: an answer doesn't depend on who else asks, nor on when others leave."""

from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import pytest
import torch

from data_modules.files.inline import InlineImage
from data_modules.rows.chat import read_conversation
from data_modules.samples import Picture, Sample, Text
from mirage_pl.engine.serving.chat import End, Mark, Message, Options, Question
from mirage_pl.mirage.chat import Together, ask, write_question
from mirage_pl.mirage.decoding.prompts import join_prompts
from mirage_pl.mirage.decoding.sampling import Decoding

OWN = Decoding(24)
ASKED = [
    Options(),
    Options(temperature=1.5, seed=1),
    Options(temperature=1.5, seed=2, max_tokens=9),
    Options(temperature=0.7, top_p=0.8, seed=1),
    Options(max_tokens=3),
    Options(temperature=1.5, seed=1, stop=("ice",)),
]


@pytest.fixture
def chat(talkative, decoder, collator):
    """Answers by a net that enters blocks often, so that rows are in different states."""
    module = SimpleNamespace(net=talkative, decoder=decoder)

    def answer(questions, gone=lambda step: ()):
        asked = [ask(question, collator, "", OWN, 4096) for question in questions]
        together = Together(module, collator, asked)
        answers = [[] for _ in asked]
        left, step = set(), 0
        while len(left | {n for n, events in enumerate(answers) if events and isinstance(events[-1], End)}) < len(
            asked
        ):
            left |= set(gone(step))
            for number, event in together.step(left):
                answers[number].append(event)
            step += 1
        return answers

    return answer


@pytest.fixture
def questions(samples, text_of):
    """Ragged questions, with an image, two or none, each with its own options."""
    pictures = [next(part for part in row.question if isinstance(part, Picture)).path for row in samples[:3]]
    parts = [
        ("Where to?", pictures[0]),
        (pictures[1], "and", pictures[2], "?"),
        ("No image, but rather a long question. " * 3,),
        (pictures[0], "short"),
        ("Hm?",),
        (pictures[2], "stop"),
    ]
    return [Question((Message("user", each),), options, marks=True) for each, options in zip(parts, ASKED, strict=True)]


@pytest.fixture
def text_of():
    return lambda events: "".join(event for event in events if isinstance(event, str))


def approximate(events):
    """Events whose floating-point numbers may differ by rounding."""
    return [
        (event.label, event.note, [word for word, _ in event.words], len(event.looks))
        if isinstance(event, Mark)
        else event
        for event in events
    ]


def test_an_answer_is_the_same_alone_and_among_others(chat, questions):
    together = chat(questions)
    for question, answer in zip(questions, together, strict=True):
        assert approximate(answer) == approximate(chat([question])[0])
    assert [approximate(answer) for answer in reversed(together)] == list(map(approximate, chat(questions[::-1])))
    assert sum(isinstance(event, Mark) for answer in together for event in answer) > 6, "there are blocks to tell"


def test_who_leaves_changes_no_other_answer(chat, questions):
    whole = chat(questions)
    others = chat(questions, lambda step: {1: [2], 4: [0, 3]}.get(step, []))
    for number in (1, 4, 5):
        assert approximate(others[number]) == approximate(whole[number])
    assert not any(isinstance(event, End) for event in others[0])


def test_the_same_question_and_seed_have_the_same_answer_and_no_seed_has_another_each_time(chat, questions, text_of):
    drawn = replace(questions[3], options=Options(temperature=2.0, seed=5))
    first, second = map(text_of, chat([drawn, drawn]))
    assert first == second
    drawn = replace(questions[3], options=Options(temperature=2.0))
    assert len(set(map(text_of, chat([drawn] * 4)))) > 1


def test_a_sampled_answer_is_that_of_the_command_line(chat, questions, text_of, talkative, decoder, collator):
    question = replace(questions[3], options=Options(temperature=2.0, seed=5))
    prompts = collator.prompts([Sample("prompt=", write_question(question.messages, ""), ())])
    streamed = decoder.stream(talkative, prompts, Decoding(24, temperature=2.0, seed=5))
    printed = "".join(piece for piece in streamed if not piece.startswith(("[latent", "latent ")))
    assert printed.strip()
    assert printed.removesuffix("\n") == text_of(chat([question])[0])


def test_an_answer_ends_for_a_reason_that_is_said(chat, questions, text_of):
    (events,) = chat([replace(questions[4], options=Options(max_tokens=3))])
    assert (events[-1].reason, events[-1].columns) == ("length", 3)
    whole = text_of(chat([replace(questions[0], options=Options(max_tokens=24))])[0])
    word = whole[len(whole) // 2 :][:2]
    (events,) = chat([replace(questions[0], options=Options(stop=(word,)))])
    assert events[-1].reason == "stop"
    assert text_of(events) == whole[: whole.index(word)]


def test_latents_are_told_as_they_come_and_where_they_look_at_the_end(chat, questions, collator):
    (events,) = chat([questions[1]])
    marks = [event for event in events if isinstance(event, Mark)]
    told, looked = [mark for mark in marks if not mark.looks], [mark for mark in marks if mark.looks]
    assert len(told) == len(looked) == events[-1].unspoken > 0
    assert [mark.number for mark in told] == list(range(len(told)))
    assert told[0].label == "latent 1"
    assert len(told[0].words) == 3
    asked = ask(questions[1], collator, "", OWN, 4096)
    grids = [(rows, columns) for _, rows, columns in collator.pictures.merged(asked.batch.images)]
    assert [(len(look), len(look[0])) for look in looked[0].looks] == grids
    total = sum(share for look in looked[0].looks for row in look for share in row)
    assert 0 < total < 1
    unasked = [event for event in chat([replace(questions[1], marks=False)])[0] if isinstance(event, Mark)]
    assert unasked == []


def test_where_a_latent_looks_is_what_the_page_of_an_evaluation_says(chat, questions, collator, talkative, decoder):
    from mirage_pl.mirage.probing.panels import Panels

    question = questions[3]
    sample = Sample("prompt=", write_question(question.messages, ""), ())
    options = Decoding(24, temperature=0.7, top_p=0.8, seed=1)
    generation = decoder(talkative, collator.prompts([sample]), options)
    panels = Panels(talkative, collator, [sample], generation.tokens, generation.latents, [], [0])
    sides = [(rows, columns) for _, rows, columns in collator.pictures.merged(collator.prompts([sample]).images)]
    heats, _ = panels.attended(0, sides)
    looked = [event for event in chat([question])[0] if isinstance(event, Mark) and event.looks]
    assert looked
    for mark in looked:
        assert torch.tensor(mark.looks[0]).double() == pytest.approx(heats[0][mark.number].double(), abs=1e-6)


def test_questions_prepared_one_by_one_are_as_if_collated_together(collator, samples):
    alone = join_prompts([collator.prompts([sample]) for sample in samples], collator.pad)
    together = collator.prompts(samples)
    for name in ("tokens_BT", "real_BT", "latent_BT", "targets_BT"):
        assert torch.equal(getattr(alone, name), getattr(together, name)), name
    real_BT = together.real_BT
    assert torch.equal(alone.positions_3BT[:, real_BT], together.positions_3BT[:, real_BT])
    assert torch.equal(alone.images.pixels_PF, together.images.pixels_PF)
    for name in ("segments", "lengths", "sizes", "samples"):
        assert getattr(alone, name) == getattr(together, name), name


@pytest.mark.parametrize(
    "turns",
    [
        [("user", "Where?")],
        [("system", "Be brief."), ("user", "Where?")],
        [("system", "Be brief."), ("user", "A?"), ("assistant", "B."), ("user", "C?")],
    ],
)
def test_a_conversation_is_one_question_as_in_rows(turns):
    messages = [Message(role, (text,)) for role, text in turns]
    row = [{"role": role, "content": text} for role, text in turns]
    assert write_question(messages, "") == (Text(read_conversation(row, [])["text_input"]),)


def test_a_marker_in_a_text_is_text(samples):
    image = InlineImage(b"")
    asked = write_question([Message("user", ("see <image>\\", image, "<image>"))], "")
    assert asked == (Text("see <image>\\"), Picture(image), Text("<image>"))


def test_a_question_without_text_asks_the_runs_own(samples):
    image = InlineImage(b"")
    assert write_question([Message("user", (image,))], "Where?") == (Picture(image), Text("Where?"))
    assert write_question([Message("user", (image,))], "In <image>?") == (Text("In "), Picture(image), Text("?"))
    with pytest.raises(ValueError, match="1 <image> marker.* for 2 image"):
        write_question([Message("user", (image, image))], "In <image>?")
    with pytest.raises(ValueError, match="the question has no text; ask something"):
        write_question([Message("user", (image, " "))], "")


def test_an_image_that_can_not_be_decoded_is_named(collator, samples):
    file = BytesIO()
    picture = next(part for part in samples[0].question if isinstance(part, Picture))
    picture.decode("row").resize((300, 300)).save(file, "jpeg")
    image = InlineImage(file.getvalue()[:2000])
    with pytest.raises(ValueError, match="image of 2000 bytes within the row cannot be read"):
        ask(Question((Message("user", (image, "a")),)), collator, "", OWN, 4096)
