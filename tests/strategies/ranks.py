"""One rank of several training runs, one after another: starting a process takes longer than they do.

Run by ``tests.strategies.conftest`` as ``python -m tests.strategies.ranks JOBS``, a JSON list of lists of overrides,
with the environment that a launcher gives.
"""

import json
import sys
from pathlib import Path

from mirage_pl import train
from tests.conftest import compose

if __name__ == "__main__":
    for overrides in json.loads(Path(sys.argv[1]).read_text()):
        train.run(compose("train", *overrides))
