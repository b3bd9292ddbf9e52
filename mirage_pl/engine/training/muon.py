"""Muon for the matrices within layers, AdamW for all other weights, as one optimizer."""

from collections.abc import Callable
from typing import Any

from torch.optim import AdamW, Optimizer
from torch.optim import Muon as MatrixMuon

MARK = "muon"
"""The option of a group whose matrices Muon updates: their learning rate, in parts of the optimizer's."""


class Muon(Optimizer):
    """Steps of equal size in all directions of a matrix (K. Jordan, 2024), scaled as AdamW's (arXiv 2502.16982).

    Of a group with the option ``muon`` the matrices are Muon's; embeddings, heads, norms and biases are AdamW's.

    Args:
        groups: of parameters.
        lr: learning rate.
        betas: of AdamW.
        momentum: of Muon, Nesterov's.
        weight_decay: of a group that doesn't say.

    Raises:
        ValueError: no group has the option, so that nothing would be Muon's.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        momentum: float,
        weight_decay: float = 0.0,
    ) -> None:
        marked = [group for group in groups if group.get(MARK)]
        if not any(weight.ndim == 2 for group in marked for weight in group["params"]):
            raise ValueError(
                f"optimizer=muon updates the matrices of parts with the option {MARK}, and none has it; write "
                f"stage.module.parts={{PART: {{{MARK}: 1.0}}}}, or choose optimizer=adamw"
            )
        split = [part for group in groups for part in split_group(group, lr)]
        ours = [group for group in split if group[MARK]]
        others = [group for group in split if not group[MARK]]
        scaled: dict[str, Any] = {"momentum": momentum, "adjust_lr_fn": "match_rms_adamw"}
        matrices = MatrixMuon(ours, lr, weight_decay, **scaled)
        rest = AdamW(others, lr, betas, weight_decay=weight_decay) if others else None
        self.inner: dict[bool, Optimizer] = {True: matrices} | ({} if rest is None else {False: rest})
        super().__init__([group for each in self.inner.values() for group in each.param_groups], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step.

        Args:
            closure: computes losses and gradients.
        """
        result = None if closure is None else closure()
        for ours, optimizer in self.inner.items():
            optimizer.state = self.state  # a resumed run has put others in place
            optimizer.param_groups = [group for group in self.param_groups if bool(group[MARK]) == ours]
            optimizer.step()
        return result


def split_group(group: dict[str, Any], lr: float) -> list[dict[str, Any]]:
    """Divide a group into matrices that are Muon's, with their own learning rate, and the rest; none is empty."""
    factor = group.get(MARK) or 0.0
    matrices = [weight for weight in group["params"] if factor and weight.ndim == 2]
    kept = {id(weight) for weight in matrices}
    rest = [weight for weight in group["params"] if id(weight) not in kept]
    rates = {MARK: factor, "lr": factor * group.get("lr", lr)}
    parts = [{**group, **rates, "params": matrices}, {**group, MARK: 0.0, "params": rest}]
    return [part for part in parts if part["params"]]
