"""Response formats, verdicts, function tools."""

__all__ = [
    "json_schema",
    "json_schema_check",
    "json_text",
    "response_format",
    "strict_schema",
    "tools",
    "verdict",
]
