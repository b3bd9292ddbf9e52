"""Words of ``evaluation=ivideogpt/control`` and ``ranking`` in a report. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mirage_pl.engine.evaluation.measures import is_gain, is_loss, reverse_difference, write_difference
from mirage_pl.engine.seams import Measure
from mirage_pl.engine.words import PlainWords

CONDITIONS = {
    "random": "random actions, each held for up to five steps",
    "expert": "the scripted expert, which knows where everything is",
    "simulator": "the same search with the simulator in place of the model: a model without errors",
    "other_actions": "imagined with the actions of the same policy from another start",
}
NUMBERS = {
    "promised": "rewards that the model expected of the steps that were taken, a mean over episodes",
    "earned": "rewards that they brought",
    "promise_correlation": "correlation of the two over episodes",
    "spearman_low": "lower end of the 95 % interval of spearman: starts drawn anew",
    "spearman_high": "its upper end",
}
READING = {
    "control": "A clip shows an episode as it went, and right of it what the model had imagined of the steps when it "
    "planned them; after each new plan both sides are at the same frame again.",
    "ranking": "A clip shows a policy in the simulator, and right of it what the model imagined of the same actions, "
    "from the first frame alone. Policies don't see what is imagined: the scripted expert needs the simulator's state.",
}
GOAL = 0.8
describe_method, judge_methods = PlainWords.describe_method, PlainWords.judge_methods


def sections(results: Sequence[Any]) -> Mapping[str, str]:
    """How the page is to be read."""
    note = READING.get(str(results[0].metrics.get("evaluation")))
    return {} if note is None else {"How to read clips": f'<p class="note">{note}</p>'}


def verdict(metrics: Mapping[str, Any]) -> Sequence[str]:
    """Say what planning brings against others from the same starts, or how well policies are ranked."""
    return judge_ranking(metrics) if metrics.get("evaluation") == "ranking" else judge_planning(metrics)


def judge_planning(metrics: Mapping[str, Any]) -> list[str]:
    """A sentence for each condition."""
    sentences, measure = [], Measure(**metrics["measures"]["return"])
    names = {"random": "random actions", "expert": "the expert", "simulator": "planning with the simulator itself"}
    for condition, name in names.items():
        change = (metrics.get("conditions") or {}).get(condition, {}).get("measures", {}).get("return", {})
        difference = change.get("difference") or {}
        if difference.get("low") is None:
            continue
        how = (
            "more than"
            if is_loss(measure, difference)
            else "less than"
            if is_gain(measure, difference)
            else "as much as"
        )
        lead = " ".join(write_difference(measure, reverse_difference(difference)))
        shown = "" if how != "as much as" else ", as far as these episodes show"
        sentences.append(f"Planning with this model brings {how} {name}{shown}: {lead} in return.")
    return sentences


def judge_ranking(metrics: Mapping[str, Any]) -> list[str]:
    """Whether the ranking can be relied on."""
    value = (metrics.get("spearman") or {}).get("all", {}).get("mean")
    low, high = ((metrics.get("spearman_interval") or {}).get(end) for end in ("low", "high"))
    if value is None or low is None or high is None:
        return []
    how = "ranks" if low > 0 else "isn't shown to rank"
    goal = "above" if low > GOAL else "not shown to be above"
    policies = len(metrics["spearman"]) - 1
    value_words = f"Spearman {value:.2f} [{low:.2f}, {high:.2f}], {goal} {GOAL}"
    return [f"This model {how} {policies} policies as the simulator does: {value_words}."]
