"""Write a checkpoint as a Hugging Face folder: ``python -m mirage_pl.export ckpt=RUN out=DIR``."""

from mirage_pl.engine.cli import verb

main = verb("export", "mirage_pl.engine.export.run")

if __name__ == "__main__":
    main()
