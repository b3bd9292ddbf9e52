"""Steps of at least a tenth of a second, so that a run lasts long enough for a scheduler to notice."""

from time import sleep

import pytorch_lightning as pl


class Slow(pl.Callback):
    """Sleep after every batch."""

    def on_train_batch_end(self, *_):
        sleep(0.1)
