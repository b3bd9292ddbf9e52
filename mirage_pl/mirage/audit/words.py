"""What an audit's page says: the words used, useful and readable, and the tables and plots behind them.

Imports no torch.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mirage_pl.engine.evaluation.measures import write_difference, write_value
from mirage_pl.engine.evaluation.phrases import write_p
from mirage_pl.engine.evaluation.results import Result
from mirage_pl.engine.reports.page import label_run, lay_out_cell, lay_out_legend, lay_out_note, lay_out_table
from mirage_pl.engine.seams import Measure
from mirage_pl.mirage import report
from mirage_pl.mirage.audit.names import FORMS, NOISES
from mirage_pl.mirage.audit.plots import draw_lines
from mirage_pl.mirage.audit.terms import WORDS, Test, find_headline, find_measure, judge_words, list_tests

CONDITIONS = {
    "identity": report.CONDITIONS["identity"],
    **{name: f"noise has {100 * share:.0f} % of their variance" for name, share in NOISES.items()},
    "zero": "zeros",
    "filler": "the mean of all token embeddings: as many columns that say nothing",
    "shuffled": "those of another sample",
    "donor": report.CONDITIONS["donor"],
    "flipped": "those that the model writes when one thing in the question is changed",
    "oracle": report.CONDITIONS["oracle"],
    "matched_oracle": report.CONDITIONS["matched_oracle"],
    "donor_oracle": "compressed features of the donor's helper image",
    "flipped_oracle": "compressed features of the changed question's helper image",
    **FORMS,
}
NUMBERS = {
    "columns": report.NUMBERS["columns"],
    "forced": "share of latents that are right, teacher-forced: of changed parts, or, without states, told apart",
    "forced_first": "of these, those that are first in a block",
    "free": "the same, free-running",
    "copied": "the same, if the picture before is copied",
    "read_more": "how many more changed parts a probe reads from the model's own latents than from the picture before",
    "read_more_low": "the lower end of its interval",
    **{name: report.NUMBERS[name] for name in ("changed", "flips", "follows", "lift")},
}
SOURCES = {
    "forced": "teacher-forced: true latents before",
    "free": "free-running: its own latents before",
    "last": "the picture before, copied",
}
MEASURES = {
    "retrieved": ("Own target is nearest of all", "among the targets of all samples in its place"),
    "told_apart": (
        "Own target, or a near one",
        "nearer than the changed question's target and the picture before, where they differ",
    ),
    "changed": ("Changed parts", "that show what they should, by the nearest target of all"),
    "state": ("Whole states", "all parts of a block show what they should"),
    "block_retrieved": ("Own helper image is nearest of all", "by the whole block"),
}
BY_PLACE = ("retrieved", "told_apart", "changed")
READ = {
    "free": "its own latents",
    "last": "the picture before",
    "true": "true latents",
    "forced_as_true": "written teacher-forced, by the probe of true latents",
    "free_as_true": "its own latents, by the probe of true latents",
}
SHARE = Measure("share")
DOTTED = "Bands are 95 % intervals over samples; dotted: chance."


def describe_method(method: Mapping[str, Any]) -> dict[str, Any]:
    """Add ``used``, as all evaluations of answers do, and ``readable``: by the interval of each seed; else ``None``."""
    low = (method.get("latents") or {}).get("read_more_low")
    return {**report.describe_method(method), "readable": low["min"] > 0 if low else None}


def judge_methods(methods: Mapping[str, Mapping[str, Any]], baseline: str) -> list[str]:
    """Say whose latents are used, and useful, and in which methods they are readable in every seed."""
    tested = {name: method["readable"] for name, method in methods.items() if method.get("readable") is not None}
    if not tested:
        return report.judge_methods(methods, baseline)
    names = ", ".join(name for name, readable in tested.items() if readable) or "none"
    return [*report.judge_methods(methods, baseline), f"Latents readable, by the interval of every seed: {names}."]


def verdict(metrics: Mapping[str, Any]) -> list[str]:
    """Say which words are shown, and how much of what is written in teacher forcing the model writes by itself."""
    tests, audit = list_tests(metrics), metrics.get("audit") or {}
    if audit.get("emitted") == 0:
        return ["No answer has latents: there is nothing that could be used, useful or readable."]
    if not tests:
        return []
    shown = judge_words(tests)
    sentences = [f"Latents: {', '.join(write_word(word, holds) for word, holds in shown.items())}."]
    if shown["useful"] is None:
        sentences.append("Whether they are useful needs a baseline: against=[RUN], such as one of stage=sft.")
    if shown["readable"] is None:
        sentences.append("Readable needs helper images, and answers with as many latents as they should have.")
    opposite = [f"{t.what}, {' '.join(write_difference(SHARE, t.difference))}" for t in tests if t.word and t.reversed]
    if opposite:
        sentences.append(f"The opposite is shown: {'; '.join(opposite)}.")
    return [" ".join(sentences), *filter(None, [write_leak(audit)])]


def write_word(word: str, holds: bool | None) -> str:
    """Write whether a word is shown."""
    return f"{word}: {'not tested' if holds is None else 'yes' if holds else 'not shown'}"


def write_leak(audit: Mapping[str, Any]) -> str:
    """Say how often latents stand for their own target, by place in teacher forcing, and free-running."""
    if (name := find_headline(audit)) is None:
        return ""
    measure = find_measure(audit, name)
    places = [place for place in measure["forced"]["places"] if place["n"]] or [measure["forced"]["all"]]
    first, last = places[0], places[-1]
    heading, meaning = MEASURES[name]
    shares = {"in the first place of a block": first, "in the last": last} if first is not last else {"": first}
    forced = ", ".join(f"{' '.join(write_value(SHARE, each))} {where}".rstrip() for where, each in shares.items())
    parts = [f"{heading} ({meaning}), teacher-forced: {forced}"]
    for source, words in (("free", "free-running"), ("last", "if the picture before is copied")):
        if measure[source]["all"]["n"]:
            parts.append(f"{words}: {' '.join(write_value(SHARE, measure[source]['all']))}")
    if measure["chance"] is not None:
        parts.append(f"by chance: {write_share(measure['chance'])}")
    return f"{'; '.join(parts)}."


def write_share(share: float) -> str:
    """Write a share without an interval."""
    return f"{100 * share:.1f} %"


def sections(results: Sequence[Result]) -> dict[str, str]:
    """Lay out what each run's audit has found; no section without any."""
    found = {
        "Used, useful, readable": lay_out_words,
        "Replacement by strength": lay_out_strength,
        "Which target is it": lay_out_writing,
        "What a probe reads": lay_out_probe,
        "Where answers look": lay_out_attention,
    }
    html = dict.fromkeys(found, "")
    for place, result in enumerate(results):
        for heading, lay_out in found.items():
            if content := lay_out(result, place):
                html[heading] += (f"<h3>{label_run(place, result.name)}</h3>" if len(results) > 1 else "") + content
    return {heading: content for heading, content in html.items() if content}


