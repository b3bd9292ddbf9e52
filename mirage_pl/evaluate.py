"""Score a checkpoint: ``python -m mirage_pl.evaluate ckpt=RUN``."""

from mirage_pl.engine.cli import verb
from mirage_pl.engine.evaluation.setup import prepare_words

main = verb(
    "evaluate",
    "mirage_pl.engine.evaluate.run",
    prepare_words,
    kept="what was scored is kept, and the same command goes on with the rest",
)

if __name__ == "__main__":
    main()
