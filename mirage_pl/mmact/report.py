"""MM-ACT's words in a report: what conditions mean, and what of all it is shown a policy reads. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mirage_pl.engine.evaluation.measures import is_gain, is_loss, read_changes, write_difference, write_value
from mirage_pl.engine.reports.page import label_run, lay_out_cell, lay_out_table
from mirage_pl.engine.seams import Measure
from mirage_pl.engine.words import PlainWords

CONDITIONS = {
    "wrong_instruction": "the model is told something else that could be done here; what it should do stays",
    "no_instruction": "the model is told nothing",
    "shuffled_words": "the instruction's words in another order",
    "no_state": "the model is shown no state",
    "frozen_state": "the model is always shown the state in which the episode began",
    "blank_image": "cameras show black",
    "frozen_image": "cameras always show how the episode began",
    "swapped_views": "cameras in the other order",
    "unigram": "in each place the code that stands there most often in the training data",
    "copy": "the picture that is seen now, as if nothing moved",
    "moved_objects": "things are placed where training never places them",
    "moved_expert": "the world's own expert there: what can be reached at all",
    "random": "actions drawn evenly from -1 to 1",
    "mean": "the mean action of the training data, always",
    "nearest": "what was done in the nearest state of the training data, among episodes with the same instruction",
    "expert": "the world's own expert, who acts anew at each step",
    "mean_picture": "the mean of all pictures, in place of what codes have of one",
    "majority": "what is said most often in the training data, always",
    "expectation": "all numbers of a chunk at once, each the mean of all bins by their chance",
    "sample": "all numbers at once, each drawn by its chance, as released",
    "again4": "four passes, after each of which the least certain numbers are hidden again (MaskGIT)",
    "again8": "eight such passes",
    "doubted8": "and what was kept is hidden again where it has become uncertain (Discrete Diffusion VLA)",
    "quotas8": "eight passes, each of which keeps the most certain numbers for good",
    "blocks8": "the same in two blocks, one after the other",
    "confident8": "the same, but all that is likely enough is kept at once (Fast-dLLM)",
    "stale8": "eight passes with keys of the prompt from the first",
}
NUMBERS = {
    "forwards": "forward passes of the network for a chunk of one episode, mean",
    "ms": "milliseconds of such a chunk where it was evaluated, median",
    "moved": "how far an episode's first action differs from the model's own, mean over its numbers",
    "deviation": "how far what decoding approximates lies from exact decoding, mean over numbers, or over ids",
    "used": "codes of pictures that are used at all",
    "perplexity": "how many codes would be used, were all used equally",
    "departs": "share of answers that exact decoding would have given otherwise",
}
READS = {
    "the instruction": ("wrong_instruction", "no_instruction"),
    "the order of its words": ("shuffled_words",),
    "the state": ("no_state", "frozen_state"),
    "the image": ("blank_image", "frozen_image"),
    "the order of its views": ("swapped_views",),
}
"""What a policy may read -> the conditions that show it."""
SURER = ("wrong_instruction",)
"""Conditions that decide alone where they were asked for: a missing instruction is unusual, and may disturb as such."""
RIVALS = ("random", "mean", "nearest", "majority", "unigram", "copy")
SUCCESS = Measure("share", "higher")
NOTE = (
    "Each episode begins as one of the test set did, and is played by the model's own actions: chunks are chosen, some "
    "of their steps are done, then the next is chosen. A clip is a whole episode, beside it the expert's. "
    "Demonstrations hold the expert's actions in states that noise had led to."
)
describe_method, judge_methods = PlainWords.describe_method, PlainWords.judge_methods


def sections(results: Sequence[Any]) -> Mapping[str, str]:
    """Successes by task and goal, and how the page is to be read."""
    if not any("success" in result.metrics.get("measures", {}) for result in results):
        return {}
    return {"Success by goal": lay_out_goals(results), "How to read episodes": f'<p class="note">{NOTE}</p>'}


def lay_out_goals(results: Sequence[Any]) -> str:
    """A row for each goal, a column for each run; nothing where none has any."""
    columns = [result.metrics.get("goals") or {} for result in results]
    rows = []
    for goal in dict.fromkeys(goal for column in columns for goal in column):
        cells = [lay_out_cell(*write_value(SUCCESS, column[goal])) if goal in column else "–" for column in columns]
        counts = " / ".join(dict.fromkeys(str(column[goal]["n"]) for column in columns if goal in column))
        rows.append((lay_out_cell(goal, f"n = {counts}"), cells))
    return lay_out_table([label_run(place, result.name) for place, result in enumerate(results)], rows) if rows else ""


def verdict(metrics: Mapping[str, Any]) -> Sequence[str]:
    """Say what this checkpoint reads, and which baselines it beats."""
    first = next(iter(metrics["measures"]))
    measure, changes = Measure(**metrics["measures"][first]), read_changes(metrics, first)
    sentences = []
    for what, names in READS.items():
        costs = {name: changes[name] for name in names if name in changes}
        if costs:
            parts = ", ".join(f"{name} {' '.join(write_difference(measure, cost))}" for name, cost in costs.items())
            deciding = [cost for name, cost in costs.items() if name in SURER] or list(costs.values())
            reads = any(is_loss(measure, cost) for cost in deciding)
            sentences.append(f"This policy {'reads' if reads else 'is not shown to read'} {what}: {parts}.")
    rivals = {name: changes[name] for name in RIVALS if name in changes}
    for words, judged in (("better than", is_loss), ("worse than", is_gain)):
        beaten = [name for name, change in rivals.items() if judged(measure, change)]
        if beaten:
            sentences.append(f"It is {words} {', '.join(beaten)}.")
    return sentences
