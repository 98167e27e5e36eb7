"""Conversations, and the tool loop."""

__all__ = ["conversation", "tool_loop"]
