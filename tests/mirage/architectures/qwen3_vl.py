"""A tiny Qwen3-VL with two depths of image features."""

from transformers import Qwen2VLImageProcessor, Qwen3VLConfig, Qwen3VLProcessor, Qwen3VLVideoProcessor

from mirage_pl.mirage.tiny import CHAT_TEMPLATE, SPECIAL, build_tokenizer

VISION = {
    "depth": 3,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "patch_size": 14,
    "out_hidden_size": 48,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0, 1],
}
TEXT = {
    "vocab_size": 384,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rope_parameters": {"rope_type": "default", "rope_theta": 20.0, "mrope_section": [4, 2, 2]},
}


def write_folder(folder):
    """Write config and processor, without weights."""
    tokenizer = build_tokenizer()
    ids = dict(zip(SPECIAL, tokenizer.convert_tokens_to_ids(SPECIAL), strict=True))
    config = Qwen3VLConfig(
        vision_config=VISION,
        text_config=TEXT,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    config.architectures = ["Qwen3VLForConditionalGeneration"]
    config.save_pretrained(folder)
    size = {"shortest_edge": 28 * 28, "longest_edge": 512 * 512}
    images = Qwen2VLImageProcessor(size=size, patch_size=14)
    videos = Qwen3VLVideoProcessor(size=size, patch_size=14)
    Qwen3VLProcessor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE).save_pretrained(folder)
