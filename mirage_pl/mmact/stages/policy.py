"""What all stages of a policy share: scales fitted to the data, draws by row, the export. Shapes: as in ``batch``."""

from pathlib import Path
from typing import Any

import torch
from torch import Generator

from data_modules.demonstrations.steps import Step
from mirage_pl.engine.training.draws import row_stream
from mirage_pl.mmact.model.network import Scales
from mirage_pl.mmact.stages.exported import ExportedModule

CARD = """A policy of mirage_pl's MM-ACT family.

`*.safetensors` holds the transformer by the names of LLaDA, MMaDA and MM-ACT (`model.transformer…`), what else this
model has, and in `scales.…` how numbers of states and actions become those within [-1, 1] that are binned.
`tokenizer.json` and `config.json` say how an instruction becomes ids, and how many steps are chosen at once.
"""


class PolicyModule(ExportedModule):
    """A stage whose model has ``scales``."""

    card = CARD

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
