"""Sensitivity: how much answers depend on what should not matter, such as the order of few-shot examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.display.tables import Table


def sensitivity(table: pd.DataFrame, over: str, by: Sequence[str], item: Sequence[str]) -> Table:
    """A row for each setting (`by`) of a table with a column `text`, and with `score` where answers are scored.

    values: how many values of `over` were tried. changed: the share of items (equal in all columns of `item`)
    whose answer is not the same under all of them, 0 to 1. mean, sd, lowest, highest: of the values' mean scores
    (sd with n − 1), and spread, the highest minus the lowest (Lu et al., "Fantastically Ordered Prompts",
    ACL 2022, report such spreads over orders of few-shot examples).
    """
    import pandas as pd

    from toolkit.display.tables import Table

    table = table[table[over].notna()].assign(setting="all")
    keys = list(by) or ["setting"]
    changed = table.groupby([*item], dropna=False)["text"].transform("nunique") > 1
    # One row per item: each counts once, however many values were tried.
    once = table.assign(changed=changed).drop_duplicates(list(item)).groupby(keys, dropna=False)
    result = pd.DataFrame(
        {
            "values": table.groupby(keys, dropna=False)[over].nunique(),
            "items": once.size(),
            "changed": once["changed"].mean(),
        }
    )
    if "score" in table:
        means = table.groupby([*keys, over], dropna=False)["score"].mean()
        groups = means.groupby(level=list(range(len(keys))), dropna=False)
        result["mean"], result["sd"] = groups.mean(), groups.std()
        result["lowest"], result["highest"] = groups.min(), groups.max()
        result["spread"] = result["highest"] - result["lowest"]
    return Table(result)
