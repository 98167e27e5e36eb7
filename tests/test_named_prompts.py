"""Prompts by name, results of several runs, and what stands in the place of hashes."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from ngram_engine import NGramEngine

import toolkit as tk
from toolkit.prompts.messages import messages

TEXT = "Say it: good or bad movie review mood?\n\nI liked it, fine. Good.\n\nThe movie was bad and long."
SHORT, LONG = "mood? {t}", tk.Prompt("Say it: {t} review")
ROWS = [{"t": "good movie"}, {"t": "bad movie"}]
CELLS = tk.grid(temperature=[0, 1.0], seed=[1], max_tokens=4)


@pytest.fixture(scope="module")
def ngram():
    return NGramEngine(TEXT)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keys(sweep):
    return [request.key for request, _ in sweep.requests({})]


# Names of prompts


@pytest.mark.parametrize(
    "named",
    [
        lambda: tk.sweep({"short": SHORT, "long": LONG}, ROWS, CELLS),
        lambda: tk.sweep(None, ROWS, tk.grid(prompt={"short": SHORT, "long": LONG}) * CELLS),
        lambda: tk.sweep(None, ROWS, tk.zipped(prompt={"short": SHORT, "long": LONG}) * CELLS),
        lambda: tk.sweep(
            None, ROWS, tk.grid(prompt=[tk.Prompt(SHORT, name="short"), LONG.with_(name="long")]) * CELLS
        ),
    ],
    ids=["sweep", "grid", "zipped", "Prompt"],
)
def test_tables_show_the_names_of_prompts_and_requests_stay_the_same(ngram, folder, named):
    sweep = named()
    assert keys(sweep) == keys(tk.sweep(None, ROWS, tk.grid(prompt=[SHORT, LONG]) * CELLS))
    results = sweep.run(ngram, "a.db")
    assert list(dict.fromkeys(results.frame()["prompt"])) == ["short", "long"]
    assert results.summary("prompt").index.tolist() == ["long", "short"]
    assert "mood?" not in repr(results) + results._repr_html_() + repr(results.compare("prompt"))
    assert tk.results("a.db").frame().equals(results.frame())
    assert not tk.sweep(None, ROWS, tk.grid(prompt=[SHORT, LONG]) * CELLS).plan(ngram, "a.db").missing


@pytest.mark.parametrize(
    "prompt",
    [
        "Say it",
        [{"role": "user", "content": "Say it"}],
        tk.Prompt("Say it"),
        tk.Prompt("Say it").render(),
        tk.Prompt("Say it", name="another name"),
    ],
    ids=["text", "messages", "Prompt", "Rendered", "named"],
)
def test_every_kind_of_prompt_has_a_name_and_a_single_one_too(ngram, folder, prompt):
    sweep = tk.sweep({"mine": prompt}, tk.grid(max_tokens=2))
    results = sweep.run(ngram, "a.db")
    assert results.frame()["prompt"].tolist() == ["mine"]
    assert results[0].request.messages == messages("Say it")
    assert keys(sweep) == keys(tk.sweep("Say it", tk.grid(max_tokens=2)))


def test_braces_of_a_named_text_without_rows_stay_braces(ngram):
    text = 'Say {"a": 1}'
    (request,) = (r for r, _ in tk.sweep({"json": text}).requests({}))
    assert request.messages == messages(text)
    with pytest.raises(ValueError, match=r"the prompt has the variable \{a\}, and there are no rows"):
        tk.sweep({"x": "Say {a}"})


def test_one_text_under_two_names_is_asked_once(ngram, folder):
    results = tk.sweep({"a": "Say it", "b": "Say it"}, tk.grid(max_tokens=3)).run(ngram, "a.db")
    assert results.frame()["prompt"].tolist() == ["a", "b"]
    assert results.frame()["request"].nunique() == 1
    assert len(list(results)) == 1


def test_a_sweep_that_is_described_anew_asks_nothing_and_shows_the_new_words(ngram, folder):
    """Names of prompts and columns of rows that no prompt uses are in no request."""
    before = tk.sweep(None, ROWS, tk.grid(prompt=[SHORT, LONG]) * CELLS).run(ngram, "a.db")
    rows = [{**row, "expected": word} for row, word in zip(ROWS, ["good", "bad"], strict=True)]
    sweep = tk.sweep({"short": SHORT, "long": LONG}, rows, CELLS)
    assert not sweep.plan(ngram, "a.db").missing
    after = sweep.run(ngram, "a.db")
    assert len(tk.results("a.db")) == len(before) == len(after)
    assert after.frame()["row.expected"].tolist() == ["good", "good", "bad", "bad"] * 2
    assert set(after.frame()["prompt"]) == {"short", "long"}
    assert set(before.frame()["prompt"]) == {SHORT, LONG.template}


@given(
    st.dictionaries(
        st.text(min_size=1).filter(str.strip), st.sampled_from(["A", "B"]), min_size=1, max_size=4
    )
)
@settings(max_examples=50, deadline=None)
def test_any_text_is_a_name(prompts):
    sweep = tk.sweep(prompts)
    assert keys(sweep) == [key for text in prompts.values() for key in keys(tk.sweep(text))]
    assert [p["name"] for p in sweep.workload.prompts] == list(prompts)


@pytest.mark.parametrize(
    ("prompts", "kind", "message"),
    [
        (
            {"role": "user", "content": "Hi"},
            TypeError,
            r"a message alone is no prompt, .*: write \[\{'role': …",
        ),
        ({}, ValueError, "prompts is empty: give at least one"),
        ({1: "Hi"}, TypeError, "a prompt is named by a text that is not empty, got 1"),
        ({" ": "Hi"}, TypeError, "a prompt is named by a text that is not empty, got ' '"),
        ({"a": 3}, TypeError, "the prompt 'a' must be a text, messages, a Prompt or a rendered one, got 3"),
        ({"a": None}, TypeError, "the prompt 'a' must be"),
        ({"a": ["Hi"]}, TypeError, "the prompt 'a' must be"),
        ({"a": [{"role": "wizard", "content": "x"}]}, ValueError, "unknown role 'wizard'"),
    ],
)
@pytest.mark.parametrize("call", [tk.sweep, lambda prompts: tk.grid(prompt=prompts)], ids=["sweep", "grid"])
def test_what_is_no_dict_of_prompts(call, prompts, kind, message):
    with pytest.raises(kind, match=message):
        call(prompts)


# Several runs


@pytest.fixture
def runs(ngram, folder):
    """The same sweep in two files, sampled without a seed: its answers differ."""
    sweep = tk.sweep(SHORT, ROWS, tk.grid(temperature=[1.0], max_tokens=6), repeats=2)
    return sweep.run(ngram, "mon.db"), sweep.run(ngram, "tue.db")


def test_each_row_knows_its_run(runs):
    a, b = runs
    both = a + b
    frame = both.frame()
    assert frame["run_name"].tolist() == ["mon"] * 4 + ["tue"] * 4
    assert frame["text"].tolist() == [*a.frame()["text"], *b.frame()["text"]]
    assert frame["run"].nunique() == 2
    assert both.axes[0] == "run_name"
    assert "sweep" not in both.axes
    assert [c.text for c in both] == frame["text"].tolist()
    assert both[5].text == b[1].text
    assert list(a.frame()["repeat"]) == [0, 1, 0, 1]  # the runs themselves are as they were


@pytest.mark.parametrize(
    ("joined", "names"),
    [
        (lambda a, b: tk.results([a, b]), ["mon", "tue"]),
        (lambda a, b: tk.results(("mon.db", Path("tue.db"))), ["mon", "tue"]),
        (lambda a, b: tk.results([tk.Store("mon.db"), b]), ["mon", "tue"]),
        (lambda a, b: tk.results({"before": "mon.db", "after": b}), ["before", "after"]),
        (lambda a, b: tk.results({"x": a + b, "y": b}), ["x", "y"]),
        (lambda a, b: a + b + b, ["mon", "tue", "tue [1]"]),
        (lambda a, b: a + (b + a), ["mon [1]", "tue", "mon"]),
        (lambda a, b: a + a, ["mon", "mon [1]"]),
        (lambda a, b: tk.results(["mon.db"]), ["mon"]),
    ],
)
def test_runs_have_names(runs, joined, names):
    assert list(dict.fromkeys(joined(*runs).frame()["run_name"])) == names


def test_runs_are_compared_side_by_side(runs):
    a, b = runs
    comparison = (a + b).compare("run_name")
    assert comparison.shape == (2, 2)
    texts = comparison.frame()
    assert [t.removesuffix(" ✂") for t in texts["mon"]] == a.frame()["text"].tolist()[::2]
    assert [t.removesuffix(" ✂") for t in texts["tue"]] == b.frame()["text"].tolist()[::2]
    assert (a + b).summary().index.names == ["run_name"]


def test_equal_requests_of_two_runs_are_repeats_of_one(runs):
    a, b = runs
    report = (a + b).determinism()
    assert report.requests["runs"].tolist() == [4, 4]
    assert a.determinism().requests["runs"].tolist() == [2, 2]


def test_a_completion_and_its_copy_are_one(runs, folder):
    shutil.copy("mon.db", "copy.db")
    both = tk.results(["mon.db", "copy.db"])
    assert (len(both), len(list(both))) == (8, 4)
    assert both.determinism().requests["runs"].tolist() == [2, 2]


def test_costs_of_runs_add_up(runs):
    a, b = runs
    table = (a + b).costs(by="run_name").frame()
    for name, run in (("mon", a), ("tue", b)):
        alone = run.costs(by="repeat").frame()
        assert table.loc[name, "completion_tokens"] == alone["completion_tokens"].sum()
        assert table.loc[name, "spent_tokens"] == alone["spent_tokens"].sum()
    # A token has the same share of an engine's time, whichever run it is of.
    seconds = [run.costs().total["machine_seconds"] for run in runs]
    assert table["machine_seconds"].sum() == pytest.approx(sum(seconds))
    tokens = table["prompt_tokens"] + table["completion_tokens"]
    assert (table["machine_seconds"] / tokens).tolist() == pytest.approx([sum(seconds) / tokens.sum()] * 2)


@pytest.mark.parametrize("way", ["parquet", "jsonl", "csv"])
def test_joined_results_come_back_from_a_file(runs, folder, way):
    both = runs[0] + runs[1]
    path = getattr(both, f"to_{way}")(folder / f"both.{way}")
    again = getattr(tk.Results, f"from_{way}")(path)
    assert again.frame().equals(both.frame())
    assert again.axes == both.axes


def test_grades_come_along_and_new_ones_belong_to_the_files(runs):
    a, b = runs
    row = b.frame().iloc[2]
    b._store.grade(row["request"], row["system_fingerprint"], int(row["repeat"]), thumb=1)
    both = a + b
    assert both.frame()["grade.thumb"].tolist()[6] == 1
    assert both.frame()["grade.thumb"].notna().sum() == 1
    with pytest.raises(tk.StoreError, match="joined from several files, are a copy"):
        both._store.grade(row["request"], row["system_fingerprint"], int(row["repeat"]), thumb=1)


def test_runs_in_one_file_keep_it(ngram, folder):
    a = tk.sweep({"short": SHORT}, ROWS, tk.grid(max_tokens=3)).run(ngram, "one.db")
    b = tk.sweep({"long": LONG}, ROWS, tk.grid(max_tokens=3)).run(ngram, "one.db")
    both = tk.results({"a": a, "b": b})
    assert both._store is a._store or both._store.path == a._store.path != ":memory:"
    assert both.axes == ["run_name", "prompt", "row", "row.t"]
    assert both.compare("prompt").shape == (2, 2)
    row = both.frame().iloc[0]
    both._store.grade(row["request"], row["system_fingerprint"], int(row["repeat"]), thumb=-1)
    assert tk.results("one.db").frame()["grade.thumb"].notna().sum() == 1


def test_failures_of_one_run_do_not_hide_answers_of_another(ngram, folder):
    sweep = tk.sweep(SHORT, [{"t": "good"}], tk.grid(max_tokens=3))
    failed = tk.sweep(SHORT, [{"t": "good"}, {"t": "ZZ"}], tk.grid(max_tokens=3)).run(ngram, "failed.db")
    both = failed + sweep.run(ngram, "fine.db")
    assert both.frame()["finish_reason"].eq("error").tolist() == [False, True, False]
    assert [c.error is None for c in both] == [True, False, True]
    assert "has no character 'Z'" in both[1].error


def test_results_of_two_models_show_the_model_and_no_hash(folder):
    sweep = tk.sweep(SHORT, ROWS, tk.grid(max_tokens=3))
    engines = []
    for name in ("small", "large"):
        engine = NGramEngine(TEXT, order=2 if name == "small" else 4)
        engine.model = name
        engines.append(sweep.run(engine, "models.db"))
    results = tk.results("models.db")
    assert results.axes == ["row", "row.t", "model"]
    assert results.summary().index.tolist() == ["large", "small"]
    assert results.compare("model").shape == (2, 2)


@pytest.mark.parametrize(
    ("joined", "kind", "message"),
    [
        (lambda a: tk.results([]), ValueError, "there are no results to join"),
        (lambda a: tk.results({}), ValueError, "there are no results to join"),
        (lambda a: a + 1, TypeError, "unsupported operand"),
        (lambda a: tk.results({"a": "nothing.db"}), tk.StoreError, "there is no store"),
        (lambda a: tk.results([a, 3]), TypeError, "a path must be a text or a pathlib.Path, got 3"),
        (
            lambda a: a + tk.Results.from_csv(a.to_csv("a.csv")),
            ValueError,
            "a table read from CSV has no",
        ),
    ],
)
def test_what_cannot_be_joined(runs, joined, kind, message):
    with pytest.raises(kind, match=message):
        joined(runs[0])


SAVED = Path(__file__).parent / "saved"


@pytest.mark.parametrize("name", sorted(file.name for file in SAVED.glob("*.db")))
def test_stores_of_every_format_are_joined(folder, name):
    for file in (name, "format-7.db"):
        shutil.copy(SAVED / file, folder / f"copy of {file}")
    alone = tk.results(f"copy of {name}")
    both = tk.results({"old": f"copy of {name}", "new": "copy of format-7.db"})
    rows = both.filter(run_name="old").frame()
    kept = [column for column in alone.frame().columns if column != "run"]
    assert rows[kept].equals(alone.frame()[kept])
    assert [c.text for c in both.filter(run_name="old")] == [c.text for c in alone]
    assert (
        both.costs(by="run_name").frame()["completions"].sum() == len(list(both.filter(run_name="old"))) + 5
    )


def test_a_repeat_that_is_a_run_is_no_axis(ngram, folder):
    sweep = tk.sweep(SHORT, ROWS, tk.grid(temperature=[1.0], max_tokens=6))
    both = sweep.run(ngram, "mon.db") + sweep.run(ngram, "tue.db")
    assert both.frame()["repeat"].tolist() == [0, 0, 1, 1]
    assert both.axes == ["run_name", "row", "row.t"]
