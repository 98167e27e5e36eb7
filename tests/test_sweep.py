"""Sweeps on the real engine, and what becomes of them when things go wrong; rows that are wrong, on a small one."""

import enum
import json
import re
import signal
import sqlite3
import string
import subprocess
import threading
import time

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from ngram_engine import NGramEngine

import toolkit as tk
from toolkit.errors import StoreError
from toolkit.store.store import Store

CAPITAL = "What is the capital of {country}?"
ROWS = [{"country": "France"}, {"country": "Japan"}]
CELLS = tk.grid(temperature=[0, 1], seed=range(3), max_tokens=3)


def count(db):
    return Store(db).query("SELECT count(*) FROM completions")[1][0][0]


def test_plan_collapses_cells_that_cannot_differ_and_says_so(engine, db):
    plan = tk.sweep(CAPITAL, ROWS, CELLS, repeats=2).plan(engine, db)
    assert (plan.combinations, len(plan.cells), plan.total, plan.stored) == (12, 8, 16, 0)
    assert len(plan.missing) == 16
    assert plan.completion_tokens[1] == 48
    assert plan.prompt_tokens == sum(engine.count(r) for r, _ in plan.missing)
    assert plan.note().startswith("12 combinations are 8 cells")
    assert "missing" in repr(plan)
    assert "<table>" in plan._repr_html_()


def test_run_then_run_again_asks_nothing(engine, db, capsys):
    sweep = tk.sweep(CAPITAL, ROWS, CELLS, repeats=2)
    results = sweep.run(engine, db)
    assert len(results) == 16
    before = engine.generated_tokens
    again = sweep.run(engine, db)
    assert engine.generated_tokens == before
    pd.testing.assert_frame_equal(again.frame(), results.frame())
    frame = results.frame()
    assert (frame.groupby(["row", "temperature", "seed"], dropna=False)["text"].nunique() == 1).all()
    assert frame["position"].tolist() != sorted(frame["position"]) or frame["position"].is_unique
    assert set(frame["system_fingerprint"]) == {engine.fingerprint.id}
    assert "12 combinations are 8 cells" in capsys.readouterr().out


def test_more_repeats_and_more_cells_top_up(engine, db):
    tk.sweep("Hi", tk.grid(seed=[1, 2], max_tokens=2)).run(engine, db)
    plan = tk.sweep("Hi", tk.grid(seed=[1, 2, 3], max_tokens=2), repeats=2).plan(engine, db)
    assert (plan.total, plan.stored, len(plan.missing)) == (6, 2, 4)
    assert len(tk.sweep("Hi", tk.grid(seed=[1, 2, 3], max_tokens=2), repeats=2).run(engine, db)) == 6
    assert count(db) == 6
    assert len(tk.sweep("Hi", tk.grid(seed=[1, 2], max_tokens=2)).run(engine, db)) == 2


def test_equal_rows_are_asked_once_and_shown_as_often_as_they_are(engine, db):
    results = tk.sweep(CAPITAL, [ROWS[0], ROWS[0]], tk.grid(temperature=0, max_tokens=2)).run(engine, db)
    assert len(results) == 2
    assert count(db) == 1


def test_an_unanswerable_row_is_an_error_row_and_is_asked_again(engine, db):
    rows = [{"text": "short"}, {"text": "word " * 9000}]
    sweep = tk.sweep("{text}", rows, tk.grid(temperature=[0], max_tokens=2))
    frame = sweep.run(engine, db).frame()
    assert frame["finish_reason"].tolist() == ["length", "error"]
    assert "context window" in frame["error"].iloc[1]
    assert [len(sweep.plan(engine, db).missing), count(db)] == [1, 1]
    assert len(sweep.run(engine, db)) == 2


def test_prompts_can_be_an_axis(engine, db):
    prompts = ["Say yes.", tk.Prompt("Say no.", system="Be brief.")]
    frame = tk.sweep(None, tk.grid(prompt=prompts, seed=[1, 2], max_tokens=2)).run(engine, db).frame()
    assert frame["prompt"].tolist() == ["Say yes."] * 2 + ["Say no."] * 2


def test_braces_are_text_when_there_are_no_rows(engine, db):
    results = tk.sweep('Answer in JSON: {"a": 1}', tk.grid(max_tokens=1)).run(engine, db)
    assert results[0].request.messages[0]["content"] == 'Answer in JSON: {"a": 1}'


