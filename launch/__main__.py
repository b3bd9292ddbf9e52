"""``python -m launch plan …``: what a run takes. ``python -m launch status RUNS...``: how runs are getting on."""

import sys
from importlib import import_module

WORDS = ("plan", "status")


def main() -> None:
    """Run what the first word says."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word not in WORDS:
        sys.exit(f"error: python -m launch {word}: the first word must be {' or '.join(WORDS)}")
    del sys.argv[1]
    import_module(f"launch.{word}").main()


if __name__ == "__main__":
    main()
