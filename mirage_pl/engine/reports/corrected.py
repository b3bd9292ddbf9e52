"""Differences from the baseline, corrected for being several."""

from collections.abc import Mapping
from typing import Any

from mirage_pl.engine.evaluation.measures import Number
from mirage_pl.engine.evaluation.multiplicity import LEVEL, holm


def correct(methods: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Add to each method's difference from the baseline over all items ``adjusted``: its p after Holm's correction."""
    leads = {name: find_lead(method) for name, method in methods.items()}
    adjusted = holm({name: lead["p"] for name, lead in leads.items() if "p" in lead})
    for name, p in adjusted.items():
        leads[name]["adjusted"] = p
    return methods


def say_corrected(leads: Mapping[str, Number]) -> str:
    """Say which differences hold together, of several that have a p."""
    adjusted = {name: lead["adjusted"] for name, lead in leads.items() if "adjusted" in lead}
    if len(adjusted) < 2:
        return ""
    holding = ", ".join(name for name, p in adjusted.items() if p < LEVEL) or "none"
    return f" After Holm's correction for {len(adjusted)} comparisons these differ, p < {LEVEL}: {holding}."


def count_corrected(results: Mapping[str, Any]) -> int:
    """Count the differences from the baseline over all items whose p were corrected together."""
    return sum("adjusted" in find_lead(method) for method in results["methods"].values())


def find_lead(method: Mapping[str, Any]) -> dict[str, Any]:
    """Find a method's difference from the baseline over all items; empty for the baseline, and where there is none."""
    lead: dict[str, Any] = (method["difference"] or {}).get("all") or {}
    return lead