def test_named_cases_and_a_dataframe_of_rows(engine, db):
    cells = tk.cases(strict={"temperature": 0, "max_tokens": 1}, loose={"temperature": 1, "max_tokens": 1})
    frame = tk.sweep(CAPITAL, pd.DataFrame(ROWS), cells).run(engine, db).frame()
    assert frame["case"].tolist() == ["strict", "loose"] * 2
    assert frame["row.country"].tolist() == ["France", "France", "Japan", "Japan"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: tk.sweep(CAPITAL, [{"city": "x"}]),
            ValueError,
            r"row 0: the row lacks country \(it has city\)",
        ),
        (lambda: tk.sweep(CAPITAL, ["x"]), TypeError, r"rows\[0\] must be a dict"),
        (lambda: tk.sweep(CAPITAL, []), ValueError, "rows is empty"),
        (lambda: tk.sweep("x", repeats=0), ValueError, "repeats must be a whole number from 1 up, got 0"),
        (lambda: tk.sweep(None), ValueError, "give the prompt either as the first argument or as an axis"),
        (lambda: tk.sweep("x", cells=[{"seed": 1}]), TypeError, "cells must come from grid, zipped or cases"),
        (lambda: tk.sweep("x", CELLS, CELLS), TypeError, r"join them with \+ or \*"),
        (lambda: tk.sweep("x", tk.grid(temperature=3)), ValueError, "temperature must be"),
        (lambda: tk.sweep([], CELLS), ValueError, "messages is empty"),
    ],
)
def test_bad_sweeps_are_refused_before_anything_runs(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_store_that_is_locked_for_a_while_delays_nothing_but_the_writing(engine, db):
    sweep = tk.sweep("Hi", tk.grid(seed=range(20), max_tokens=2))
    plan = sweep.plan(engine, db)
    store = Store(db)
    store.define(plan.sweep, plan.body, plan.requests, plan.cells)
    held = sqlite3.connect(db, isolation_level=None, check_same_thread=False)
    began = threading.Timer(0.2, lambda: held.execute("BEGIN IMMEDIATE"))
    ended = threading.Timer(2.0, held.rollback)
    began.start(), ended.start()
    assert len(sweep.run(engine, store)) == 20
    ended.join()
    assert count(db) == 20


def test_a_full_disk_stops_the_run_and_loses_nothing(engine, db):
    store = Store(db)
    sweep = tk.sweep("Hi", tk.grid(seed=range(30), max_tokens=24, top_logprobs=20))
    plan = sweep.plan(engine, store)
    store.define(plan.sweep, plan.body, plan.requests, plan.cells)
    store.begin_run("s", engine.fingerprint, engine.vocabulary)
    ((pages,),) = store.query("PRAGMA page_count")[1]
    store._db.execute(f"PRAGMA max_page_count = {pages + 6}")
    with pytest.raises(
        StoreError, match=r"the disk is full: .* finished completions are kept in this process"
    ):
        sweep.run(engine, store)
    store.close()
    before = engine.generated_tokens
    assert len(sweep.run(engine, db)) == 30
    assert count(db) == 30
    assert engine.generated_tokens - before < 30 * 24  # what was finished was not asked again


SWEPT = """
import sys, threading, toolkit as tk
from toolkit.experiments.completion_writer import CompletionWriter
show = CompletionWriter._show
def said(self):  # what the progress bar counts, on a pipe
    show(self)
    print(self._bar.n, flush=True)
CompletionWriter._show = said
long = tk.grid(seed=range(1000, 1040), max_tokens=120, ignore_eos=True)
cells = tk.grid(seed=range(120), max_tokens=4) + long
results = tk.sweep("Tell a story.", cells).run(tk.load(sys.argv[2], kv_cache_memory_bytes=64 << 20), sys.argv[1])
print("rows", len(results))
"""


@pytest.mark.slow
def test_sigkill_in_the_middle_loses_nothing_that_was_reported(db, tiny_folder, warm):
    command = [warm, "-c", SWEPT, str(db), str(tiny_folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    reported = 0
    for line in process.stdout:
        reported = int(line)
        if reported:
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()  # to the end of its output: what is forked dies a moment after what stands for it
    with sqlite3.connect(db) as connection:
        ((kept, distinct),) = connection.execute(
            "SELECT count(*), count(DISTINCT request || fingerprint || repeat || choice) FROM completions"
        )
    assert 0 < reported <= kept < 160
    assert kept == distinct
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    assert int(lines[0]) >= kept  # the bar begins where the killed run ended
    assert "rows 160" in lines
    assert count(db) == 160
    runs = Store(db).query("SELECT run, count(*) FROM completions GROUP BY run ORDER BY run")[1]
    assert runs == [(1, kept), (2, 160 - kept)]


def test_positions_record_the_order_of_the_batch(engine, db):
    cells = tk.grid(top_p=[0.9, 1], seed=range(40), max_tokens=1)
    frame = tk.sweep("Hi", cells).run(engine, db).frame()
    assert sorted(frame["position"]) == list(range(80))
    assert (frame.loc[frame["top_p"] == 1, "position"].max()) == 39  # what costs less went first


def test_time_moves_on_while_nothing_finishes(engine, db):
    """Completions are on disk within a second, though the run goes on."""
    cells = tk.grid(max_tokens=2) + tk.grid(max_tokens=200, ignore_eos=True, seed=[1])
    sweep = tk.sweep("Hi", cells)
    thread = threading.Thread(target=lambda: sweep.run(engine, db))
    thread.start()
    deadline = time.monotonic() + 30
    while not (db.exists() and _readable(db)) and time.monotonic() < deadline:
        time.sleep(0.05)
    still_running = thread.is_alive()
    thread.join()
    assert still_running
    assert count(db) == 2


def _readable(db):
    try:
        with sqlite3.connect(db) as connection:
            return connection.execute("SELECT count(*) FROM completions").fetchone()[0] == 1
    except sqlite3.OperationalError:
        return False


POOL = [{"id": f"e{i}", "word": w, "label": label} for i, (w, label) in enumerate(
    [("sun", "warm"), ("snow", "cold"), ("fire", "warm"), ("ice", "cold"), ("lava", "warm"), ("frost", "cold")]
)]  # fmt: skip
FEW_SHOT_AXES = tk.Prompt("{word}", system="Say warm or cold.", examples=POOL, answer="{label}")
WORDS = [{"id": "r0", "word": "oven"}, {"id": "r1", "word": "ICE!"}]


def test_examples_are_axes_and_are_recorded(engine, db):
    cells = tk.grid(
        k=[0, 1, 3], selector=["random", "similar"], order_seed=[None, 1], temperature=0, max_tokens=1
    )
    sweep = tk.sweep(FEW_SHOT_AXES, WORDS, cells)
    plan = sweep.plan(engine, db)
    # Without examples there is one cell a row; with one, its order does not matter.
    assert (plan.combinations, len(plan.cells)) == (24, 2 * (1 + 2 + 4))
    frame = sweep.run(engine, db).frame()
    assert frame["k"].value_counts().to_dict() == {0: 2, 1: 4, 3: 8}
    assert frame.query("k == 0")["order_seed"].isna().all()
    assert set(frame.query("k == 0")["selector"]) == {"none"}
    assert (frame["examples"].map(len) == frame["k"]).all()
    assert not any("e3" in shown for shown in frame.query("row == 1")["examples"])  # "ice" is the row itself
    for _, group in frame.query("k == 3").groupby(["row", "selector"]):
        (one, other) = group["examples"]
        assert sorted(one) == sorted(other)
        assert one != other
    messages = sweep.run(engine, db)[len(frame) - 1].request.messages
    shown = {row["word"]: row["id"] for row in POOL}
    assert tuple(shown[m["content"]] for m in messages[1:-1:2]) == frame["examples"].iloc[-1]


def test_what_examples_were_shown_survives_a_file(engine, db, tmp_path):
    results = tk.sweep(
        FEW_SHOT_AXES, WORDS, tk.grid(k=[2], order_seed=[1, 2], max_tokens=1, temperature=0)
    ).run(engine, db)
    for again in (
        tk.Results.from_parquet(results.to_parquet(tmp_path / "r.parquet")),
        tk.Results.from_jsonl(results.to_jsonl(tmp_path / "r.jsonl")),
    ):
        for name in ("k", "order_seed", "examples", "row.word", "text"):
            assert again.frame()[name].tolist() == results.frame()[name].tolist(), name
        assert again[0].notes == results[0].notes != {}


def test_sensitivity_to_the_order_of_the_examples(engine, db):
    cells = tk.grid(k=[2, 4], order_seed=range(4), temperature=0, max_tokens=2)
    results = tk.sweep(FEW_SHOT_AXES.with_(selector="balanced"), WORDS, cells).run(engine, db)
    table = results.sensitivity(score=lambda row: row["text"].strip() == "warm")
    assert table.index.tolist() == [2, 4]
    assert table["values"].tolist() == [4, 4]
    assert table["items"].tolist() == [2, 2]
    assert ((table["lowest"] <= table["mean"]) & (table["mean"] <= table["highest"])).all()
    with pytest.raises(ValueError, match="seed is the same in all rows: run a sweep with an axis seed"):
        results.sensitivity("seed")


def test_variables_in_messages_are_filled_and_messages_are_an_axis(engine, db):
    talk = [{"role": "system", "content": "Be {how}."}, {"role": "user", "content": "Say {word}."}]
    rows = [{"how": "brief", "word": "yes"}]
    results = tk.sweep(talk, rows, tk.grid(max_tokens=1)).run(engine, db)
    assert [m["content"] for m in results[0].request.messages] == ["Be brief.", "Say yes."]
    both = tk.sweep(None, rows, tk.grid(prompt=[talk, talk[1:]], max_tokens=1)).run(engine, db)
    assert [len(c.request.messages) for c in both] == [2, 1]
    assert both.frame()["prompt"].tolist() == ["Say {word}. [0]", "Say {word}. [1]"]
    with pytest.raises(ValueError, match=r"row 0: the row lacks word"):
        tk.sweep(talk, [{"how": "x"}])


def test_prompts_with_names_and_rendered_ones_are_an_axis(engine, db):
    fitted = FEW_SHOT_AXES.fit({"word": "sea"}, engine, reserve=4)
    prompts = [tk.Prompt("Say no.", name="no"), FEW_SHOT_AXES.with_(template="Say yes.", examples=()), fitted]
    frame = tk.sweep(None, tk.grid(prompt=prompts, max_tokens=1)).run(engine, db).frame()
    assert frame["prompt"].tolist() == ["no", "Say yes.", "sea"]
    assert frame["examples"].tolist()[2] == fitted.examples


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: tk.sweep("Hi", tk.grid(k=[1])),
            ValueError,
            "k: such an axis varies the examples of a Prompt",
        ),
        (
            lambda: tk.sweep(FEW_SHOT_AXES, WORDS, tk.grid(k=[9])),
            ValueError,
            "k is 9, but there are 6 examples",
        ),
        (lambda: tk.grid(k=[-1]), ValueError, "k must be a whole number from 0 up, got -1"),
        (lambda: tk.grid(selector=["best"]), ValueError, "unknown selector 'best'"),
        (lambda: tk.grid(order_seed=["a"]), ValueError, "order_seed must be a whole number, got 'a'"),
    ],
)
def test_bad_example_axes_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_rows_with_lists_dates_and_numpy_numbers_are_shown_and_stored(engine, db):
    rows = [{"documents": ["x", "y"], "when": pd.Timestamp("2020-01-01"), "n": np.int64(3), "more": {"a": 1}}]
    results = tk.sweep(tk.Prompt("{documents} {when} {n}"), rows, tk.grid(seed=[1, 2], max_tokens=1)).run(
        engine, db
    )
    assert results[0].request.messages[0]["content"] == "[1] x\n\n[2] y 2020-01-01T00:00:00 3"
    frame = results.frame()
    assert frame["row.documents"].tolist() == [("x", "y")] * 2
    assert "2020-01-01" in repr(frame["row.when"])
    repr(results), results.summary(), results.compare("seed")
    with pytest.raises(ValueError, match=r"rows\[0\] has 'x' of type set, which a store cannot keep"):
        tk.sweep("{x}", [{"x": {1}}])


