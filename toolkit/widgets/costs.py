"""CostsView: tokens and costs of each setting, cost against quality, and the same at other prices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from toolkit._internal.value_text import value_text
from toolkit.display.markup import Markup
from toolkit.pricing.costs import Costs
from toolkit.pricing.costs_display import setting_names, setting_values
from toolkit.pricing.prices import LocalPrice, ModelPrice, model_price, model_prices
from toolkit.widgets.base import View, assets, command, visible, visible_html

if TYPE_CHECKING:
    import pandas as pd


_PAGE = 12
"""Models on a page of the picker."""
_MAX_NAME = 80
"""Characters of the name of an axis or of a model that are shown."""
COUNTS = (
    "completions", "prompt_tokens", "cached_tokens", "completion_tokens", "cut", "failed_attempts", "machine_seconds",
    "machine_share", "tokens_per_second", "queued_seconds", "cost", "saved", "cost_per_completion",
    *(name + part for name in ("valid", "correct") for part in ("", "_low", "_high", "_items")),
    "cost_per_valid", "cost_per_correct",
)  # fmt: skip
"""Columns of `Costs.table` that are sent to the frontend, where the table has them."""


class CostsView(View):
    """The tokens, seconds and cost of each setting, as a sortable table and as a chart against quality with the
    Pareto front; and the same at other prices: of models in the price list, your own price, or a price per hour of
    this machine, both computed in the browser.

    >>> tk.widgets.CostsView(results.costs(price="gpt-4o"))  # doctest: +SKIP
    """

    _esm, _css = assets("costs_prices", "costs")

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        table, total = costs.table, costs.total
        columns = [name for name in COUNTS if name in table]
        paid = next(iter(costs.prices), None) if "cost" in table else None
        offers = [price for price in costs.prices if price is not paid and isinstance(price, ModelPrice)]
        self._offers = {(price.model, price.provider): price for price in offers}
        hour, hours = costs.at(LocalPrice(1.0))
        super().__init__(
            {
                "axes": [visible(str(name), _MAX_NAME) for name in table.index.names if name is not None],
                "settings": [
                    [visible(value_text(value)) for value in values] for values in setting_values(table)
                ],
                "names": [visible(name) for name in setting_names(table)],
                "columns": {name: table[name].tolist() for name in columns},
                "total": {name: total[name] for name in columns},
                "quality": costs.quality,
                "paid": None if paid is None else str(paid),
                "per_hour": paid.per_hour if isinstance(paid, LocalPrice) else 1.0,
                "at_one_an_hour": {"cost": hour.tolist(), "total": hours},
                "sentences": [visible(sentence) for sentence in costs.sentences()],
                "offers": [self._at_price(price, False) for price in offers],
            }
        )

    @command
    def models(self, search: str = "", page: int = 0) -> dict[str, Any]:
        """A page of the models priced by token whose name or provider has every word of the search."""
        prices = _all_prices()
        names = prices["provider"].str.cat(prices["model"], "/").str.lower()
        matching = prices[[all(word in name for word in search.lower().split()) for name in names]]
        models = matching.iloc[page * _PAGE : (page + 1) * _PAGE]
        rows = models[["model", "provider", "input", "cached", "output"]].to_dict("records")
        return {"models": rows, "total": len(matching), "page": page, "size": _PAGE}

    @command
    def prices(self, models: Sequence[tuple[str, str | None]], cached: bool) -> list[dict[str, Any]]:
        """The cost of everything at the prices of some models, as [model, provider]. Price tiers depend on the length
        of each prompt, so token sums are not enough. cached: as in `Costs.at`."""
        prices = [
            self._offers.get((model, provider)) or model_price(model, provider) for model, provider in models
        ]
        return [self._at_price(price, cached) for price in prices]

    def _at_price(self, price: ModelPrice, cached: bool) -> dict[str, Any]:
        each, total = self.costs.at(price, cached)
        return {
            "name": visible(price.model, _MAX_NAME),
            "key": [price.model, price.provider],
            "description": visible(str(price)),
            "cost": each.tolist(),
            "total": total,
        }

    def html(self) -> Markup:
        return visible_html(self.costs._repr_html_())

    def text(self) -> str:
        return visible(repr(self.costs))


@cache
def _all_prices() -> pd.DataFrame:
    return model_prices()
