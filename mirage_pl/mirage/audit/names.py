"""Names of an audit's conditions, in the order in which they are shown. Imports no torch."""

from collections.abc import Mapping, Sequence

NOISES: Mapping[str, float] = {"noise_25": 0.25, "noise_50": 0.5, "noise_75": 0.75, "matched_noise": 1.0}
"""Condition -> share of the latents' variance that is noise."""
FLIPPED = "flipped"
"""The condition that needs counterfactuals."""
TRUE: Mapping[str, str] = {"donor_oracle": "donor", "flipped_oracle": FLIPPED}
"""Condition with true features -> the one with latents of the same questions."""
FORMS: Mapping[str, str] = {
    "none": "markers without slots: an empty block",
    "unmarked": "slots without markers: both are read as the mean token",
    "skipped": "no block: the model may not begin one",
    "strict": "its own latents, but the image is hidden from all that follows it: only latents tell of it",
}
"""What is left of a block, or of what it is read beside."""
NAMES: Sequence[str] = (
    "identity",
    *NOISES,
    "zero",
    "filler",
    "shuffled",
    "donor",
    FLIPPED,
    "oracle",
    "matched_oracle",
    *TRUE,
    *FORMS,
)
