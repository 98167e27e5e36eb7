"""Matplotlib figures, one module each: colour-blind safe, readable on light and dark."""

__all__ = ["calibration", "costs", "determinism", "figure", "style", "sweep", "tokens", "tree"]
