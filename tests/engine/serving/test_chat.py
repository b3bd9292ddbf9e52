"""OpenAI's chat protocol, asked by OpenAI's own client: whole answers, streams, options, usage, refusals."""

import openai
import pytest


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def ask(client):
    def create(text, **options):
        return client.chat.completions.create(model="echo", messages=[{"role": "user", "content": text}], **options)

    return create


def test_an_answer_has_text_a_reason_and_counts_of_tokens(ask):
    answer = ask("one two three")
    assert answer.object == "chat.completion"
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "one two three ")
    assert choice.finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 3, 6)


def test_a_stream_brings_the_same_in_pieces(ask):
    chunks = list(ask("one two three", stream=True))
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "one ", "two ", "three ", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 4 + ["stop"]
    assert chunks[0].choices[0].delta.role == "assistant"


def test_a_stream_ends_with_counts_of_tokens_where_they_are_asked_for(ask):
    *chunks, last = ask("one two", stream=True, stream_options={"include_usage": True})
    assert all(chunk.usage is None for chunk in chunks)
    assert (last.choices, last.usage.total_tokens) == ([], 4)


def test_a_stream_ends_as_server_sent_events_do(server, http):
    body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "one"}]}
    answer = http.post(f"{server.address}/v1/chat/completions", json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = answer.text.split("\n\n")
    assert all(event.startswith("data: {") for event in events[:-2])
    assert events[-2:] == ["data: [DONE]", ""]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_is_cut_at_the_most_tokens(ask, name):
    answer = ask("one two three", **{name: 2})
    assert answer.choices[0].message.content == "one two "
    assert answer.choices[0].finish_reason == "length"


def test_images_come_as_data_urls(ask, url_of):
    image = {"type": "image_url", "image_url": {"url": url_of(size=(5, 7)), "detail": "high"}}
    assert ask([image, {"type": "text", "text": "how large"}]).choices[0].message.content == "how large 5x7 "


@pytest.mark.parametrize(("kind", "options"), [("jpeg", {}), ("webp", {}), ("gif", {}), ("png", {"optimize": True})])
def test_usual_kinds_of_images_are_taken(ask, url_of, kind, options):
    image = {"type": "image_url", "image_url": {"url": url_of(size=(6, 3), kind=kind, **options)}}
    assert ask([image]).choices[0].message.content == "6x3 "


def test_marks_come_where_they_are_asked_for_and_count_as_reasoning(ask, url_of):
    image = [{"type": "image_url", "image_url": {"url": url_of()}}]
    answer = ask(image, extra_body={"marks": True})
    (mark,) = answer.marks
    assert (mark["label"], mark["words"][0], mark["looks"][0][1]) == ("place 1", ["up <b>", 0.7], [0.0, 0.4, 0.0])
    assert answer.usage.completion_tokens_details.reasoning_tokens == 1
    chunks = ask(image, stream=True, extra_body={"marks": True})
    marks = [chunk.marks[0] for chunk in chunks if hasattr(chunk, "marks")]
    assert [bool(mark["looks"]) for mark in marks] == [False, True]
    assert not hasattr(ask(image), "marks")


def test_there_is_one_model(client):
    assert [model.id for model in client.models.list()] == ["echo"]
    assert client.models.retrieve("echo").id == "echo"
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-7'; the model is 'echo'"):
        client.models.retrieve("gpt-7")


def test_a_refusal_is_an_error_of_the_clients_own_kind(client, ask):
    with pytest.raises(openai.NotFoundError) as refusal:
        client.chat.completions.create(model="gpt-7", messages=[{"role": "user", "content": "one"}])
    assert refusal.value.code == "model_not_found"
    assert refusal.value.param == "model"
    with pytest.raises(openai.BadRequestError, match="refuse is a word that can't be asked"):
        ask("refuse")
    with pytest.raises(openai.BadRequestError) as refusal:
        ask("one", max_tokens=2000)
    assert refusal.value.code == "context_length_exceeded"


def test_what_asks_for_nothing_is_taken(ask):
    neutral = {"n": 1, "frequency_penalty": 0, "logprobs": False, "tools": [], "response_format": {"type": "text"}}
    assert ask("one", user="me", metadata={"a": "b"}, **neutral).choices[0].message.content == "one "


def test_health_says_who_is_there(server, http):
    answer = http.get(f"{server.address}/health")
    assert answer.json() == {"status": "ok", "model": "echo", "open": 0, "waiting": 0}
