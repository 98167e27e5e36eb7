"""The table of a sweep, comparisons, exports."""

__all__ = [
    "columns",
    "comparison",
    "comparison_grid",
    "comparison_search",
    "export",
    "results",
    "table",
    "worth",
]
