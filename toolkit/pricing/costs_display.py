"""Costs as sentences, as text and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from toolkit._internal.missing import is_missing
from toolkit._internal.text import plural
from toolkit._internal.value_text import money_texts, short_number, short_value, value_text
from toolkit.display.html import scrolling
from toolkit.display.markup import Markup, joined, markup

if TYPE_CHECKING:
    import pandas as pd

_MAX_SIDE_BY_SIDE = 8
"""The most settings that are shown as columns."""
_HEAD = 32
"""The most characters of the name of a setting as the head of a column, and of a value in a sentence; longer ones are
below the table."""
_MAX_ROWS = 100
"""The most settings that are shown."""
_MONEY = (
    "cost",
    "spent",
    "saved",
    "spent_on_failures",
    "cost_per_completion",
    "cost_per_valid",
    "cost_per_correct",
)
_UNITS = {
    "machine_seconds": "s",
    "machine_share": "share",
    "queued_seconds": "s, median",
    "first_token_seconds": "s, median",
    **dict.fromkeys(("valid", "correct"), "share"),
    **dict.fromkeys(("valid_low", "correct_low", "valid_high", "correct_high"), "95 %"),
}
_LEGEND = (
    "machine_seconds: the engine's time, attributed by tokens of prompts and answers. first_token_seconds: with "
    "queued_seconds, the wait in the batch. tokens_per_second: of one sequence in its batch, after its first token."
)
_IF_ANY = (
    "cached_tokens",
    "saved_tokens",
    "saved",
    "spent_on_failures",
    "cut",
    "failed_attempts",
    "lost_attempts",
)
"""Columns that are shown where one of their values is neither 0 nor unknown."""
_IF_SAVED = ("spent", "spent_tokens")
"""Columns that equal others unless something was found in the store."""
_CELL = "padding:2px 8px;text-align:{};white-space:nowrap"


class PricedSettings(Protocol):
    """What is shown of `Costs`."""

    @property
    def table(self) -> pd.DataFrame: ...

    @property
    def total(self) -> pd.Series[Any]: ...

    @property
    def together(self) -> pd.DataFrame: ...

    @property
    def quality(self) -> str | None: ...

    def front(self) -> npt.NDArray[np.bool_] | None: ...

    def notes(self) -> list[str]: ...

    def sentences(self) -> list[str]: ...


def costs_sentences(costs: PricedSettings) -> list[str]:
    """See `Costs.sentences`."""
    total = costs.total
    sentences = [f"{plural(total['completions'], 'completion')}{_tokens_text(costs)}."]
    if not is_missing(total["spent_tokens"]):
        spent, saved = (
            f"{short_number(total[f'{name}_tokens'])} tokens"
            + (f", {_dollars(total[name])}" if name in total else "")
            for name in ("spent", "saved")
        )
        sentences.append(f"Asked by these runs: {spent}. Found in the store, and not asked again: {saved}.")
    lost = [f"{plural(total['cut'], 'completion')} cut at max_tokens or the window"]
    if not is_missing(total["failed_attempts"]):
        number, paid = total["failed_attempts"], total.get("spent_on_failures")
        lost.append(
            plural(number, "failed attempt") + (f" ({_dollars(paid)})" if number and paid is not None else "")
        )
    return [*sentences, f"Lost: {', '.join(lost)}.", *_unknown_sentences(total), *_pareto_sentences(costs)]


def _unknown_sentences(total: pd.Series[Any]) -> list[str]:
    if not total.get("lost_attempts"):
        return []
    lost = plural(total["lost_attempts"], "request")
    return [f"Not known, and in no sum: what {lost} at most had spent when a run was killed or interrupted."]


def _tokens_text(costs: PricedSettings) -> str:
    """The tokens of all completions; of how many the server does not report them."""
    total = costs.total
    unknown = int(costs.together[["prompt_tokens", "completion_tokens"]].isna().any(axis=1).sum())
    if unknown:
        return f"; the tokens of {unknown:,} are unknown, and so are all sums with them"
    cached = total["cached_tokens"]
    of_them = "" if is_missing(cached) else f" ({short_number(cached)} of them cached by the engine)"
    prompt, generated = (short_number(total[f"{name}_tokens"]) for name in ("prompt", "completion"))
    return f" of {prompt} prompt tokens{of_them} and {generated} generated"


def _pareto_sentences(costs: PricedSettings) -> list[str]:
    front, quality = costs.front(), costs.quality
    if front is None or quality is None or not front.any():
        return []
    best = costs.table[front]
    names = "; ".join(
        f"{label}, {interval}"
        for label, interval in zip(setting_names(best, _HEAD), quality_texts(best, quality), strict=True)
    )
    sentences = [f"No setting is both cheaper and better ({quality}) than: {names} (the Pareto front)."]
    if not front.all() and _is_unsure(costs.table, quality, front):
        sentences.append(
            f"The 95 % intervals of {quality} overlap: with other items the settings may come in another order."
        )
    return sentences


def _is_unsure(table: pd.DataFrame, quality: str, front: Any) -> bool:
    """Whether a setting that is not on the front may be as good as the best one."""
    best = table.loc[front].nlargest(1, quality)
    return bool((table.loc[~front, f"{quality}_high"] >= best[f"{quality}_low"].iloc[0]).any())


def quality_texts(table: pd.DataFrame, quality: str) -> list[str]:
    """The quality of each setting with its interval and the number of items."""
    names = (quality, f"{quality}_low", f"{quality}_high", f"{quality}_items")
    return [_quality_text(*row) for row in table[list(names)].itertuples(index=False)]


def _quality_text(mean: float, low: float, high: float, items: int) -> str:
    if np.isnan(low):
        return f"{short_number(mean)} (n = {items:,})"
    mean_text, low_text, high_text = (short_number(round(100 * share, 1)) for share in (mean, low, high))
    return f"{mean_text} % ({low_text} to {high_text} %, n = {items:,})"


def costs_text(costs: PricedSettings) -> str:
    """The numbers of each setting and of all, the sentences and the prices."""
    heads, rows, names = _table(costs)
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]

    def line(cells: Sequence[str]) -> str:
        first, *numbers = (
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *numbers]).rstrip()

    numbered = [f"{i}: {name}" for i, name in enumerate(names, 1)]
    lines = ["Costs", *map(line, (heads, *rows)), *numbered, *costs.sentences(), _LEGEND, *costs.notes()]
    return "\n".join(lines)


def costs_html(costs: PricedSettings) -> Markup:
    heads, rows, names = _table(costs)
    sentences, numbered, notes = (
        joined(markup("<li>{}</li>", text) for text in texts)
        for texts in (costs.sentences(), names, [_LEGEND, *costs.notes()])
    )
    table = markup(
        "<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>",
        _row("<th", heads),
        joined(markup("<tr>{}</tr>", _row("<td", row)) for row in rows),
    )
    return markup(
        '<div style="overflow-wrap:anywhere"><ul>{}</ul>{}{}<ul>{}</ul></div>',
        sentences,
        scrolling(table),
        markup('<ol style="white-space:pre-wrap">{}</ol>', numbered) if names else "",
        notes,
    )


def _row(tag: str, cells: Sequence[str]) -> Markup:
    """Cells of a row: the name on the left, numbers on the right."""
    template = '<th style="{}">{}</th>' if tag == "<th" else '<td style="{}">{}</td>'
    return joined(
        markup(template, _CELL.format("right" if i else "left"), cell) for i, cell in enumerate(cells)
    )


def _table(costs: PricedSettings) -> tuple[list[str], list[list[str]], list[str]]:
    """Heads and rows of a table of texts: a column for each setting, which is easier to read, or a row for each where
    they are many. Where a setting has a long name, they are numbered, and their names the third."""
    import pandas as pd

    both = pd.concat([costs.table.head(_MAX_ROWS).astype(object), costs.total.to_frame("all").T])
    known = [name for name in map(str, both) if name not in _IF_ANY or _has_any(both[name])]
    names = [name for name in known if name not in _IF_SAVED or "saved_tokens" in known]
    columns = [[_with_unit(name), *_column_texts(name, both[name].tolist())] for name in names]
    axes = ", ".join(str(name) for name in costs.table.index.names if name is not None)
    settings = setting_values(costs.table.head(_MAX_ROWS))
    short = [", ".join(map(value_text, values)) for values in settings]
    are_long = any(len(name) > _HEAD or "\n" in name for name in short)
    long_names = setting_names(costs.table.head(_MAX_ROWS)) if are_long else []
    heads = [axes, *(map(str, range(1, 1 + len(long_names))) if are_long else short), "all"]
    if (more := len(costs.table) - _MAX_ROWS) > 0:
        heads[-1] = f"all, with {more:,} more"
    if len(heads) <= _MAX_SIDE_BY_SIDE + 2:
        return heads, columns, long_names
    rows = [list(cells) for cells in zip(heads, *columns, strict=True)]
    return rows[0], rows[1:], long_names


def _has_any(values: pd.Series[Any]) -> bool:
    return any(not is_missing(value) and value != 0 for value in values)


def _column_texts(name: str, values: Sequence[Any]) -> list[str]:
    numbers = [None if is_missing(value) else float(value) for value in values]
    return money_texts(numbers) if _is_money(name) else list(map(short_number, numbers))


def setting_values(table: pd.DataFrame) -> list[list[Any]]:
    """The values of each setting of `Costs.table`, with the names of `attrs["names"]` in place of ids; the value of a
    single axis may itself be a tuple."""
    names = table.attrs.get("names", {})
    settings = list(table.index) if table.index.nlevels > 1 else [(value,) for value in table.index]
    return [[names.get(v, v) if isinstance(v, str) else v for v in setting] for setting in settings]


def setting_names(table: pd.DataFrame, limit: int | None = None) -> list[str]:
    """The name of each setting of `Costs.table`, whole, or with at most so many characters of each value."""
    names = [str(name) for name in table.index.names if name is not None]
    if not names:
        return [str(value) for value in table.index]
    texts = (map(value_text, values) for values in setting_values(table))
    return [
        ", ".join(
            f"{name} {text if limit is None else short_value(text, limit)}"
            for name, text in zip(names, values, strict=True)
        )
        for values in texts
    ]


def _is_money(name: str) -> bool:
    return name in _MONEY or name.startswith("at ")


def _with_unit(name: str) -> str:
    """A column's name, with its unit where the name does not tell it."""
    unit = "US$" if _is_money(name) else _UNITS.get(name)
    return f"{name} ({unit})" if unit else name


def _dollars(amount: float) -> str:
    return "cost unknown" if is_missing(amount) else f"US$ {short_number(amount)}"
