"""What the interventions of one run say."""

from collections.abc import Mapping
from typing import Any

from mirage_pl.engine.evaluation.statistics import judge, points


def verdict(interventions: Mapping[str, Any]) -> str:
    """Say in two sentences whether latents matter: must there be any, and must they be the sample's own?"""
    costs = {name: interventions[name]["difference"] for name in ("zero", "shuffled") if name in interventions}
    if len(costs) < 2:
        return ""
    needed, own = (costs[name]["high"] < 0 for name in ("zero", "shuffled"))
    findings = {
        (True, True): "The answers depend on the sample's own latents",
        (True, False): "The answers need latents, but that they need the sample's own can't be seen",
        (False, True): "The answers suffer from another sample's latents, though not from having none",
        (False, False): "That the answers depend on the latents can't be seen",
    }
    words = {"zero": "zeroed latents", "shuffled": "another sample's"}
    parts = [f"with {words[name]} {' '.join(points(cost))} ({judge(cost)})" for name, cost in costs.items()]
    return f"{findings[needed, own]}. Against the model's own: {', '.join(parts)}."
