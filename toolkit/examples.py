"""Few-shot selectors and the pool that they choose from, by the names of `toolkit.prompts`."""

from toolkit.prompts.example_pool import Item, Pool
from toolkit.prompts.selectors import MMR, SELECTORS, Balanced, First, Random, Selector, Similar, selector

__all__ = [
    "MMR",
    "SELECTORS",
    "Balanced",
    "First",
    "Item",
    "Pool",
    "Random",
    "Selector",
    "Similar",
    "selector",
]