def test_text_beside_an_image_is_filled(engine, db):
    from test_messages import URL

    talk = [{"role": "user", "content": [{"type": "text", "text": "What is {thing}?"}, tk.image(URL)]}]
    sweep = tk.sweep(talk, [{"thing": "this"}, {"thing": "that"}], tk.grid(max_tokens=1))
    asked = [request.messages[0]["content"][0]["text"] for request, _ in sweep.requests({})]
    assert asked == ["What is this?", "What is that?"]
    with pytest.raises(ValueError, match=r"the prompt has the variable \{thing\}, and there are no rows"):
        tk.sweep(None, tk.grid(prompt=[talk, "Hi"]))
    filled = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, tk.image(URL)]}]
    results = tk.sweep(None, tk.grid(prompt=[filled, "Hi"], max_tokens=1)).run(engine, db)
    assert results.frame()["prompt"].tolist() == ["What is this? [image]", "Hi"]
    assert "text-only model" in results.frame()["error"].iloc[0]


def test_cells_with_prompts_of_their_own_have_examples_of_their_own(engine, db):
    cells = tk.cases(zero={"prompt": "{word}"}, few={"prompt": FEW_SHOT_AXES, "k": 2})
    frame = tk.sweep(None, WORDS, cells * tk.grid(max_tokens=1)).run(engine, db).frame()
    assert frame["case"].tolist() == ["zero", "zero", "few", "few"]
    assert frame["examples"].map(lambda e: len(e) if isinstance(e, tuple) else 0).tolist() == [0, 0, 2, 2]


