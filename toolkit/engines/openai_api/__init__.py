"""A server that has OpenAI's API, through the official client."""

__all__ = [
    "client",
    "dialect",
    "engine",
    "probe",
    "prompt_tokens",
    "request_body",
    "response_parser",
    "stream",
]
