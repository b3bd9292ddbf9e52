"""What all stages of a policy share: scales fitted to the data, draws by row, the export. Shapes: as in ``batch``."""

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file
from torch import Generator, Tensor

from data_modules.demonstrations.steps import Step
from mirage_pl.engine.training.base import BaseModule
from mirage_pl.engine.training.draws import row_stream
from mirage_pl.mmact.model.network import Scales

CARD = """A policy of mirage_pl's MM-ACT family.

`*.safetensors` holds the transformer by the names of LLaDA, MMaDA and MM-ACT (`model.transformer…`), what else this
model has, and in `scales.…` how numbers of states and actions become those within [-1, 1] that are binned.
"""


class PolicyModule(BaseModule):
    """A stage whose model has ``scales``."""

    @property
    def scales(self) -> Scales:
        """What states and actions are normalized by."""
        scales: Scales = self.net.scales  # type: ignore[assignment]
        return scales

    def on_fit_start(self) -> None:
        """Fit the scales to the training data, unless a checkpoint has brought them."""
        if not self.scales.fitted:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            states_NS, actions_NA = data.datasets["train"].gather()
            self.scales.fit(*(torch.from_numpy(rows).to(self.device) for rows in (states_NS, actions_NA)))

    def stream_of(self, sample: Step) -> Generator:
        """Random numbers of a row in this step, in whatever batch it is."""
        return row_stream(self.seed, Path(sample.where).name, self.step)

    def describe_export(self) -> dict[str, Any]:
        """What ``config.json`` holds of the model."""
        return {"numbers": {"state": len(self.scales.state.shift_D), "action": len(self.scales.action.shift_D)}}

    def export(self, folder: Path, trained: Any, shard_size: str) -> dict[str, Tensor]:
        """Write all weights by the names of released checkpoints, and read them back."""
        names = {name: name.removeprefix("backbone.") for name in self.net.state_dict()}
        weights = {names[name]: weight.contiguous() for name, weight in self.net.state_dict().items()}
        (folder / "README.md").write_text(CARD)
        (folder / "config.json").write_text(json.dumps(self.describe_export(), indent=2))
        save_torch_state_dict(weights, folder, max_shard_size=shard_size)
        back = {name: weight for file in folder.glob("*.safetensors") for name, weight in load_file(file).items()}
        return {f"net.{name}": back[names[name]] for name in names}
