"""Grids, sweeps, plans, runs, the determinism ladder, classification, protocols of papers."""

__all__ = [
    "classify",
    "completion_writer",
    "determinism_ladder",
    "explain_difference",
    "explore",
    "grid",
    "ladder_report",
    "leased_requests",
    "plan",
    "protocols",
    "rates",
    "run",
    "schema_cost",
    "sweep",
    "unsendable",
    "workload",
]
