import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from ngram_engine import NGramEngine

import toolkit as tk
from toolkit.core.completion import UNKNOWN_USAGE, Completion, Usage
from toolkit.core.fingerprint import Fingerprint
from toolkit.display.html import html_table
from toolkit.results.results import Results
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store

FINGERPRINT = Fingerprint({"model": "by-hand", "tokenizer": "t", "generation_config": {}})
HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def results(db, made):
    """Two rows of data × temperature 0 (one cell) and 1 (two seeds), two repeats; one cell has failed."""
    store = Store(db)
    store.begin_run("s", FINGERPRINT, [bytes([i]) for i in range(256)])
    cells, requests = [], []
    for row, word in enumerate(["sea", HOSTILE]):
        for options in ({"temperature": 0}, {"temperature": 1, "seed": 1}, {"temperature": 1, "seed": 2}):
            failed = row == 1 and options.get("seed") == 2
            text = f"{word} {options.get('seed', 'greedy')}"
            done = made(
                text=text, messages=word, top_logprobs=1, error="too long" if failed else None, **options
            )
            done = dataclasses.replace(done, system_fingerprint=FINGERPRINT.id)
            store.add([StoredCompletion(done, repeat, 1) for repeat in range(2)])
            cells.append(Cell(done.request.key, 2, {"row": row}))
            requests.append(done.request)
    store.define("s", {"rows": [{"word": "sea"}, {"word": HOSTILE}], "prompts": ["{word}"]}, requests, cells)
    return tk.results(store)


def test_a_cut_text_is_marked_side_by_side(results):
    cut = tk.Results(results._table.assign(finish_reason=["length"] + ["stop"] * 11), results._store)
    texts = cut.filter(row=0, repeat=0, seed=1).compare("temperature").frame().to_numpy().ravel().tolist()
    assert texts == ["sea 1"]
    first = cut.filter(row=0, temperature=0).compare("repeat").frame()
    assert first.to_numpy().ravel().tolist() == ["sea greedy ✂", "sea greedy"]
    assert cut.frame()["text"].iloc[0] == "sea greedy"


def test_frame_shows_what_varies_first(results):
    frame = results.frame()
    assert list(frame.columns[:6]) == ["row", "row.word", "temperature", "seed", "repeat", "text"]
    assert len(frame) == 12
    assert frame["seed"].dtype == "Int64"
    assert frame["seed"].isna().sum() == 4
    assert frame["text"].iloc[2] == "sea 1"
    assert set(frame["model"]) == {"by-hand"}


def test_an_error_is_a_row(results):
    failed = results.filter(finish_reason="error")
    assert len(failed) == 2
    assert set(failed.frame()["error"]) == {"too long"}
    assert failed[0].error == "too long"
    assert failed[0].request.messages[0]["content"] == HOSTILE


def test_a_later_success_hides_the_failure(results, made):
    store = results._store
    request = results.filter(finish_reason="error")[0].request
    done = dataclasses.replace(made(text="ok"), request=request, system_fingerprint=FINGERPRINT.id)
    store.add([StoredCompletion(done, 0, 2)])
    frame = tk.results(store).frame()
    assert list(frame.loc[frame["request"] == request.key, "finish_reason"]) == ["stop", "error"]


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ({"temperature": 1}, 8),
        ({"seed": [1, 2]}, 8),
        ({"seed": 1, "repeat": 0}, 2),
        ({"row.word": "sea"}, 6),
        ({"temperature": 0.3}, 0),
    ],
)
def test_filter_by_value_and_by_list(results, where, rows):
    assert len(results.filter(**where)) == rows


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ({"row.x": "\ud83d"}, 1),
        ({"row.x": ["\ud83d", "a"]}, 2),
        ({"row.x": pd.Series(["a", "b"])}, 2),
        ({"row.x": 5}, 0),
        ({"text": "\ud83d"}, 0),
        ({"text": 5}, 0),
        ({"text": b"a"}, 0),
        ({"error": ["\udfff", None]}, 2),
        ({"model": pd.Index(["ngram", "b"])}, 3),
        ({"temperature": "\ud83d"}, 0),
        ({"max_tokens": {"a": 1}}, 0),
        ({"max_tokens": 10**400}, 0),
        ({"seed": object()}, 0),
        ({"text": np.timedelta64(3, "D")}, 0),
        ({"text": 2**70}, 0),
        ({"row.x": [2**70, "a", 1.5, b"a", True]}, 1),
        ({"row.x": [np.str_("a"), np.timedelta64(3, "D"), {1}, Ellipsis, print, [1, object()]]}, 1),
        ({"max_tokens": np.int8(1)}, 3),
        ({"max_tokens": [np.array(1)]}, 3),
        ({"temperature": np.float32(0)}, 3),
        ({"row.x": pd.Timestamp("2026-01-02")}, 0),
    ],
)
def test_filter_by_values_that_a_column_cannot_hold(tmp_path, where, rows):
    sweep = tk.sweep("{x}", [{"x": x} for x in ("a", "b", "\ud83d")], tk.grid(temperature=0, max_tokens=1))
    assert len(sweep.run(NGramEngine("ab\n"), tmp_path / "run.db").filter(**where)) == rows


