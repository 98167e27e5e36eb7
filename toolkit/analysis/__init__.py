"""Metrics of completions and result tables: log probabilities, tokens, forks, trees, calibration, determinism."""

__all__ = [
    "calibration",
    "choices",
    "determinism",
    "entropy",
    "fork",
    "logprobs",
    "microscope",
    "sensitivity",
    "spans",
    "text_diff",
    "token_counts",
    "tokenizer_lookup",
    "tokens",
    "tree",
    "truncation_bounds",
]
