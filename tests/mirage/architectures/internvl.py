"""A tiny InternVL on a Qwen2, whose images are one to four tiles and a whole."""

from transformers import GotOcr2ImageProcessor, InternVLConfig, InternVLProcessor, InternVLVideoProcessor

from mirage_pl.mirage.tiny import SPECIAL, build_tokenizer

NAMED = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<IMG_CONTEXT>\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
    "norm_type": "layer_norm",
    "attention_bias": True,
}
TEXT = {
    "model_type": "qwen2",
    "vocab_size": 384,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 20.0},
    "bos_token_id": None,
    "eos_token_id": None,
}


def write_folder(folder, **text):
    """Write config and processor, without weights."""
    tokenizer = build_tokenizer([*SPECIAL[:3], *NAMED.values()], extra_special_tokens=NAMED)
    image = tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    config = InternVLConfig(
        vision_config=VISION,
        text_config=TEXT | text,
        image_token_id=image,
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    config.architectures = ["InternVLForConditionalGeneration"]
    config.save_pretrained(folder)
    size = {"height": 56, "width": 56}
    images, videos = GotOcr2ImageProcessor(size=size, max_patches=4), InternVLVideoProcessor(size=size)
    InternVLProcessor(images, tokenizer, videos, 4, CHAT_TEMPLATE).save_pretrained(folder)
