"""Matplotlib figures, one module each: colour-blind safe, readable on light and dark."""

__all__ = ["calibration", "costs", "determinism", "style", "sweep", "tokens", "tree"]
