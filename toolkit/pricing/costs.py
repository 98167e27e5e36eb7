"""Cost: what completions cost, spent now or saved by the store, in tokens, seconds and money."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit import plots, report
from toolkit.findings import many
from toolkit.prices import LocalPrice, ModelPrice
from toolkit.report import is_missing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from toolkit.store import Store

ONE = ["request", "system_fingerprint", "repeat"]
"""What makes a completion one: rows of a results table are choices, and several cells may share a request."""
_ATTEMPT = ["sweep", *ONE]
"""Whose failed attempts are counted together."""
Doubles = npt.NDArray[np.float64]
_JUDGED = ("valid", "correct")
"""Columns of a table that say whether an answer is good, 0 to 1."""
_ACROSS = 8
"""Settings that are shown side by side."""


def asked(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each completion of a results table, its choices together: prompt and cached tokens are those of the
    request, completion tokens a sum."""
    once = table.drop_duplicates([*ONE, "choice"])
    found = once.sort_values("choice").groupby(ONE, sort=False, dropna=False)
    return found.agg(
        prompt_tokens=("prompt_tokens", "first"),
        cached_tokens=("cached_tokens", "first"),
        completion_tokens=("completion_tokens", "sum"),
        seconds=("seconds", "first"),
        first_token_seconds=("first_token_seconds", "first"),
        created=("created", "first"),
    ).reset_index()


def machine_seconds(completions: pd.DataFrame) -> Doubles:
    """(R,) seconds of the machine that each completion of a table of `asked` took: while several ran at once they
    share the time by their tokens (those of the prompt that were not cached, and the generated ones), so that the
    sum is the time in which anything ran. Sums of `seconds` count that time once for each of them. NaN where the
    seconds are not known. The table must hold all that ran then."""
    shares = np.full(len(completions), np.nan)
    for _, part in completions.groupby("system_fingerprint"):
        known = part[part["seconds"].notna()].sort_values("created")
        end = known["created"].to_numpy(np.float64)
        begin = end - known["seconds"].to_numpy(np.float64)
        order = np.argsort(begin, kind="stable")
        begin, end = begin[order], end[order]
        if not len(end):
            continue
        latest = np.maximum.accumulate(end)
        burst = np.cumsum(np.concatenate([[0], (begin[1:] > latest[:-1]).astype(int)]))
        first = np.flatnonzero(np.diff(burst, prepend=-1))
        length = latest[np.append(first[1:], len(end)) - 1] - begin[first]
        weights = known["prompt_tokens"] - known["cached_tokens"] + known["completion_tokens"]
        weight = np.maximum(weights.to_numpy(np.float64)[order], 1e-9)
        total = np.bincount(burst, weight)
        places = completions.index.get_indexer(known.index[order])
        shares[places] = weight / total[burst] * length[burst]
    return shares


def ran(table: pd.DataFrame, store: Store | None) -> pd.DataFrame:
    """All completions that a store has of the engines of a results table, with their watts; those of the table itself
    where there is no store."""
    if store is None:
        return asked(table).assign(watts=np.nan)
    return store.ran(list(map(str, table["system_fingerprint"].unique())))


def of_each(table: pd.DataFrame, store: Store | None, price: ModelPrice | LocalPrice) -> Doubles:
    """(R,) US dollars of each row of a results table: those of its completion, shared by its choices; NaN for an
    error. Raises ValueError for a price of energy where what was drawn is not known."""
    once = _once(table, _timed(ran(table, store))).set_index(ONE)
    failed = (table["finish_reason"] == "error").to_numpy()
    choices = table[~failed].groupby(ONE, sort=False, dropna=False)["choice"].nunique().reindex(once.index)
    places = once.index.get_indexer(table.set_index(ONE).index)
    each = np.append(priced(once, price) / choices.to_numpy(np.float64), np.nan)[places]
    return np.where(failed, np.nan, each)


def priced(completions: pd.DataFrame, price: ModelPrice | LocalPrice) -> Doubles:
    """(R,) US dollars of each completion: of this machine's time, by the columns `machine_seconds` and `watts`, or
    of its tokens at a provider, as if none had been in a provider's cache."""
    if isinstance(price, LocalPrice):
        return price.of(
            completions["machine_seconds"].to_numpy(np.float64), completions["watts"].to_numpy(np.float64)
        )
    return price.of(completions["prompt_tokens"], completions["completion_tokens"])