def test_rows_with_numbers_that_json_lacks_are_read(tmp_path, capsys):
    """In variables that the prompt has, and in others."""
    values = [float("nan"), float("inf"), [1, float("nan")], {"a": float("-inf")}, 1]
    rows = [{"x": "a" * (1 + i), "y": value} for i, value in enumerate(values)]
    path = tmp_path / "run.db"
    sweep = tk.sweep("{x}", rows, tk.grid(temperature=0, max_tokens=1))
    assert len(sweep.run(NGramEngine("ab\n"), path)) == len(tk.results(path)) == 5
    assert tk.results(path).frame()["row.x"].tolist() == [row["x"] for row in rows]
    assert "cannot be read" not in capsys.readouterr().err


def test_filter_by_a_value_that_a_row_was_given():
    """As the row holds it: a date is its text, a narrow float the number that it shows."""
    day, rate = pd.Timestamp("2026-01-02"), np.float32(0.1)
    sweep = tk.sweep("0", [{"day": day, "rate": rate}, {"day": None, "rate": 1}], tk.grid(max_tokens=1))
    results = sweep.run(NGramEngine("01\n"), ":memory:")
    assert [
        len(results.filter(**{f"row.{n}": v})) for n, v in (("day", day), ("rate", rate), ("day", pd.NaT))
    ] == [1] * 3


@pytest.mark.parametrize("how", [None, 3, "nope", "", {"a": "b"}, ["first", "nope"], [print]])
def test_what_is_no_aggregation_is_named(results, how):
    with pytest.raises(
        TypeError, match='how must be an aggregation of pandas, such as "first" or "mean", or a '
    ):
        results.pivot("row.word", "temperature", how=how)


def test_filter_by_function(results):
    assert len(results.filter(lambda f: f["text"].str.contains("greedy"))) == 4


def test_unknown_column_names_the_nearest(results):
    with pytest.raises(KeyError, match="unknown column 'temprature': did you mean 'temperature'"):
        results.filter(temprature=1)


def test_indexing_gives_the_completion_with_its_arrays(results):
    completion = results[2]
    assert (completion.text, completion.request.sampling.seed) == ("sea 1", 1)
    assert completion.top_ids.shape == (3, 1)
    assert completion.tokens[0].bytes == b"A"
    assert len(list(results)) == 12
    with pytest.raises(IndexError):
        results[99]


