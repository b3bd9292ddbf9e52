"""Answers to many, written together: requests that wait become a group, and groups are written on in turns.

The model belongs to one thread. What a group adds goes to the event loop, which sends it to the clients.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import ceil
from queue import SimpleQueue
from statistics import fmean
from threading import Condition, Thread
from time import monotonic
from typing import Any

from mirage_pl.engine.serving.chat import Answers, Chat, End, Event, Prompt, Question
from mirage_pl.engine.serving.limits import Limits
from mirage_pl.engine.serving.refusals import Refusal

log = logging.getLogger(__name__)

REMEMBERED = 32
"""Requests whose times say how long the next one may have to wait."""


@dataclass(eq=False)
class Place:
    """A request's place in the server, from its first byte to its last.

    Attributes:
        prompt: what is asked, once it is ready.
        together: whether what is written is wanted at the end only.
        since: when the question was ready.
        events: what was written and not yet sent.
        held: what was written and not yet given to ``events``.
        gone: nobody waits for the answer.
        over: nothing comes any more.
    """

    prompt: Prompt | None = None
    together: bool = False
    since: float = 0.0
    events: asyncio.Queue[Sequence[Event | Refusal]] = field(default_factory=asyncio.Queue)
    held: list[Event | Refusal] = field(default_factory=list)
    gone: bool = False
    over: bool = False


@dataclass(eq=False)
class Group:
    """Answers that are written together."""

    places: list[Place]
    answers: Answers | None = None
    begun: bool = False

    def live(self) -> list[Place]:
        """Those that are still written."""
        return [place for place in self.places if not place.gone and not place.over]


class Batcher:
    """Answer questions, those that wait together.

    Args:
        chat: answers them.
        limits: how many.
    """

    def __init__(self, chat: Chat, limits: Limits) -> None:
        self.chat, self.limits = chat, limits
        self.changed = Condition()
        self.places: set[Place] = set()
        self.waiting: deque[Place] = deque()
        self.alone: deque[Place] = deque()
        self.groups: list[Group] = []
        self.stopping = False
        self.seconds: deque[float] = deque(maxlen=REMEMBERED)
        self.questions: SimpleQueue[tuple[asyncio.Future[Prompt], Question]] = SimpleQueue()
        self.threads = [Thread(target=work, daemon=True) for work in (self._prepare_all, self._write_all)]

    def start(self) -> None:
        """Begin to work, for clients of the running event loop."""
        self.loop = asyncio.get_running_loop()
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Refuse what isn't answered yet, and all that comes."""
        with self.changed:
            self.stopping = True
            self.changed.notify_all()

    @property
    def works(self) -> bool:
        """Whether questions are answered."""
        return not self.stopping and all(thread.is_alive() for thread in self.threads)

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Take a place; leaving it ends the answer.

        Raises:
            Refusal: there is none.
        """
        if self.stopping:
            raise Refusal("the server is stopping", 503, "stopping", retry_after=10)
        if len(self.places) >= self.limits.batch_size + self.limits.waiting:
            raise Refusal(
                f"{len(self.places)} requests are being answered or wait; try again later",
                429,
                "too_many_requests",
                retry_after=self.wait(),
            )
        place, began = Place(), monotonic()
        self.places.add(place)
        try:
            yield place
            self.seconds.append(monotonic() - began)
        finally:
            place.gone = True
            self.places.discard(place)
            with self.changed:
                self.changed.notify_all()

    def wait(self) -> int:
        """Seconds after which there may be a place: what a request took lately."""
        return min(60, ceil(fmean(self.seconds))) if self.seconds else 1

    async def prepare(self, question: Question) -> Prompt:
        """Get a question ready.

        Raises:
            ValueError: it can't be asked.
        """
        ready: asyncio.Future[Prompt] = self.loop.create_future()
        self.questions.put((ready, question))
        return await ready

    async def answer(self, place: Place, prompt: Prompt, together: bool = False) -> AsyncIterator[Event]:
        """Yield an answer as it is written.

        Args:
            place: from :meth:`place`.
            prompt: the question.
            together: yield it only once it is whole.

        Raises:
            Refusal: it can't be written.
        """
        place.prompt, place.together, place.since = prompt, together, monotonic()
        with self.changed:
            self.waiting.append(place)
            self.changed.notify_all()
        while True:
            for event in await place.events.get():
                if isinstance(event, Refusal):
                    raise event
                yield event
                if isinstance(event, End):
                    return

    def _prepare_all(self) -> None:
        """Get questions ready, one after another."""
        while True:
            ready, question = self.questions.get()
            if ready.cancelled():
                continue
            try:
                prompt = self.chat.prepare(question)
            except Exception as error:
                self._call(settle, ready, None, error)
            else:
                self._call(settle, ready, prompt, None)

    def _write_all(self) -> None:
        """Begin groups and write them on, until the server stops."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.stopping or self.groups or self.waiting or self.alone)
                if self.stopping:
                    break
                places = self._choose()
            if places:
                self.groups.append(Group(places))
            for group in list(self.groups):
                self._write(group)
        refusal = Refusal("the server is stopping", 503, "stopping", retry_after=10)
        self._send([(place, [refusal]) for place in list(self.places) if not place.over])

    def _choose(self) -> list[Place]:
        """Take those with whom a group begins now; none if it is better to wait, or there is no room."""
        for queue in (self.waiting, self.alone):
            for place in [place for place in queue if place.gone]:
                queue.remove(place)
        room = self.limits.batch_size - sum(len(group.live()) for group in self.groups)
        if room < 1 or len(self.groups) >= self.limits.groups:
            return []
        if self.alone:
            return [self.alone.popleft()]
        if not self.waiting:
            return []
        coming = any(place.prompt is None for place in list(self.places))
        left = self.waiting[0].since + self.limits.gather_ms / 1000 - monotonic()
        if coming and left > 0 and len(self.waiting) < room:
            if not self.groups:
                self.changed.wait(left)
            return []
        return [self.waiting.popleft() for _ in range(min(room, len(self.waiting)))]

    def _write(self, group: Group) -> None:
        """Write a group on for a moment; it ends with its last answer."""
        gone = {number for number, place in enumerate(group.places) if place.gone}
        try:
            if group.live():
                if group.answers is None:
                    group.answers = self.chat.answer([place.prompt for place in group.places if place.prompt])
                events = group.answers.step(gone)
                self._hand_out(group, events)
        except Exception:
            self._give_up(group)
        if not group.live():
            self.groups.remove(group)

    def _hand_out(self, group: Group, events: Sequence[tuple[int, Event]]) -> None:
        """Give events to those who wait for them."""
        added: dict[Place, list[Event | Refusal]] = {}
        for number, event in events:
            place = group.places[number]
            place.over = place.over or isinstance(event, End)
            place.held.append(event)
            if place.over or not place.together:
                added[place] = place.held
        group.begun = group.begun or bool(events)
        for place in added:
            place.held = []
        if added:
            self._send(list(added.items()))

    def _give_up(self, group: Group) -> None:
        """After a mistake of ours: try each question alone, or refuse the one that was alone."""
        log.exception("%d answer(s) failed", len(group.live()))
        places, group.answers = group.live(), None
        group.places = []
        if len(places) > 1 and not group.begun:
            self.alone.extend(places)
            return
        for place in places:
            place.over = True
        refusal = Refusal("the server made a mistake; its log says more", 500, "internal_error")
        self._send([(place, [refusal]) for place in places])

    def _send(self, added: list[tuple[Place, list[Event | Refusal]]]) -> None:
        self._call(deliver, added)

    def _call(self, function: Any, *arguments: Any) -> None:
        """Call a function in the event loop."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(function, *arguments)


def deliver(added: list[tuple[Place, list[Event | Refusal]]]) -> None:
    """Put events where requests wait for them."""
    for place, events in added:
        place.events.put_nowait(events)


def settle(ready: "asyncio.Future[Prompt]", prompt: Prompt | None, error: Exception | None) -> None:
    """Give a question that is ready, or why there is none, to who waits for it."""
    if ready.done():
        return
    if error is not None:
        ready.set_exception(error)
    elif prompt is not None:
        ready.set_result(prompt)
