"""Requests that wait are answered together; places are few, and free again once a client has left or time is up."""

import asyncio
import json
from dataclasses import replace
from threading import Thread
from time import monotonic, sleep

import httpx
import pytest

from tests.engine.serving.echo import LIMITS, Echo, served_chat


def wait_for(holds, seconds=10.0):
    end = monotonic() + seconds
    while not holds():
        assert monotonic() < end, "it didn't come to pass"
        sleep(0.005)


class Clients:
    """Clients that ask at the same time, each in a thread of its own."""

    def __init__(self, server):
        self.server, self.threads, self.answers = server, [], {}

    def ask(self, text, **values):
        thread = Thread(target=self._ask, args=(text, values))
        thread.start()
        self.threads.append(thread)

    def ask_all(self, texts):
        """Ask one after another, so that they wait in this order."""
        for text in texts:
            number = len(self.server.batcher.waiting)
            self.ask(text)
            wait_for(lambda number=number: len(self.server.batcher.waiting) == number + 1)

    def _ask(self, text, values):
        body = {"model": "echo", "messages": [{"role": "user", "content": text}]} | values
        with httpx.Client(timeout=30, trust_env=False) as http:
            answer = http.post(f"{self.server.address}/v1/chat/completions", json=body)
        self.answers[text] = answer

    def texts(self):
        """The answers, once all have come."""
        for thread in self.threads:
            thread.join(30)
        return {
            text: answer.json()["choices"][0]["message"]["content"].strip() for text, answer in self.answers.items()
        }


@pytest.fixture
def serve():
    servers = []

    def start(chat=None, **limits):
        context = served_chat(chat, replace(LIMITS, **limits))
        server = context.__enter__()
        servers.append(context)
        return server, Clients(server)

    yield start
    for context in servers:
        context.__exit__(None, None, None)


def test_who_waits_while_others_are_answered_is_answered_together(serve):
    server, clients = serve(groups=1)
    server.chat.go.clear()
    clients.ask("first")
    wait_for(lambda: server.chat.groups)
    clients.ask_all(["a", "b c", "d"])
    server.chat.go.set()
    assert clients.texts() == {text: text for text in ("first", "a", "b c", "d")}
    assert server.chat.groups == [["first"], ["a", "b c", "d"]]


def test_no_more_are_written_at_a_time_than_there_is_room_for(serve):
    server, clients = serve(groups=1, batch_size=2)
    server.chat.go.clear()
    clients.ask("first")
    wait_for(lambda: server.chat.groups)
    clients.ask_all(["a", "b", "c"])
    server.chat.go.set()
    assert len(clients.texts()) == 4
    assert server.chat.groups == [["first"], ["a", "b"], ["c"]]


def test_a_long_answer_does_not_hold_up_who_comes_later(serve):
    server, clients = serve(groups=2)
    clients.ask("stick")
    wait_for(lambda: server.chat.groups)
    clients.ask("short")
    wait_for(lambda: "short" in clients.answers)
    assert server.chat.groups == [["stick"], ["short"]]
    server.batcher.stop()


def test_questions_on_their_way_are_waited_for(serve):
    server, clients = serve(gather_ms=5_000)
    prepare = server.chat.prepare

    def slow(question):
        sleep(0.05)
        return prepare(question)

    server.chat.prepare = slow
    for text in ("a", "b", "c", "d"):
        clients.ask(text)
    clients.texts()
    assert [sorted(group) for group in server.chat.groups] == [["a", "b", "c", "d"]]


def test_more_than_can_wait_are_told_when_to_come_again(serve):
    server, clients = serve(batch_size=1, waiting=1)
    server.chat.go.clear()
    clients.ask("a")
    clients.ask("b")
    wait_for(lambda: len(server.batcher.places) == 2)
    clients.ask("c")
    wait_for(lambda: "c" in clients.answers)
    assert clients.answers["c"].status_code == 429
    assert int(clients.answers["c"].headers["retry-after"]) >= 1
    assert clients.answers["c"].json()["error"]["type"] == "rate_limit_error"
    server.chat.go.set()
    wait_for(lambda: {"a", "b"} <= clients.answers.keys())
    assert {clients.answers[text].status_code for text in "ab"} == {200}


