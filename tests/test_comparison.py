import dataclasses
import time

import numpy as np
import pytest

import toolkit as tk
from toolkit.core.fingerprint import Fingerprint
from toolkit.errors import StoreError
from toolkit.results.comparison import Comparison
from toolkit.store.rows import PLACE, Cell, StoredCompletion
from toolkit.store.store import Store
from toolkit.structured.tools import ToolCall

FINGERPRINT = Fingerprint({"model": "by-hand", "tokenizer": "t", "generation_config": {}})
VOCABULARY = [bytes([i]) for i in range(256)]
FORM = {"type": "object", "required": ["a"]}


def filled(path, made, answers, rows=None, form=None):
    """A store of answers: (row, settings, what came of each repeat), as texts or as changes to a completion."""
    store = Store(path)
    store.begin_run("s", FINGERPRINT, VOCABULARY)
    cells, requests = [], []
    for row, options, repeats in answers:
        for repeat, came in enumerate(repeats):
            changes = {"text": came} if isinstance(came, str) else dict(came)
            error = changes.pop("error", None)
            done = made(messages=f"JSON {row}", error=error, response_format=form, **options)
            choice = dataclasses.replace(done.choices[0], **changes)
            done = dataclasses.replace(done, system_fingerprint=FINGERPRINT.id)
            done = done if error else dataclasses.replace(done, choices=(choice,))
            store.add([StoredCompletion(done, repeat, 1)])
        cells.append(Cell(done.request.key, len(repeats), {"row": row}))
        requests.append(done.request)
    store.define("s", {"rows": rows or [{"word": w} for w in "abcdef"], "prompts": ["JSON"]}, requests, cells)
    return tk.results(store)


@pytest.fixture
def results(db, made):
    """Three rows of data × two temperatures, two repeats of each."""
    return filled(db, made, [
        (0, {"temperature": 0.5}, ["the red fox", "the red fox"]),
        (0, {"temperature": 1.0}, ["the red fox", "the quick fox"]),
        (1, {"temperature": 0.5}, ["a", "a"]),
        (1, {"temperature": 1.0}, [{"text": "a", "finish_reason": "length"}, "a"]),
        (2, {"temperature": 0.5}, ["Über", "Über"]),
        (2, {"temperature": 1.0}, [{"error": "too long"}, "über alles"]),
    ])  # fmt: skip


def shown(comparison, **query):
    found = comparison.find(**query)
    return [tuple(comparison.row_values(row).values()) for row in found.rows.tolist()]


def test_frame_is_what_a_pivot_gives(results):
    comparison = results.compare("temperature")
    assert isinstance(comparison, Comparison)
    assert (comparison.rows, comparison.columns, comparison.shape) == (
        ["row", "row.word", "repeat"],
        ["temperature"],
        (6, 2),
    )
    frame = comparison.frame()
    assert list(frame.columns) == [0.5, 1.0]
    assert frame.loc[(1, "b", 0)].tolist() == ["a", "a ✂"]
    tokens = results.compare("temperature", "completion_tokens", rows="row").frame()
    assert tokens.to_numpy().tolist() == [[3, 3], [3, 3], [3, 0]]


