"""A tiny GLM-4.6V."""

from transformers import Glm46VConfig, Glm46VImageProcessor, Glm46VProcessor, Glm46VVideoProcessor

from mirage_pl.mirage.tiny import build_tokenizer

IMAGE = ["<|begin_of_image|>", "<|image|>", "<|end_of_image|>"]
VIDEO = ["<|begin_of_video|>", "<|video|>", "<|end_of_video|>"]
CHAT_TEMPLATE = (
    "[gMASK]<sop>{% for message in messages %}<|{{ message['role'] }}|>\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|begin_of_image|><|image|><|end_of_image|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_heads": 2,
    "image_size": 56,
    "patch_size": 14,
    "out_hidden_size": 64,
}
TEXT = {
    "vocab_size": 384,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 20.0,
        "mrope_section": [2, 1, 1],
        "partial_rotary_factor": 0.5,
    },
}


def write_folder(folder):
    """Write config and processor, without weights."""
    words = ["<|endoftext|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>", *IMAGE, *VIDEO]
    tokenizer = build_tokenizer(words)
    names = ("image_start_token_id", "image_token_id", "image_end_token_id")
    names += ("video_start_token_id", "video_token_id", "video_end_token_id")
    ids = dict(zip(names, tokenizer.convert_tokens_to_ids(IMAGE + VIDEO), strict=True))
    config = Glm46VConfig(
        vision_config=VISION | {"model_type": "glm4v_vision"}, text_config=TEXT | {"model_type": "glm4v_text"}, **ids
    )
    config.architectures = ["Glm46VForConditionalGeneration"]
    config.save_pretrained(folder)
    size = {"shortest_edge": 2 * 28 * 28, "longest_edge": 2 * 512 * 512}
    images, videos = Glm46VImageProcessor(size=size), Glm46VVideoProcessor(size=size)
    Glm46VProcessor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE).save_pretrained(folder)
