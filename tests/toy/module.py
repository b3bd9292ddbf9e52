"""The first stage, and what both share. Shapes as in ``net.py``."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from mirage_pl.engine.training.base import BaseModule
from mirage_pl.engine.training.draws import row_stream
from tests.toy.batch import Batch
from tests.toy.net import Pair


class Waves(BaseModule):
    """What both stages share: noise, guesses, the export."""

    net: Pair
    jitter: float
    """Size of the noise on what is guessed from, in training."""

    @property
    def predictor(self) -> nn.Module:
        """What guesses."""
        return self.net.predictor

    def units(self) -> list[nn.Module]:
        """The parts that are called."""
        return [*self.net.children()]

    def parts(self) -> dict[str, list[nn.Module]]:
        """What guesses, for adapters and learning rates."""
        return {"predictor": [self.predictor]}

    def terms(self, batch: Batch) -> dict[str, int]:
        """``higher`` is a mean over rows, the others over all places."""
        return dict.fromkeys(self.loss_weights, int(batch.real_BT[:, 2:].sum())) | {"higher": len(batch)}

    def noisy(self, batch: Batch) -> Tensor:
        """The numbers with the noise of this step: a row's own, in whatever batch it comes."""
        if not self.training:
            return batch.numbers_BT
        noise_BT = torch.zeros(batch.numbers_BT.shape)
        for row, wave in enumerate(batch.samples):
            stream = row_stream(self.seed, Path(wave.where).name, self.step)
            noise_BT[row, : len(wave.numbers)] = torch.randn(len(wave.numbers), generator=stream)
        return batch.numbers_BT + self.jitter * noise_BT.to(batch.numbers_BT)

    def guess_losses(self, guess_BP: Tensor, higher_BP: Tensor, batch: Batch) -> dict[str, Tensor]:
        """``next``: squared error of each guess. ``higher``: cross-entropy, of each wave's last number."""
        target_BP, real_BP = batch.numbers_BT[:, 2:], batch.real_BT[:, 2:]
        last_B1 = real_BP.sum(1, keepdim=True) - 1
        rises_BP = (target_BP > batch.numbers_BT[:, 1:-1]).to(higher_BP.dtype)
        return {
            "next": (guess_BP - target_BP)[real_BP].square().mean(),
            "higher": F.binary_cross_entropy_with_logits(higher_BP.gather(1, last_B1), rises_BP.gather(1, last_B1)),
        }

    @torch.no_grad()
    def guess(self, batch: Batch) -> Tensor:
        """Guess the last number of each wave, from those before it."""
        guess_BP, _ = self.predictor(batch.numbers_BT)
        last_B1 = batch.real_BT[:, 2:].sum(1, keepdim=True) - 1
        guess_B: Tensor = guess_BP.gather(1, last_B1)[:, 0]
        return guess_B

    def export(self, folder: Path, trained: Any, shard_size: str) -> dict[str, Tensor]:
        """Write what guesses as safetensors, and read it back."""
        weights = {name: weight.contiguous() for name, weight in self.predictor.state_dict().items()}
        (folder / "config.json").write_text(json.dumps({"width": len(weights["inner.bias"])}))
        save_file(weights, folder / "model.safetensors")
        names = {id(module): name for name, module in self.named_modules()}
        back = load_file(folder / "model.safetensors")
        return {f"{names[id(self.predictor)]}.{name}": weight for name, weight in back.items()}


class Predict(Waves):
    """Guess the next number, and whether it is higher: two named losses, one optimizer."""

    def __init__(self, jitter: float, **base: Any) -> None:
        super().__init__(**base)
        self.jitter = jitter

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of the guesses."""
        return self.guess_losses(*self.predictor(self.noisy(batch)), batch)