def test_functions_of_one_name_and_schemas_of_one_name_are_different_arms(engine, db):
    def embed(sign):
        def vectors(texts):
            return np.array([[sign * len(t), 1.0] for t in texts])

        return tk.examples.Similar(vectors)

    arms = [embed(1), embed(-1)]
    sweep = tk.sweep(FEW_SHOT_AXES.with_(k=1), WORDS[:1], tk.grid(selector=arms, max_tokens=1))
    labels = [labels["selector"] for _, labels in sweep.requests({})]
    assert labels[1] == f"{labels[0]} [1]"
    prompts = [FEW_SHOT_AXES.with_(k=1, selector=arm) for arm in arms]
    assert len(tk.sweep(None, WORDS, tk.grid(prompt=prompts)).prompts) == 2
    forms = [
        {"type": "object", "properties": {name: {"type": "integer"}}, "required": [name]} for name in "ab"
    ]
    results = tk.sweep("JSON?", tk.grid(response_format=forms, temperature=0, max_tokens=12)).run(engine, db)
    assert results.frame()["response_format"].tolist() == ["schema", "schema [1]"]
    assert results.compare("response_format").frame().shape == (1, 2)


# Rows and prompts that are wrong


@pytest.fixture(scope="module")
def ngram():
    return NGramEngine(f"R: good, bad, okay\n\n{string.printable}\1")