@pytest.mark.parametrize(
    ("by", "rows", "axes"),
    [
        ("temperature", None, ["row", "row.word", "repeat"]),
        ("row", None, ["temperature", "repeat"]),  # the row's variables stand for it
        ("row.word", None, ["temperature", "repeat"]),
        (["temperature", "repeat"], None, ["row", "row.word"]),
        ("temperature", "row", ["row"]),
        (["temperature", "repeat", "row"], None, ["sweep"]),
    ],
)
def test_rows_are_the_axes_that_are_left_or_those_given(results, by, rows, axes):
    assert results.compare(by, rows=rows).rows == axes


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"by": "temprature"}, KeyError, "did you mean 'temperature'"),
        (
            {"by": "temperature", "rows": ["temperature"]},
            ValueError,
            "temperature cannot be rows and columns at once",
        ),
        ({"by": "temperature", "values": "txt"}, KeyError, "unknown column 'txt'"),
        ({"by": "temperature", "price": "gpt-4x9"}, tk.PriceError, "gpt-4x9"),
        (
            {"by": "temperature", "price": tk.LocalPrice(per_kwh=1)},
            ValueError,
            "what the device drew is not known",
        ),
    ],
)
def test_a_bad_comparison_is_refused(results, given, error, message):
    with pytest.raises(error, match=message):
        results.compare(**given)


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ({}, [0, 1, 2]),
        ({"differing": True}, [0, 2]),
        ({"differing": True, "baseline": 1}, [0, 2]),
        ({"search": "QUICK|alles"}, [0, 2]),
        ({"search": r"^\w$"}, [1]),
        ({"search": "nowhere"}, []),
        ({"search": "über"}, [2]),
        ({"where": {"finish_reason": ["length"]}}, [1]),
        ({"where": {"finish_reason": ["error"]}}, [2]),
        ({"where": {"row.word": ["a", "c"]}}, [0, 2]),
        ({"where": {"temperature": [0.5]}, "differing": True}, []),
        ({"where": {"temperature": [1.0], "repeat": [0]}, "search": "fox"}, [0]),
        ({"sort": "row.word", "descending": True}, [2, 1, 0]),
        ({"sort": "differing", "descending": True}, [2, 0, 1]),
        ({"sort": "prompt_tokens"}, [2, 0, 1]),
        ({"group": "finish_reason"}, [0, 1, 2]),
        ({"group": "differing", "sort": "row", "descending": True}, [1, 0, 2]),
        ({"search": "fox|alles", "sort": "row", "descending": True}, [2, 0]),
    ],
)
def test_rows_are_found_and_ordered(results, query, rows):
    assert shown(results.compare("temperature", rows="row"), **query) == [(row,) for row in rows]


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("row.word", ["row.word a", "row.word b", "row.word c"]),
        ("temperature", ["temperature mixed"] * 3),
        ("finish_reason", ["finish_reason stop", "finish_reason mixed", "finish_reason mixed"]),
        ("differing", ["differing 0", "differing 1", "differing 2"]),
    ],
)
def test_groups_are_named(results, group, names):
    assert list(results.compare("temperature", rows="row").find(group=group).groups) == names


def test_long_values_that_begin_alike_are_groups_of_their_own(db, made):
    words = ["x" * 100 + end for end in "ab"]
    answers = [(row, {"seed": seed}, ["said"]) for row in range(2) for seed in (1, 2)]
    comparison = filled(db, made, answers, [{"word": w} for w in words]).compare(
        "repeat", rows=["row", "seed"]
    )
    groups = comparison.find(group="row.word").groups
    assert [groups.count(name) for name in dict.fromkeys(groups)] == [2, 2]


def test_many_numbers_are_grouped_by_their_quarters(db, made):
    results = filled(
        db,
        made,
        [(row, {"temperature": 1.0}, [f"{row}"]) for row in range(40)],
        [{"n": i} for i in range(40)],
    )
    results = tk.Results(results._table.assign(seconds=np.arange(40.0)), results._store)
    comparison = results.compare("temperature", rows="row")
    groups = comparison.find(group="seconds").groups
    assert [groups.count(name) for name in dict.fromkeys(groups)] == [10, 10, 10, 10]
    assert groups[0] == "seconds 0 and more"


def test_of_several_outputs_in_a_cell_those_sought_come_first(results):
    comparison = results.compare("temperature", rows="row")
    texts = comparison.facts.texts
    assert [texts[i] for i in comparison.cell(0, 1, comparison.find())] == ["the red fox", "the quick fox"]
    assert [texts[i] for i in comparison.cell(0, 1, comparison.find("quick"))] == [
        "the quick fox",
        "the red fox",
    ]
    assert comparison.cell(0, 1, comparison.find(where={"temperature": [0.5]})) == []


