"""Tables as text, and data frames that show themselves readably. Imported where one is made, since pandas is slow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from toolkit._internal.value_text import column_texts, value_text
from toolkit.display.html import html_table
from toolkit.display.markup import Markup

GAP = "…"
"""In a table, the rows that are left out."""
_ROWS, _WIDTH = 60, 60
"""The most rows of a table, and the most characters of a value, that a terminal shows."""


class Table(pd.DataFrame):
    """A data frame that shows its exact numbers with at most four digits, and what is missing as "–". Whatever is
    made from it is a plain data frame. `attrs["names"]`: names that are shown in place of values of its index."""

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def __repr__(self) -> str:
        return text_table(self.named(), _ROWS, _WIDTH)

    def _repr_html_(self) -> Markup:
        return html_table(with_index_columns(self.named()))

    def named(self) -> pd.DataFrame:
        """A plain data frame with the names of `attrs["names"]`."""
        names = self.attrs.get("names", {})
        return self.rename(index=names, columns=names) if names else self


def text_table(frame: pd.DataFrame, rows: int, width: int, index: bool = True) -> str:
    """A frame as plain text: at most so many rows, the first and the last ones, and so many characters of a value."""
    if frame.empty:
        return str(frame.head(0).to_string())
    if len(frame) <= rows:
        return str(_texts(frame).to_string(max_colwidth=width, index=index))
    last = rows // 2
    texts = _texts(pd.concat([frame.head(rows - last), frame.tail(last)]))
    gap = texts.head(1).map(lambda _: GAP)
    gap.index = gap.index.map(lambda value: (GAP,) * len(value) if isinstance(value, tuple) else GAP)
    lines = pd.concat([texts.head(rows - last), gap, texts.tail(last)])
    return str(lines.to_string(max_colwidth=width, index=index))


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with all values, and those of its index and of its columns' names, as texts."""
    columns = [pd.Series(column_texts(list(values)), dtype=object) for _, values in frame.items()]
    table = pd.concat(columns, axis=1)
    table.index, table.columns = _index_texts(frame.index), _index_texts(frame.columns)
    return table


def _index_texts(index: pd.Index[Any]) -> pd.Index[Any]:
    if isinstance(index, pd.RangeIndex):
        return index
    levels = [column_texts(list(index.get_level_values(i))) for i in range(index.nlevels)]
    if index.nlevels > 1:
        return pd.MultiIndex.from_arrays(levels, names=index.names)
    return pd.Index(levels[0], name=index.name, dtype=object)


def with_index_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its index as its first columns, and one line of column names."""
    index = frame.index
    levels = [] if isinstance(index, pd.RangeIndex) else [*map(index.get_level_values, range(index.nlevels))]
    names = [name or "" for name in index.names[: len(levels)]]
    names += [_head(frame.columns.names, c if isinstance(c, tuple) else (c,)) for c in frame.columns]
    columns = [*levels, *(frame.iloc[:, i] for i in range(frame.shape[1]))]
    table = pd.DataFrame({i: list(column) for i, column in enumerate(columns)}, dtype=object)
    return table.set_axis(names, axis=1)


def _head(names: Sequence[Any], values: Sequence[Any]) -> str:
    """The name of a column, which may be the values of several axes."""
    pairs = zip(names, values, strict=True)
    return ", ".join(value_text(v) if name is None else f"{name} {value_text(v)}" for name, v in pairs)
