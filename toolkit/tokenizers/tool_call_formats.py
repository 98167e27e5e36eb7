"""How families of models mark tool calls and fill-in-the-middle."""

from __future__ import annotations

FILL_IN_TOKENS = (
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, SantaCoder
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen-Coder, CodeGemma
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek-Coder
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),  # Code Llama
)
"""Tokens before the prefix, before the suffix, and before the text to fill in, by family."""
TOOL_CALL_MARKS = (
    (("<seed:tool_call>",), "seed_oss"),
    (("<function=",), "qwen3_coder"),  # Qwen3-Coder, Qwen3.5, Nemotron 3
    (("<arg_key>",), "glm45"),
    (("<tool_call>",), "hermes"),  # Hermes, Qwen 2.5 and 3, Granite 4
    (("[TOOL_CALLS]",), "mistral"),
    (("<｜tool▁calls▁begin｜>", "```json"), "deepseek_v3"),  # R1, too
    (("<｜tool▁calls▁begin｜>",), "deepseek_v31"),
    (("<|tool_calls_section_begin|>",), "kimi_k2"),
    (("<minimax:tool_call>",), "minimax_m2"),
    (("<|tool_call_start|>",), "lfm2"),
    (("<|tool_call>",), "gemma4"),
    (("<start_function_call>",), "functiongemma"),
    (("<|tools_prefix|>",), "apertus"),
    (("<function_calls>",), "olmo3"),
    (("<|channel|>commentary",), "openai"),  # gpt-oss
    (("functools[",), "phi4_mini_json"),
    (("<|tool_call|>",), "granite"),  # Granite 3
    ((" [func_name1(", "<|header_start|>"), "llama4_pythonic"),
    ((" [func_name1(",), "pythonic"),
    (("<|python_tag|>",), "llama3_json"),  # Llama 3.1 and 3.3
    (('"parameters": ', "<|eot_id|>"), "llama3_json"),  # Llama 3.2
)
"""Marks of calls in chat templates, and vLLM's parser for them; the first entry whose marks all occur applies."""
