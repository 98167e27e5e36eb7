"""The table of results as CSV, which keeps every value as it is and is safe to open in a spreadsheet.

Texts are quoted, numbers, True and False are not, and nothing at all is a missing value: the text "007" stays a text.
Lists are JSON, as texts. A text that a spreadsheet would run as a formula begins with an apostrophe.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.files import user_path, whole_file
from toolkit._internal.jsonable import is_missing
from toolkit._internal.text import is_valid_unicode
from toolkit.results.dtypes import repeated_column
from toolkit.results.standard_json import dump_standard, load_standard
from toolkit.results.table import DTYPES, OUTCOMES, hashable, ordered

if TYPE_CHECKING:
    import pandas as pd

_QUOTED = re.compile(r'"(?<![^,\r\n]")([^"]*(?:""[^"]*)*)"(?=[,\r\n])')
"""A quoted cell."""
_GUARDED = re.compile(r"""'*(?:[\t\r]|[\s\x00-\x1f]*[=+\-@＝＋－＠])|'+\"""")
"""The beginning of a text that is written with an apostrophe before it: of a formula (as OWASP lists them), or of a
text that would otherwise be read as one that was written so."""
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|inf)")
_FLAGS = {"true": True, "false": False}
_NUMERIC = ("Int64", "int64", "float64", "boolean")
_LISTS = {name for name, dtype in DTYPES.items() if dtype == "object"} - {"stop_reason"}


def write_csv(table: pd.DataFrame, path: str | Path) -> Path:
    header = [
        name if re.fullmatch(r'[^",\r\n]+', name) else _quoted(name) for name in map(str, table.columns)
    ]
    rows = zip(*(_cells(table[name]) for name in table.columns), strict=True)
    # Line endings of RFC 4180.
    text = "".join(f"{','.join(row)}\r\n" for row in (header, *rows))
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="")
    return Path(path)


def _cells(column: pd.Series[Any]) -> list[str]:
    values = column.tolist()
    if column.dtype in (object, np.float64):  # True and 1, 0.0 and -0.0 are equal keys of a dict
        return [_cell(value) for value in values]
    cells = {value: _cell(value) for value in set(values)}
    return [cells[value] for value in values]


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, tuple):
        return _quoted(dump_standard(value))
    return "" if is_missing(value) else repr(value)


def _quoted(text: str) -> str:
    if not is_valid_unicode(text):  # a lone surrogate, which no file can hold
        text = "'" + json.dumps(text)
    elif _GUARDED.match(text):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"'


def _unguarded(text: str) -> str:
    """The text that was written as this one."""
    if text.startswith("'") and _GUARDED.match(text, 1):
        return text[1:]
    if text.startswith("'\""):
        with contextlib.suppress(ValueError):  # not written by `_quoted`
            return str(json.loads(text[1:]))
    return text


def read_csv(path: str | Path) -> pd.DataFrame:
    """What `write_csv` wrote, or an earlier version, or a program that has saved it again: then texts in columns of
    numbers are not known as texts. Raises ValueError, which names the file, for anything else."""
    import pandas as pd

    names, columns = _parsed(path)
    if missing := [name for name in OUTCOMES if name not in names]:
        raise ValueError(
            f"{path} is no table of results: it lacks the columns {', '.join(missing)}. Separate columns by commas, "
            "and read what Results.to_csv wrote"
        )
    order = [name for name in ordered(names) if name in names]
    by_name = dict(zip(names, columns, strict=True))
    return pd.DataFrame(
        {name: _column(name, by_name[name]) for name in (*order, *(n for n in names if n not in order))}
    )


def _parsed(path: str | Path) -> tuple[list[str], list[list[str]]]:
    """Names of columns, and the cells of each; those that were quoted begin with a quote."""
    try:
        text = user_path(path).read_bytes().decode("utf-8-sig")  # spreadsheets write a byte order mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}): save it as CSV in UTF-8") from None
    text = text.rstrip("\r\n") + "\n"
    quoted = iter(_QUOTED.findall(text))
    # Without quoted texts, which may have commas and line ends.
    text = _QUOTED.sub("\0", text)[:-1].replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    width = lines[0].count(",") + 1
    if any(line.count(",") != width - 1 for line in lines):
        raise ValueError(f"{path} is no table of results: its lines differ in their number of cells")
    cells = [
        '"' + next(quoted, "").replace('""', '"') if cell == "\0" else cell
        for cell in text.replace("\n", ",").split(",")
    ]
    names = [_unguarded(name.removeprefix('"')) for name in cells[:width]]
    return names, [cells[width + i :: width] for i in range(width)]


def _column(name: str, cells: Sequence[str]) -> pd.Series[Any]:
    """The column of some cells; each different one is read once."""
    places = {cell: i for i, cell in enumerate(dict.fromkeys(cells))}
    rows = np.fromiter(map(places.__getitem__, cells), np.int64, len(cells))
    return repeated_column(_values(name, list(places)), rows, DTYPES.get(name, ""))


def _values(name: str, cells: Sequence[str]) -> list[Any]:
    dtype = DTYPES.get(name, "")
    missing = "" if name == "text" else None  # earlier versions wrote an empty answer without quotes
    if dtype == "str" or not all(_is_literal(cell) for cell in cells if not cell.startswith('"')):
        # Texts without quotes, as earlier versions and spreadsheets write them.
        return [_unguarded(cell.removeprefix('"')) if cell else missing for cell in cells]
    read = _from_list if name in _LISTS else _literal if dtype in _NUMERIC else _unguarded
    return [read(cell[1:]) if cell.startswith('"') else _literal(cell) for cell in cells]


def _is_literal(cell: str) -> bool:
    return not isinstance(_literal(cell), str)


def _literal(cell: str) -> Any:
    """A number, True or False, or None for an empty cell; the cell itself when it is something else."""
    if _INTEGER.fullmatch(cell):
        return int(cell)
    return float(cell) if _NUMBER.fullmatch(cell) else _FLAGS.get(cell.lower(), cell) if cell else None


def _from_list(text: str) -> Any:
    try:
        return hashable(load_standard(text))
    except ValueError:  # the text of a Python tuple, which earlier versions wrote
        return text
