"""Notebook widgets on top of the analysis: one widget per file."""

__all__ = [
    "base",
    "comparison",
    "completion",
    "costs",
    "determinism",
    "display_hook",
    "engine_labels",
    "few_shot",
    "few_shot_html",
    "few_shot_inputs",
    "logprobs",
    "makers",
    "microscope",
    "microscope_html",
    "playground",
    "playground_draft",
    "playground_reply",
    "prompt_parts",
    "python_source",
    "tokens",
]
