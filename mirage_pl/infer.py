"""Use a trained run: ``python -m mirage_pl.infer ckpt=RUN image=maze.png prompt="Is it a cat, or a dog?"``."""

from mirage_pl.engine.cli import verb
from mirage_pl.engine.sessions.words import prepare_words

KEPT = "the same command begins again; with file= it goes on where it stopped"

main = verb("infer", "mirage_pl.engine.sessions.infer.run", prepare_words, KEPT)

if __name__ == "__main__":
    main()
