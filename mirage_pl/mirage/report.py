"""Mirage's words in a report: what its conditions, numbers and pictures mean, and what follows from them.

Imports no torch. Zeroed latents show whether latents are needed at all, another sample's whether their content matters.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mirage_pl.engine.evaluation.phrases import judge_interval, write_percent, write_points
from mirage_pl.engine.evaluation.results import Result
from mirage_pl.engine.reports.page import embed_medium, label_run

CONDITIONS = {
    "identity": "the model's own latents again: answers must stay the same",
    "zero": "zeros",
    "noise": "Gaussian noise, one mean and variance for all numbers",
    "matched_noise": "Gaussian noise with the latents' mean and covariance",
    "first_repeated": "the sample's first latent, repeated",
    "shuffled": "those of another sample",
    "donor": "those of a sample of the same group with another right answer",
    "oracle": "compressed features of the true helper image",
    "matched_oracle": "the same, moved and scaled to the mean and spread of the model's own",
    "none": "an empty block",
}
"""What stands in place of the latents."""
NUMBERS = {
    "columns": "mean length of an answer: tokens and latents",
    "rows": "answers with latents",
    "cosine_within": "mean cosine of two latents of a sample",
    "cosine_across": "mean cosine of the latents in one place of two samples",
    "effective_rank": "effective rank of all latents",
    "norm": "mean norm of latents",
    "norm_of_embeddings": "mean norm of token embeddings",
    "norm_of_targets": "mean norm of compressed helper features",
    "retrieved": "share whose own helper image is the nearest of all; by chance 1 in n, more where some are the same",
    "changed": "share of answers whose text differs",
    "flips": "share of answers that change, of those with another question's latents",
    "follows": "share of answers that would be right for the question that the latents belong to",
    "lift": "points by which that is more often so than with the model's own latents",
    "kl": "nats: how far the next token's distribution moves while the first answer is read, after the first latent",
}
TAMPERED = {"zero": "zeros", "shuffled": "another sample's"}
"""The conditions that show whether latents are used."""
SIGHTS = {
    "row": (
        "On the images",
        "One sample a picture. Red: how the latent's column shares its attention among the patches of the input image, "
        "mean over layers and heads; below each, the share of attention on all images (the rest goes to text and other "
        "latents) and the largest share of one patch. Blue: cosine of the latent to each patch of its helper image; "
        "the three nearest patches are outlined, the nearest boldest, and their cosines given below. For these cosines "
        "the mean latent in that place and the mean helper feature are subtracted first, since all are nearly parallel "
        "otherwise; raw is the nearest patch's cosine without that. Each color has one scale per picture. A latent "
        "that looks where the answer is has dark cells there, and different ones in other samples.",
    ),
    "plane": (
        "Among words and images",
        "Vectors of length 1 on the two axes along which they vary most (principal components). Latents in one spot "
        "are the same whatever the question. Stage 1 draws latents to their helper images.",
    ),
    "geometry": (
        "As vectors",
        "Cosines at 1 mean that latents are all alike, within a sample or across samples. Singular values that fall "
        "steeply mean that few directions are used. Latents much longer or shorter than token embeddings are unlike "
        "any input that the backbone was trained on. In the square each row is a sample's latents and each column a "
        "sample's helper image, both less their means: latents that carry their image show a red diagonal.",
    ),
}
"""Kind of picture -> heading, and how to read it; a file is named after its kind, or ``kind-number``."""


def sections(results: Sequence[Result]) -> dict[str, str]:
    """Lay out the pictures of latents, the runs below each other; no section without pictures."""
    html = ""
    for kind, (heading, reading) in SIGHTS.items():
        pictures = [
            (place, result.name, file)
            for place, result in enumerate(results)
            for file in result.folder.glob(f"latents/{kind}*.png")
        ]
        figures = [
            f'<figure class="wide">{embed_medium(file, f"{heading}: {file.stem}")}'
            f"<figcaption>{label_run(place, name)}</figcaption></figure>"
            for place, name, file in sorted(pictures, key=lambda picture: read_row(picture[2]))
        ]
        if figures:
            html += f'<h3>{heading}</h3><p class="note">{escape(reading)}</p>{"".join(figures)}'
    return {"What the latents see": html} if html else {}


def read_row(file: Path) -> int:
    """Read the row number from a picture's name; 0 if it has none."""
    last = file.stem.rpartition("-")[2]
    return int(last) if last.isdigit() else 0


def verdict(metrics: Mapping[str, Any]) -> list[str]:
    """Say whether this checkpoint's answers depend on latents: on any, and on the sample's own.

    Statements about success follow from the differences, those about answers from the share that changes: all answers
    may change while success stays.
    """
    conditions = metrics.get("interventions") or {}
    tampered = {name: conditions[name] for name in TAMPERED if name in conditions and conditions[name]["n"]}
    if len(tampered) < len(TAMPERED):
        return []
    parts = [f"with {TAMPERED[name]} {describe_cost(condition)}" for name, condition in tampered.items()]
    headline = f"{write_headline(tampered['zero'], tampered['shuffled'])} Against its own latents: {'; '.join(parts)}."
    return [headline, *write_lift(conditions.get("donor") or {})]


