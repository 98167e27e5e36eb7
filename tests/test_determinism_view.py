"""The determinism widget: the matrix, its cells, the forks behind them, by mouse and by keyboard, in Chromium."""

import dataclasses

import numpy as np
import pytest
from browser import HOSTILE, mount, shot, static, unharmed
from test_determinism import LETTERS, choice, completion, stored, studied, system

import toolkit as tk
from toolkit.analysis.determinism.report import determinism
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.widgets.base import visible
from toolkit.widgets.determinism import DeterminismView

A, B = system("a").id, system("b").id
TWO = {
    "Why is the sky blue?": {"a": ["xyzab", "xyzab", "xyzcb"], "b": ["xyzdb", choice("xyzdb", shift=0.125)]},
    "And the sea?": {"a": ["xy", "xy", "xy"], "b": ["xy", "xy"]},
    "And grass?": {"a": ["xy"] * 3, "b": ["xyz", "xyz"]},
}


def view(asked=None, **options):
    return DeterminismView(stored(asked or TWO, **options).determinism())


def cell(page, row, column):
    return page.locator(".tk-det-matrix tbody tr").nth(row).locator("button").nth(column)


def opened(page, prompt):
    page.get_by_role("button", name=prompt).click()
    return page.locator(".tk-det-fork")


def beside(page):
    return page.locator(".tk-det-beside").inner_text()


# What is sent


def test_the_matrix_is_sent_at_once():
    content = view().content
    assert content["systems"] == [A, B]
    assert content["differences"] == [["dtype a"], ["dtype b"]]
    # Of A's nine pairs seven agree, of the second and third prompt all; of A and B only the second's.
    assert content["cells"] == [
        [pytest.approx((1 / 3 + 2) / 3), 3, 1],
        [pytest.approx(1 / 3), 3, 2],
        [1, 3, 0],
    ]
    assert content["sentences"] == [visible(s) for s in stored(TWO).determinism().sentences()]
    assert (content["opened"]["a"], content["opened"]["b"], content["opened"]["total"]) == (0, 1, 2)


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ({"q": {"a": ["x", "y"]}}, (0, 0)),
        ({"q": {"a": ["x"]}}, (0, 0)),
        ({"q": {"a": ["x"], "b": ["x"], "c": ["y"]}}, (0, 2)),
        ({"q": {"a": ["x"]}, "r": {"b": ["x"]}}, (0, 1)),
    ],
)
def test_it_begins_with_the_two_that_agree_least(asked, first):
    found = view(asked)
    names = [system(name).id for name in "abc"]
    places = [found.determinism.systems.index(names[i]) for i in first]
    assert sorted(places) == [found.content["opened"]["a"], found.content["opened"]["b"]]


def test_a_cell_by_hand():
    found = view().cell(0, 1)
    assert found["words"] == "these 2 fingerprints differ in dtype (a, b)"
    assert found["components"] == [["dtype", "number format of weights and activations", "a", "b"]]
    # Six pairs of each prompt: the first's all fork at 3, the second's end after 2, the third's fork there.
    assert [[step, share] for step, share, _, _ in found["survival"]] == [
        [0, 1], [1, 1], [2, 1], [3, 0.5], [4, 0], [5, 0],
    ]  # fmt: skip
    first, second = found["forks"]
    assert first == {
        "row": 1,
        "prompt": "Why is the sky blue?",
        "settings": "",
        "step": 3,
        "tokens": ["a", "d"],
        "margins": [0.25, 0.25],
        "runs": [[2, 3], [2, 2]],
    }
    assert (second["prompt"], second["step"], second["tokens"]) == ("And grass?", 2, [None, "z"])
    within = view().cell(0, 0)
    assert (within["words"], within["components"], within["total"]) == ("", [], 1)


