"""Processors: where one comes from, and whether it fits a model."""

from pathlib import Path
from typing import Any

from transformers import AutoProcessor, AutoTokenizer

from mirage_pl.engine.hub import is_only_here
from mirage_pl.mirage.batch import LATENT_TOKENS
from mirage_pl.mirage.stock.find import find_inputs, load_file, name_architecture


def read_processor(path: str, elsewhere: str | None) -> Any:
    """Read tokenizer, chat template and image processor.

    Args:
        path: of the model, a folder or a hub name.
        elsewhere: another place of image processor and chat template, and of the tokenizer if ``path`` has none.

    Raises:
        ValueError: there is no processor, or the tokenizer isn't one of that processor.
    """
    place = elsewhere or path
    if Path(path).is_dir() and not (Path(path) / "config.json").is_file():
        raise ValueError(f"model.path={path} is no model: it has no config.json; give a Hugging Face folder, or a name")
    try:
        processor = AutoProcessor.from_pretrained(place, local_files_only=is_only_here(place))
        if not hasattr(processor, "image_processor"):  # of a tokenizer alone
            raise ValueError("it has no image processor")
    except (OSError, ValueError) as error:
        fix = "the official code saves the tokenizer alone: name the model it was trained from, model.processor_path=…"
        key, end = ("model.processor_path", "") if elsewhere else ("model.path", f"; {fix}")
        raise ValueError(f"{key}={place} has no usable processor: {first_line(error)}{end}") from error
    if elsewhere and has_tokenizer(path):
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=is_only_here(path))
        image = find_inputs(processor).image_id
        if (ours := processor.tokenizer.convert_ids_to_tokens(image)) != tokenizer.convert_ids_to_tokens(image):
            raise ValueError(
                f"model.processor_path={elsewhere} is of another model: its images are token {image}, {ours}, which is "
                f"{tokenizer.convert_ids_to_tokens(image)} in the tokenizer of model.path={path}"
            )
        processor.tokenizer = tokenizer
    return processor


def has_tokenizer(path: str) -> bool:
    """Whether there is a tokenizer beside a model; at a hub name there is."""
    return not Path(path).is_dir() or (Path(path) / "tokenizer_config.json").is_file()


def check_fit(path: str, processor: Any, model: Any) -> None:
    """Refuse a processor whose tokens aren't those that a model was trained with.

    Args:
        path: of the model.
        processor: with the latent tokens in its tokenizer.
        model: its embedding as it was read.

    Raises:
        ValueError: names the first token that differs.
    """
    if type(find_inputs(processor)) is not load_file(name_architecture(model)).Inputs:
        raise ValueError(
            f"model.path={path} is a {type(model).__name__}, but its processor is a {type(processor).__name__}, which "
            "is another model's; put the right one beside the model, or name it: model.processor_path=…"
        )
    vocabulary, config = processor.tokenizer.get_vocab(), model.config
    token, last = max(((t, n) for t, n in vocabulary.items() if t not in LATENT_TOKENS), key=lambda pair: pair[1])
    if last >= (rows := model.get_input_embeddings().num_embeddings):
        raise ValueError(f"model.path={path} embeds {rows} tokens, but its processor has {token!r} as {last}")
    expected = {"image_token_id": find_inputs(processor).image_id}
    names = ("latent_token_id", "latent_start_id", "latent_end_id")
    expected |= {name: vocabulary[token] for name, token in zip(names, LATENT_TOKENS, strict=True)}
    for name, number in expected.items():
        if getattr(config, name, number) != number:
            raise ValueError(
                f"model.path={path} has {name} {getattr(config, name)} in its config.json, and {number} in its "
                "processor, which is another model's; put the right tokenizer beside the model"
            )


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
