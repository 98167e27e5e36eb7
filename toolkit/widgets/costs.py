"""CostsView: tokens and money of each setting, money against quality, and what both would be at other prices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from toolkit import plots
from toolkit.cost import Costs
from toolkit.prices import LocalPrice, ModelPrice, model_price, model_prices
from toolkit.report import is_missing
from toolkit.widgets.view import View, assets, visible

if TYPE_CHECKING:
    import pandas as pd

_MODELS = 12
"""Models of a page of the picker."""
_NAME = 80
"""Characters of a setting's value that are shown."""
COUNTS = (
    "completions", "prompt_tokens", "cached_tokens", "completion_tokens", "cut", "failed_attempts", "machine_seconds",
    "tokens_per_second", "cost", "saved", "valid", "correct", "cost_per_completion", "cost_per_valid",
    "cost_per_correct",
)  # fmt: skip
"""Columns of `Costs.table` that the browser gets, where they are there."""


class CostsView(View):
    """What each setting took, in tokens, seconds and money, as a table that can be sorted, and as a chart against
    quality with the Pareto front; and the same at other prices: those of models on the list, one of your own, or of
    an hour of this machine. The last two need no kernel: they go by the numbers of tokens that are there.

    >>> CostsView(results.costs(price="gpt-4o"))  # doctest: +SKIP
    """

    _esm, _css = assets("costs")

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        table, total = costs.table, costs.total
        columns = [name for name in COUNTS if name in table]
        paid = next(iter(costs.prices), None) if "cost" in table else None
        offers = [price for price in costs.prices if price is not paid and isinstance(price, ModelPrice)]
        self._given = {(price.model, price.provider): price for price in offers}
        hour, hours = costs.at(LocalPrice(1.0))
        super().__init__(
            {
                "axes": [visible(str(name), _NAME) for name in table.index.names if name is not None],
                "settings": [[visible(_said(v), _NAME) for v in values] for values in _values(table.index)],
                "names": [visible(name) for name in plots.labels(table)],
                "columns": {name: table[name].tolist() for name in columns},
                "total": {name: total[name] for name in columns},
                "quality": costs.quality,
                "paid": None if paid is None else str(paid),
                "per_hour": paid.per_hour if isinstance(paid, LocalPrice) else 1.0,
                "at_one_an_hour": {"cost": hour.tolist(), "total": hours},
                "sentences": [visible(sentence) for sentence in costs.sentences()],
                "offers": [self._priced(price, False) for price in offers],
            }
        )

    def do_models(self, search: str = "", page: int = 0) -> dict[str, Any]:
        """A page of the models that are sold by tokens and have every word of the search in their name or that of
        who sells them."""
        every = _book()
        names = every["provider"].str.cat(every["model"], "/").str.lower()
        found = every[[all(word in name for word in search.lower().split()) for name in names]]
        shown = found.iloc[page * _MODELS : (page + 1) * _MODELS]
        rows = shown[["model", "provider", "input", "cached", "output"]].to_dict("records")
        return {"models": rows, "total": len(found), "page": page, "size": _MODELS}

    def do_prices(self, models: Sequence[tuple[str, str | None]], cached: bool) -> list[dict[str, Any]]:
        """What everything would cost at each of some models, as [model, provider]. Tiers go by the length of each
        prompt, so that sums of tokens do not tell it. cached: as of `Costs.at`."""
        prices = [
            self._given.get((model, provider)) or model_price(model, provider) for model, provider in models
        ]
        return [self._priced(price, cached) for price in prices]

    def _priced(self, price: ModelPrice, cached: bool) -> dict[str, Any]:
        each, total = self.costs.at(price, cached)
        return {
            "name": visible(price.model, _NAME),
            "key": [price.model, price.provider],
            "told": visible(str(price)),
            "cost": each.tolist(),
            "total": total,
        }

    def html(self) -> str:
        page = self.costs._repr_html_()
        return visible(page, len(page))

    def text(self) -> str:
        return visible(repr(self.costs))


@cache
def _book() -> pd.DataFrame:
    return model_prices()


def _values(index: pd.Index[Any]) -> list[Any]:
    """The values of each setting; that of a single axis may be a tuple itself."""
    return list(index) if index.nlevels > 1 else [(value,) for value in index]


def _said(value: Any) -> str:
    if is_missing(value):
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)
