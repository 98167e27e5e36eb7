"""Messages, templates, few-shot selectors, the context window, the gallery."""

__all__ = [
    "context_window",
    "example_pool",
    "gallery",
    "images",
    "jinja_sandbox",
    "messages",
    "messages_html",
    "named_prompts",
    "prompt",
    "prompt_files",
    "rendered",
    "rows",
    "selectors",
    "template",
]
