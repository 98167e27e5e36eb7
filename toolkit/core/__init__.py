"""The core data model: request, sampling, choice, completion, fingerprint, OpenAI's response format."""

__all__ = [
    "choice",
    "completion",
    "fingerprint",
    "openai_format",
    "openai_names",
    "options",
    "request",
    "sampling",
    "server_fingerprint",
]
