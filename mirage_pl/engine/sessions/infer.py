"""Answer one question, streaming, and show its latents: ``python -m mirage_pl.infer ckpt=RUN image=maze.png``."""

from pathlib import Path

from omegaconf import DictConfig, ListConfig


def run(cfg: DictConfig) -> str:
    """Print the answer as it comes, then a line for each latent.

    Returns:
        All that was printed.

    Raises:
        ValueError: a mistake in config, image or checkpoint.
    """
    from data_modules.rows.jsonl import IMAGE, interleave
    from data_modules.samples import Picture, Sample
    from mirage_pl.engine.checkpoints.trained import load_trained

    trained = load_trained(cfg.ckpt, cfg.accelerator)
    images = list(cfg.image) if isinstance(cfg.image, ListConfig) else [cfg.image]
    prompt = cfg.prompt or trained.config.task.get("prompt")
    if not prompt:
        raise ValueError(f"each row of task={trained.config.task.name} has a question of its own; give prompt=")
    question = interleave(prompt, IMAGE, [Picture(Path(image)) for image in images])
    prompts = trained.collator.prompts([Sample("image=", question, ())]).to(trained.device)
    answer = ""
    for piece in trained.module.stream(prompts, **cfg.decoding):
        print(piece, end="", flush=True)
        answer += piece
    return answer
