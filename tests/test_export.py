"""Export and import: what comes back is what went out."""

import dataclasses
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import whole_sweeps
from hypothesis import given, settings

import toolkit as tk
from toolkit.core.choice import ARRAYS
from toolkit.core.completion import Usage
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store

SYSTEM = whole_sweeps.SYSTEMS[0]


def sent_out_and_back(results, kind, folder):
    path = Path(folder) / f"results.{kind}"
    getattr(results, f"to_{kind}")(path)
    return getattr(tk.Results, f"from_{kind}")(path)


def assert_same_table(again, frame):
    """Also in its dtypes, and in the types of values: for pandas, 1 equals True."""
    assert list(again.columns) == list(frame.columns)
    for name in frame:
        assert again[name].dtype == frame[name].dtype, name
        assert list(map(repr, again[name].tolist())) == list(map(repr, frame[name].tolist())), name
    pd.testing.assert_frame_equal(again, frame)


def assert_same_completion(one, other):
    assert one.request == other.request
    assert (one.id, one.usage, one.notes, one.error) == (other.id, other.usage, other.notes, other.error)
    for a, b in zip(
        (*one.choices, one.prompt or one.choices[0]),
        (*other.choices, other.prompt or other.choices[0]),
        strict=True,
    ):
        names = ("index", "text", "finish_reason", "stop_reason", "prefix_tokens", "tool_calls")
        assert [getattr(a, name) for name in names] == [getattr(b, name) for name in names]
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), strict=True)


def held_by_csv(frame):
    """All columns but lists in rows of data."""
    return [c for c in frame if not (c.startswith("row.") and any(isinstance(v, tuple) for v in frame[c]))]


def assert_round_trips(results):
    """Parquet and JSONL hold everything, CSV what it can."""
    frame = results.frame()
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("parquet", "jsonl"):
            again = sent_out_and_back(results, kind, folder)
            assert_same_table(again.frame(), frame)
            for one, other in zip(again, results, strict=True):
                assert_same_completion(one, other)
        columns = held_by_csv(frame)
        assert_same_table(sent_out_and_back(results, "csv", folder).frame()[columns], frame[columns])


@settings(max_examples=settings.default.max_examples // 4)
@given(whole_sweeps.stores())
def test_every_round_trip_is_closed(store):
    results = tk.results(store)
    frame = results.frame()
    assert not store.find_damage()
    assert len(frame) >= len(store.query("SELECT 1 FROM completions WHERE choice >= 0")[1])
    assert_round_trips(results)


@pytest.mark.slow
@settings(max_examples=15)
@given(whole_sweeps.stores())
def test_every_part_of_a_table_makes_the_round_trip(store):
    results = tk.results(store)
    parts = [results[1:3], results[::-2], results.filter(choice=[1, 2]), results.filter(sweep="sweep 0")]
    for part in filter(len, parts):
        assert_round_trips(part)


def refuse(name):
    raise AssertionError(f"{name} is not JSON")


@settings(max_examples=settings.default.max_examples // 6)
@given(whole_sweeps.stores())
def test_jsonl_is_standard_json_also_inside(store):
    with tempfile.TemporaryDirectory() as folder:
        raw = tk.results(store).to_jsonl(Path(folder) / "out.jsonl").read_bytes()
    for line in raw.decode("utf-8").split("\n")[:-1]:
        record = json.loads(line, parse_constant=refuse)
        for name in (
            "labels",
            "input",
            "sampling",
            "response_format",
            "tool_calls",
            "notes",
            "grade",
            "fingerprint",
        ):
            json.loads(record[name], parse_constant=refuse)


@pytest.fixture
def one_cell(made):
    """Makes results of one request, with these rows of data and completion."""

    def build(rows=({},), body=None, **completion):
        store = Store(":memory:")
        done = dataclasses.replace(made(**completion), system_fingerprint=SYSTEM.id)
        run = store.begin_run("s", SYSTEM, [bytes([i]) for i in range(256)])
        labels = [{"row": r} for r in range(len(rows))]
        cells = [Cell(done.request.key, 1, label) for label in labels]
        store.define("s", {"rows": list(rows), "prompts": ["{x}"]}, [done.request], cells)
        store.add([StoredCompletion(done, 0, run)])
        return tk.results(store)

    return build


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
@pytest.mark.parametrize(
    "reasons", [(28, None), (28, "\n\n"), ("28", 28), (None, None), (2**31, 28), ("=1", "'=1")], ids=repr
)
def test_stop_reasons_of_any_mixture(one_cell, tmp_path, kind, reasons):
    results = one_cell(n=2, temperature=1)
    store, done = results._store, results[0]
    choices = tuple(
        dataclasses.replace(choice, stop_reason=reason)
        for choice, reason in zip(done.choices, reasons, strict=True)
    )
    store.add([StoredCompletion(dataclasses.replace(done, choices=choices), 1)])
    store.define("t", {}, [done.request], [Cell(done.request.key, 1, {}, first=1)])
    results = tk.results(store).filter(sweep="t")
    assert results.frame()["stop_reason"].tolist() == list(reasons)
    again = sent_out_and_back(results, kind, tmp_path)
    assert list(map(repr, again.frame()["stop_reason"])) == list(map(repr, reasons))


def test_stop_tokens_that_earlier_versions_wrote_as_floats(one_cell, tmp_path):
    path = one_cell().to_jsonl(tmp_path / "old.jsonl")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "stop_reason": 28.0}))
    again = tk.Results.from_jsonl(path)
    assert repr(again.frame()["stop_reason"][0]) == repr(again[0].choices[0].stop_reason) == "28"


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_completion_that_sweeps_share_is_spent_once(made, tmp_path, kind):
    store = Store(":memory:")
    done = made(n=2, temperature=1, steps=4)
    whole_sweeps.shared(store, ["a", "b", "c"], done)
    results = tk.results(store)
    again = sent_out_and_back(results, kind, tmp_path)
    assert len(again) == len(results) == 6
    assert [c.usage for c in again] == [c.usage for c in results] == [done.usage]
    assert [len(c.choices) for c in again] == [2]
    assert again.costs().total["completion_tokens"] == results.costs().total["completion_tokens"] == 8
    twice = sent_out_and_back(again, kind, tmp_path)
    assert_same_table(twice.frame(), results.frame())
    assert [c.usage for c in twice] == [done.usage]