def test_a_fork_by_hand():
    found = view().fork(1)
    assert [piece["text"] for piece in found["shared"]] == ["x", "y", "z"]
    assert [[(piece["text"], piece["step"], piece["same"]) for piece in side] for side in found["after"]] == [
        [("a", 3, False), ("b", 4, True)],
        [("d", 3, False), ("b", 4, True)],
    ]
    assert found["totals"] == [3, 2, 2]
    assert found["listed"] == [2, 2]
    assert (found["margins"], found["drift"], found["near_ties"]) == ((0.25, 0.25), 0, 0)
    # Each lists its own token, then y; the other's is in neither.
    assert [(one["text"], one["taken"]) for one in found["candidates"]] == [("a", "a"), ("y", ""), ("d", "b")]
    known = np.array([one["logprobs"] for one in found["candidates"]])
    assert known == pytest.approx(np.array([[-0.5, np.nan], [-0.75, -0.75], [np.nan, -0.5]]), nan_ok=True)
    assert found["shared"][0]["values"]["probability"] == pytest.approx(np.exp(-0.5))


def test_a_character_that_the_fork_divides_is_after_it():
    """é is two bytes, and only the second differs: è."""
    vocabulary = [*LETTERS, b"\xc3", b"\xa9", b"\xa8"]
    runs = [
        tk.Choice(0, text, "stop", token_ids=np.array(ids, np.int32))
        for text, ids in (("aé", [97, 128, 129]), ("aè", [97, 128, 130]))
    ]
    found = view({"q": {"a": runs}}, vocabulary=vocabulary).fork(0)
    assert [piece["text"] for piece in found["shared"]] == ["a"]
    assert [[piece["text"] for piece in side] for side in found["after"]] == [["é"], ["è"]]


def test_long_answers_come_in_parts():
    long = "x" * 2500
    found = view({"q": {"a": [f"{long}y", f"{long}z{long}"]}})
    fork = found.fork(0)
    assert fork["totals"] == [2500, 1, 2501]
    assert [len(fork["shared"]), *map(len, fork["after"])] == [1000, 1, 1000]
    assert len(found.pieces(0, 0, 2000)) == 500
    assert [piece["step"] for piece in found.pieces(0, 2, 1000)][:2] == [3500, 3501]


# In the browser


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_cell_a_prompt_and_both_answers(page, theme):
    mount(page, view(), theme)
    assert [one.split("\n") for one in page.locator(".tk-det-cell").all_inner_texts()] == [
        ["77.8 %", "1 of 3 fork"], ["33.3 %", "2 of 3 fork"], ["33.3 %", "2 of 3 fork"], ["100.0 %", "0 of 3 fork"],
    ]  # fmt: skip
    assert page.locator(".tk-det-findings li").count() == 3
    assert "these 2 fingerprints differ in dtype (a, b)" in beside(page)
    assert "After 5 tokens 0.0 % of the pairs" in beside(page)
    assert page.locator(".tk-chart").count() == 1
    dashes = page.locator(".tk-chart .tk-line").evaluate_all(
        "all => all.map((e) => getComputedStyle(e).strokeDasharray)"
    )
    assert [one == "none" for one in dashes] == [
        False,
        False,
        True,
    ]  # the interval is not told by colour alone
    fork = opened(page, "Why is the sky blue?")
    fork.locator("table").wait_for()
    strips = [strip.locator(".tk-piece").all_inner_texts() for strip in fork.locator(".tk-pieces").all()]
    assert strips == [["x", "y", "z"], ["a", "b"], ["d", "b"]]
    assert fork.locator(".tk-is-fork").all_inner_texts() == ["a", "d"]
    assert fork.locator(".tk-is-same").all_inner_texts() == ["b", "b"]
    assert "2 of 3 runs say this" in fork.inner_text()
    shot(page, f"determinism-{theme}")
    cell(page, 0, 0).click()
    page.get_by_text(f"Prompts that fork within {A}: 1").wait_for()
    assert fork.inner_text() == ""
    assert page.locator("[aria-pressed=true]").count() == 1
    cell(page, 1, 0).click()
    page.get_by_text("Prompts that fork here: 2").wait_for()
    assert page.locator("[aria-pressed=true]").count() == 2
    unharmed(page)


def test_a_fork_at_the_first_token_has_nothing_before_it(page):
    mount(page, view({"q": {"a": ["xb"], "b": ["yb"]}}))
    fork = opened(page, "q")
    fork.locator("table").wait_for()
    assert "null" not in fork.inner_text()
    assert fork.locator(".tk-det-shared").count() == 0
    assert fork.locator(".tk-is-fork").all_inner_texts() == ["x", "y"]


