"""How often a policy acts, and which of its rollouts a step learns from: by numbers alone, so that a run can go on."""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge

from mirage_pl.engine.training.draws import row_stream


@dataclass(frozen=True)
class Schedule:
    """Rounds: in each the policy acts, then takes a few steps with what came of it.

    Attributes:
        prompts: of a round.
        group: rollouts of each prompt.
        epochs: passes over the rollouts of a round, each in another order.
        whole: where weights are in parts, gather all of them once a round, so that processes share it; false: layer by
            layer as they act, and each process makes all of a round.
        refill: how many times further prompts are drawn while some of the round's groups tell nothing (DAPO's dynamic
            sampling, arXiv 2503.14476, section 3.2); 0: such groups are left out, and the round has fewer rollouts.

    Raises:
        ValueError: a group of one.
    """

    prompts: Annotated[int, Ge(1)] = 16
    group: int = 8
    epochs: Annotated[int, Ge(1)] = 1
    refill: Annotated[int, Ge(0)] = 0
    whole: bool = True

    def __post_init__(self) -> None:
        if self.group < 2:
            raise ValueError(
                f"rollouts.group={self.group}, but an answer is compared with others to the same prompt; set it to 2 "
                "or more; 8 is usual"
            )

    @property
    def size(self) -> int:
        """Rollouts of a round."""
        return self.prompts * self.group

    def steps_an_epoch(self, rows: int) -> int:
        """Steps of a pass over a round's rollouts.

        Args:
            rows: rollouts of a step, over all processes and accumulated batches.

        Raises:
            ValueError: they don't go into whole steps.
        """
        if self.size % rows:
            raise ValueError(
                f"rollouts.prompts={self.prompts} times rollouts.group={self.group} are {self.size} answers, which "
                f"don't go into whole steps of {rows} (loader.batch_size, times devices and "
                f"trainer.accumulate_grad_batches); change these, or set loader.batch_size={self.size} on one device"
            )
        return self.size // rows

    def steps(self, rows: int) -> int:
        """Steps of a round."""
        return self.epochs * self.steps_an_epoch(rows)

    def pick(self, seed: int, step: int, part: int, parts: int, rows: int, kept: int) -> list[int]:
        """Which of a round's rollouts a batch has: every one is in one batch of a pass, as long as there are enough.

        Args:
            seed: of the run.
            step: of the run.
            part: which of the step's accumulated batches.
            parts: how many it has.
            rows: rollouts of a step, if none is left out.
            kept: rollouts that the round has.
        """
        round_, place = divmod(step, self.steps(rows))
        epoch, within = divmod(place, self.steps_an_epoch(rows))
        order = torch.randperm(kept, generator=row_stream(seed, f"pass {epoch}", round_)).tolist()
        number, count = within * parts + part, self.steps_an_epoch(rows) * parts
        first, last = number * kept // count, (number + 1) * kept // count
        return order[first:last] or [order[number % kept]]


def draw_prompts(seed: int, taken: int, count: int, size: int) -> tuple[list[int], int]:
    """Indices of the next prompts: all of them in an order by chance, then all in another one.

    What is left of an order is passed over if it is too little.

    Args:
        seed: of the run.
        taken: places in these orders that were passed before.
        count: prompts to draw; none twice.
        size: prompts that there are.

    Returns:
        The indices, and the places passed by now.

    Raises:
        ValueError: there are fewer than are to be drawn.
    """
    if count > size:
        raise ValueError(f"rollouts.prompts={count}, but there are {size} prompts to train on; lower it")
    epoch, place = divmod(taken, size)
    if place + count > size:
        epoch, place = epoch + 1, 0
    order = torch.randperm(size, generator=row_stream(seed, "prompts", epoch)).tolist()
    return order[place : place + count], epoch * size + place + count