def lay_out_words(result: Result, place: int) -> str:
    """Lay out the words with their meaning, and the tests that they rest on."""
    tests = list_tests(result.metrics)
    if not tests:
        return ""
    shown = judge_words(tests)
    words = [(word, [escape(write_word(word, shown[word]).partition(": ")[2]), escape(WORDS[word])]) for word in WORDS]
    rows = [(escape(test.what), describe_test(test)) for test in tests]
    note = (
        "A word is shown if each of its differences has an interval that excludes 0 on the right side and p < 0.05 "
        "after Holm's correction over the tests of this table. Intervals are raw: 95 % each."
    )
    heads = ["difference", "p", "p, Holm", ""]
    return lay_out_table(["", "means"], words) + lay_out_table(heads, rows) + lay_out_note(note)


def describe_test(test: Test) -> list[str]:
    """Write a test's difference, its p, that after correction, and the word that rests on it."""
    difference = lay_out_cell(*write_difference(SHARE, test.difference))
    numbers = [escape(write_p(p)) for p in (test.difference["p"], test.adjusted)]
    shown = "shown" if test.holds else "the opposite is shown" if test.reversed else "not shown"
    return [difference, *numbers, f"{test.word}: {shown}" if test.word else shown]


def lay_out_strength(result: Result, place: int) -> str:
    """Plot success from own latents to noise."""
    own = result.by_group(result.first).get("all")
    sweep = [(100 * share, result.conditions[name]) for name, share in NOISES.items() if name in result.conditions]
    if not own or len(sweep) < 2:
        return ""
    plot = draw_lines(result.first, "% of variance that is noise", {"": [(0, own), *sweep]}, f"strength of run {place}")
    return plot + lay_out_note(
        "Latents are mixed with noise of their mean and covariance, which stay as they are. Answers that read latents "
        "are lost little by little; a flat line says that nothing is read, a cliff that any deviation breaks it."
    )