@pytest.mark.parametrize("width", [1200, 600])
def test_the_static_form_keeps_to_its_page(page, width):
    """And a prompt has room for its words, however many columns stand beside it."""
    page.set_viewport_size({"width": width, "height": 800})
    static(page, view())
    unharmed(page, within=width)
    assert page.locator("td", has_text="Why is the sky blue?").first.bounding_box()["width"] > 100


def test_what_is_only_in_one_list_is_said_so(page):
    mount(page, view())
    fork = opened(page, "Why is the sky blue?")
    rows = {
        row.locator("code").inner_text(): row.locator("td").all_inner_texts()
        for row in fork.locator("tbody tr").all()
    }
    (mine, _, other) = rows["a"]
    assert "taken" in mine
    assert "60.65 %" in mine
    assert "not in its 2" in other
    assert "taken" not in rows["y"][0] + rows["y"][2]
    assert "not in its 2" in rows["d"][0]
    assert "taken" in rows["d"][2]


def test_by_keyboard_alone(page):
    mount(page, view())
    focused = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
    page.keyboard.press("Tab")
    assert page.evaluate(focused).startswith(f"within {A}: 77.8 % of pairs of runs agree, 1 of 3 fork")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused).startswith(f"within {B}: 100.0 %")
    page.keyboard.press("Enter")
    page.get_by_text("No prompt forks here").wait_for()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.get_by_text("Prompts that fork here: 2").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Why is the sky blue?"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_text("ends here").wait_for()
    assert page.locator("[aria-expanded=true]").inner_text() == "And grass?"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className").startswith("tk-piece")
    assert page.locator(".tk-tip:popover-open").inner_text().startswith("token 0 · probability 60.65 %")
    page.keyboard.press("Escape")
    assert page.locator(".tk-det-fork").inner_text() == ""
    assert page.evaluate(focused) == "And grass?"
    unharmed(page)


def test_forks_are_turned_page_by_page(page):
    mount(page, view({f"question {i:02}": {"a": ["x"], "b": ["y"]} for i in range(23)}))
    prompts = page.locator(".tk-det-prompt")
    assert prompts.count() == 10
    page.get_by_text("next").click()
    page.get_by_text("11 to 20 of 23").wait_for()
    assert prompts.first.inner_text() == "question 10"
    page.keyboard.press("Enter")
    page.get_by_text("21 to 23 of 23").wait_for()
    assert prompts.count() == 3
    assert page.evaluate("document.activeElement.textContent") == "‹ before"
    page.keyboard.press("Enter")
    page.get_by_text("11 to 20 of 23").wait_for()


def test_more_of_a_long_answer_is_asked_for(page):
    mount(page, view({"q": {"a": [f"{'x' * 1200}y", f"{'x' * 1200}z"]}}))
    shared = opened(page, "q").locator(".tk-det-shared")
    for left in ("800", "400", "200"):  # drawn by 400, asked for by 1,000
        shared.get_by_role("button", name=f"Show more: {left} of 1,200 left").click()
    shared.locator(".tk-piece").nth(1199).wait_for()
    assert shared.locator(".tk-piece").count() == 1200


def test_texts_are_shown_where_tokens_are_not_known(page):
    runs = [choice("once upon", ids=False), choice("at last", ids=False)]
    mount(page, view({"q": {"a": runs}}))
    assert "No pair of runs whose tokens are known" in beside(page)
    fork = opened(page, "q")
    fork.get_by_text("read their texts").wait_for()
    assert fork.locator(".tk-code").all_inner_texts() == ["at last", "once upon"]
    unharmed(page)


def test_one_fingerprint_alone(page):
    widget = view({"q": {"a": ["xy", "xz", "xy"]}})
    mount(page, widget)
    assert page.locator(".tk-det-cell").all_inner_texts() == ["33.3 %\n1 of 1 fork"]
    fork = opened(page, "q")
    fork.get_by_text("another run of it").first.wait_for()
    assert fork.locator(".tk-is-fork").all_inner_texts() == ["y", "z"]
    static(page, widget)
    assert page.locator("summary").all_inner_texts() == [f"within {A} (by-hand): q"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 840, 700])
