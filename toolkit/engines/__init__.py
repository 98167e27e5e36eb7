"""The engine interface and its implementations (vLLM, servers); scoring and branching on any engine."""

__all__ = [
    "base",
    "branching",
    "loading",
    "openai_api",
    "protocol",
    "scoring",
    "subprocess",
    "subprocess_main",
    "variant",
    "vllm",
]