@pytest.mark.parametrize("search", ["(", "[a", "*", "(?P<x>a)(?P=y)"])
def test_a_bad_pattern_is_named(results, search):
    with pytest.raises(ValueError, match="is no regular expression"):
        results.compare("temperature").find(search)


def test_a_pattern_that_takes_too_long_is_given_up(db, made):
    results = filled(db, made, [(row, {"seed": 1}, ["a" * 40 + f"!{row}"]) for row in range(6)])
    began = time.monotonic()
    with pytest.raises(ValueError, match="takes too long"):
        results.compare("row").find("(a|aa|a+)+$")
    assert time.monotonic() - began < 30


def test_an_unknown_column_is_named(results):
    for query in ({"sort": "cost"}, {"group": "verdict_"}, {"where": {"temprature": [1]}}):
        with pytest.raises(KeyError, match="unknown column"):
            results.compare("temperature").find(**query)


@pytest.fixture
def greedy(db, made):
    """Two rows of data, each answered once at temperature 0, which knows no seed, and with two seeds at 1."""
    return filled(db, made, [
        (0, {"temperature": 0}, ["greedy a"]), (1, {"temperature": 0}, ["greedy b"]),
        *((row, {"temperature": 1, "seed": seed}, [text]) for row, seed, text in
          [(0, 1, "greedy a"), (0, 2, "other"), (1, 1, "other"), (1, 2, "greedy b")]),
    ])  # fmt: skip


def test_greedy_outputs_which_have_no_seed_are_the_baseline_of_all_seeds(greedy):
    comparison = greedy.compare("temperature")
    assert comparison.shape == (6, 2)
    assert greedy.frame()["text"][comparison.differs()].tolist() == ["other", "other"]
    assert not comparison.differs(1).any()  # seeds of the others say nothing of a greedy one


def test_greedy_outputs_stand_in_the_rows_of_all_seeds(greedy):
    comparison = greedy.compare("temperature", rows=["row", "seed"])
    found = comparison.find()
    texts = comparison.facts.texts
    cells = [[comparison.cell(row, column, found) for column in (0, 1)] for row in found.rows.tolist()]
    assert [[[texts[i] for i in cell] for cell in line] for line in cells] == [
        [["greedy a"], ["greedy a"]], [["greedy a"], ["other"]],
        [["greedy b"], ["other"]], [["greedy b"], ["greedy b"]],
    ]  # fmt: skip
    assert [
        comparison.missing_axes(line[0][0], row) for line, row in zip(cells, found.rows, strict=True)
    ] == [["seed"]] * 4
    # Alone, where nothing else would show it, a greedy output has a row of its own.
    alone = comparison.find(where={"temperature": [0.0]})
    assert [comparison.row_values(row) for row in alone.rows.tolist()] == [
        {"row": 0, "seed": None}, {"row": 1, "seed": None},
    ]  # fmt: skip
    differing = comparison.find(differing=True)  # neither greedy row differs, and both outputs are in sight
    assert comparison.visible_choices(0, differing).sum() == 2
    assert comparison.visible_choices(1, differing).sum() == 2
    with pytest.warns(DeprecationWarning, match="Comparison.shown is now Comparison.visible_choices"):
        assert comparison.shown(1, differing).sum() == 2
    assert comparison.cell(0, 0, comparison.find(where={"temperature": [1.0]})) == []
    page = comparison.html()
    assert page.count("without seed") == 4
    assert page.count("= as the first column") == 2
    lines = [line.split() for line in repr(comparison).splitlines()]
    assert lines[2][:4] == ["0", "1", "greedy", "a"]
    assert len([line for line in lines if "greedy" in line]) == 4
    assert lines[0][0] == "Comparison(4"


@pytest.mark.parametrize("baseline", [-1, 2])
def test_a_baseline_that_is_not_there_is_refused(results, baseline):
    with pytest.raises(IndexError, match=f"baseline must be from 0 to 1, got {baseline}"):
        results.compare("temperature").find(differing=True, baseline=baseline)


