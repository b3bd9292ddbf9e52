"""Slow steps, so that a run lasts long enough for a scheduler to notice."""

from time import sleep

import pytorch_lightning as pl


class Slow(pl.Callback):
    """Sleep after every batch."""

    def __init__(self, seconds=0.1):
        self.seconds = seconds

    def on_train_batch_end(self, *_):
        sleep(self.seconds)
