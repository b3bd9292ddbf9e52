"""A tiny Qwen3.5: three layers that keep a state, whose keys are shared by two value heads, and one that attends."""

from transformers import Qwen2VLImageProcessor, Qwen3_5Config, Qwen3VLProcessor, Qwen3VLVideoProcessor

from mirage_pl.mirage.tiny import CHAT_TEMPLATE, SPECIAL, build_tokenizer

VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "patch_size": 14,
    "out_hidden_size": 48,
    "num_position_embeddings": 64,
}
TEXT = {
    "vocab_size": 384,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 5,
    "layer_types": [*["linear_attention"] * 3, "full_attention", "linear_attention"],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 12,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 20.0,
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
        "partial_rotary_factor": 0.25,
    },
}


def write_folder(folder):
    """Write config and processor, without weights."""
    tokenizer = build_tokenizer()
    ids = dict(zip(SPECIAL, tokenizer.convert_tokens_to_ids(SPECIAL), strict=True))
    config = Qwen3_5Config(
        vision_config=VISION,
        text_config=TEXT,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    config.architectures = ["Qwen3_5ForConditionalGeneration"]
    config.save_pretrained(folder)
    size = {"shortest_edge": 28 * 28, "longest_edge": 512 * 512}
    images = Qwen2VLImageProcessor(size=size, patch_size=14)
    videos = Qwen3VLVideoProcessor(size=size, patch_size=14)
    Qwen3VLProcessor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE).save_pretrained(folder)
