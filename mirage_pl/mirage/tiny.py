"""The skeleton of ``model=tiny``: a Qwen2.5-VL of 2.4 M parameters, its byte-level BPE and its processor.

``python -m mirage_pl.mirage.tiny FOLDER`` writes config, tokenizer, chat template and image processor;
``stage=pretrain`` then makes the weights.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
CORPUS = [
    "user\nassistant\nsystem\n",
    "Write the shortest safe path to the goal in \\boxed{}.",
    "Read the map. Read the path.",
    " ice start goal hole UP LEFT RIGHT DOWN / ; \\boxed{UP, LEFT, RIGHT, DOWN}",
    "\\boxed{UP} \\boxed{LEFT} \\boxed{RIGHT} \\boxed{DOWN}",
]
"""Texts of our own tasks: each of their words becomes one token; all other text falls back to bytes."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VISION = {
    "depth": 2,
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_heads": 3,
    "out_hidden_size": 192,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 112,
    "fullatt_block_indexes": [1],
    "hidden_act": "silu",
    "in_channels": 3,
}
TEXT = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "vocab_size": 384,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    # The width axis gets the lowest frequencies: with the usual theta its angle would change by less than 0.01 rad over
    # a maze of 4 cells, and attention couldn't tell columns apart.
    "rope_parameters": {"rope_type": "default", "rope_theta": 20.0, "mrope_section": [4, 6, 6]},
}


def build_tokenizer(special: Sequence[str] = SPECIAL, **options: Any) -> Qwen2Tokenizer:
    """Train the byte-level BPE on :data:`CORPUS`.

    Args:
        special: special tokens, which come last, as in Qwen2.5.
        options: of the tokenizer.
    """
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet, show_progress=False)
    )
    trained = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2Tokenizer(vocab=trained["vocab"], merges=[tuple(pair) for pair in trained["merges"]], **options)
    tokenizer.add_tokens(list(special), special_tokens=True)
    return tokenizer


def write_skeleton(folder: Path) -> None:
    """Write a Hugging Face folder without weights."""
    tokenizer = build_tokenizer()
    ids = dict(zip(SPECIAL, tokenizer.convert_tokens_to_ids(SPECIAL), strict=True))
    config = Qwen2_5_VLConfig(
        vision_config=VISION,
        text_config=TEXT | {"bos_token_id": None, "eos_token_id": ids["<|im_end|>"]},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    config.architectures = ["Qwen2_5_VLForConditionalGeneration"]
    config.save_pretrained(folder)
    size = {"shortest_edge": 28 * 28, "longest_edge": 512 * 512}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=size),
        chat_template=CHAT_TEMPLATE,
    )
    processor.save_pretrained(folder)


if __name__ == "__main__":
    write_skeleton(Path(sys.argv[1]))
    print(f"skeleton of model=tiny: {sys.argv[1]}")
