"""Response formats, verdicts, function tools."""

__all__ = [
    "formats",
    "json_schema",
    "json_schema_check",
    "json_text",
    "patterns",
    "references",
    "response_format",
    "special_tokens",
    "strict_schema",
    "time_limit",
    "tools",
    "verdict",
]
