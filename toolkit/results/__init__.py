"""The table of a sweep, comparisons, exports."""

__all__ = [
    "columns",
    "comparison",
    "comparison_grid",
    "comparison_html",
    "comparison_outputs",
    "comparison_search",
    "completions",
    "csv_table",
    "dtypes",
    "export",
    "results",
    "standard_json",
    "table",
    "targets",
    "worth",
]
