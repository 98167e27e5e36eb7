"""Tables as people look at them: their columns, formats and names, and the zero-shot baseline in them."""

import pickle
import time

import numpy as np
import pandas as pd
import pytest
from ngram_engine import NGramEngine
from stored_study import PROMPT, ROWS, labelling_engine, run_study

import toolkit as tk
from toolkit.core.fingerprint import Fingerprint, system_names
from toolkit.display.html import html_table
from toolkit.display.tables import Table, text_table, with_index_columns
from toolkit.results.overview import overview

ENGINE = labelling_engine()
BARE = tk.Prompt(PROMPT.template, name="bare")
GREEDY = tk.grid(temperature=0, max_tokens=2)


@pytest.fixture(scope="module")
def study():
    return run_study(":memory:")


# Zero-shot


@pytest.mark.parametrize(
    ("prompt", "cells", "expected"),
    [
        (PROMPT, tk.grid(k=[0, 2], selector=["first", "balanced"]),
         {(0, "none"): 1, (2, "first"): 1, (2, "balanced"): 1}),
        (PROMPT, tk.grid(k=0) + tk.grid(k=[2, 4], selector="similar"),
         {(0, "none"): 1, (2, "similar"): 1, (4, "similar"): 1}),
        # A cell that says nothing has what its prompt says.
        (PROMPT, tk.grid() + tk.grid(k=2, selector="similar"), {(5, "first"): 1, (2, "similar"): 1}),
        (PROMPT.with_(k=3, selector="mmr"), tk.grid() + tk.grid(k=0), {(3, "mmr"): 1, (0, "none"): 1}),
        (PROMPT, tk.grid(selector=["first", "similar"]), {(5, "first"): 1, (5, "similar"): 1}),
        (PROMPT, tk.grid(k=[1, 2]), {(1, "first"): 1, (2, "first"): 1}),
        # Prompts without a pool, beside one with it.
        (None, tk.grid(prompt=[BARE, "Review: {review}\nSentiment:"]) + tk.grid(prompt=[PROMPT], k=2),
         {(0, "none"): 2, (2, "first"): 1}),
        (None, tk.grid(prompt=[BARE]) + tk.grid(prompt=[PROMPT], selector=["similar"]),
         {(0, "none"): 1, (5, "similar"): 1}),
    ],
)  # fmt: skip
def test_every_setting_has_a_k_and_a_selector(prompt, cells, expected, tmp_path):
    results = tk.sweep(prompt, ROWS[:1], cells * GREEDY).run(ENGINE, tmp_path / "run.db")
    for again in (
        results,
        tk.Results.from_jsonl(results.to_jsonl(tmp_path / "run.jsonl")),
        tk.Results.from_parquet(results.to_parquet(tmp_path / "run.parquet")),
        tk.Results.from_csv(results.to_csv(tmp_path / "run.csv")),
    ):
        frame = again.frame()
        assert (str(frame["k"].dtype), str(frame["selector"].dtype)) == ("Int64", "str")
        sizes = frame.groupby(["k", "selector"]).size()  # as people write it: without dropna=False
        assert sizes.to_dict() == expected


def test_a_zero_shot_sweep_beside_a_few_shot_one_in_a_store(tmp_path):
    path = tmp_path / "run.db"
    tk.sweep(BARE, ROWS[:1], GREEDY).run(ENGINE, path)
    assert tk.results(path).frame()["k"].isna().all()  # nothing is few-shot there: no axis
    tk.sweep(PROMPT, ROWS[:1], tk.grid(k=2) * GREEDY).run(ENGINE, path)
    assert tk.results(path).frame().groupby(["k", "selector"]).size().to_dict() == {
        (0, "none"): 1,
        (2, "first"): 1,
    }


def test_what_is_not_known_is_missing(tmp_path):
    """Examples may be among messages, and `classify` keeps the template alone."""
    turns = [{"role": "user", "content": "Review: {review}"}]
    cells = tk.grid(prompt=[turns]) + tk.grid(prompt=[PROMPT], k=2)
    tk.sweep(None, ROWS[:1], cells * GREEDY).run(ENGINE, tmp_path / "run.db")
    frame = tk.results(tmp_path / "run.db").frame()
    assert frame["k"].tolist() == [pd.NA, 2]
    assert frame["selector"].isna().tolist() == [True, False]


def test_whole_numbers_stay_whole(study):
    for table in (study.summary(), study.frame().groupby(["k", "selector", "temperature"]).size().to_frame()):
        ks = table.index.get_level_values("k")
        assert all(isinstance(k, (int, np.integer)) for k in ks)
    assert str(study.frame()["row.stars"].dtype) == "Int64"  # though one is missing
    for shown in (
        repr(study),
        repr(study.summary()),
        study._repr_html_(),
        study.summary(["row.stars"])._repr_html_(),
    ):
        assert not {"2.0", "4.0", "5.0"} & set(shown.replace(">", " ").replace("<", " ").split())


# Tables that show themselves


def test_a_table_shows_few_digits_and_holds_all():
    table = Table(
        {"mean": [26 / 3, 169 / 12], "n": pd.array([3, None], "Int64")}, pd.Index([0.0, 0.7], name="t")
    )
    assert repr(table).split() == ["mean", "n", "t", "0", "8.67", "3", "0.7", "14.08", "–"]
    assert table.loc[0.0, "mean"] == 26 / 3
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(table)), table)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.round(1),
        lambda t: t.head(1),
        lambda t: t + 1,
        lambda t: t.reset_index(),
        lambda t: t.copy(),
    ],
)
def test_what_is_made_from_a_table_is_a_plain_frame(change):
    assert type(change(Table({"a": [1.5]}))) is pd.DataFrame