def test_it_leads_with_the_settings(page, theme, width):
    widget = DeterminismView(studied().determinism(by="temperature"))
    page.set_viewport_size({"width": width, "height": 800})
    mount(page, widget, theme)
    first, *_ = page.locator(".tk-det-findings li").all_inner_texts()
    assert first.startswith(
        "temperature 0 (greedy): 2 requests with several runs (of 3), 8 runs, none differs"
    )
    table = page.locator(".tk-det-settings tbody tr")
    assert table.locator("th").all_inner_texts() == [
        "temperature 0 (greedy)",
        "temperature 0.8 (seeded)",
        "temperature 0.8 (sampled without a seed)",
        f"All settings together, {A} (by-hand)",
    ]
    heads = page.locator(".tk-det-settings thead th").all_inner_texts()
    assert table.nth(2).locator("td").all_inner_texts()[heads.index("same") - 1] == "0 of 2 (0 to 85 %)"
    assert "all settings together" in page.locator(".tk-det-matrix caption").inner_text()
    assert (
        page.locator(".tk-det-forks-table small").all_inner_texts()
        == ["temperature 0.8 (sampled without a seed)"] * 2
    )
    # The findings stand above the table, and that above the matrix.
    places = [
        page.locator(f".tk-det-{name}").bounding_box()["y"] for name in ("findings", "settings", "matrix")
    ]
    assert places == sorted(places)
    shot(page, f"determinism-settings-{theme}-{width}")
    unharmed(page, within=width)
    static(page, widget)
    assert page.locator("li").first.inner_text() == first
    unharmed(page, within=width)


def test_one_setting_has_no_table_of_settings(page):
    mount(page, view())
    assert page.locator(".tk-det-settings").count() == 0


def test_single_runs_show_no_share(page):
    mount(page, view({"q": {"a": ["x"]}, "r": {"b": ["x"]}}))
    assert page.locator(".tk-det-cell").all_inner_texts() == [
        "–\nsingle runs", "–\nnone in common", "–\nnone in common", "–\nsingle runs",
    ]  # fmt: skip


def test_an_axis_of_another_kind(page):
    results = stored({"q": {"a": ["x", "y", "x", "x"]}})
    table = results._table.assign(rung=["alone", "alone", "batched", "batched"])
    found = determinism(table, results._store, across="rung", difference=lambda a, b: f"{b} is not {a}")
    widget = DeterminismView(found)
    assert widget.content["differences"] == [[], []]
    mount(page, widget)
    assert page.locator(".tk-det-matrix th").all_inner_texts() == ["alone", "batched"] * 2
    assert "batched is not alone" in beside(page)
    assert page.locator(".tk-det-parts").count() == 0


def test_nearly_all_is_not_all(page):
    widget = view()
    nearly = np.nextafter(1, 0)
    widget.content = {**widget.content, "cells": [[nearly, 9000, 1], [0.9994, 6, 1], [1, 6, 0]]}
    mount(page, widget)
    shares = [one.split("\n")[0] for one in page.locator(".tk-det-cell").all_inner_texts()]
    assert shares == ["> 99.9 %", "99.9 %", "99.9 %", "100.0 %"]


def test_settings_tell_equal_prompts_apart():
    results = stored({"q": {"a": ["x", "y"]}}, temperature=0)
    warm = stored({"q": {"a": ["x", "z"]}}, results._store, sweep="t", temperature=1, seed=1)
    found = DeterminismView(tk.results(warm._store).determinism(by="temperature")).forks(0, 0)
    assert [fork["settings"] for fork in found["forks"]] == [
        "temperature 0 (greedy)",
        "temperature 1 (seeded)",
    ]
    several = view(
        {"q": {"a": [(choice("x"), choice("y", index=1)), (choice("x"), choice("z", index=1))]}},
        n=2,
        temperature=1,
        seed=1,
    )
    assert [fork["settings"] for fork in several.forks(0, 0)["forks"]] == ["choice 1"]


