"""Whether equal requests get equal answers: statistics, the report and its sentences."""

__all__ = ["forks", "html", "repeats", "report", "requests", "sentences", "settings", "statistics", "tables"]