def asked(*args):
    return [request.messages[-1]["content"] for request, _ in tk.sweep(*args).requests({})]


MISSING = [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), np.ma.masked]
TEMPLATES = {
    "text": "R: {x}",
    "messages": [{"role": "system", "content": "{x}"}, {"role": "user", "content": "good"}],
    "prompt": tk.Prompt("R: {x}"),
    "system": tk.Prompt("good", system="{x}"),
    "jinja": tk.Prompt("R: {{ x }}", syntax="jinja"),
}


@pytest.mark.parametrize("value", MISSING, ids=repr)
@pytest.mark.parametrize("name", TEMPLATES)
def test_missing_values_are_refused_with_row_and_column(name, value):
    rows = [{"x": "good"}, {"x": value}, {"x": "bad"}]
    for data in (rows, pd.DataFrame(rows)):
        with pytest.raises(
            ValueError, match=r"row 1: the row has no value for 'x', got .*: fill it, or leave the row out"
        ):
            tk.sweep(TEMPLATES[name], data)


def test_missing_values_of_columns_that_are_not_used_are_no_matter():
    rows = pd.DataFrame({"x": ["a", "b"], "y": [None, 1], "id": [pd.NA, "c"]})
    assert asked("{x}", rows) == ["a", "b"]
    assert asked(
        tk.Prompt("{{ x }}{% if y is none %}!{% endif %}", syntax="jinja"), [{"x": "a", "y": None}]
    ) == ["a!"]


def test_values_of_a_frame_are_written_as_they_were():
    frame = pd.DataFrame(
        {
            "n": [1, None, 3],
            "share": np.array([0.1, 0.7, 0.2], np.float32),
            "when": pd.to_datetime(["2020-01-01T00:00", "2020-01-02T00:00", "2020-01-03T04:05"]),
        }
    )
    prompt = tk.Prompt("{{ n if n == n else 'none' }} {{ share }} {{ when }}", syntax="jinja")
    texts = asked(prompt, frame)
    assert texts == ["1 0.1 2020-01-01T00:00:00", "none 0.7 2020-01-02T00:00:00", "3 0.2 2020-01-03T04:05:00"]
    assert asked("{share} {when}", frame)[0] == "0.1 2020-01-01T00:00:00"


