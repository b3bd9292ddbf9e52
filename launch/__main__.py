"""``python -m launch stage=stage1 …`` submits a run; ``plan …`` says what it takes, ``status RUNS…`` how it gets on."""

import sys
from importlib import import_module

WORDS = ("plan", "status")


def main() -> None:
    """Plan or tell the status if the first word says so; submit what the words describe if not."""
    word = sys.argv.pop(1) if sys.argv[1:2] and sys.argv[1] in WORDS else "submit"
    import_module(f"launch.{word}").main()


if __name__ == "__main__":
    main()