def test_a_large_body_that_finds_no_place_still_hears_so(serve):
    server, clients = serve(batch_size=1, waiting=0)
    server.chat.go.clear()
    clients.ask("a")
    wait_for(lambda: server.batcher.places)
    body = json.dumps({"text": "x" * 900_000})
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{server.address}/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 429
    server.chat.go.set()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_place_and_its_answer_ends(serve, stream):
    server, clients = serve(groups=1)
    server.chat.go.clear()
    body = {"model": "echo", "stream": stream, "messages": [{"role": "user", "content": "stick"}]}

    async def leave():
        async with httpx.AsyncClient(trust_env=False) as http:
            asked = asyncio.create_task(http.post(f"{server.address}/v1/chat/completions", json=body))
            while not server.chat.groups:
                await asyncio.sleep(0.01)
            server.chat.go.set()
            await asyncio.sleep(0.05)
            asked.cancel()

    asyncio.run(leave())
    wait_for(lambda: not server.batcher.places)
    wait_for(lambda: not server.batcher.groups)
    clients.ask("next")
    assert clients.texts() == {"next": "next"}


def test_one_that_leaves_does_not_end_the_others_of_its_group(serve):
    server, clients = serve(groups=1)
    server.chat.go.clear()
    clients.ask("first")
    wait_for(lambda: server.chat.groups)
    clients.ask_all(["stick", "a b c"])
    server.chat.go.set()
    wait_for(lambda: "a b c" in clients.answers)
    (place,) = server.batcher.places
    place.gone = True
    wait_for(lambda: not server.batcher.groups)
    assert server.chat.groups[1] == ["stick", "a b c"]
    server.batcher.stop()


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_has_its_time(serve, stream):
    server, clients = serve(seconds=0.3)
    server.chat.pause = 0.01
    clients.ask("stick", stream=stream)
    wait_for(lambda: "stick" in clients.answers)
    answer = clients.answers["stick"]
    if stream:
        *_, last = [line for line in answer.text.splitlines() if line]
        error = json.loads(last.removeprefix("data: "))["error"]
    else:
        assert answer.status_code == 504
        error = answer.json()["error"]
    assert error["message"] == "the request took more than 0.3 seconds; ask for a shorter answer"
    wait_for(lambda: not server.batcher.groups)


def test_a_body_that_never_ends_has_its_time_too(serve):
    server, _ = serve(seconds=0.3)

    def slowly():
        yield b'{"model": '
        sleep(1)
        yield b'"echo"}'

    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{server.address}/v1/chat/completions", content=slowly(), headers=headers)
    assert answer.status_code == 504
    assert not server.batcher.places


def test_one_that_can_not_be_answered_takes_no_other_with_it(serve):
    server, clients = serve(groups=1)
    server.chat.go.clear()
    clients.ask("first")
    wait_for(lambda: server.chat.groups)
    clients.ask_all(["a", "fail", "b"])
    server.chat.go.set()
    for thread in clients.threads:
        thread.join(30)
    assert {text: answer.status_code for text, answer in clients.answers.items()} == {
        "first": 200,
        "a": 200,
        "fail": 500,
        "b": 200,
    }
    assert clients.answers["fail"].json()["error"]["type"] == "server_error"


def test_a_server_that_stops_ends_the_answers_that_are_written(serve):
    server, clients = serve()
    clients.ask("stick")
    clients.ask("stick on", stream=True)
    wait_for(lambda: sum(map(len, server.chat.groups)) == 2)
    server.batcher.stop()
    for thread in clients.threads:
        thread.join(10)
    assert clients.answers["stick"].status_code == 503
    assert '"the server is stopping"' in clients.answers["stick on"].text
    answer = httpx.get(f"{server.address}/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "stopping")


def test_what_a_model_says_it_can_not_be_asked_is_not_a_mistake_of_ours(serve):
    class Broken(Echo):
        def prepare(self, question):
            raise KeyError("nothing")

    server, clients = serve(Broken())
    clients.ask("a")
    wait_for(lambda: "a" in clients.answers)
    assert clients.answers["a"].status_code == 500
    assert "nothing" not in clients.answers["a"].text
