"""The table of results as CSV, which keeps every value as it is and is safe to open in a spreadsheet.

Texts are quoted, numbers, True and False are not, and nothing at all is a missing value: the text "007" stays a text.
Lists are JSON, as texts. A text that a spreadsheet would run as a formula begins with an apostrophe.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.files import file_to_read, whole_file
from toolkit._internal.missing import is_missing
from toolkit._internal.text import is_valid_unicode
from toolkit.results.dtypes import exact_column, repeated_column
from toolkit.results.standard_json import dump_standard, load_standard
from toolkit.results.table import DTYPES, OUTCOMES, PARTS_OF_SECONDS, hashable, ordered

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_GUARDED = re.compile(r"""'*(?:[\t\r]|[\s\x00-\x1f]*[=+\-@＝＋－＠])|'+\"""")
"""The beginning of a text that is written with an apostrophe before it: of a formula (as OWASP lists them), or of a
text that would otherwise be read as one that was written so."""
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = r"-?(?:[0-9]+(?:\.[0-9]*)?[eE][+-]?[0-9]+|[0-9]+\.[0-9]*|inf)"
_NUMBER = re.compile(r"-?(?:[0-9]++\.?[0-9]*+(?:[eE][+-]?[0-9]+)?|inf)")
_FLAGS = {"true": True, "false": False}
_NUMERIC = ("Int64", "int64", "float64", "boolean")
_NO_MARKS = bytes(set(range(256)) - set(b'",\r\n'))
"""All bytes that neither quote cells nor end them."""
_BLOCK_SIZE = 2**30
"""Bytes that Arrow reads at once; a row is not longer."""
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

    names, cells, quoted = _parsed(path)
    if missing := [name for name in OUTCOMES if name not in names]:
        raise ValueError(
            f"{path} is no table of results: it lacks the columns {', '.join(missing)}. Separate columns by commas, "
            "and read what Results.to_csv wrote"
        )
    columns = {name: _column(name, *column) for name, *column in zip(names, cells, quoted, strict=True)}
    unknown = pd.Series(np.nan, range(len(cells[0])), np.float64)  # earlier versions did not write them
    columns |= {name: unknown for name in PARTS_OF_SECONDS if name not in columns}
    order = [name for name in ordered(columns) if name in columns]
    return pd.DataFrame({name: columns[name] for name in dict.fromkeys((*order, *columns))})


def _parsed(path: str | Path) -> tuple[list[str], list[pa.Array], npt.NDArray[np.bool_]]:
    """Names of columns, the cells of each (null: empty, without quotes), and (columns, rows) which were quoted."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    # Spreadsheets write a byte order mark.
    data = file_to_read(path).read_bytes().removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n") + b"\n"
    try:
        data.decode()
        header = next(csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")))
        places = [str(i) for i in range(len(header) or 1)]
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            # One block is parsed by one thread in any case.
            arrow_csv.ReadOptions(
                use_threads=False, column_names=places, skip_rows_after_names=1, block_size=_BLOCK_SIZE
            ),
            arrow_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(places, pa.large_string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}): save it as CSV in UTF-8") from None
    except (csv.Error, pa.ArrowInvalid) as error:
        raise ValueError(
            f"{path} is no table of results: its lines differ in their number of cells ({error})"
        ) from None
    columns = [column.combine_chunks() for column in table.columns]
    return [_unguarded(name) for name in header], columns, _quoted_cells(data, *table.shape)


def _quoted_cells(data: bytes, rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """(columns, rows) which cells of a file with a header are quoted: none, if its quotes are not in pairs."""
    marks = np.frombuffer(data.translate(None, _NO_MARKS), np.uint8)
    ends = marks != ord('"')
    ends[:-1] &= (marks[:-1] != ord("\r")) | (marks[1:] != ord("\n"))
    ends &= np.cumsum(marks == ord('"'), dtype=np.uint8) & 1 == 0  # not within quotes
    quoted = marks[np.flatnonzero(ends)[columns - 1 : -1] + 1] == ord('"')
    shape = (rows, columns)
    return (quoted.reshape(shape) if quoted.size == rows * columns else np.zeros(shape, bool)).T


def _column(name: str, cells: pa.Array, quoted: npt.NDArray[np.bool_]) -> pd.Series[Any]:
    """The column of some cells: of texts or of numbers at once, else of each different cell."""
    import pyarrow as pa
    import pyarrow.compute as pc

    dtype = DTYPES.get(name, "")
    if name == "text":
        cells = cells.fill_null("")  # earlier versions wrote an empty answer without quotes
    n_quoted = int(quoted.sum())
    if dtype == "str" or (not dtype and n_quoted and n_quoted + cells.null_count == len(cells)):
        return _texts(cells)
    if cells.null_count < len(cells):
        if not n_quoted and (numbers := _numbers(cells, dtype)) is not None:
            return numbers
        quoted = pc.or_kleene(
            pa.array(quoted), pc.starts_with(cells, '"')
        )  # a quote begins no cell without quotes
        cells = pc.if_else(quoted, pc.binary_replace_slice(cells, 0, 0, '"'), cells)
    encoded = cells.dictionary_encode("encode")
    return repeated_column(_values(name, encoded.dictionary.to_pylist()), encoded.indices.to_numpy(), dtype)


def _texts(cells: pa.Array) -> pd.Series[Any]:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    guarded = pc.starts_with(cells, "'").fill_null(False)
    try:
        texts = pa.array(map(_unguarded, cells.filter(guarded).to_pylist()), cells.type)
    except UnicodeEncodeError:  # lone surrogates, which Arrow's texts cannot hold
        return exact_column([cell and _unguarded(cell) for cell in cells.to_pylist()], "str")
    return pd.Series(pc.replace_with_mask(cells, guarded, texts), dtype="str")


def _numbers(cells: pa.Array, dtype: str) -> pd.Series[Any] | None:
    """The column of cells that are all whole numbers within int64, or all floats; None of others."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    def all_match(pattern: str) -> bool:
        return bool(pc.all(pc.match_substring_regex(cells, f"^(?:{pattern})$")).as_py())

    if dtype in ("", "Int64", "int64") and all_match(_INTEGER.pattern):
        nullable = {pa.int64(): pd.Int64Dtype()} if dtype != "int64" or cells.null_count else {}
        with contextlib.suppress(pa.ArrowInvalid):
            whole: pd.Series[Any] = cells.cast(pa.int64()).to_pandas(types_mapper=nullable.get)
            return whole
    if dtype in ("", "float64") and all_match(_FLOAT):
        return pd.Series(cells.cast(pa.float64()).to_numpy(zero_copy_only=False))
    return None


def _values(name: str, cells: Sequence[str | None]) -> list[Any]:
    """The values of some cells; those that were quoted begin with a quote."""
    if any(isinstance(_literal(cell), str) for cell in cells if cell and cell[0] != '"'):
        # Texts without quotes, as earlier versions and spreadsheets write them.
        return [cell and _unguarded(cell.removeprefix('"')) for cell in cells]
    read = _from_list if name in _LISTS else _literal if DTYPES.get(name) in _NUMERIC else _unguarded
    return [cell and (read(cell[1:]) if cell[0] == '"' else _literal(cell)) for cell in cells]


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