def lay_out_writing(result: Result, place: int) -> str:
    """Lay out whether latents stand for their own target, in all and by place in the block."""
    audit = result.metrics.get("audit") or {}
    measures = {name: measure for name in MEASURES if (measure := find_measure(audit, name))}
    if not measures:
        return ""
    heads = [lay_out_cell(*words.partition(": ")[::2]) for words in SOURCES.values()]
    heads = [heads[0], lay_out_cell("of these, first in a block", "nothing of it is given away"), *heads[1:], "chance"]
    rows = [(lay_out_cell(*MEASURES[name]), describe_measure(measure)) for name, measure in measures.items()]
    plots = [
        draw_lines(
            MEASURES[name][0],
            "place in the block",
            {source: list(enumerate(measures[name][source]["places"], 1)) for source in SOURCES},
            f"{name} by place of run {place}",
            measures[name]["chance"],
        )
        for name in BY_PLACE
        if name in measures and len(measures[name]["forced"]["places"]) > 1
    ]
    written = audit["writing"]["written"]
    return (
        lay_out_table(heads, rows)
        + lay_out_note(
            f"{write_share(written)} of the answers have as many latents as they should; free-running counts these. "
            "Features of one picture know of each other: true latents in the first places of a block give the later "
            "ones away, so that only its first place, and free-running, say what the model can write. What copying the "
            "picture before gets isn't written at all."
        )
        + lay_out_legend(label_run(number, words) for number, words in enumerate(SOURCES.values()))
        + f'<div class="curves">{"".join(plots)}</div>'
        + lay_out_note(DOTTED)
    )


def describe_measure(measure: Mapping[str, Any]) -> list[str]:
    """Write a measure for each source, and chance."""
    forced, free, last = (measure[source] for source in SOURCES)
    first = describe_share(forced["places"][0])
    chance = "–" if measure["chance"] is None else write_share(measure["chance"])
    return [describe_share(forced["all"]), first, *map(describe_share, (free["all"], last["all"])), chance]


def describe_share(number: Mapping[str, Any]) -> str:
    """Write a share with its interval; a dash without any."""
    return lay_out_cell(*write_value(SHARE, number)) if number["mean"] is not None else "–"


def lay_out_probe(result: Result, place: int) -> str:
    """Lay out what a linear probe reads from latents."""
    probe = (result.metrics.get("audit") or {}).get("decodability") or {}
    rows = [
        (escape(words), [describe_share(probe[source][name]) for name in ("changed", "state")])
        for source, words in READ.items()
        if source in probe
    ]
    note = (
        "Ridge regression on the vectors of a block, fitted to four fifths of the samples and asked about the others: "
        "the share of parts that have changed since the picture before and are read right, and of blocks that are read "
        "right in all parts. A probe of true latents understands what is written as a reader does that was trained on "
        "these; what only a probe of its own reads is there, but not said in their way."
    )
    return lay_out_table(["changed parts", "whole states"], rows) + lay_out_note(note) if rows else ""


def lay_out_attention(result: Result, place: int) -> str:
    """Plot how the answer's text shares its attention, layer by layer."""
    attention = (result.metrics.get("audit") or {}).get("attention") or {}
    if not attention:
        return ""
    names = {"latents": "to latents", "image": "to the image", "even": "to latents, if even over all columns"}
    lines = {
        name: [(layer, {"mean": share}) for layer, share in zip(attention["layers"], attention[name], strict=True)]
        for name in names
    }
    plot = draw_lines("attention of the answer's text", "layer", lines, f"attention of run {place}")
    legend = lay_out_legend(label_run(number, words) for number, words in enumerate(names.values()))
    return legend + plot + lay_out_note("Mean over heads and over the answer's columns after its first latent.")
