"""vLLM's own OpenAI server as a managed process."""

__all__ = [
    "address",
    "auth_middleware",
    "body_middleware",
    "client_environment",
    "command_line",
    "error_response",
    "host_middleware",
    "http_protocol",
    "logs",
    "process_group",
    "registry",
    "server",
    "server_main",
    "tool_chat_template",
]
