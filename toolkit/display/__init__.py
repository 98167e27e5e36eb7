"""HTML, tables, plots, coloured tokens, progress."""

__all__ = ["colored_tokens", "html", "markup", "plots", "progress", "tables"]
