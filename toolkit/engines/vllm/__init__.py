"""vLLM on this machine. The only folder that imports vllm."""

__all__ = [
    "batching",
    "config",
    "engine",
    "engine_args",
    "engine_thread",
    "environment",
    "fingerprint",
    "hardware",
    "images",
    "logs",
    "media_connector",
    "media_download",
    "outputs",
    "plugin",
    "sampling_params",
    "tool_calls",
]