def write_lift(donor: Mapping[str, Any]) -> list[str]:
    """Say whether answers follow the latents to what is right for another question."""
    if not donor.get("lift"):
        return []
    how = "follow" if donor["lift"]["low"] > 0 else "aren't shown to follow"
    share, lift = " ".join(write_percent(donor["follows"])), " ".join(write_points(donor["lift"]))
    return [
        f"Answers {how} latents to another question's answer: with those of a donor {share} are right for the donor, "
        f"{lift} against its own."
    ]


def write_headline(zero: Mapping[str, Any], shuffled: Mapping[str, Any]) -> str:
    """Say what zeros and another sample's latents do to success and to answers."""
    needed, own = (condition["difference"]["high"] < 0 for condition in (zero, shuffled))
    if needed and own:
        return "This checkpoint's answers depend on the sample's own latents."
    if needed:
        sentence = "This checkpoint needs latents, but success doesn't show that they must be the sample's own"
        return f"{sentence}{write_change(shuffled)}."
    if own:
        return f"Success falls with another sample's latents, though not with zeros{write_change(zero)}."
    if any(read_changed(condition) for condition in (zero, shuffled)):
        return "Answers of this checkpoint change with other latents, but success isn't shown to fall."
    return "No answer of this checkpoint changes with zeros or with another sample's latents."


def write_change(condition: Mapping[str, Any]) -> str:
    """Say how many answers change where success isn't shown to fall; empty if none does."""
    return f", though {write_percent(condition['changed'])[0]} of the answers change" if read_changed(condition) else ""


def read_changed(condition: Mapping[str, Any]) -> float:
    """Share of answers that differ from those with the model's own latents."""
    return float((condition.get("changed") or {}).get("mean") or 0.0)


def describe_cost(condition: Mapping[str, Any]) -> str:
    """Write what a condition does to success, and how many answers it changes."""
    cost = f"{' '.join(write_points(condition['difference']))} ({judge_interval(condition['difference'])})"
    return f"{cost}, {write_percent(condition['changed'])[0]} of answers changed" if condition.get("changed") else cost


def describe_method(method: Mapping[str, Any]) -> dict[str, Any]:
    """Add ``used``: whether zeroing latents and taking another sample's both cost success; ``None`` if unknown."""
    conditions = method.get("interventions") or {}
    changes = [conditions[name]["difference"] for name in TAMPERED if name in conditions]
    costs = [change["high"] for change in changes if change and change["high"] is not None]
    return {"used": all(cost < 0 for cost in costs) if len(costs) == len(TAMPERED) else None}


def judge_methods(methods: Mapping[str, Mapping[str, Any]], baseline: str) -> list[str]:
    """Say whose latents are needed, whose are used, and which of these methods are better than the baseline."""
    tampered = {name: method for name, method in methods.items() if method["used"] is not None}
    needs = {
        (True, True): "Latents used",
        (True, False): "Latents needed (not shown that they must be the sample's own)",
        (False, True): "Another sample's latents cost success (zeros not shown to)",
        (False, False): "Latents not shown to be used",
    }
    uses = {
        True: "the method better than the baseline",
        False: "the method not shown to be better than the baseline",
        None: "in the baseline itself",
    }
    sentences = []
    for need, words in needs.items():
        for useful, more in uses.items():
            names = [name for name, each in tampered.items() if (find_costs(each), each["useful"]) == (need, useful)]
            if names:
                link = "" if useful is None else "and " if useful == any(need) else "but "
                sentences.append(
                    f"{words}, {link}{more}: {', '.join(f'{n} ({list_costs(tampered[n])})' for n in names)}."
                )
    if tampered and not any(method["used"] and method["useful"] for method in tampered.values()):
        sentences.append(
            "No method's latents are shown to be both used (zeroing them and taking another sample's both cost "
            f"success) and useful (the method is better than {baseline})."
        )
    return sentences


def find_costs(method: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether zeroing a method's latents costs success, and whether taking another sample's does."""
    zero, shuffled = (method["interventions"][name]["difference"]["high"] < 0 for name in TAMPERED)
    return zero, shuffled


def list_costs(method: Mapping[str, Any]) -> str:
    """Write what it costs to zero a method's latents, and to take another sample's."""
    words = {"zero": "zeroed", "shuffled": "another sample's"}
    changes = {word: method["interventions"][name]["difference"] for name, word in words.items()}
    return ", ".join(f"{word} {' '.join(write_points(change))}" for word, change in changes.items())
