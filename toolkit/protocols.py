"""The protocols of papers, by the names of `toolkit.experiments.protocols`."""

from toolkit.experiments.protocols import same_seed, total_agreement, unique_completions

__all__ = ["same_seed", "total_agreement", "unique_completions"]
