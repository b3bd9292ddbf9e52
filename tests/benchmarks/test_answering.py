"""The benchmark of answers compares two runs on the same number of questions, and counts what they write."""

from types import SimpleNamespace

from benchmarks.answering import Answering, compare


class Module:
    """Writes as many columns as it is told."""

    def __init__(self, length):
        self.length, self.asked = length, []

    def generate(self, prompts, **decoding):
        self.asked.append(len(prompts))
        return SimpleNamespace(tokens=[[0] * self.length for _ in prompts])


def test_both_answer_all_questions_one_by_one_or_together():
    runs = [
        Answering(name, Module(length), SimpleNamespace(prompts=list), list(range(5)), {})
        for name, length in (("words", 3), ("text", 8))
    ]
    assert [run.columns for run in runs] == [3, 8]
    for run in runs:
        run.module.asked.clear()
    figures = compare(*runs, at_once=2, repeats=1)
    assert [run.module.asked for run in runs] == [[2, 2, 1] * 2] * 2, "a warm-up and one repeat"
    assert figures["at_once"] == 2
    assert figures["low"] <= figures["times"] <= figures["high"]