def test_texts_are_sorted_by_the_alphabet_and_numbers_among_them_as_numbers(db, made):
    words = ["pear", "Apple", 10, None, 9, "fig"]
    results = filled(
        db, made, [(i, {"seed": 1}, ["x"]) for i in range(len(words))], [{"word": w} for w in words]
    )
    comparison = results.compare("seed", rows="row.word")
    in_order = [9, 10, "Apple", "fig", "pear", None]
    assert shown(comparison, sort="row.word") == [(word,) for word in in_order]
    assert shown(comparison) == [(word,) for word in [*(w for w in words if w is not None), None]]


def test_rows_that_are_grades_are_those_of_now(results):
    comparison = results.compare("temperature")
    comparison.grade(0, thumb=1)
    by_thumb = comparison.over(["grade.thumb"], [])
    assert [by_thumb.row_values(row) for row in range(2)] == [{"grade.thumb": 1}, {"grade.thumb": None}]
    comparison.grade(0, thumb=-1)
    assert comparison.over(["grade.thumb"], []).row_values(0) == {"grade.thumb": -1}


def test_a_table_from_csv_is_compared_as_it_was(db, made, tmp_path):
    said = ["007", "42", "1e5", "a\rb", "c\r\nd", "nul \0", ""]
    for texts in (said[:3], said):
        results = filled(
            tmp_path / f"{len(texts)}.db", made, [(0, {"seed": i}, [text]) for i, text in enumerate(texts)]
        )
        place = results.frame().loc[0, list(PLACE)]
        results._store.grade(*place, note="5")
        again = tk.Results.from_csv(results.to_csv(tmp_path / "out.csv"))
        assert again.frame()["text"].tolist() == texts
        comparison = again.compare("seed")
        assert comparison.find("0").matching.tolist() == ["0" in text for text in texts]
        assert comparison.facts.grades()[0].note == "5"
        assert again.frame()["request"].tolist() == results.frame()["request"].tolist()


def test_what_a_cell_leaves_out_is_counted_in_characters_of_the_text(db, made):
    texts = ["x" * 30_000, "y" * 30_000]
    comparison = filled(db, made, [(0, {"seed": i}, [text]) for i, text in enumerate(texts)]).compare("seed")
    assert comparison.in_brief(0) == [
        ("equal", "x" * 600, False), ("gap", "… 29,400 more characters", False),
    ]  # fmt: skip
    told = comparison.in_brief(1, 0)
    assert ("insert", "y" * 480, False) in told  # what the baseline has leaves room for it
    assert told[-1] == ("gap", "… 29,520 more characters", False)


def test_a_diff_is_of_words_or_of_tokens(db, made):
    answers = {"the red fox": b"the red fox", "the rod fox": b"the rod fox"}
    results = filled(db, made, [
        (0, {"seed": seed}, [{"text": text, "token_ids": np.frombuffer(raw + b"\0", np.uint8).astype(np.int32)}])
        for seed, (text, raw) in enumerate(answers.items())
    ])  # fmt: skip
    comparison = results.compare("seed")
    assert comparison.diff(1, 0).ops == (
        ("equal", "the "),
        ("delete", "red"),
        ("insert", "rod"),
        ("equal", " fox"),
    )
    assert comparison.diff(1, 0, "token").ops == (
        ("equal", "the r"), ("delete", "e"), ("insert", "o"), ("equal", "d fox"),
    )  # fmt: skip
    assert comparison.pieces(1, 0, "od fox") == [
        ("equal", "the ", False), ("delete", "red", False), ("insert", "r", False), ("insert", "od", True),
        ("equal", " fox", True),
    ]  # fmt: skip
    copied = tk.Results(results._table, None).compare("seed")  # as from CSV: by words then
    assert copied.diff(1, 0, "token").ops == comparison.diff(1, 0).ops