def test_an_error_is_shown(page):
    widget = view()
    widget.fork = lambda row: (_ for _ in ()).throw(RuntimeError("the store is gone"))
    mount(page, widget)
    opened(page, "Why is the sky blue?")
    page.locator(".tk-error").get_by_text("the store is gone").wait_for()


# What a model may write


def hostile(name):
    """Every text of a model, an engine or a person is hostile: the token at the fork, the prompt, the component."""
    text = HOSTILE[name]
    raw = text.encode("utf-8", "surrogatepass")
    vocabulary = [*LETTERS, raw, b"<b>"]
    runs = [[97, 128, 98], [97, 129, 128]]
    arrays = [
        {
            "logprobs": np.full(3, -0.5, np.float32),
            "top_ids": np.array([[i, 128] for i in ids], np.int32),
            "top_logprobs": np.tile(np.array([-0.5, -1], np.float32), (3, 1)),
        }
        for ids in runs
    ]
    choices = [
        tk.Choice(
            0, text.encode("utf-8", "replace").decode(), "stop", token_ids=np.array(ids, np.int32), **more
        )
        for ids, more in zip(runs, arrays, strict=True)
    ]
    kept = text.encode("utf-8", "replace").decode()
    first, second = (system(name, model=f"{kept[:5000]}{name}") for name in "ab")
    results = stored({"q": {first: choices, second: choices[1:]}}, vocabulary=vocabulary)
    request = tk.Request.chat(f"prompt {kept[:100_000]}", temperature=0).resolve({})
    for fingerprint, run in ((first.id, choices[0]), (second.id, choices[1])):
        answer = dataclasses.replace(completion(request, fingerprint, run))
        results._store.add([StoredCompletion(answer, 0)])
    results._store.define("more", {"rows": [], "prompts": ["?"]}, [request], [Cell(request.key, 1, {})])
    return DeterminismView(tk.results(results._store).determinism())


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_text_everywhere(page, name):
    widget = hostile(name)
    mount(page, widget, "dark")
    for row, column in ((0, 1), (0, 0)):
        cell(page, row, column).click()
        page.locator("[aria-pressed=true]").first.wait_for()
        for prompt in range(page.locator(".tk-det-prompt").count()):
            page.locator(".tk-det-prompt").nth(prompt).click()
            page.locator(".tk-det-candidates").wait_for()
            page.locator(".tk-det-fork .tk-piece").first.hover()
    unharmed(page)
    static(page, widget)
    for one in page.locator("summary").all():
        one.click()
    unharmed(page)
    assert "\x1b" not in widget.text() + widget.html()


# Without a kernel


def test_as_html_and_as_text(page):
    widget = view()
    static(page, widget)
    assert page.locator("td b").all_inner_texts() == ["77.8 %", "33.3 %", "33.3 %", "100.0 %"]
    assert page.locator("summary").all_inner_texts() == [
        f"within {A}: Why is the sky blue?", f"{A} and {B}: Why is the sky blue?", f"{A} and {B}: And grass?",
    ]  # fmt: skip
    page.locator("summary").nth(1).click()
    assert page.locator("details[open] mark").all_inner_texts() == ["a", "d"]
    for word in ("<script", "<style", "<svg"):
        assert word not in widget.html()
    # The cell to begin with, as the live view opens it.
    assert page.get_by_text(f"{A} and {B}", exact=True).count() == 1
    assert page.get_by_text("number format of weights and activations").count() == 1
    rows = [row.locator("td").all_inner_texts() for row in page.locator("tr").all()]
    for row in (["0", "1"], ["3", "0.5"], ["4", "0"], ["5", "0"]):
        assert row in [one[:2] for one in rows if len(one) == 4]
    text = widget.text()
    assert f"{A} and {B}: share of pairs of runs that are still equal" in text
    assert any(line.split()[:2] == ["3", "0.5"] for line in text.splitlines())
    assert text.splitlines()[0].startswith(f"{A} (dtype a): 1 of 3 requests")
    assert "0.333" in text
    assert "forks" in text
    assert "forks" not in view({"q": {"a": ["x", "x"]}}).text()
    unharmed(page)
