"""What completions cost, or would have cost without the store: tokens, seconds and money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.intervals import mean_share
from toolkit.display.markup import Markup
from toolkit.display.plots.costs import plot_costs
from toolkit.pricing.costs_display import costs_html, costs_sentences, costs_text
from toolkit.pricing.machine_time import (
    ATTEMPT_KEY,
    COMPLETION_KEY,
    Doubles,
    attributed,
    decoding_rate,
    engine_completions,
    failure_seconds,
    per_completion,
)
from toolkit.pricing.pareto import pareto
from toolkit.pricing.prices import LocalPrice, ModelPrice

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from toolkit.store.store import Store


_QUALITIES = ("valid", "correct")
"""Columns of a table with the quality of an answer, 0 to 1."""
_ITEM = "\0item"
"""Column with the number of the row of data that an answer is to."""


def cost_per_row(table: pd.DataFrame, store: Store | None, price: ModelPrice | LocalPrice) -> Doubles:
    """(R,) US dollars of each row of a results table: the cost of its completion, divided by its choices; NaN for an
    error. Raises ValueError for a price of energy where the watts are not known."""
    timed = attributed(engine_completions(table, store))
    once = _completions_of(table, timed).set_index(COMPLETION_KEY)
    failed = (table["finish_reason"] == "error").to_numpy()
    choices = (
        table[~failed]
        .groupby(COMPLETION_KEY, sort=False, dropna=False)["choice"]
        .nunique()
        .reindex(once.index)
    )
    places = once.index.get_indexer(table.set_index(COMPLETION_KEY).index)
    each = np.append(priced(once, price) / choices.to_numpy(np.float64), np.nan)[places]
    return np.where(failed, np.nan, each)


def priced(completions: pd.DataFrame, price: ModelPrice | LocalPrice) -> Doubles:
    """(R,) US dollars of each completion: of this machine's time, by the columns `machine_seconds` and `watts`, or
    of its tokens at a provider, with none in the provider's cache."""
    if isinstance(price, LocalPrice):
        return price.of(
            completions["machine_seconds"].to_numpy(np.float64), completions["watts"].to_numpy(np.float64)
        )
    return price.of(completions["prompt_tokens"], completions["completion_tokens"])


def costs(
    table: pd.DataFrame,
    by: list[str],
    ran: pd.DataFrame,
    failures: pd.DataFrame | None,
    price: ModelPrice | LocalPrice | None,
    at: Sequence[ModelPrice],
    names_of_systems: Mapping[str, str],
) -> Costs:
    """See `Results.costs`. table: the rows of results, with `own` (whether a run of its sweep generated it) and,
    where known, `valid` and `correct`; ran: all completions of these engines (`engine_completions`); failures: failed
    attempts, by sweep and completion, with their tokens, and lost ones; None when not known; names_of_systems:
    fingerprint → the name that displays show."""
    import pandas as pd

    timed = attributed(ran)
    failures = None if failures is None else failure_seconds(failures, timed)
    table = table.assign(**{_ITEM: _items(table)})
    offers = _offer_columns(at)

    def cost_row(part: pd.DataFrame, once: pd.DataFrame) -> dict[str, Any]:
        return _cost_row(part, once, failures, price, offers)

    names: Any = by if len(by) > 1 else (by[0] if by else (lambda _: "all"))
    parts = dict(list(table.groupby(names, dropna=False)))
    completions = {value: _completions_of(part, timed) for value, part in parts.items()}
    rows = {value: cost_row(part, completions[value]) for value, part in parts.items()}
    together = _completions_of(table, timed)
    total = cost_row(table, together)
    if "lost_attempts" in total and failures is not None:
        of_no_row = failures[(failures["pending"] > 0) & failures["sweep"].isin(table["sweep"])]
        total["lost_attempts"] += int(of_no_row["lost"].sum())
    for row in (*rows.values(), total):
        row["machine_share"] = _quotient(row["machine_seconds"], total["machine_seconds"])
    frame = pd.DataFrame([total, *rows.values()])[1:]  # a table without rows has all columns too
    frame.index = (
        pd.MultiIndex.from_tuples(rows, names=by)
        if len(by) > 1
        else pd.Index(list(rows), name=by[0] if by else None, tupleize_cols=False)
    )
    frame.attrs["names"] = dict(names_of_systems)
    prices = tuple(p for p in (price, *at) if p is not None)
    return Costs(frame, pd.Series(total, dtype=object), prices, tuple(completions.values()), together)