@pytest.mark.parametrize(
    ("table", "heads", "rows"),
    [
        (
            pd.DataFrame({"a": [1, None]}, pd.Index(["x", None], name="s")),
            ["s", "a"],
            [["x", 1], [None, None]],
        ),
        (pd.DataFrame({"a": [1]}, pd.Index(["all"])), ["", "a"], [["all", 1]]),
        (pd.DataFrame({"a": [1]}), ["a"], [[1]]),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ["a", "a"], [[1, 2]]),
        (pd.DataFrame({"a": [1]}, pd.Index([7], name="a")), ["a", "a"], [[7, 1]]),
        (
            pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("b", 0.5), ("b", np.nan)])),
            ["b, 0.5", "b, –"],
            [[1, 2]],
        ),
        (pd.DataFrame([[1]], columns=pd.Index([0.5], name="t")), ["t 0.5"], [[1]]),
        (pd.DataFrame(columns=["a"]), ["a"], []),
    ],
)
def test_an_index_becomes_columns(table, heads, rows):
    flat = with_index_columns(table)
    assert list(flat.columns) == heads
    assert flat.astype(object).where(flat.notna(), None).to_numpy().tolist() == rows
    assert text_table(table, 10, 20) is not None


@pytest.mark.parametrize(
    "index", [pd.RangeIndex(9), pd.MultiIndex.from_product([["a", "b", "c"], [1, 2, 3]])]
)
def test_a_long_table_has_its_first_and_last_rows(index):
    lines = text_table(pd.DataFrame({"n": range(9)}, index), 5, 20).splitlines()
    assert [line.split()[-1] for line in lines] == ["n", "0", "1", "2", "…", "7", "8"]


def test_a_table_of_many_rows_is_shown_at_once():
    many = pd.DataFrame({f"c{i}": np.random.default_rng(i).random(200_000) for i in range(9)})
    began = time.process_time()
    text_table(many, 20, 60)
    html_table(many, 20)
    assert time.process_time() - began < 1


def test_a_wide_table_scrolls(study):
    page = study._repr_html_()
    assert "overflow-x:auto" in page
    assert page.count("no-repeat scroll") == 2  # a shadow at each edge that hides something


# The overview


def test_what_was_asked_comes_first(study):
    columns = list(overview(study._table, study.axes, study.fingerprints, study._store).columns)
    assert columns == [
        "row.review", "k", "selector", "temperature", "seed", "text", "finish_reason", "completion_tokens",
        "row.expected", "row.price", "row.stars",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "first"),
    [
        ("{a} and {b:d}", ["row.a", "row.b"]),
        ("{b} a", ["row.b"]),
        (tk.Prompt("{a}", examples=[{"a": 0, "b": 1}], answer="{b}"), ["row.a"]),
        (tk.Prompt("{{ a }}", syntax="jinja"), ["row.a"]),
        (tk.Prompt("x", system="{b}"), ["row.b"]),
        ([{"role": "user", "content": "{a}"}], ["row.a"]),
        ("ab", ["row.a", "row.b"]),  # neither is in it
    ],
)
def test_variables_of_the_prompt_come_before_the_text(prompt, first, tmp_path):
    engine = NGramEngine("ab and user system x{} 012", 2)
    results = tk.sweep(prompt, [{"a": 1, "b": 2}, {"a": 2, "b": 1}], GREEDY).run(engine, tmp_path / "run.db")
    columns = list(overview(results._table, results.axes, results.fingerprints, results._store))
    assert columns[: columns.index("text")] == first


def test_ids_come_last_and_only_where_nothing_else_tells_runs_apart(tmp_path):
    engines = [NGramEngine("ab\n\nuser x", order) for order in (2, 3)]
    for engine in engines:
        results = tk.sweep("x", tk.grid(seed=range(2), max_tokens=2)).run(engine, tmp_path / "run.db")
    results = tk.results(tmp_path / "run.db")
    columns = overview(results._table, results.axes, results.fingerprints)
    assert list(columns)[-1] == "system_fingerprint"
    assert set(columns["system_fingerprint"]) == {"order 2", "order 3"}
    assert all(name not in repr(results) for name in results.fingerprints)


@pytest.mark.parametrize(
    ("components", "names"),
    [
        ([], []),
        ([{"model": "a"}], ["a"]),
        ([{"model": "a"}, {"model": "b", "dtype": "x"}], ["a", "b"]),
        ([{"model": "a", "dtype": "x"}, {"model": "a", "dtype": "y"}], ["dtype x", "dtype y"]),
        (
            [{"model": "a", "device": {"threads": 1}}, {"model": "a"}],
            ["device.threads 1", "device.threads –"],
        ),
        (
            [{"model": "a", "x": 1, "y": 1, "z": 1}, {"model": "a", "x": 1, "y": 2, "z": 1.5}],
            ["y 1, z 1", "y 2, z 1.5"],
        ),
        (
            [{"model": "a", "x": "long" * 9 + str(i)} for i in range(2)],
            [f"x {'long' * 5}lon… [{i}]" for i in range(2)],
        ),
    ],
)
def test_systems_have_names(components, names):
    fingerprints = {f.id: f for f in map(Fingerprint, components)}
    assert list(system_names(fingerprints).values()) == names