def test_long_texts_are_cut_where_they_are_shown(db, made):
    texts = ["x" * 30_000, " ".join(map(str, range(8000))), " ".join(map(str, range(8000, 16000)))]
    results = filled(db, made, [(0, {"seed": i}, [text]) for i, text in enumerate(texts)])
    comparison = results.compare("seed")
    assert comparison.pieces(0)[-1] == ("gap", "… 10,000 more characters", False)
    pieces = comparison.pieces(2, 1, most=100)
    assert ("gap", " ⋯ too long to be compared from here on ⋯ ", False) in pieces


def test_what_is_known_of_an_output(db, made):
    valid, cut = '{"a": 1}', {"text": '{"b', "finish_reason": "length"}
    results = filled(db, made, [(0, {"seed": 1}, [valid, cut, "no", {"error": "broke"}])], form=FORM)
    comparison = results.compare("repeat", price=tk.ModelPrice("m", input=1e6, output=1e6))
    told = [comparison.metadata(i) for i in range(4)]
    assert [t["verdict"] for t in told] == ["valid", "truncated", "not_json", None]
    assert [t["cost"] for t in told[:3]] == [10.0, 10.0, 10.0]
    assert np.isnan(comparison.facts.cost[3])
    assert told[3] == {
        "finish_reason": "error", "error": "broke", "completion_tokens": 0, "prompt_tokens": 0, "seconds": None,
        "verdict": None, "cost": None,
    }  # fmt: skip
    assert told[0]["seconds"] == 0.5
    assert set(comparison.measures) >= {"verdict", "cost", "differing", "grade.score"}
    assert shown(comparison.over(["repeat"], []), where={"verdict": ["valid", "not_json"]}) == [(0,), (2,)]
    assert shown(comparison.over(["repeat"], []), sort="verdict", descending=True)[0] == (3,)


def test_the_choices_of_a_completion_share_its_cost(db, made):
    store = Store(db)
    store.begin_run("s", FINGERPRINT, [])
    done = dataclasses.replace(made(n=2), system_fingerprint=FINGERPRINT.id)
    store.add([StoredCompletion(done, 0)])
    store.define("s", {}, [done.request], [Cell(done.request.key, 1, {})])
    results = tk.results(store)
    price = tk.ModelPrice("m", input=1e6, output=0)
    assert results.compare("choice", price=price).facts.cost.tolist() == [3.5, 3.5]
    for paid in (price, tk.LocalPrice(per_hour=3600)):
        total = results.compare("choice", price=paid).facts.cost.sum()
        assert total == pytest.approx(results.costs(price=paid).total["cost"])


def test_calls_of_functions_are_compared_too(db, made):
    def called(text, *calls):
        calls = tuple(ToolCall(str(i), *call) for i, call in enumerate(calls))
        return {"text": text, "finish_reason": "tool_calls", "tool_calls": calls}

    results = filled(db, made, [
        (0, {"seed": 1}, [called("", ("f", '{"a":1}'))]),
        (0, {"seed": 2}, [called("Well.", ("f", '{"a":2}'), ("g", "{}"))]),
    ])  # fmt: skip
    comparison = results.compare("seed")
    assert comparison.facts.texts == ['→ f({"a":1})', 'Well.\n→ f({"a":2})\n→ g({})']
    assert comparison.differs().tolist() == [False, True]


