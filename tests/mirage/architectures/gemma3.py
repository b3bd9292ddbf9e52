"""A tiny Gemma 3 whose window is shorter than an image."""

from transformers import Gemma3Config, Gemma3ImageProcessor, Gemma3Processor

from mirage_pl.mirage.tiny import build_tokenizer

NAMED = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
SPECIAL = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", *NAMED.values()]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<start_of_image>{% else %}{{ part['text'] | trim }}{% endif %}"
    "{% endfor %}{% endif %}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 112,
    "patch_size": 14,
    "vision_use_head": False,
}
TEXT = {
    "vocab_size": 384,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 50.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
    },
}


def write_folder(folder):
    """Write config and processor, without weights."""
    tokens = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>"}
    tokenizer = build_tokenizer(SPECIAL, extra_special_tokens=NAMED, **tokens)
    pad, eos, bos, _, _, start, end, image = tokenizer.convert_tokens_to_ids(SPECIAL)
    config = Gemma3Config(
        vision_config=VISION,
        text_config=TEXT | {"pad_token_id": pad, "eos_token_id": eos, "bos_token_id": bos},
        mm_tokens_per_image=16,
        boi_token_index=start,
        eoi_token_index=end,
        image_token_index=image,
    )
    config.architectures = ["Gemma3ForConditionalGeneration"]
    config.save_pretrained(folder)
    images = Gemma3ImageProcessor(size={"height": 112, "width": 112})
    Gemma3Processor(images, tokenizer, CHAT_TEMPLATE, 16).save_pretrained(folder)
