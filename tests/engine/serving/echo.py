"""A chat without a model: it says the question's words back, one a step, and a server of it."""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Event as Flag
from threading import Thread
from time import sleep
from types import SimpleNamespace

from data_modules.images import open_image
from mirage_pl.engine.serving.app import build_chat
from mirage_pl.engine.serving.chat import End, Mark
from mirage_pl.engine.serving.limits import Limits
from mirage_pl.engine.serving.server import Server, listen

LIMITS = Limits(
    batch_size=4,
    groups=2,
    gather_ms=0,
    waiting=4,
    seconds=20,
    body_mib=1,
    characters=10_000,
    images=2,
    megapixels=1,
)
LOOK = ((0.1, 0.0, 0.2), (0.0, 0.4, 0.0))
MARK = "<mark>"


@dataclass
class Line:
    """A question of words; each is a token."""

    words: list
    most: int
    marks: bool
    num_tokens: int

    @property
    def max_tokens(self):
        return self.most


class Echo:
    """Answers with the words of the question; ``stick`` is a word that is said for ever, ``fail`` one that can't be."""

    takes, longest, own_prompt = {"prompt": "text"}, 2000, ""

    def __init__(self):
        self.groups, self.steps, self.gone, self.go, self.pause = [], 0, set(), Flag(), 0.0
        self.go.set()

    def begin(self, **_):
        raise NotImplementedError

    step = begin

    def prepare(self, question):
        parts = question.messages[-1].parts
        words = " ".join(part for part in parts if isinstance(part, str)).split()
        images = [open_image(part, "messages") for part in parts if not isinstance(part, str)]
        if "refuse" in words:
            raise ValueError("refuse is a word\nthat can't be asked")
        words += [f"{image.width}x{image.height}" for image in images]
        words += [MARK] * (len(images) * question.marks)
        return Line(words, question.options.max_tokens or 100, question.marks, len(words))

    def answer(self, prompts):
        self.groups.append([" ".join(prompt.words) for prompt in prompts])
        return Words(self, prompts)


class Words:
    def __init__(self, chat, prompts):
        self.chat, self.prompts, self.count = chat, prompts, 0

    def step(self, gone):
        self.chat.go.wait(20)
        sleep(self.chat.pause)
        self.chat.steps += 1
        self.chat.gone |= {" ".join(self.prompts[number].words) for number in gone}
        events = []
        for number, prompt in enumerate(self.prompts):
            words, stuck = prompt.words, "stick" in prompt.words
            if "fail" in words:
                raise RuntimeError("fail can't be said")
            last = min(len(words), prompt.most)
            if number in gone or (self.count > last and not stuck):
                continue
            events += [(number, event) for event in say(words, 0 if stuck else self.count, last)]
        self.count += 1
        return events


def say(words, place, last):
    """What is said at a place of an answer; at its end the marks say where they look."""
    count = words[:last].count(MARK)
    if place == last:
        yield from (replace(mark(number), looks=(LOOK,) * count) for number in range(count))
        yield End("stop" if last == len(words) else "length", last, count)
    elif words[place] == MARK:
        yield mark(words[:place].count(MARK))
    else:
        yield f"{words[place]} "


def mark(number):
    return Mark(number, f"place {number + 1}", f"norm {number + 1}.00", (("up <b>", 0.7), ("down", 0.2)))


@contextmanager
def served(app, stop=lambda: None):
    """Serve an application; yields its address."""
    listener, server = listen(0), Server(app, stop)
    thread = Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@contextmanager
def served_chat(chat=None, limits=LIMITS):
    """Serve a chat; yields it, its address and its batcher."""
    chat = chat or Echo()
    app, batcher = build_chat(chat, "echo", limits)
    with served(app, batcher.stop) as address:
        yield SimpleNamespace(chat=chat, address=address, batcher=batcher)
        chat.go.set()