def test_a_failure_that_sweeps_share_is_one_failure(made, tmp_path):
    store = Store(":memory:")
    whole_sweeps.shared(store, ["a", "b"], made(error="too long"))
    again = tk.Results.from_jsonl(tk.results(store).to_jsonl(tmp_path / "out.jsonl"))
    assert len(again) == 2
    assert again._store.query("SELECT count(*) FROM failures")[1] == [(1,)]


def test_sweeps_of_an_export_have_no_rows_that_were_not_in_it(made, tmp_path):
    store = Store(":memory:")
    whole_sweeps.shared(store, ["a", "b"], made(n=3, temperature=1))
    results = tk.results(store)
    part = results.filter(lambda f: (f["sweep"] == "a") == (f["choice"] == 0))
    assert part.frame()[["sweep", "choice"]].to_numpy().tolist() == [["a", 0], ["b", 1], ["b", 2]]
    again = tk.Results.from_jsonl(part.to_jsonl(tmp_path / "part.jsonl"))
    assert_same_table(again.frame(), part.frame())


@pytest.mark.parametrize("total", [10, 11, 12])
@pytest.mark.parametrize("kept", [[1, 2], [0, 2], [0, 1], [2]], ids=str)
def test_the_tokens_of_some_choices_of_a_server_without_token_ids(made, tmp_path, total, kept):
    store = Store(":memory:")
    done = dataclasses.replace(made(n=3, temperature=1, steps=0), usage=Usage(7, total, 0))
    whole_sweeps.shared(store, ["a"], done)
    part = tk.results(store).filter(choice=kept)
    tokens = part.frame()["completion_tokens"]
    again = tk.Results.from_jsonl(part.to_jsonl(tmp_path / "part.jsonl"))
    assert (
        [c.usage.completion_tokens for c in again]
        == [c.usage.completion_tokens for c in part]
        == [tokens.sum()]
    )
    assert tk.results(again._store).frame()["completion_tokens"].tolist() == tokens.tolist()


def test_log_probabilities_of_minus_infinity_and_unknown_ones(one_cell, tmp_path):
    results = one_cell(top_logprobs=2)
    choice = results[0].choices[0]
    logprobs = np.array([np.nan, -np.inf, -0.5], np.float32)
    changed = dataclasses.replace(choice, logprobs=logprobs)
    store = Store(":memory:")
    whole_sweeps.shared(store, ["a"], dataclasses.replace(results[0], choices=(changed,)))
    path = tk.results(store).to_jsonl(tmp_path / "out.jsonl")
    assert json.loads(path.read_text())["logprobs"] == [None, {"$numberDouble": "-Infinity"}, -0.5]
    np.testing.assert_array_equal(tk.Results.from_jsonl(path)[0].logprobs, logprobs)


