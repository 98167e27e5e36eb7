"""vLLM's own OpenAI server as a managed process."""

__all__ = [
    "address",
    "auth_middleware",
    "client_environment",
    "command_line",
    "logs",
    "process_group",
    "registry",
    "server",
    "server_main",
    "tool_chat_template",
]
