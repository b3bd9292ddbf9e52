"""Score a checkpoint: ``python -m mirage_pl.evaluate ckpt=RUN task=vsp``."""

from mirage_pl.engine.cli import verb

main = verb(
    "evaluate",
    "mirage_pl.engine.evaluation.scoring.run",
    kept="what was answered is kept, and the same command goes on with the rest",
)

if __name__ == "__main__":
    main()
