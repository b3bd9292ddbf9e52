"""What submitit runs on the nodes: ``mirage_pl.train`` on the config that was submitted. Imports no torch."""

import os
import sys
from dataclasses import dataclass
from typing import Any

SUBMITTED = "submitted"
"""Name of the resolved config in a run folder, without its ending."""


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        run_dir: its folder, which holds the submitted config.
        directory: where it was submitted; relative paths of the config start there.
    """

    run_dir: str
    directory: str

    def __call__(self) -> None:
        """Train, in every task of the job; a job that was queued again goes on from its last checkpoint.

        Raises:
            RuntimeError: the run ended with one line about a mistake, so that submitit knows that it failed.
        """
        os.chdir(self.directory)
        sys.argv = ["mirage_pl.train", f"--config-dir={self.run_dir}", f"--config-name={SUBMITTED}"]
        from mirage_pl.train import main

        try:
            main()
        except SystemExit as ended:
            if ended.code == 1:
                raise RuntimeError("the run ended with the error above") from None
            raise

    def checkpoint(self) -> Any:
        """What submitit queues again: the same, for the run finds its checkpoint by itself."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
