"""Score a checkpoint: ``python -m mirage_pl.evaluate ckpt=RUN``."""

from mirage_pl.engine.cli import verb

main = verb("evaluate", "mirage_pl.engine.evaluation.scoring.run", "mirage_pl.engine.evaluation.setup.add_kind")

if __name__ == "__main__":
    main()
