"""The server as a process: Ctrl-C ends it, in the middle of answers too."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from threading import Thread

import httpx
import pytest

from mirage_pl.engine.serving.server import listen, serve
from tests.conftest import REPO
from tests.engine.serving.echo import LIMITS, Echo

SERVE = """
from tests.engine.serving.echo import LIMITS, Echo
from mirage_pl.engine.serving.server import listen, serve
serve(listen(0), Echo, "echo", {}, {}, LIMITS)
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_the_middle_of_an_answer(stop):
    command = [sys.executable, "-c", SERVE]
    with subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("serving echo on http://127.0.0.1:")
            assert line.endswith("; Ctrl-C ends it\n")
            address, events = line.split()[3].rstrip(";"), []

            def ask():
                body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "stick"}]}
                with httpx.stream("POST", f"{address}/v1/chat/completions", json=body) as answer:
                    for event in answer.iter_lines():
                        events.append(event)
                        if len(events) == 20:
                            process.send_signal(stop)

            client = Thread(target=ask)
            client.start()
            output, errors = process.communicate(timeout=30)
            client.join(30)
        finally:
            process.kill()
    assert errors == ""
    assert (process.returncode, output) == ((0, "ended\n") if stop == signal.SIGINT else (-signal.SIGTERM, ""))
    last = json.loads([event for event in events if event][-1].removeprefix("data: "))
    assert last["error"]["message"] == "the server is stopping"


def test_what_is_written_is_sent_at_once():
    async def look():
        met = asyncio.get_running_loop().create_future()
        listener = listen(0)
        server = await asyncio.start_server(lambda _, writer: met.set_result(writer), sock=listener)
        _, client = await asyncio.open_connection(*listener.getsockname())
        writer = await met
        option = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        for end in (writer, client, server):
            end.close()
        return option

    assert asyncio.run(look()) == 1


def test_a_chat_has_no_question_of_its_own():
    with (
        listen(0) as listener,
        pytest.raises(ValueError, match="^serve=true answers what clients ask; leave out prompt=$"),
    ):
        serve(listener, Echo, "echo", {}, {"prompt": "one"}, LIMITS)
