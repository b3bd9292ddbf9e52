"""A tiny SmolVLM2, whose images are four tiles and a whole."""

from transformers import SmolVLMConfig, SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor

from mirage_pl.mirage.tiny import build_tokenizer

NAMED = {
    "fake_image_token": "<fake_token_around_image>",
    "image_token": "<image>",
    "end_of_utterance_token": "<end_of_utterance>",
    "global_image_token": "<global-img>",
}
PLACES = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
CHAT_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}:{% else %}: {% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}
TEXT = {
    "model_type": "llama",
    "vocab_size": 384,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 20.0},
}


def write_folder(folder):
    """Write config and processor, without weights."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *NAMED.values(), *PLACES]
    tokenizer = build_tokenizer(special, extra_special_tokens=NAMED)
    ids = dict(zip(special, tokenizer.convert_tokens_to_ids(special), strict=True))
    text = TEXT | {"pad_token_id": ids["<|endoftext|>"], "bos_token_id": None, "eos_token_id": ids["<|im_end|>"]}
    config = SmolVLMConfig(vision_config=VISION, text_config=text, image_token_id=ids["<image>"])
    config.architectures = ["SmolVLMForConditionalGeneration"]
    config.save_pretrained(folder)
    size = {"size": {"longest_edge": 112}, "max_image_size": {"longest_edge": 56}}
    images, videos = SmolVLMImageProcessor(**size), SmolVLMVideoProcessor(**size)
    SmolVLMProcessor(images, tokenizer, videos, 4, CHAT_TEMPLATE).save_pretrained(folder)
