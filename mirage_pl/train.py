"""Train one stage: ``python -m mirage_pl.train stage=stage2 task=vsp``. The same command resumes a killed run."""

from mirage_pl.engine.cli import verb

main = verb("train", "mirage_pl.engine.training.fit.run", kept="the same command goes on from where it saved last")

if __name__ == "__main__":
    main()
