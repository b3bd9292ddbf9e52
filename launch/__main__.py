"""``python -m launch plan …``: what a run takes."""

import sys

WORDS = ("plan",)


def main() -> None:
    """Run what the first word says."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word not in WORDS:
        sys.exit(f"error: python -m launch {word}: the first word must be {' or '.join(WORDS)}")
    del sys.argv[1]
    from launch.plan import main as plan

    plan()


if __name__ == "__main__":
    main()