def pareto(cost: npt.ArrayLike, quality: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """(n,) True where no other point costs no more and is no worse, with one of the two better; equal points stay
    together, and one with NaN is out. Raises ValueError for different lengths."""
    costs, worth = np.asarray(cost, np.float64), np.asarray(quality, np.float64)
    if costs.shape != worth.shape:
        raise ValueError(f"cost and quality must be of one length, got {len(costs)} and {len(worth)}")
    keep = np.zeros(len(costs), bool)
    known = np.flatnonzero(~(np.isnan(costs) | np.isnan(worth)))
    order = known[np.lexsort((-worth[known], costs[known]))]  # the cheap first, the best first among equals
    if len(order):
        c, q = costs[order], worth[order]
        first = np.searchsorted(c, c)
        before = np.concatenate([[-np.inf], np.maximum.accumulate(q)])
        keep[order] = (q == q[first]) & (q > before[first])
    return keep


def costs(
    table: pd.DataFrame,
    by: list[str],
    ran: pd.DataFrame,
    failures: pd.DataFrame | None,
    price: ModelPrice | LocalPrice | None,
    at: Sequence[ModelPrice],
) -> Costs:
    """See `Results.costs`. table: that of results, with `own` (asked by a run of its sweep) and, where they are
    known, `valid` and `correct`; ran: `asked` of all completions of these engines; failures: attempts that gave
    nothing, by sweep and completion, with their tokens; None when not known."""
    import pandas as pd

    every = _timed(ran)
    offers = _columns(at)

    def line(part: pd.DataFrame, once: pd.DataFrame) -> dict[str, Any]:
        return _line(part, once, failures, price, offers)

    names: Any = by if len(by) > 1 else (by[0] if by else (lambda _: "all"))
    parts = dict(list(table.groupby(names, dropna=False)))
    asked_for = {value: _once(part, every) for value, part in parts.items()}
    rows = {value: line(part, asked_for[value]) for value, part in parts.items()}
    together = _once(table, every)
    total = line(table, together)
    found = pd.DataFrame([total, *rows.values()])[1:]  # a table without rows has all columns too
    found.index = (
        pd.MultiIndex.from_tuples(rows, names=by)
        if len(by) > 1
        else pd.Index(list(rows), name=by[0] if by else None, tupleize_cols=False)
    )
    prices = tuple(p for p in (price, *at) if p is not None)
    return Costs(found, pd.Series(total, dtype=object), prices, tuple(asked_for.values()), together)


def _columns(at: Sequence[ModelPrice]) -> dict[str, ModelPrice]:
    """Prices at providers by the names of their columns: with the provider where several have a model's name."""
    models = [p.model for p in at]
    found = {f"at {p.model}" + (f" ({p.provider})" if models.count(p.model) > 1 else ""): p for p in at}
    if len(found) < len(at):
        raise ValueError(f"at must name different models or providers, got {', '.join(map(str, at))}")
    return found


def _line(
    part: pd.DataFrame,
    once: pd.DataFrame,
    failures: pd.DataFrame | None,
    price: ModelPrice | LocalPrice | None,
    at: Mapping[str, ModelPrice],
) -> dict[str, Any]:
    """The numbers of some rows of a table, whose completions are `once`."""
    done = part[part["finish_reason"] != "error"]
    own = done.groupby(ONE, sort=False)["own"].max().reindex(once.set_index(ONE).index).to_numpy(np.float64)
    lost = None if failures is None else _of(failures, part)
    tokens = (once["prompt_tokens"] + once["completion_tokens"]).to_numpy(np.float64)
    seconds = once["machine_seconds"].sum(min_count=1)
    found: dict[str, Any] = {
        "completions": len(once),
        "prompt_tokens": int(once["prompt_tokens"].sum()),
        "cached_tokens": int(once["cached_tokens"].sum()),
        "completion_tokens": int(once["completion_tokens"].sum()),
        "spent_tokens": float((tokens * own).sum()),
        "saved_tokens": float((tokens * (1 - own)).sum()),
        "machine_seconds": seconds,
        "first_token_seconds": once["first_token_seconds"].astype(float).median(),
        "tokens_per_second": once["completion_tokens"].sum() / seconds if seconds else np.nan,
        "cut": len(done[done["finish_reason"] == "length"].drop_duplicates(ONE)),
        "failed_attempts": np.nan if lost is None else int(lost["attempts"].sum()),
        **_energy(once, price),
    }
    if price is not None:
        found |= _money(once, own, lost, price)
        found |= _per_answer(found["cost"] + np.nan_to_num(found["spent_on_failures"]), len(once), done)
    found |= {name: float(done[name].astype(float).mean()) for name in _JUDGED if name in part}
    return {**found, **{name: float(priced(once, offer).sum()) for name, offer in at.items()}}


def _timed(ran: pd.DataFrame) -> pd.DataFrame:
    """All completions that ran, by what makes each one, with the machine's time that each took."""
    return ran.assign(machine_seconds=machine_seconds(ran)).set_index(ONE)


def _once(part: pd.DataFrame, every: pd.DataFrame) -> pd.DataFrame:
    """The completions behind some rows of a table, with the machine's time and what it drew."""
    once = asked(part[part["finish_reason"] != "error"])
    measured = ["machine_seconds", "watts"]
    once[measured] = every[measured].reindex(once.set_index(ONE).index).to_numpy(np.float64)
    return once


def _of(failures: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    """The failed attempts at what stands in some rows of a table."""
    wanted = part.set_index(_ATTEMPT).index
    return failures[failures.set_index(_ATTEMPT).index.isin(wanted)]


def _per_answer(paid: float, completions: int, done: pd.DataFrame) -> dict[str, float]:
    """What one completion cost, and one valid and one right answer. An answer counts for each row of data that it was
    given to, and once however many sweeps and settings show it."""
    data = [name for name in map(str, done) if name == "row" or name.startswith("row.")]
    answers = done.drop_duplicates([*ONE, "choice", *data])
    good = {name: float(answers[name].astype(float).sum()) for name in _JUDGED if name in done}
    numbers = {"completion": completions, **good}
    return {
        f"cost_per_{name}": paid / number if number else (np.inf if paid else np.nan)
        for name, number in numbers.items()
    }


def _energy(once: pd.DataFrame, price: ModelPrice | LocalPrice | None) -> dict[str, float]:
    """What was drawn while these ran; nothing when it is not known."""
    given = price.watts if isinstance(price, LocalPrice) else None
    watts = once["watts"] if given is None else given
    joules = float((once["machine_seconds"] * watts).sum(skipna=False))
    return {} if np.isnan(joules) else {"kwh": joules / 3.6e6}


def _money(
    once: pd.DataFrame, own: Doubles, lost: pd.DataFrame | None, price: ModelPrice | LocalPrice
) -> dict[str, float]:
    each = priced(once, price)
    return {
        "cost": float(each.sum()),
        "spent": float((each * own).sum()),
        "saved": float((each * (1 - own)).sum()),
        "spent_on_failures": np.nan if lost is None else float(priced(lost, price).sum()),
    }


@dataclass(frozen=True, eq=False)
class Costs:
    """Tokens, seconds and money of a results table, by setting. Made by `Results.costs`."""

    table: pd.DataFrame
    """A row for each setting; see `Results.costs`."""
    total: pd.Series[Any]
    """The same columns over everything: not the sum of the rows where settings share completions."""
    prices: tuple[ModelPrice | LocalPrice, ...]
    """What was reckoned with."""
    completions: tuple[pd.DataFrame, ...] = field(repr=False)
    """For each row of `table` its completions, each once: tokens, machine_seconds, watts."""
    together: pd.DataFrame = field(repr=False)
    """Those of everything."""

    def at(self, price: ModelPrice | LocalPrice, cached: bool = False) -> tuple[pd.Series[float], float]:
        """US dollars of each setting, and of everything, at another price: exact, since tiers go by the length of
        each single prompt. cached: with a provider's prefix cache that holds what the engine's held; else none.
        Numbers of tokens are this engine's: another tokenizer would count otherwise. NaN where the machine's seconds
        are not known.

        >>> costs.at(tk.ModelPrice("ours", input=0.1, output=0.4))  # doctest: +SKIP
        """
        import pandas as pd

        def dollars(completions: pd.DataFrame) -> float:
            counts = [completions[f"{name}_tokens"] for name in ("prompt", "completion", "cached")]
            each = (
                price.of(*counts) if cached and isinstance(price, ModelPrice) else priced(completions, price)
            )
            return float(each.sum())

        found = [dollars(one) for one in self.completions]
        return pd.Series(found, self.table.index, np.float64), dollars(self.together)

    @property
    def quality(self) -> str | None:
        """What says how good a setting is: correct, or else valid; None where neither is known."""
        return next((name for name in reversed(_JUDGED) if name in self.table), None)

    def front(self, cost: npt.ArrayLike | None = None) -> npt.NDArray[np.bool_] | None:
        """(R,) which settings no other beats in cost and quality (see `pareto`); None without a quality, or a cost.
        cost: of a completion of each setting, US dollars; what was paid when left out."""
        if self.quality is None or (cost is None and "cost" not in self.table):
            return None
        return pareto(self.table["cost_per_completion"] if cost is None else cost, self.table[self.quality])

    def frame(self) -> pd.DataFrame:
        return self.table.copy()

    def plot(self) -> Figure:
        """Tokens by setting, and where there is a price and a quality, the quality against the cost of a completion
        with the Pareto front (see `plots.costs`)."""
        front = self.front()
        return plots.costs(self.table, None if front is None else self.quality, front)

    def notes(self) -> list[str]:
        """What was reckoned with, and where it is from."""
        return [
            f"{price}" + (f", {price.url}" if isinstance(price, ModelPrice) and price.url else "")
            for price in self.prices
        ]

    def sentences(self) -> list[str]:
        """What was spent, saved and lost, and which settings no other beats, in words."""
        total = self.total
        found = [
            f"{many(total['completions'], 'completion')} of {total['prompt_tokens']:,} prompt tokens "
            f"({total['cached_tokens']:,} of them cached by the engine) and {total['completion_tokens']:,} generated."
        ]
        if not is_missing(total["spent_tokens"]):
            spent, saved = (
                f"{total[f'{name}_tokens']:,.0f} tokens"
                + (f", US$ {total[name]:.4g}" if name in total else "")
                for name in ("spent", "saved")
            )
            found.append(f"Asked by these runs: {spent}. Found in the store, and not asked again: {saved}.")
        lost = [f"{many(total['cut'], 'completion')} cut at max_tokens or the window"]
        if not is_missing(total["failed_attempts"]):
            paid = f" (US$ {total['spent_on_failures']:.4g})" if "spent_on_failures" in total else ""
            lost.append(f"{many(total['failed_attempts'], 'failed attempt')}{paid}")
        return [*found, f"Lost: {', '.join(lost)}.", *self._best()]

    def _best(self) -> list[str]:
        front = self.front()
        if front is None or not front.any():
            return []
        names = "; ".join(plots.labels(self.table[front]))
        return [f"No setting is both cheaper and better ({self.quality}) than: {names} (the Pareto front)."]

    def __repr__(self) -> str:
        rows = self.table.to_string(max_rows=20)
        return "\n".join(["Costs", rows, "all: " + _told(self.total), *self.sentences()[1:], *self.notes()])

    def _repr_html_(self) -> str:
        import pandas as pd

        shown = pd.concat([self.table.astype(object), self.total.to_frame("all").T])
        shown = shown.rename(columns=_with_unit).map(_rounded)
        several = self.table.index.nlevels > 1
        names = [", ".join(map(str, v)) if several and v != "all" else str(v) for v in shown.index]
        axes = ", ".join(str(name) for name in self.table.index.names if name is not None)
        if len(shown) <= _ACROSS:  # numbers of a setting below each other are read more easily
            shown = shown.T.set_axis(names, axis=1).reset_index(names=axes)
        else:
            shown = shown.set_axis(names, axis=0).reset_index(names=axes)
        said, notes = (
            "".join(f"<li>{html.escape(t)}</li>" for t in ts) for ts in (self.sentences(), self.notes())
        )
        return (
            f'<div style="overflow-wrap:anywhere"><ul>{said}</ul>'
            f'<div style="overflow-x:auto">{report.table(shown)}</div><ul>{notes}</ul></div>'
        )


_UNITS = {"machine_seconds": "s", "first_token_seconds": "s, median", "valid": "share", "correct": "share"}
_MONEY = (
    "cost",
    "spent",
    "saved",
    "spent_on_failures",
    "cost_per_completion",
    "cost_per_valid",
    "cost_per_correct",
)


def _with_unit(name: str) -> str:
    """A column's name with its unit, where the name does not say it."""
    unit = "US$" if name in _MONEY or name.startswith("at ") else _UNITS.get(name)
    return f"{name} ({unit})" if unit else name


def _rounded(value: Any) -> Any:
    """Four digits of a fraction; of a whole number all."""
    if not isinstance(value, float) or not math.isfinite(value):
        return value
    return int(value) if value == int(value) else float(f"{value:.4g}")


def _told(total: pd.Series[Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in total.items() if isinstance(value, (int, float)))
