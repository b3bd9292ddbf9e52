"""What all stages of the family share: how they are exported."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file
from torch import Tensor

from mirage_pl.engine.training.base import BaseModule
from mirage_pl.mmact.batch import Collator

TOKENIZER = "tokenizer.json"


def write_prompts(trained: Any, folder: Path) -> dict[str, Any]:
    """Write the tokenizer; what ``config.json`` holds of prompts and chunks. Nothing of a run without prompts."""
    if not isinstance(collator := trained.collator, Collator):
        return {}
    task, reads = trained.config.task, {"instruction": collator.instructions, "state": collator.states}
    collator.words.tokenizer.save(str(folder / TOKENIZER))
    model = {key: trained.config.model.get(key) for key in ("bins", "places")}
    prompts = {"phrases": dict(trained.config.model.phrases), "cut": collator.templates.cut, "length": collator.limit}
    return model | {"chunk": int(task.chunk), "views": collator.views, "reads": reads, "prompts": prompts}


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
        config = self.describe_export() | write_prompts(trained, folder)
        (folder / "config.json").write_text(json.dumps(config, indent=2))
        save_torch_state_dict(weights, folder, max_shard_size=shard_size)
        back = {name: weight for file in folder.glob("*.safetensors") for name, weight in load_file(file).items()}
        return {f"net.{name}": back[names[name]] for name in names}
