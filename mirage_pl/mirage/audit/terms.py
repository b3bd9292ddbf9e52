"""The words used, useful and readable: what each means, and whether a run has shown it. Imports no torch.

Each word rests on differences with intervals. It holds if every one of them has an interval that excludes 0 on the
right side, and a p below 0.05 after Holm's correction over all tests of the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mirage_pl.engine.evaluation.multiplicity import LEVEL, holm

WORDS: Mapping[str, str] = {
    "used": "with zeros in their place, and with another sample's latents, fewer answers are right",
    "useful": "more answers are right than those of each baseline (against=), question by question",
    "readable": (
        "a linear probe reads more of what has changed from the model's own latents than from the picture before; "
        "where the task knows no states, they are nearest to their own helper image more often than that picture is"
    ),
}
"""Word -> what it means."""


@dataclass(frozen=True)
class Test:
    """A difference that a word rests on.

    Attributes:
        word: that rests on it; empty for none.
        what: is compared, in words.
        difference: ``difference``, ``low``, ``high``, ``n`` and ``p``.
        sign: 1 if it should be above 0, -1 if below.
        adjusted: its p after Holm's correction.
    """

    __test__ = False  # pytest would collect it by its name

    word: str
    what: str
    difference: Mapping[str, Any]
    sign: int
    adjusted: float = 1.0

    @property
    def holds(self) -> bool:
        """Whether it is shown."""
        return self.excludes_0(self.sign)

    @property
    def reversed(self) -> bool:
        """Whether the opposite is shown."""
        return self.excludes_0(-self.sign)

    def excludes_0(self, sign: int) -> bool:
        """Whether the difference is shown to have a sign."""
        end = self.difference["low"] if sign > 0 else self.difference["high"]
        return end is not None and sign * end > 0 and self.adjusted < LEVEL


def list_tests(metrics: Mapping[str, Any]) -> list[Test]:
    """List the tests of a run that could be made, corrected for being several."""
    conditions, audit = metrics.get("interventions") or {}, metrics.get("audit") or {}
    tests = [
        Test("used", f"{what} against its own: success", conditions[name]["difference"], -1)
        for name, what in (("zero", "zeros"), ("shuffled", "another sample's latents"))
        if name in conditions and conditions[name]["n"]
    ]
    for name, what in (("donor", "a donor's latents"), ("flipped", "latents of the changed question")):
        if lift := (conditions.get(name) or {}).get("lift"):
            tests.append(Test("", f"{what}: answers that are right for these", lift, 1))
    if gain := (audit.get("decodability") or {}).get("gain"):
        tests.append(Test("readable", "probe of own latents against the picture before: changed parts", gain, 1))
    elif gain := find_measure(audit, "block_retrieved").get("gain"):
        tests.append(Test("readable", "own latents against the picture before: own helper image nearest", gain, 1))
    for each in (audit.get("against") or {}).values() if tests else ():  # a run without latents has no word
        steps = f"its stage took {each['steps']} steps, this one's {metrics.get('steps')}"
        tests.append(Test("useful", f"against {each['name']} ({steps}): success", each["difference"], 1))
    adjusted = holm({str(number): test.difference["p"] for number, test in enumerate(tests)})
    return [Test(t.word, t.what, t.difference, t.sign, adjusted[str(number)]) for number, t in enumerate(tests)]


def find_measure(audit: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Find a measure of writing; empty if it wasn't made."""
    found: Mapping[str, Any] = ((audit.get("writing") or {}).get("measures") or {}).get(name) or {}
    return found


def find_headline(audit: Mapping[str, Any]) -> str | None:
    """Name the measure of writing that says most: what has changed, else a choice among near ones, else among all."""
    return next((n for n in ("changed", "told_apart", "retrieved") if "gain" in find_measure(audit, n)), None)


def list_numbers(audit: Mapping[str, Any]) -> dict[str, float]:
    """List the few numbers that stand for an audit's findings where runs are compared."""
    numbers, headline = dict[str, float](), find_headline(audit)
    if headline:
        measure = find_measure(audit, headline)
        places = {"forced": measure["forced"]["all"], "forced_first": measure["forced"]["places"][0]}
        places |= {"free": measure["free"]["all"], "copied": measure["last"]["all"]}
        numbers = {name: number["mean"] for name, number in places.items() if number["mean"] is not None}
    gain = (audit.get("decodability") or {}).get("gain") or find_measure(audit, "block_retrieved").get("gain")
    if gain and gain["low"] is not None:
        numbers |= {"read_more": gain["difference"], "read_more_low": gain["low"]}
    return numbers


def judge_words(tests: Sequence[Test]) -> dict[str, bool | None]:
    """Say of each word whether it is shown; ``None`` where what it needs wasn't scored: zeros and another sample's for
    ``used``.
    """
    needed = {"used": 2, "useful": 1, "readable": 1}
    of = {word: [test.holds for test in tests if test.word == word] for word in WORDS}
    return {word: all(shown) if len(shown) >= needed[word] else None for word, shown in of.items()}