def test_grades_are_kept_found_and_sorted_by(results):
    comparison = results.compare("temperature", rows="row")
    comparison.grade(3, thumb=1, score=2)
    comparison.grade(4, thumb=-1)
    comparison.grade(9, note="hm")
    assert [g and g.thumb for g in comparison.facts.grades()[3:5]] == [1, -1]
    assert results.frame()["grade.thumb"].dropna().to_dict() == {3: 1, 4: -1}
    for kind, rows in (("up", [0]), ("down", [1]), ("other", [2]), ("none", [0, 1, 2])):
        assert shown(comparison, where={"grade": [kind]}) == [(row,) for row in rows]
    assert shown(comparison, sort="grade.thumb") == [(1,), (0,), (2,)]
    assert comparison.find(group="grade.score").groups[0] == "grade.score 2"
    with pytest.raises(ValueError, match="an error has no answer"):
        comparison.grade(10, thumb=1)
    assert comparison.gradable


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_results_of_a_file_show_grades_and_take_none(results, tmp_path, kind):
    results.compare("temperature").grade(3, thumb=1, note="good")
    path = getattr(results, f"to_{kind}")(tmp_path / f"r.{kind}")
    comparison = getattr(tk.Results, f"from_{kind}")(path).compare("temperature")
    assert not comparison.gradable
    kept = comparison.facts.grades()[3]
    assert (kept.thumb, kept.score, kept.note) == (1, None, "good")
    assert shown(comparison, where={"grade": ["up"]}) == [(0, "a", 1)]
    with pytest.raises(StoreError, match=r"grade (the results|those) of the store itself"):
        comparison.grade(1, thumb=1)


def test_it_shows_itself(results):
    comparison = results.compare("temperature")
    assert repr(comparison).startswith(
        "Comparison(6 rows × 2 columns (temperature), 12 outputs, 3 rows with an output that differs from the first "
        "column's, 1 failed)"
    )
    assert "error: too long" in repr(comparison)
    assert "a ✂" in repr(comparison)
    page = comparison._repr_html_()
    assert ">red</del>" in page
    assert ">quick</ins>" in page
    assert "<b>error</b> too long" in page
    assert "✂ length · 7 + 3 tokens · 0.50 s" in page
    assert ">row.word</th>" in page
    assert ">row</th>" not in page  # its number says nothing beside its variables
    assert "thumb" not in page
    comparison.grade(0, thumb=-1, score=2.5, note="<b>")
    assert "stop · 7 + 3 tokens · 0.50 s · thumb down · score 2.5 · &lt;b&gt;" in comparison._repr_html_()
    assert "<td" in results.compare("temperature", "completion_tokens")._repr_html_()
    nothing = results.filter(temperature=7).compare("temperature")
    assert nothing.shape == (0, 0)
    assert len(nothing.find("x", differing=True, sort="seconds", group="row")) == 0
    assert "0 rows" in repr(nothing)
    assert "0 rows" in nothing._repr_html_()


def test_many_rows_are_counted_and_no_text_is_markup(db, made):
    hostile = "<script>alert(1)</script>"
    results = filled(
        db,
        made,
        [(row, {"seed": s}, [hostile]) for row in range(70) for s in range(10)],
        [{"w": hostile}] * 70,
    )
    page = results.compare("seed")._repr_html_()
    assert "<script" not in page
    assert "… and 10 more rows" in page
    assert "… and 2 more columns" in page
    assert repr(results.compare("seed")).endswith("… and 50 more rows\n… and 2 more columns")


def test_axes_that_are_neither_rows_nor_columns_share_cells_and_there_may_be_no_axis_at_all(results):
    comparison = results.compare("temperature").over([], [])
    assert comparison.shape == (1, 1)
    assert len(comparison.cell(0, 0, comparison.find())) == 12
    with pytest.raises(KeyError, match="unknown column 'nothing'"):
        comparison.over(["nothing"], [])


def test_an_answer_whose_check_was_stopped_is_neither_valid_nor_not(db, made, monkeypatch):
    answers = [(0, {"temperature": 0.5}, ['{"a": 1}', "prose"])]
    results = filled(db, made, answers, form=FORM)
    assert results.costs().table["valid"].tolist() == [0.5]
    monkeypatch.setattr("toolkit.structured.time_limit.TIME_LIMIT", 0.0)
    stopped = tk.results(db)
    assert sorted(stopped.verdicts()["verdict"]) == ["not_json", "timeout"]
    assert stopped.costs().table["valid"].tolist() == [0]
