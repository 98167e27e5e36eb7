"""Prices, costs, budgets, energy."""

__all__ = ["budget", "costs", "costs_display", "energy", "machine_time", "pareto", "prices"]
