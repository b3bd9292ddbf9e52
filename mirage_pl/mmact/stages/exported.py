"""What all stages of the family share: how they are exported."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file
from torch import Tensor

from mirage_pl.engine.training.base import BaseModule


class ExportedModule(BaseModule):
    """A stage that can be exported."""

    card: str
    """The export's ``README.md``."""

    def describe_export(self) -> dict[str, Any]:
        """What ``config.json`` holds of the model."""
        return {}

    def export(self, folder: Path, trained: Any, shard_size: str) -> dict[str, Tensor]:
        """Write all weights by the names of released checkpoints, and read them back."""
        names = {name: name.removeprefix("backbone.") for name in self.net.state_dict()}
        weights = {names[name]: weight.contiguous() for name, weight in self.net.state_dict().items()}
        (folder / "README.md").write_text(self.card)
        (folder / "config.json").write_text(json.dumps(self.describe_export(), indent=2))
        save_torch_state_dict(weights, folder, max_shard_size=shard_size)
        back = {name: weight for file in folder.glob("*.safetensors") for name, weight in load_file(file).items()}
        return {f"net.{name}": back[names[name]] for name in names}