def _offer_columns(at: Sequence[ModelPrice]) -> dict[str, ModelPrice]:
    """Column name → price: with the provider's name where several providers have a model's name."""
    models = [p.model for p in at]
    offers = {f"at {p.model}" + (f" ({p.provider})" if models.count(p.model) > 1 else ""): p for p in at}
    if len(offers) < len(at):
        raise ValueError(f"at must name different models or providers, got {', '.join(map(str, at))}")
    return offers


def _cost_row(
    part: pd.DataFrame,
    once: pd.DataFrame,
    failures: pd.DataFrame | None,
    price: ModelPrice | LocalPrice | None,
    at: Mapping[str, ModelPrice],
) -> dict[str, Any]:
    """The columns of `Results.costs` for some rows of a table, whose completions are `once`."""
    done = part[part["finish_reason"] != "error"]
    generated = (
        done.groupby(COMPLETION_KEY, sort=False)["own"]
        .max()
        .reindex(once.set_index(COMPLETION_KEY).index)
        .to_numpy(np.float64)
    )
    failed = None if failures is None else _failures_of(failures, part)
    tokens = (once["prompt_tokens"] + once["completion_tokens"]).to_numpy(np.float64)
    columns: dict[str, Any] = {"completions": len(once), **_qualities(done)}
    if price is not None:
        money = _money(once, generated, failed, price)
        paid = money["cost"] + np.nan_to_num(money["spent_on_failures"])
        columns |= {**_cost_per(paid, len(once), done), **money}
    return {
        **columns,
        **{name: float(priced(once, offer).sum()) for name, offer in at.items()},
        **{name: _total(once[name]) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")},
        "spent_tokens": float((tokens * generated).sum()),
        "saved_tokens": float((tokens * (1 - generated)).sum()),
        "machine_seconds": once["machine_seconds"].sum(min_count=1),
        "machine_share": np.nan,  # when the total is known
        "queued_seconds": once["queued_seconds"].median(),
        "first_token_seconds": once["first_token_seconds"].median(),
        "tokens_per_second": decoding_rate(once),
        "cut": len(done[done["finish_reason"] == "length"].drop_duplicates(COMPLETION_KEY)),
        "failed_attempts": np.nan if failed is None else int(failed["attempts"].sum()),
        **_lost(failures, failed),
        **_kwh(once, price),
    }


def _items(table: pd.DataFrame) -> pd.Series[int]:
    """The number of the row of data of each row of a table."""
    names = [name for name in map(str, table) if name.startswith("row.")] or ["row"]
    return table.groupby(names, dropna=False, sort=False).ngroup()


def _qualities(done: pd.DataFrame) -> dict[str, Any]:
    """Of each quality its mean, the 95 % interval, and the number of items that it is of: rows of data, or
    completions where all answers are to one row or to none."""
    by = [_ITEM] if done[_ITEM].nunique() > 1 else COMPLETION_KEY
    items = done.groupby(by, dropna=False, sort=False).ngroup()
    columns: dict[str, Any] = {}
    for name in reversed(_QUALITIES):
        if name in done:
            mean, (low, high), n = mean_share(done[name].astype(float), items)
            columns |= {name: mean, f"{name}_low": low, f"{name}_high": high, f"{name}_items": n}
    return columns


def _quotient(part: float, whole: float) -> float:
    return part / whole if whole else np.nan


def _total(counts: pd.Series[float]) -> float:
    """The sum of whole numbers; NaN where one is unknown."""
    total = counts.sum(skipna=False)
    return total if np.isnan(total) else int(total)


def _lost(failures: pd.DataFrame | None, failed: pd.DataFrame | None) -> dict[str, int]:
    """The lost attempts among some failures; empty where there is none among all."""
    if failures is None or failed is None or not failures["lost"].any():
        return {}
    return {"lost_attempts": int(failed["lost"].sum())}


def _completions_of(part: pd.DataFrame, timed: pd.DataFrame) -> pd.DataFrame:
    """The completions behind some rows of a table, each once, with the machine's seconds and watts."""
    once = per_completion(part[part["finish_reason"] != "error"])
    measured = ["machine_seconds", "watts"]
    once[measured] = timed[measured].reindex(once.set_index(COMPLETION_KEY).index).to_numpy(np.float64)
    return once


def _failures_of(failures: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    """The failed attempts at the requests of some rows of a table."""
    attempted = part.set_index(ATTEMPT_KEY).index
    return failures[failures.set_index(ATTEMPT_KEY).index.isin(attempted)]


def _cost_per(paid: float, completions: int, done: pd.DataFrame) -> dict[str, float]:
    """The cost of one completion, one valid and one correct answer. An answer counts for each row of data that it
    answers, and once however many sweeps and settings show it."""
    data = [name for name in map(str, done) if name == "row" or name.startswith("row.")]
    answers = done.drop_duplicates([*COMPLETION_KEY, "choice", *data])
    good = {name: float(answers[name].astype(float).sum()) for name in _QUALITIES if name in done}
    numbers = {"completion": completions, **good}
    return {
        f"cost_per_{name}": paid / number if number else (np.inf if paid else np.nan)
        for name, number in numbers.items()
    }


def _kwh(once: pd.DataFrame, price: ModelPrice | LocalPrice | None) -> dict[str, float]:
    """The energy of these completions; empty when it is not known."""
    price_watts = price.watts if isinstance(price, LocalPrice) else None
    watts = once["watts"] if price_watts is None else price_watts
    joules = float((once["machine_seconds"] * watts).sum(skipna=False))
    return {} if np.isnan(joules) else {"kwh": joules / 3.6e6}


def _money(
    once: pd.DataFrame, generated: Doubles, failed: pd.DataFrame | None, price: ModelPrice | LocalPrice
) -> dict[str, float]:
    each = priced(once, price)
    return {
        "cost": float(each.sum()),
        "spent": float((each * generated).sum()),
        "saved": float((each * (1 - generated)).sum()),
        "spent_on_failures": np.nan
        if failed is None
        else float(priced(failed[failed["attempts"] > 0], price).sum()),
    }


@dataclass(frozen=True, eq=False)
class Costs:
    """Tokens, seconds and money of a results table, by setting. Made by `Results.costs`."""

    table: pd.DataFrame
    """A row for each setting; see `Results.costs`."""
    total: pd.Series[Any]
    """The same columns over all rows: not the sum of the settings' where settings share completions."""
    prices: tuple[ModelPrice | LocalPrice, ...]
    """The prices that were applied."""
    completions: tuple[pd.DataFrame, ...] = field(repr=False)
    """For each row of `table` its completions, each once: tokens, machine_seconds, watts."""
    together: pd.DataFrame = field(repr=False)
    """All completions, each once, with the same columns."""

    def at(self, price: ModelPrice | LocalPrice, cached: bool = False) -> tuple[pd.Series[float], float]:
        """US dollars of each setting, and of all, at another price: exact, since tiers go by the length of each
        single prompt. cached: with a provider's prefix cache that holds what the engine's held; else none. The
        numbers of tokens are this engine's: another tokenizer counts differently. NaN where the machine's seconds are
        not known.

        >>> costs.at(tk.ModelPrice("ours", input=0.1, output=0.4))  # doctest: +SKIP
        """
        import pandas as pd

        def dollars(completions: pd.DataFrame) -> float:
            counts = [completions[f"{name}_tokens"] for name in ("prompt", "completion", "cached")]
            each = (
                price.of(*counts) if cached and isinstance(price, ModelPrice) else priced(completions, price)
            )
            return float(each.sum())

        sums = [dollars(completions) for completions in self.completions]
        return pd.Series(sums, self.table.index, np.float64), dollars(self.together)

    @property
    def quality(self) -> str | None:
        """The column with the quality of a setting: correct, or else valid; None where neither is known."""
        return next((name for name in reversed(_QUALITIES) if name in self.table), None)

    def front(self, cost: npt.ArrayLike | None = None) -> npt.NDArray[np.bool_] | None:
        """(R,) which settings are on the Pareto front of cost and quality (see `pareto`); None without a quality, or
        a cost. cost: US dollars of a completion of each setting; `cost_per_completion` when left out."""
        if self.quality is None or (cost is None and "cost" not in self.table):
            return None
        return pareto(self.table["cost_per_completion"] if cost is None else cost, self.table[self.quality])

    def frame(self) -> pd.DataFrame:
        return self.table.copy()

    def plot(self) -> Figure:
        """Tokens by setting, and where there is a price and a quality, the quality with its 95 % interval against the
        cost of a completion, with the Pareto front (see `plot_costs`)."""
        front = self.front()
        return plot_costs(self.table, None if front is None else self.quality, front)

    def notes(self) -> list[str]:
        """The prices that were applied, and their sources."""
        return [
            f"{price}" + (f", {price.url}" if isinstance(price, ModelPrice) and price.url else "")
            for price in self.prices
        ]

    def sentences(self) -> list[str]:
        """What was spent, saved and lost, and the Pareto front with its intervals, in words."""
        return costs_sentences(self)

    def __repr__(self) -> str:
        return costs_text(self)

    def _repr_html_(self) -> Markup:
        return costs_html(self)
