"""The command line: `python -m toolkit`."""

__all__ = ["demo", "main"]