@pytest.mark.parametrize(
    "value", [math.inf, -math.inf, [math.nan, [-math.inf]], {"a": math.nan}, "\ud83d"], ids=ascii
)
def test_what_json_lacks_in_rows(one_cell, tmp_path, value):
    results = one_cell([{"x": value}])
    again = tk.Results.from_jsonl(results.to_jsonl(tmp_path / "out.jsonl"))
    assert_same_table(again.frame(), results.frame())
    assert "$numberDouble" in (tmp_path / "out.jsonl").read_text() or value == "\ud83d"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{}\n", "line 1 of .*out.jsonl is no completion of an export, it lacks sweep, system_fingerprint"),
        (b"\n\nnot json\n", "line 3 of .*out.jsonl is no JSON"),
        (b"\xe9\n", "line 1 of .*out.jsonl is no JSON: 'utf-8' codec"),
        (b"[1]\n", "line 1 of .*out.jsonl is no completion"),
    ],
)
def test_a_foreign_jsonl_file_is_named(tmp_path, text, message):
    path = tmp_path / "out.jsonl"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=message):
        tk.Results.from_jsonl(path)


def test_a_foreign_parquet_file_is_named(tmp_path):
    path = tmp_path / "out.parquet"
    path.write_bytes(b"PAR2")
    with pytest.raises(ValueError, match=r"out\.parquet is no Parquet file"):
        tk.Results.from_parquet(path)
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(
        ValueError, match=r"row 0 of .*out.parquet is no completion of an export, it lacks sweep"
    ):
        tk.Results.from_parquet(path)


def test_blank_lines_are_no_records(one_cell, tmp_path):
    path = one_cell().to_jsonl(tmp_path / "out.jsonl")
    path.write_text(f"\ufeff{path.read_text()}\n\n", encoding="utf-8")
    assert len(tk.Results.from_jsonl(path)) == 1


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv", "html"])
def test_files_are_written_whole_into_a_new_folder(one_cell, tmp_path, monkeypatch, kind):
    results = one_cell([{"x": "\ud83d"}])
    path = getattr(results, f"to_{kind}")(tmp_path / "new" / "dir" / f"out.{kind}")
    before = path.read_bytes()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        getattr(results, f"to_{kind}")(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_an_empty_table(one_cell, tmp_path, kind):
    none = one_cell().filter(choice=5)
    again = sent_out_and_back(none, kind, tmp_path)
    assert_same_table(again.frame(), none.frame())
    assert list(again) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sweep", 3, "line 1 of .*out.jsonl is damaged: sweep must be str, got 3"),
        ("choice", "0", "line 1 .*: choice must be int, got '0'"),
        ("repeat", None, "line 1 .*: repeat must be int, got None"),
        ("completion_tokens", {}, r"completion_tokens must be int or float or None, got \{\}"),
        ("token_ids", 3, "token_ids must be list, got 3"),
        ("token_ids", [2**70], "out.jsonl is damaged, or not what"),
        ("token_ids", ["a"], "out.jsonl is damaged, or not what"),
        ("labels", "[1]", "out.jsonl is damaged, or not what"),
        ("fingerprint", "3", "no fingerprint, got 3"),
        ("sampling", '{"temperature": 9}', "temperature must be a number from 0 to 2, got 9"),
        ("input", "{", "out.jsonl is damaged, or not what"),
        ("repeat", 2**70, "out.jsonl is damaged, or not what"),
    ],
)
def test_a_damaged_record_is_named(one_cell, tmp_path, field, value, message):
    path = one_cell().to_jsonl(tmp_path / "out.jsonl")
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ValueError, match=message):
        tk.Results.from_jsonl(path)


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7, 0.9])
def test_a_damaged_parquet_file_is_named(one_cell, tmp_path, place):
    path = one_cell().to_parquet(tmp_path / "out.parquet")
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * place)] + bytes(400) + raw[int(len(raw) * place) + 400 :])
    with pytest.raises(ValueError, match=r"out\.parquet"):
        tk.Results.from_parquet(path)
