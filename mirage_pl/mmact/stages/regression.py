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
        actions_BHA = batch.actions_BN.unflatten(1, (-1, len(self.scales.action.shift_D)))
        off_BN = (self.predict(batch) - self.scales.action(actions_BHA).flatten(1)).abs()
        loss = (off_BN * batch.real_BN).sum() / batch.real_BN.sum().clamp(min=1)
        self.observe({"off": loss.detach()})
        return {"action": loss}

    def predict(self, batch: Batch) -> Tensor:
        """Normalized actions, [B, N]; a row without a state has the middle of all."""
        has_B = batch.action.state_BL.any(1)
        states_BS = self.scales.state.shift_D.repeat(len(batch), 1)
        if has_B.any():
            states_BS[has_B] = batch.states_MS
        predicted_BN: Tensor = self.net(batch.action.ids_BL, batch.action.keys_BL, states_BS)
        return predicted_BN

    @torch.no_grad()
    def choose_actions(self, batch: Batch, decode: Decoder, streams: Sequence[Generator]) -> Tensor:
        """The numbers themselves."""
        normal_BHA = self.predict(batch).unflatten(1, (-1, len(self.scales.action.shift_D)))
        return self.scales.action.invert(normal_BHA).flatten(1)
