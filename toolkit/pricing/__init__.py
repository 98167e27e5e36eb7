"""Prices, costs, budgets, energy."""

__all__ = ["budget", "costs", "energy", "machine_time", "pareto", "prices"]
