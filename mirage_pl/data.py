"""Make, check, describe or draw a task's data: ``python -m mirage_pl.data task=vsp``."""

from mirage_pl.engine.cli import verb

main = verb("data", "mirage_pl.engine.datasets.description.run")

if __name__ == "__main__":
    main()
