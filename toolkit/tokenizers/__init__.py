"""Tokenizing text, and counting tokens, for any model."""

__all__ = ["huggingface", "openai_counts", "text_tokenizer", "tiktoken", "tool_call_formats"]
