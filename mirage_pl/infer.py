"""Answer one question, streaming, and show its latents: ``python -m mirage_pl.infer ckpt=RUN image=maze.png``."""

from mirage_pl.engine.cli import verb

main = verb("infer", "mirage_pl.engine.sessions.infer.run")

if __name__ == "__main__":
    main()