class Letter(str, enum.Enum):  # noqa: UP042  # its text is Letter.A, that of a StrEnum its value
    A = "a"


def test_a_member_of_an_enum_is_sent_and_stored_as_its_value(ngram, db):
    results = tk.sweep("R: {x}", [{"x": Letter.A}], tk.grid(max_tokens=1)).run(ngram, db)
    assert results[0].request.messages[0]["content"] == "R: a"
    assert results.frame()["row.x"].tolist() == ["a"]


HALF = "bad \ud83d"
BAD_ROWS = {
    "half a surrogate pair": (
        HALF,
        "'x' is not valid Unicode: '\\\\ud83d' at character 4 is half of a surrogate pair",
    ),
    "the other half": ("\udc00", "'x' is not valid Unicode"),
}


@pytest.mark.parametrize("value", BAD_ROWS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_row_that_cannot_be_written_is_an_error_and_the_others_run(ngram, db, name, value):
    bad, message = BAD_ROWS[value]
    sweep = tk.sweep(TEMPLATES[name], [{"x": "good"}, {"x": bad}, {"x": "okay"}], tk.grid(max_tokens=2))
    frame = sweep.run(ngram, db).frame()
    assert frame["row"].tolist() == [0, 1, 2]
    assert (frame["finish_reason"] == "error").tolist() == [False, True, False]
    assert frame["error"].str.match(f"row 1: {message}").tolist() == [False, True, False]
    again = sweep.plan(ngram, db)
    assert (again.stored, len(again.missing), len(again.refused), again.prompt_tokens) == (2, 1, 1, 0)
    assert "1 cannot be sent (row 1: " in repr(again)
    alone = tk.sweep(TEMPLATES[name], [{"x": "good"}, {"x": "okay"}], tk.grid(max_tokens=2))
    assert alone.plan(ngram, db).missing == ()  # the same requests as without the bad row


def test_a_bad_row_leaves_a_real_engine_as_it_is(tiny, db):
    rows = [{"x": "good"}, {"x": HALF}, {"x": "okay"}]
    cells = tk.grid(temperature=0, max_tokens=4)
    frame = tk.sweep("R: {x}", rows, cells).run(tiny, db).frame()
    assert frame["error"].notna().tolist() == [False, True, False]
    alone = [tiny.chat(f"R: {x}", temperature=0, max_tokens=4).text for x in ("good", "okay")]
    assert frame["text"].tolist() == [alone[0], "", alone[1]]


@pytest.mark.parametrize(
    ("prompt", "bad", "message"),
    [
        ("R: {x:.2f}", "good", r"the template cannot be filled with 'x' \(ValueError: Unknown format code 'f'"),
        ("R: {x:c}", 2**40, r"the template cannot be filled with 'x' \(OverflowError"),
        (tk.Prompt("R: {x:d}"), 1.5, r"the template cannot be filled with 'x' \(ValueError: Unknown format code 'd'"),
        (tk.Prompt("R: {{ 1 // x }}", syntax="jinja"), 0, r"the template cannot be filled \(ZeroDivisionError"),
        (tk.Prompt("{{ x or '' }}", syntax="jinja"), 0, "the template is empty once it is filled"),
        (tk.Prompt("{x} {documents}"), 2, r"documents\[0\]: the template cannot be filled with 'number'"),
    ],
)  # fmt: skip
def test_a_value_that_a_template_cannot_write_is_an_error_of_its_row(ngram, db, prompt, bad, message):
    rows = [{"x": 1, "documents": []}, {"x": bad, "documents": [{"text": "good", "number": {}}]}]
    if isinstance(prompt, tk.Prompt) and "documents" in prompt.variables:
        prompt = prompt.with_(document="{number:d} {text}")
    frame = tk.sweep(prompt, rows, tk.grid(max_tokens=2)).run(ngram, db).frame()
    assert (frame["finish_reason"] == "error").tolist() == [False, True]
    assert frame["error"].str.match(f"row 1: {message}").tolist() == [False, True]


def test_bad_rows_have_errors_of_their_own_and_are_mended_alone(ngram, db):
    cells = tk.grid(temperature=[0, 1], seed=[1, 2], max_tokens=2)
    frame = (
        tk.sweep("R: {x}", [{"x": HALF}, {"x": HALF}, {"x": "good"}], cells, repeats=2).run(ngram, db).frame()
    )
    assert frame.groupby("row")["error"].agg(["nunique", "count"]).values.tolist() == [[1, 6], [1, 6], [0, 0]]
    assert frame.query("row == 1")["error"].str.startswith("row 1: ").all()
    mended = tk.sweep("R: {x}", [{"x": "bad"}, {"x": HALF}, {"x": "good"}], cells, repeats=2)
    assert (mended.plan(ngram, db).stored, len(mended.plan(ngram, db).missing)) == (6, 12)


def test_half_a_surrogate_pair_that_is_not_sent_is_stored(ngram, db):
    rows = [{"x": "good", "note": HALF, "\udc00": "y"}]
    results = tk.sweep(tk.Prompt("R: {x}", examples=[]), rows, tk.grid(max_tokens=1)).run(ngram, db)
    assert results.frame()["error"].isna().all()
    assert results.frame()["row.note"].tolist() == [HALF]


@pytest.mark.parametrize(
    ("prompt", "variable"),
    [
        ("Hi {name}", "{name}"),
        ('Hi {name}, answer {"a": 1}', "{name}"),
        ("{n:.2f}", "{n:.2f}"),
        ([{"role": "system", "content": "Be {how}."}, {"role": "user", "content": "Hi"}], "{how}"),
        ([{"role": "user", "content": [{"type": "text", "text": "{a!r}"}]}], "{a!r}"),
    ],
)
def test_a_variable_without_rows_is_refused(prompt, variable):
    for make in (lambda: tk.sweep(prompt, CELLS), lambda: tk.sweep(None, tk.grid(prompt=[prompt, "Hi"]))):
        with pytest.raises(
            ValueError, match=f"the prompt has the variable {re.escape(variable)}, and there are no rows"
        ):
            make()


def test_braces_are_sent_as_the_error_says():
    with pytest.raises(ValueError, match=r"rows=\[\{\}\] with each brace of the text doubled, \{\{name\}\}"):
        tk.sweep("Hi {name}")
    assert asked("Hi {{name}}", [{}]) == ["Hi {name}"]
    assert asked(tk.Prompt("Hi {{name}}")) == ["Hi {name}"]
    for text in ('{"a": 1}', "{{name}}", "{}", "{ name }", "{0}", "f(){ return x }"):
        assert asked(text) == [text]


def test_labels_of_library_numbers_are_stored(ngram, db):
    prompt = tk.Prompt("R: {x}", examples=[{"x": "good", "answer": "x", "id": np.int64(7)}])
    cells = tk.grid(k=np.arange(2), order_seed=np.arange(1), max_tokens=[np.int64(1)])
    results = tk.sweep(prompt, pd.DataFrame({"x": ["bad"], "when": [pd.Timestamp("2020-01-01")]}), cells).run(
        ngram, db
    )
    assert results.frame()["k"].tolist() == [0, 1]
    assert results.frame()["examples"].tolist() == [(), (7,)]


def test_selectors_with_functions_are_an_axis_in_another_process():
    def embed(sign):
        return tk.examples.Similar(lambda texts: np.array([[sign * len(t), 1.0] for t in texts]))

    sweep = tk.sweep(FEW_SHOT_AXES.with_(k=1), WORDS[:1], tk.grid(selector=[embed(1), embed(-1), "random"]))
    there = cloudpickle.loads(cloudpickle.dumps(sweep))  # its functions are at other addresses
    found, want = ([(r.key, labels) for r, labels in s.requests({})] for s in (there, sweep))
    assert found == want


def test_the_store_keeps_prompts_of_any_kind(ngram, db):
    from openai.types.chat import ChatCompletionMessage

    talk = [ChatCompletionMessage(role="assistant", content="good"), {"role": "user", "content": "R: {x}"}]
    sweep = tk.sweep(talk, [{"x": "bad"}], tk.grid(max_tokens=1))
    json.dumps(sweep.workload.body)
    assert [m["content"] for m in sweep.run(ngram, db)[0].request.messages] == ["good", "R: bad"]
