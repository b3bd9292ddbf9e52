"""The baseline's stage: behaviour cloning with an L1 loss. Shapes: as in ``batch``."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from mirage_pl.mmact.batch import Batch
from mirage_pl.mmact.model.decoding import Decoder
from mirage_pl.mmact.model.regressor import Regressor
from mirage_pl.mmact.stages.policy import PolicyModule


class Regress(PolicyModule):
    """Learn numbers of actions directly; ``net`` is a :class:`Regressor`."""

    net: Regressor

    def terms(self, batch: Batch) -> dict[str, int]:
        """Numbers within episodes."""
        return {"action": int(batch.real_BN.sum())}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Mean absolute error of normalized actions."""
        off_BN = (self.predict(batch) - self.scales.action(batch.actions_BHA).flatten(1)).abs()
        loss = (off_BN * batch.real_BN).sum() / batch.real_BN.sum().clamp(min=1)
        self.observe({"off": loss.detach()})
        return {"action": loss}

    def predict(self, batch: Batch) -> Tensor:
        """Normalized actions, [B, N]; a row without a state has the middle of all.

        Raises:
            ValueError: states or chunks have other numbers than those it was trained on.
        """
        has_B = batch.action.state_BL.any(1)
        states_BS = self.scales.state.shift_D.repeat(len(batch), 1)
        if has_B.any():
            self.scales.state.check(batch.states_MS)
            states_BS[has_B] = batch.states_MS
        predicted_BN: Tensor = self.net(batch.action.ids_BL, batch.action.keys_BL, states_BS)
        if predicted_BN.shape != batch.actions_BN.shape:
            raise ValueError(
                f"this baseline predicts chunks of {predicted_BN.shape[1]} numbers, and the data's have "
                f"{batch.actions_BN.shape[1]}; give data of the kind that it was trained on, with its task.chunk"
            )
        return predicted_BN

    @torch.no_grad()
    def choose_actions(self, batch: Batch, decode: Decoder, streams: Sequence[Generator]) -> Tensor:
        """The numbers themselves.

        Raises:
            ValueError: the data's actions have another number of dimensions than those it was trained on.
        """
        return self.scales.action.invert(self.predict(batch).view_as(batch.actions_BHA)).flatten(1)
