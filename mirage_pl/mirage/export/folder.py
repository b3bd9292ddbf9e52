"""Write a trained network as a folder of stock transformers, with what decoding its latents needs beside it."""

import json
import shlex
from pathlib import Path
from shutil import copyfile
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.export import mirage_generate
from mirage_pl.mirage.export.loading_back import check_answers
from mirage_pl.mirage.export.official import write_official_files
from mirage_pl.mirage.model.codes import Codes, Pads, Snapped, Words
from mirage_pl.mirage.model.feedback import Matched, Raw
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import Jacobi, OnePass, Sequential
from mirage_pl.mirage.model.writer import Writer

USAGE = """---
library_name: transformers
pipeline_tag: image-text-to-text
tags: [latent-reasoning]
---

## Use

In this folder, with torch, Pillow and transformers, and nothing of the code it was trained with:

```
python mirage_generate.py --image image.png --question {quoted}
```

```python
from mirage_generate import Mirage

question = {question}
answers = Mirage.load(".").generate([question], [["image.png"]], max_new_tokens={max_new_tokens})
print(answers[0].text, len(answers[0].latents))
```

The model writes latents among its words, {latents} a block: {fed}.
Stock `generate` runs on this folder, too, but feeds nothing back.
"""
FED: dict[type, str] = {
    Raw: "its own hidden states, fed back as input",
    Matched: "its own hidden states, fed back as input at the mean length of the latents that it was taught",
    Writer: "its own hidden states, fed back as input with a learnt correction",
    Snapped: "of some codes of helper images the one that its hidden state says, read as input",
    Words: "of some learnt words for what helper images show the one that its hidden state says, read as input",
    Pads: "one learnt vector in place of each, which tells nothing",
}
"""What the card says of latents, by the feedback that makes them."""


def write_folder(folder: Path, module: Any, trained: Trained, shard_size: str) -> dict[str, Tensor]:
    """Write weights, config, processor and ``mirage_generate.py``, load them as others do, and compare answers.

    Args:
        folder: is there, and empty.
        module: a stage's, with ``net`` and ``decoder``.
        trained: the run, for its collator and its prompt.
        shard_size: largest file of weights, as ``5GB``.

    Returns:
        The tensors that were read back, by name in the module.

    Raises:
        ValueError: feedback or recurrence are no part of ours, or the folder answers otherwise than the network.
    """
    net: LatentVLM = module.net
    note_latents(net, module.decoder, str(trained.config.stage.name))
    processor = trained.collator.shown_processor()
    net.backbone.save_pretrained(folder, max_shard_size=shard_size)
    processor.save_pretrained(folder)
    write_official_files(folder, processor)
    write_latents(net, folder / mirage_generate.LATENTS)
    copyfile(mirage_generate.__file__, folder / "mirage_generate.py")
    back = mirage_generate.Mirage.load(folder, "cpu")
    check_answers(folder, back, net, trained.collator)
    task = trained.config.task
    prompt, most = task.get("prompt") or "What do you see?", task.get("max_new_tokens") or 512
    words = {"question": json.dumps(prompt, ensure_ascii=False), "quoted": shlex.quote(prompt)}
    words |= {"latents": back.latent_size, "fed": FED[type(net.feedback)]}
    (folder / "README.md").write_text(USAGE.format(**words, max_new_tokens=most))
    return {f"net.backbone.{name}": tensor for name, tensor in back.model.state_dict().items()}


def note_latents(net: LatentVLM, decoder: Decoder, stage: str) -> None:
    """Note in the model's config what decoding needs: the official code's keys, and ``mirage`` for the rest.

    Raises:
        ValueError: feedback or recurrence are no part of ours.
    """
    for part, kinds in (
        (net.feedback, tuple(FED)),
        (net.recurrence, (Sequential, Jacobi, OnePass)),
    ):
        if type(part) not in kinds:
            raise ValueError(
                f"{type(part).__module__}.{type(part).__name__} can't be exported: mirage_generate.py decodes with "
                f"{' or '.join(kind.__name__ for kind in kinds)}"
            )
    config: Any = net.backbone.config
    config.latent_token_id, config.latent_start_id = decoder.latent_pad, decoder.latent_start
    config.latent_end_id, config.latent_size = decoder.latent_end, decoder.latent_size
    config.compress_strategy, config.stage = type(net.compression).__name__.lower(), stage
    config.mirage = {
        "end_id": decoder.end,
        "feedback_norm": float(net.feedback.norm) if isinstance(net.feedback, Matched) else 0.0,
        "sweeps": net.recurrence.sweeps if isinstance(net.recurrence, Jacobi) else 0,
    }
    ends = net.backbone.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    net.backbone.generation_config.eos_token_id = list(dict.fromkeys([decoder.end, *ends]))


def write_latents(net: LatentVLM, file: Path) -> None:
    """Write the tensors of feedback and recurrence that decoding needs; no file where there are none."""
    tensors = dict[str, Tensor]()
    if isinstance(net.recurrence, OnePass):
        tensors["queries"] = net.recurrence.embeds(net.recurrence.count).detach()
    if isinstance(net.feedback, Codes):
        both = {"heads": net.feedback.heads_CD, "codes": net.feedback.read_CD}
        tensors |= {name: each_CD[net.feedback.used_C].detach() for name, each_CD in both.items()}
    if isinstance(net.feedback, Pads):
        pad_1D = net.feedback.words.weight.detach()
        tensors |= {"heads": 0 * pad_1D, "codes": pad_1D}
    if isinstance(net.feedback, Writer):
        tensors |= {name: weight.detach() for name, weight in net.feedback.correction.named_parameters()}
    if tensors:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, file)
