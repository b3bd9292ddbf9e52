import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from callbacks.average import average_weights


class Line(pl.LightningModule):
    """Its weight grows by 1 at each step; a whole number beside it by 7."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.validated = []

    def training_step(self, batch, index):
        self.count += 7
        return -self.weight.sum()

    def validation_step(self, batch, index):
        self.validated.append(self.weight.item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def fit(folder, steps, module, checkpoint=None):
    rows = torch.utils.data.DataLoader(torch.zeros(steps, 1))
    last = ModelCheckpoint(folder, "last", every_n_train_steps=1)
    trainer = pl.Trainer(
        max_steps=steps,
        callbacks=[average_weights(0.5), last],
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, rows, torch.utils.data.DataLoader(torch.zeros(1, 1)), ckpt_path=checkpoint)
    return torch.load(folder / "last.ckpt", weights_only=True)


def test_the_mean_is_validated_and_saved_and_training_goes_on_with_the_weights(tmp_path):
    module = Line()
    saved = fit(tmp_path, 3, module)
    assert module.validated == [2.25]  # 1, then half of it and half of 2, then half of that and half of 3
    assert saved["state_dict"]["weight"].item() == 2.25
    assert saved["current_model_state"]["weight"].item() == 3
    assert saved["state_dict"]["count"] == 21
    saved = fit(tmp_path, 4, Line(), tmp_path / "last.ckpt")
    assert (saved["current_model_state"]["weight"].item(), saved["state_dict"]["weight"].item()) == (4, 3.125)


def test_without_a_share_there_is_no_mean():
    assert average_weights(None) is None
