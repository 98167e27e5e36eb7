import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import toolkit as tk
from toolkit.core.fingerprint import Fingerprint
from toolkit.display.html import html_table
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
        "completions": 8, "distinct": 4, "mean_tokens": 2.25, "cut_share": 0.0, "failed": 2,
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
