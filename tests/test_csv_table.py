"""Tables of results as CSV."""

import csv
import re

import pandas as pd
import pytest
import whole_sweeps
from hypothesis import given, strategies as st

from toolkit.results.csv_table import read_csv, write_csv
from toolkit.results.dtypes import exact_column
from toolkit.results.table import DTYPES, OUTCOMES


def table_of(*texts, **columns):
    """A table whose answers are these texts."""
    n = len(texts) or len(next(iter(columns.values())))
    outcomes = {name: exact_column([None] * n, DTYPES[name]) for name in OUTCOMES}
    outcomes["text"] = exact_column(texts or ["x"] * n, "str")
    return pd.DataFrame(
        {**outcomes, **{f"row.{name}": exact_column(values) for name, values in columns.items()}}
    )


def written_and_read(table, tmp_path):
    return read_csv(write_csv(table, tmp_path / "out.csv"))


@pytest.mark.parametrize(
    "values",
    [
        ["007", "true", "1e5", "", None],
        ["nan", "None", "NA", "null", "inf", "-5", "1.0", " 7", "TRUE"],
        [7, "007", "7", 7.0, True, "True", None, 1],
        [2**53 + 1, None, 2**63 - 1],
        [2**63, 1],
        [0.1, -0.0, 1e-300, float("inf"), float("-inf"), None, 1e16],
        [True, None, False],
        [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "'=1",
            "''=1",
            "'",
            "''",
            "'a",
            " =1",
            "\n=1",
            "＝1",
        ],
        ['a "quoted" text', '"', '""', ',"', '",', '"=1"', '\'"x"', "''\"x\"", "'\"=1"],
        ["a\r\nb", "\r", "\n", "\u2028", "\x0b", "\x00", "\x85", "é😀"],
        ["\ud83d", "a\ude00", "'\ud83d", '"\ud83d', "=\ud83d", "\\ud83d"],
        ["[1, 2]", "{}", "('a',)"],
        [None, None],
    ],
    ids=ascii,
)
def test_every_value_is_read_as_it_was(tmp_path, values):
    table = table_of(x=values)
    again = written_and_read(table, tmp_path)
    assert again["row.x"].dtype == table["row.x"].dtype
    assert list(map(repr, again["row.x"].tolist())) == list(map(repr, table["row.x"].tolist()))


@given(st.lists(whole_sweeps.texts, min_size=1))
def test_every_text_is_read_as_it_was(tmp_path_factory, texts):
    again = written_and_read(table_of(x=texts), tmp_path_factory.mktemp("csv"))
    assert again["row.x"].tolist() == texts


@given(st.lists(whole_sweeps.texts, min_size=1))
def test_no_cell_is_a_formula(tmp_path_factory, texts):
    """As a spreadsheet reads the file: cells that begin with one of OWASP's characters are numbers."""
    path = write_csv(table_of(x=[*texts, *whole_sweeps.TRICKY]), tmp_path_factory.mktemp("csv") / "out.csv")
    with path.open(encoding="utf-8", newline="") as file:
        for cell in (cell for line in csv.reader(file) for cell in line):
            assert not re.match(r"\s*[=+@＝＋－＠]|[\t\r]", cell), cell
            assert not re.match(r"\s*-", cell) or re.fullmatch(r"-[0-9.e+-]+|-inf", cell), cell


def test_names_of_columns_may_hold_anything(tmp_path):
    names = ['a, "b"', "=1", "a\r\nb", "é"]
    again = written_and_read(table_of(**{name: [1] for name in names}), tmp_path)
    assert set(again.columns) >= {f"row.{name}" for name in names}


def test_other_programs_read_the_texts(tmp_path):
    path = write_csv(table_of(x=["007", "a, b", 'say "so"']), tmp_path / "out.csv")
    assert pd.read_csv(path, dtype=str)["row.x"].tolist() == ["007", "a, b", 'say "so"']


def test_lists_are_json(tmp_path):
    table = table_of(x=[(1, "a", None), (float("-inf"),)]).assign(
        stop=[("\n", "=1"), ("b",)], logit_bias=[((5, 1.5),), None]
    )
    again = written_and_read(table, tmp_path)
    assert again["row.x"].tolist() == ['[1, "a", null]', '[{"$numberDouble": "-Infinity"}]']
    assert again["stop"].tolist() == [("\n", "=1"), ("b",)]
    assert again["logit_bias"].tolist() == [((5, 1.5),), None]


def test_a_quote_within_a_text_without_quotes(tmp_path):
    """No RFC has it. Such a file is read without knowing which numbers were quoted."""
    path = tmp_path / "out.csv"
    header = ",".join(["row.x", "row.y", *OUTCOMES])
    path.write_text(f'{header}\n5" disk,"7",a "b,stop,,,7,3,2,,\n"""a",8,,stop,,,7,3,2,,\n')
    again = read_csv(path)
    assert again["row.x"].tolist() == ['5" disk', '"a']
    assert again["row.y"].tolist() == [7, 8]
    assert again["text"].tolist() == ['a "b', ""]


def test_a_long_cell(tmp_path):
    text = "a, b\n" * 2**19
    assert written_and_read(table_of(x=[text]), tmp_path)["row.x"].tolist() == [text]


def test_a_file_of_an_earlier_version(tmp_path):
    """Written by pandas, without quotes: columns of texts are known by name, others by their cells."""
    path = tmp_path / "old.csv"
    header = ",".join(["row.x", "row.y", "row.n", "seed", "stop", *OUTCOMES])
    lines = ["5,a b,1,1,\"('a', 'b')\",007,stop,,,7,3,2,0.5,", "abc,true,,,,,stop,,,7,3,2,,"]
    path.write_text("\r\n".join([header, *lines, "", ""]), newline="")
    again = read_csv(path)
    assert again["row.x"].tolist() == ["5", "abc"]
    assert again["row.y"].tolist() == ["a b", "true"]
    assert again["row.n"].tolist() == again["seed"].tolist() == [1, pd.NA]
    assert again["text"].tolist() == ["007", ""]
    assert again["stop"].tolist() == ["('a', 'b')", None]
    assert again["seconds"].dtype == "float64"
    assert again["error"].isna().all()


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])
def test_a_file_that_a_spreadsheet_has_saved_again(tmp_path, quoting):
    table = table_of("=1", "b, c", x=[1, 2], flag=[True, None]).assign(seconds=0.5)
    path = write_csv(table, tmp_path / "out.csv")
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, lineterminator="\n", quoting=quoting).writerows(
            [["TRUE" if cell == "True" else cell for cell in line] for line in lines]
        )
    again = read_csv(path)
    assert again["seconds"].tolist() == [0.5, 0.5]
    assert again[["queued_seconds", "decode_seconds"]].isna().all(axis=None)  # which it did not write
    assert again["text"].tolist() == ["=1", "b, c"]
    if quoting == csv.QUOTE_MINIMAL:  # else all cells are texts
        assert again["row.x"].tolist() == [1, 2]
        assert again["row.flag"].tolist() == [True, pd.NA]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", r"out\.csv is no table of results: it lacks the columns text, finish_reason"),
        (b"text;finish_reason\nx;stop\n", r"out\.csv is no table of results: it lacks"),
        (b"", r"out\.csv is no table of results: it lacks"),
        (b"a,b\n1\n", r"out\.csv is no table of results: its lines differ in their number of cells"),
        (b"text\nb\xe9b\xe9\n", r"out\.csv is not UTF-8"),
    ],
)
def test_a_foreign_file_is_named(tmp_path, content, message):
    path = tmp_path / "out.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_csv(path)
