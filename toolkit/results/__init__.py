"""The table of a sweep, comparisons, exports."""

__all__ = [
    "columns",
    "combine",
    "comparison",
    "comparison_grid",
    "comparison_html",
    "comparison_outputs",
    "comparison_search",
    "completions",
    "csv_table",
    "dtypes",
    "export",
    "overview",
    "results",
    "standard_json",
    "stored",
    "table",
    "targets",
    "worth",
]
