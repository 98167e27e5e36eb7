"""A vision-language model of a few megabytes with random weights, made from nothing: no download, no meaning.

Idefics3 (the family of SmolVLM), since vLLM loads it and transformers runs its image processor without
torchvision, which has no CPU wheel beside the CPU build of torch here.
"""

import json
from pathlib import Path

SIDE, PATCH, SHUFFLE = 32, 8, 2
"""Pixels of an image's side and of a patch's; patches that become one token, per side."""
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for part in m.content %}{{ '<image>' if part.type == 'image' else part.text }}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROCESSOR = {
    "image_processor_type": "Idefics3ImageProcessor",
    "processor_class": "Idefics3Processor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"longest_edge": SIDE},
    "max_image_size": {"longest_edge": SIDE},
    "do_image_splitting": False,
    "do_pad": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "resample": 3,
}
# Weights this large make the answer depend on the image; the usual 0.02 would hardly move it.
TOWER = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
SPREAD = {"initializer_range": 0.2}


def build(folder, tokenizer_from, window=1024):
    """Writes the model, with the tokenizer of another one and an image token. Takes 4 s."""
    import torch
    from transformers import AutoTokenizer, Idefics3Config, Idefics3ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_from)
    names = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"]
    tokenizer.add_special_tokens({"additional_special_tokens": names})
    tokenizer.chat_template = TEMPLATE
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = {
        **TOWER,
        **SPREAD,
        **ids,
        "model_type": "llama",
        "vocab_size": len(tokenizer),
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": window,
        "tie_word_embeddings": True,
    }
    config = Idefics3Config(
        vision_config={**TOWER, **SPREAD, "image_size": SIDE, "patch_size": PATCH},
        text_config=text,
        scale_factor=SHUFFLE,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=True,
        **SPREAD,
        **ids,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Idefics3ForConditionalGeneration(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tokens = (SIDE // PATCH // SHUFFLE) ** 2
    processor = {"processor_class": "Idefics3Processor", "image_seq_len": tokens}
    for name, content in (("processor_config", processor), ("preprocessor_config", PROCESSOR)):
        (Path(folder) / f"{name}.json").write_text(json.dumps(content))
    return Path(folder)
