"""The core data model: request, sampling, choice, completion, fingerprint, OpenAI's response format."""

__all__ = [
    "choice",
    "completion",
    "fingerprint",
    "openai_format",
    "request",
    "sampling",
    "server_fingerprint",
]
