"""What the page of ``evaluation=gain`` says: do helper images help, and are other runs better where they do?

Imports no torch.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mirage_pl.engine.evaluation.measures import write_difference, write_value
from mirage_pl.engine.evaluation.results import Result
from mirage_pl.engine.reports.page import label_run, lay_out_cell, lay_out_note, lay_out_table
from mirage_pl.engine.seams import Measure
from mirage_pl.engine.words import PlainWords

CONDITIONS = {"shuffled": "helper images of another row with another answer"}
"""What is shown in place of the row's own."""
NUMBERS: Mapping[str, str] = {}
SHARE = Measure("share")
HELPS = {
    1: "With their helper images in the question, this run finds true answers likelier",
    -1: "With their helper images in the question, this run finds true answers less likely: it can't read them there",
    0: "How likely this run finds true answers isn't shown to change with their helper images in the question",
}

describe_method = PlainWords.describe_method
judge_methods = PlainWords.judge_methods


def verdict(metrics: Mapping[str, Any]) -> list[str]:
    """Say whether helper images help, and whether it is these or any pictures."""
    gain = (metrics.get("gain") or {}).get("all") or {}
    if not gain.get("n"):
        return []
    helps = HELPS[(gain["low"] > 0) - (gain["high"] < 0)]
    other = (metrics.get("conditions") or {}).get("shuffled") or {}
    if not other.get("difference"):
        return [f"{helps}."]
    own = "It matters" if other["difference"]["high"] < 0 else "Nothing shows that it matters"
    return [f"{helps}. {own} whose they are: with another row's, {write_nats(other['difference'])} against its own."]


def write_nats(difference: Mapping[str, Any]) -> str:
    """Write a difference of gains."""
    return " ".join(write_difference(Measure("mean", "higher", "nats"), difference))


def sections(results: Sequence[Result]) -> dict[str, str]:
    """Lay out the success of other runs by quarter of the gain; no section without any."""
    tables = [
        (f"<h3>{label_run(place, result.name)}</h3>" if len(results) > 1 else "") + lay_out_quarters(result)
        for place, result in enumerate(results)
        if result.metrics.get("by_quarter")
    ]
    return {"Other runs, by how much helper images help": "".join(tables)} if tables else {}


def lay_out_quarters(result: Result) -> str:
    """Lay out a table: a run a row, a quarter of the questions a column."""
    quarters, runs = result.metrics["quarters"], result.metrics["by_quarter"]
    heads = [lay_out_cell(f"{each['low']:.3g} to {each['high']:.3g} nats", f"{each['n']} rows") for each in quarters]
    rows = []
    for run in runs.values():
        rows.append((escape(run["name"]), [lay_out_cell(*write_value(SHARE, share)) for share in run["success"]]))
        if "above_first" in run:
            leads = [lay_out_cell(*write_difference(SHARE, lead)) for lead in run["above_first"]]
            rows.append((f"{escape(run['name'])}, less the first", leads))
    note = (
        "Questions are sorted by their gain and cut into four equal parts; shares are success of other runs on the "
        "same questions. Where latents stand in for helper images, a run with latents should be ahead on the right. "
        "A gain is high also where a question is hard without help, so that a run without latents is low there for "
        "that alone."
    )
    return lay_out_table(heads, rows) + lay_out_note(note)
