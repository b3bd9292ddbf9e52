"""Where the project's own files lie: in a checkout beside the packages, in an installation inside ``mirage_pl/``."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of ``mirage_pl``."""

CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "conf" / "train.yaml").is_file() else None
"""The checkout, or the copy of one that a job runs on; ``None`` where the project is installed."""

HOME = CHECKOUT or PACKAGE
"""The folder that holds ``conf/`` and ``assets/``."""

CONF = HOME / "conf"
