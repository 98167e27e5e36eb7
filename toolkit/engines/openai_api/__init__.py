"""A server that has OpenAI's API, through the official client."""

__all__ = [
    "batch",
    "client",
    "dialect",
    "engine",
    "probe",
    "prompt_tokens",
    "request_body",
    "response_model",
    "response_parser",
    "server_sent_events",
    "stream",
]