def test_group_pivot_compare_and_summary(results):
    sizes = {value: len(part) for value, part in results.group("temperature")}
    assert sizes == {0.0: 4, 1.0: 8}
    side = results.filter(repeat=0).compare("temperature").frame()
    assert list(side.columns) == [0.0, 1.0]
    assert side.shape == (6, 2)  # greedy cells, which have no seed, are a row of their own
    assert results.pivot("row.word", "temperature", how="nunique").loc["sea"].tolist() == [1, 2]
    summary = results.summary()
    assert summary.loc[0.0, "distinct"] == 2
    assert summary.loc[1.0].to_dict() == {
        "completions": 8, "distinct": 3, "mean_tokens": 3.0, "cut_share": 0.0, "failed": 2,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_export_and_import_keep_everything(results, tmp_path, kind):
    path = getattr(results, f"to_{kind}")(tmp_path / f"out.{kind}")
    again = getattr(tk.Results, f"from_{kind}")(path)
    same = [c for c in results.frame().columns if c not in ("run",)]
    pd.testing.assert_frame_equal(again.frame()[same], results.frame()[same], check_dtype=False)
    for one, other in zip(again, results, strict=True):
        assert one.request == other.request
        for name in ("token_ids", "logprobs", "ranks", "top_ids", "top_logprobs", "prompt_token_ids"):
            a, b = getattr(one, name), getattr(other, name)
            assert (a is None) == (b is None)
            assert a is None or (a.dtype == b.dtype and np.array_equal(a, b)), name


def test_grades_are_columns_once_there_are_any(results, tmp_path):
    bare = results.frame()
    assert not [name for name in bare if name.startswith("grade.")]
    one = bare.loc[2]
    place = (one["request"], one["system_fingerprint"], one["repeat"], one["choice"])
    results._store.grade(*place, thumb=-1, note="bé")
    frame = results.frame()
    assert frame["grade.thumb"].dropna().to_dict() == {2: -1}
    assert frame["grade.note"].dropna().to_dict() == {2: "bé"}
    assert frame["grade.score"].isna().all()
    assert list(frame.columns).index("grade.thumb") == list(frame.columns).index("first_token_seconds") + 1
    assert results.filter(**{"grade.thumb": -1}).frame()["text"].tolist() == [one["text"]]
    assert "grade.thumb" not in results.filter(temperature=0).frame()
    for kind in ("parquet", "jsonl"):
        again = getattr(tk.Results, f"from_{kind}")(getattr(results, f"to_{kind}")(tmp_path / f"g.{kind}"))
        assert again.frame()["grade.note"].dropna().to_dict() == {2: "bé"}
        assert again._store.grades() == results._store.grades()
    again = tk.Results.from_csv(results.to_csv(tmp_path / "g.csv"))
    assert again.frame()["grade.thumb"].dropna().to_dict() == {2: -1}
    results._store.grade(*place, thumb=None, note="")
    pd.testing.assert_frame_equal(results.frame(), bare)


def test_an_export_from_before_grades_is_read(results, tmp_path):
    path = results.to_jsonl(tmp_path / "old.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["grade"]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert len(tk.Results.from_jsonl(path)) == 12


def test_choices_of_one_request_are_rows_and_survive_export(db, made, tmp_path):
    store = Store(db)
    store.begin_run("s", FINGERPRINT, [])
    done = dataclasses.replace(made(n=3, top_logprobs=1), system_fingerprint=FINGERPRINT.id)
    store.add([StoredCompletion(done, 0)])
    store.define("s", {}, [done.request], [Cell(done.request.key, 1, {})])
    results = tk.results(store)
    assert results.frame()["choice"].tolist() == [0, 1, 2]
    assert len(list(results)) == 1
    again = tk.Results.from_jsonl(results.to_jsonl(tmp_path / "n.jsonl"))
    assert again[0].usage == done.usage
    assert len(again[0].choices) == 3
    one = tk.Results.from_jsonl(results.filter(choice=2).to_jsonl(tmp_path / "one.jsonl"))
    assert [choice.index for choice in one[0].choices] == [2]
    twice = tk.Results.from_jsonl(one.to_jsonl(tmp_path / "twice.jsonl"))
    assert twice.frame()["choice"].tolist() == [2]
    with pytest.raises(KeyError, match="no choice 0 here: there are 2"):
        twice[0].choice(0)


def test_csv_keeps_the_table(results, tmp_path):
    again = tk.Results.from_csv(results.to_csv(tmp_path / "out.csv"))
    assert again.axes == results.axes
    assert again.frame()["text"].tolist() == results.frame()["text"].tolist()
    with pytest.raises(ValueError, match="read Parquet or JSONL"):
        again[0]


def test_the_page_is_self_contained_and_escapes_what_models_say(results, tmp_path):
    page = results.to_html(tmp_path / "page.html", title="A & B").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror" in page
    assert "data:image/png;base64," in page
    assert "http" not in page.replace("http-equiv", "")
    assert "A &amp; B" in page
    assert FINGERPRINT.id in page


def test_shows_itself_in_a_notebook_and_a_terminal(results):
    assert "<img src=x" not in results._repr_html_()
    assert repr(results).startswith("Results(12 rows, 30 completion tokens, 2 failed)")


def test_long_tables_say_what_they_leave_out(results):

    assert "… and 2 more rows" in html_table(results.frame(), rows=10)


def test_records_are_plain_json(results, tmp_path):
    lines = results.to_jsonl(tmp_path / "out.jsonl").read_text().splitlines()
    record = json.loads(lines[2])
    assert record["token_ids"] == [65, 66, 67]
    assert json.loads(record["labels"]) == {"row": 0, "row.word": "sea"}


def test_seeds_are_exact_however_large(tmp_path):
    """Through a store in a file, which used to fail to open."""
    seeds = [2**53 + 1, 2**53, 2**63 - 1]
    path = tmp_path / "run.db"
    tk.sweep("a", tk.grid(temperature=[0, 1], seed=seeds, max_tokens=1)).run(NGramEngine("a text\n"), path)
    results = tk.results(path)
    frame = results.frame()
    assert frame["seed"].tolist() == [pd.NA, *seeds]  # a greedy request has no seed
    assert frame["seed"].dtype == "Int64"
    for seed in seeds:
        assert results.filter(seed=seed).frame()["seed"].tolist() == [seed]
    assert len(results.filter(seed=[2**53, 2**53 + 1])) == 2
    assert len(results.filter(seed=2**53 + 2)) == len(results.filter(seed=2**64)) == 0
    assert [value for value, _ in results.group("seed")][:3] == sorted(seeds)
    assert results.pivot("temperature", "seed").columns.dropna().tolist() == seeds
    assert results.compare("seed").facts.codes("seed")[1] == [*sorted(seeds), None]


@pytest.mark.parametrize(
    ("rows", "expected", "dtype"),
    [
        ([{"id": 1234567890123456789}, {}], [1234567890123456789, pd.NA], "Int64"),
        ([{"id": 2**63 - 1}, {"id": None}], [2**63 - 1, pd.NA], "Int64"),
        ([{"id": 2**63}, {}], [2**63, None], "object"),
        ([{"id": -(2**70)}, {"id": 1}], [-(2**70), 1], "object"),
        ([{"id": 7}, {"id": "007"}], [7, "007"], "object"),
        ([{"id": True}, {}], [True, pd.NA], "boolean"),
        ([{"id": {"a": [1]}}, {"id": "x"}], ['{"a": [1]}', "x"], "str"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_variables_of_rows_are_exact_with_gaps_or_not(tmp_path, rows, expected, dtype, kind):
    rows = [{**row, "text": f"{i}"} for i, row in enumerate(rows)]
    results = tk.sweep("{text}", rows, tk.grid(max_tokens=1)).run(NGramEngine("01\n"), ":memory:")
    again = getattr(tk.Results, f"from_{kind}")(getattr(results, f"to_{kind}")(tmp_path / f"out.{kind}"))
    for column in (results.frame()["row.id"], again.frame()["row.id"]):
        assert column.dtype == dtype
        assert list(map(repr, column.tolist())) == list(map(repr, expected))


def test_rows_with_the_same_value_are_found(tmp_path):
    rows = [{"text": "0", "id": 2**70, "tags": ["a", "b"]}, {"text": "1", "doc": {"a": 1}}]
    results = tk.sweep("{text}", rows, tk.grid(max_tokens=1)).run(NGramEngine("01\n"), ":memory:")
    for where in ({"row.id": 2**70}, {"row.id": [1, 2**70]}, {"row.tags": [["a", "b"]]}, {"row.doc": None}):
        assert results.filter(**where).frame()["row.text"].tolist() == ["0"]
    for where in ({"row.id": None}, {"row.doc": {"a": 1}}, {"seed": None, "row": np.array([1])}):
        assert results.filter(**where).frame()["row.text"].tolist() == ["1"]


@pytest.fixture
def choices(made):
    """Three sweeps' rows of two completions: one of three choices, shared by two sweeps, and an error."""
    store = Store(":memory:")
    store.begin_run("s", FINGERPRINT, [bytes([i]) for i in range(256)])
    done = dataclasses.replace(made(n=3, temperature=1, top_logprobs=1), system_fingerprint=FINGERPRINT.id)
    texts = [dataclasses.replace(choice, text=f"text {choice.index}") for choice in done.choices]
    done = dataclasses.replace(done, choices=tuple(texts))
    failed = dataclasses.replace(made(messages="Ho", error="too long"), system_fingerprint=FINGERPRINT.id)
    store.add([StoredCompletion(done, 0), StoredCompletion(failed, 0)])
    for sweep in ("a", "b"):
        cells = [Cell(c.request.key, 1, {}) for c in (done, failed)]
        store.define(sweep, {}, [done.request, failed.request], cells)
    return tk.results(store)


def test_iterating_gives_each_completion_once_with_the_choices_in_the_table(choices):
    assert choices.frame()["choice"].tolist() == [0, 1, 2, 0] * 2
    assert [len(c.choices) for c in choices] == [3, 1]
    (second,) = choices.filter(choice=2)
    assert [(c.index, c.text) for c in second.choices] == [(2, "text 2")]
    assert second.text == choices.filter(choice=2)[0].text == "text 2"
    (ends,) = choices.filter(choice=[0, 2], sweep="b", finish_reason="stop")
    assert [c.index for c in ends.choices] == [0, 2]
    assert (ends.usage.prompt_tokens, ends.usage.completion_tokens) == (7, 6)
    assert list(choices.filter(choice=5)) == []


def test_log_probabilities_of_some_choices(choices):
    assert tk.logprobs(choices.filter(choice=2)).summary()["text"].tolist() == ["text 2"]
    assert tk.logprobs(choices[0:2]).summary()["text"].tolist() == ["text 0", "text 1"]
    assert len(tk.logprobs(choices.filter(finish_reason="stop")).choices) == 3
    with pytest.raises(ValueError, match="there is no completion"):
        tk.logprobs(choices.filter(choice=5))


@pytest.mark.parametrize(
    "rows",
    [slice(0, 3), slice(None), slice(-2, None), slice(None, None, -1), slice(1, 7, 2), slice(9, 12)],
    ids=str,
)
def test_a_slice_is_some_of_the_rows(choices, rows):
    part = choices[rows]
    assert isinstance(part, tk.Results)
    expected = choices.frame()[["sweep", "choice", "text"]][rows].to_numpy().tolist()
    assert part.frame()[["sweep", "choice", "text"]].to_numpy().tolist() == expected
    assert len(part) == len(expected)
    assert len(part[:1]) == min(1, len(expected))


@pytest.mark.parametrize("row", ["text", 1.0, None, [0, 1], (0, 1)], ids=repr)
def test_other_indices_are_refused(choices, row):
    with pytest.raises(TypeError, match=r"give a number or a slice such as results\[0:3\], got"):
        choices[row]


@pytest.mark.parametrize("row", [8, -9, np.int64(100)], ids=repr)
def test_rows_past_the_end(choices, row):
    with pytest.raises(IndexError):
        choices[row]
    assert choices[np.int64(1)].text == choices[-7].text == "text 0"


def test_a_table_with_gaps_is_scored(tmp_path):
    rows = [{"text": "0", "n": 3}, {"text": "1"}]
    results = tk.sweep("{text}", rows, tk.grid(max_tokens=1)).run(NGramEngine("01\n"), ":memory:")
    scored = results.costs(by="row", score=lambda row: row["row.n"] == 3)
    assert scored.table["correct"].tolist() == [1, 0]


@pytest.mark.parametrize(
    "names", [["\ud800", "\\ud800"], ["\\ud800", "\\\\ud800", "a\\ud800\ud800", "a\ud800\\ud800"]]
)
def test_variables_never_share_a_column(names):
    rows = [{"text": "0", **{name: i for i, name in enumerate(names)}}]
    frame = tk.sweep("{text}", rows, tk.grid(max_tokens=1)).run(NGramEngine("01\n"), ":memory:").frame()
    columns = [name for name in frame if name.startswith("row.") and name != "row.text"]
    assert [frame[name].iloc[0] for name in columns] == [*range(len(names))]
    assert "\n".join(columns).encode()  # Arrow and pandas take no others


def test_half_a_surrogate_pair_in_rows(tmp_path):
    """In a value and in a name: it is stored, grouped by, exported and shown."""
    rows = [{"text": "0", "x": "\ud83d"}, {"text": "1", "x": "a", "\ude00": 1}]
    path = tmp_path / "run.db"
    tk.sweep("{text}", rows, tk.grid(temperature=[0, 1], max_tokens=1)).run(NGramEngine("01\n"), path)
    results = tk.results(path)
    assert results.frame()["row.x"].tolist() == ["\ud83d", "\ud83d", "a", "a"]
    assert results.frame()["row.\\ude00"].tolist() == [pd.NA, pd.NA, 1, 1]
    assert {value: len(part) for value, part in results.group("row.x")} == {"\ud83d": 2, "a": 2}
    assert (
        results.pivot("row.x", "temperature").shape
        == results.compare("temperature", rows="row.x").frame().shape
    )
    assert len(results.filter(**{"row.x": "\ud83d"})) == 2
    assert "\ufffd" in results.to_html(tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_a_real_engine_round_trip(tiny, tmp_path, kind):
    """Stop tokens beside none, choices, log probabilities, a response format, an error, several sweeps."""
    path = tmp_path / "run.db"
    rows = [{"text": "sea", "id": 2**53 + 1, "tags": "007"}, {"text": "sky"}]
    ids = list(range(1000))
    draws = tk.grid(
        temperature=1, seed=2**53 + 1, n=2, top_logprobs=2, stop_token_ids=[ids, None], max_tokens=6
    )
    tk.sweep("Say {text}", rows, draws).run(tiny, path)
    formats = tk.grid(
        temperature=0, response_format=[None, {"type": "choice", "choice": ["yes", "no"]}], max_tokens=4
    )
    tk.sweep("Say {text}", rows, formats + tk.grid(max_tokens=10**6)).run(tiny, path)
    results = tk.results(path)
    frame = results.frame()
    assert set(frame["finish_reason"]) >= {"length", "error"}
    assert set(map(type, frame["stop_reason"])) <= {int, type(None)}
    again = getattr(tk.Results, f"from_{kind}")(getattr(results, f"to_{kind}")(tmp_path / f"out.{kind}"))
    pd.testing.assert_frame_equal(again.frame(), frame)
    if kind != "csv":
        assert [c.usage for c in again] == [c.usage for c in results]
        second, own = (tk.logprobs(r.filter(choice=1)) for r in (again, results))
        assert len(own.choices) == 4
        np.testing.assert_array_equal(second.token_ids, own.token_ids)
        np.testing.assert_array_equal(second.top_logprobs, own.top_logprobs)


def test_no_rows_have_no_verdicts(results):
    none = results.filter(text="is not there").verdicts()
    assert len(none) == 0
    assert {"verdict", "problem", "parsed"} <= set(none)


@pytest.fixture
def failures():
    """Rows of three requests: an answer; an error of unknown tokens after a known one; one that spent some."""
    engine = NGramEngine("01 and 10\n")
    sweep, store = tk.sweep("0", tk.grid(seed=[1, 2, 3], max_tokens=3)), Store(":memory:")
    answered = sweep.run(engine, ":memory:")
    store.add_engine(engine.fingerprint, None)
    plan = sweep.plan(engine, store)
    store.define(plan.sweep, plan.body, plan.requests, list(plan.cells))
    store.add([StoredCompletion(answered[0], 0, None)])
    options = {"model": "ngram", "system_fingerprint": engine.fingerprint.id}
    for number, usage in (
        (1, Usage(7, 0, 0)),
        (1, UNKNOWN_USAGE),
        (2, Usage(7, 2, 0)),
        (1, Usage(None, None, None)),
    ):
        error = Completion.failed(answered[number].request, "broke off", usage=usage, **options)
        store.add([StoredCompletion(error, 0, None)])
    return Results.of(store)


def test_unknown_tokens_of_a_failed_row_are_not_zero(failures):
    frame = failures.frame()
    assert frame["finish_reason"].tolist() == ["stop", "error", "error"]
    assert frame["prompt_tokens"].tolist() == [failures[0].usage.prompt_tokens, pd.NA, 7]
    assert frame["completion_tokens"].tolist() == [3, pd.NA, 2]
    assert frame["cached_tokens"].tolist() == [0, pd.NA, pd.NA]  # not recorded of a prompt that was computed
    assert [failures[i].usage for i in (1, 2)] == [UNKNOWN_USAGE, Usage(7, 2, None)]
    assert "3 rows, 5 completion tokens without those of 1 row, which are unknown, 2 failed" in repr(failures)


def test_a_failed_row_is_no_answer_of_a_summary(failures):
    (row,) = failures.summary([]).to_dict("records")
    assert row == {"completions": 3, "distinct": 1, "mean_tokens": 3.0, "cut_share": 0.0, "failed": 2}
    (row,) = failures.filter(finish_reason="error").summary([]).to_dict("records")
    assert (row["completions"], row["distinct"], row["failed"]) == (2, 0, 2)
    assert math.isnan(row["mean_tokens"])
    assert math.isnan(row["cut_share"])


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_unknown_tokens_of_a_failed_row_stay_unknown_in_a_file(failures, tmp_path, kind):
    path = getattr(failures, f"to_{kind}")(tmp_path / f"out.{kind}")
    pd.testing.assert_frame_equal(getattr(Results, f"from_{kind}")(path).frame(), failures.frame())


def test_costs_count_the_answers_and_say_what_is_unknown(failures):
    costs = failures.costs(price="gpt-4o")
    assert costs.total[["completions", "completion_tokens"]].tolist() == [1, 3]
