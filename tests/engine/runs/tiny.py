"""Three stages of about ten weights, whose runs take a blink: a tokenizer, a world model, a policy."""

from pathlib import Path
from types import SimpleNamespace

import torch
from omegaconf import OmegaConf
from torch import nn

from mirage_pl.engine.training.base import BaseModule


class Rows:
    """A number a line of a file."""

    def __init__(self, file):
        lines = Path(file).read_text().split()
        self.rows = [SimpleNamespace(where=f"{file}:{at}", x=float(line)) for at, line in enumerate(lines, start=1)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]

    def identities(self):
        return {}


class Batch:
    def __init__(self, samples):
        self.samples, self.x_B1 = samples, torch.tensor([[sample.x] for sample in samples])

    def __len__(self):
        return len(self.samples)

    def to(self, device, **_):
        return self


class Collator:
    def __call__(self, samples):
        return Batch(samples)


class Tokenizer(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(1, width), nn.Linear(width, 1)

    def forward(self, x_B1):
        return self.decoder(self.encoder(x_B1))


class World(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.codec, self.dynamics, self.reward = Tokenizer(width), nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, x_B1):
        hidden_BW = self.dynamics(self.codec.encoder(x_B1))
        return self.codec.decoder(hidden_BW) + self.reward(hidden_BW)


class Module(BaseModule):
    def losses(self, batch):
        return {"error": (self.net(batch.x_B1) - batch.x_B1).square().mean()}


def options(folder, stage):
    """Overrides of a run of a stage, in ``folder/<stage>``."""
    net = {"tokenizer": "Tokenizer", "world": "World", "policy": "World"}[stage]
    here = "tests.engine.runs.tiny"
    module = {
        "_target_": f"{here}.Module",
        "net": {"_target_": f"{here}.{net}"},
        "loss_weights": {"error": 1.0},
        "weight_decay": 0.0,
        "optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 1e-3},
        "schedule": {"_target_": "mirage_pl.engine.training.optim.warmup", "_partial_": True, "warmup_steps": 1},
    }
    module["schedule"] |= {"shape": "constant", "final": 1.0}
    stage = {"name": stage, "tag": stage, "max_steps": 4, "batch_size": 2, "may_change": [], "freeze": [], "starts": {}}
    files = {split: f"{folder}/{split}.txt" for split in ("train", "val")} | {"test": None}
    data = {
        "_target_": "data_modules.loading.datamodule.DataModule",
        "dataset": {"_target_": f"{here}.Files"},
        "files": files,
        "maker": None,
        "loader": "${loader}",
        "seed": "${seed}",
    }
    return {
        "stage": stage | {"module": module, "collator": {"_target_": f"{here}.Collator"}},
        "task": {"name": "numbers", "train_file": files["train"], "val_file": files["val"], "data": data},
        "model": {"name": "dot"},
        "callbacks": {"freeze": {"_target_": "callbacks.freeze.Freeze", "prefixes": "${stage.freeze}"}},
    }


class Files:
    """The task's data set, by file."""

    def read(self, file):
        return Rows(file)

    def __call__(self, file):
        return Rows(file)


def tiny_config(folder, stage, *overrides, **starts):
    """A config of a stage of this family, on two files of a folder, which are written if missing."""
    for split in ("train", "val"):
        file = Path(folder, f"{split}.txt")
        if not file.exists():
            file.write_text("\n".join(str(0.1 * number) for number in range(8)))
    trainer = OmegaConf.load(Path(__file__).parents[3] / "conf" / "trainer" / "default.yaml")
    changed = {"accelerator": "cpu", "enable_progress_bar": False, "log_every_n_steps": 1, "strategy": "auto"}
    trainer = OmegaConf.merge(trainer, changed | {"val_check_interval": 4})
    loader = {"_target_": "data_modules.loading.loader.Loading", "batch_size": "${stage.batch_size}"}
    loader |= {"eval_batch_size": 8, "num_workers": 0, "prefetch": 2, "max_tokens": None}
    common = {
        "seed": 1,
        "init_from": None,
        "loader": loader,
        "trainer": trainer,
        "strategy": {"name": "auto", "use": "auto"},
        "logger": {},
        "async_checkpoint": False,
        "evaluate": None,
        "study": {"name": None, "method": None, "paper": None},
        "runs": str(folder),
        "data": str(folder),
        "run_dir": "${runs}/${stage.name}",
    }
    cfg = OmegaConf.merge(common, options(folder, stage), {"stage": {"starts": starts}})
    return OmegaConf.merge(cfg, OmegaConf.from_dotlist(list(overrides)))
