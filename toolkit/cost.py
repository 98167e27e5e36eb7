"""Cost: what completions cost, spent now or saved by the store, in tokens, seconds and money."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit import plots, report
from toolkit.prices import LocalPrice, ModelPrice

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

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

    every = ran.assign(machine_seconds=machine_seconds(ran)).set_index(ONE)
    offers = _columns(at)

    def line(part: pd.DataFrame) -> dict[str, Any]:
        return _line(part, every, failures, price, offers)

    names: Any = by if len(by) > 1 else (by[0] if by else (lambda _: "all"))
    rows = {value: line(part) for value, part in table.groupby(names, dropna=False)}
    total = line(table)
    found = pd.DataFrame([total, *rows.values()])[1:]  # a table without rows has all columns too
    found.index = (
        pd.MultiIndex.from_tuples(rows, names=by)
        if len(by) > 1
        else pd.Index(list(rows), name=by[0] if by else None, tupleize_cols=False)
    )
    prices = tuple(p for p in (price, *at) if p is not None)
    return Costs(found, pd.Series(total, dtype=object), prices)


def _columns(at: Sequence[ModelPrice]) -> dict[str, ModelPrice]:
    """Prices at providers by the names of their columns: with the provider where several have a model's name."""
    models = [p.model for p in at]
    found = {f"at {p.model}" + (f" ({p.provider})" if models.count(p.model) > 1 else ""): p for p in at}
    if len(found) < len(at):
        raise ValueError(f"at must name different models or providers, got {', '.join(map(str, at))}")
    return found


def _line(
    part: pd.DataFrame,
    every: pd.DataFrame,
    failures: pd.DataFrame | None,
    price: ModelPrice | LocalPrice | None,
    at: Mapping[str, ModelPrice],
) -> dict[str, Any]:
    """The numbers of some rows of a table, each completion counted once."""
    done = part[part["finish_reason"] != "error"]
    once = asked(done)
    measured = ["machine_seconds", "watts"]
    once[measured] = every[measured].reindex(once.set_index(ONE).index).to_numpy(np.float64)
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
        "failed_attempts": np.nan if lost is None else int(lost["attempts"].sum()),
        **_energy(once, price),
    }
    if price is not None:
        found |= _money(once, own, lost, price)
        found |= _per_answer(found["cost"] + np.nan_to_num(found["spent_on_failures"]), len(once), done)
    found |= {name: float(done[name].astype(float).mean()) for name in _JUDGED if name in part}
    return {**found, **{name: float(priced(once, offer).sum()) for name, offer in at.items()}}


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

    def frame(self) -> pd.DataFrame:
        return self.table.copy()

    def plot(self) -> Figure:
        """Tokens by setting, and where there is a price and a quality, the quality against the cost of a completion
        with the Pareto front (see `plots.costs`)."""
        quality = next((name for name in reversed(_JUDGED) if name in self.table), None)
        if quality is None or "cost" not in self.table:
            return plots.costs(self.table, None, None)
        return plots.costs(
            self.table, quality, pareto(self.table["cost_per_completion"], self.table[quality])
        )

    def _notes(self) -> list[str]:
        return [
            f"{price}" + (f", {price.url}" if isinstance(price, ModelPrice) and price.url else "")
            for price in self.prices
        ]

    def __repr__(self) -> str:
        rows = self.table.to_string(max_rows=20)
        return "\n".join(["Costs", rows, "all: " + _told(self.total), *self._notes()])

    def _repr_html_(self) -> str:
        import pandas as pd

        shown = pd.concat([self.table.astype(object), self.total.to_frame("all").T])
        names = [str(value) for value in shown.index]
        axes = ", ".join(str(name) for name in self.table.index.names if name is not None)
        if len(shown) <= _ACROSS:  # numbers of a setting below each other are read more easily
            shown = shown.T.set_axis(names, axis=1).reset_index(names=axes)
        else:
            shown = shown.set_axis(names, axis=0).reset_index(names=axes)
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self._notes())
        return f"{report.table(shown)}<ul>{notes}</ul>"


def _told(total: pd.Series[Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in total.items() if isinstance(value, (int, float)))
