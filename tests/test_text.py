"""Values in error messages: of a bounded length, whatever they are."""

import itertools

import pytest
from ngram_engine import NGramEngine

import toolkit as tk
from toolkit._internal.text import short_repr
from toolkit.core.request import Request
from toolkit.core.sampling import Sampling
from toolkit.store.rows import Grade
from toolkit.structured.tools import tools

LONGEST = 1000
"""More than any message with one value in it."""


class FailingRepr:
    def __repr__(self):
        raise ZeroDivisionError("repr fails")


def nested(kind, depth=5000):
    value = kind()
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("it's", '"it\'s"'),
        ("\ud800\n", r"'\ud800\n'"),
        ({"a": [1, 2.5, (True,)]}, "{'a': [1, 2.5, (True,)]}"),
        ("x" * 198, repr("x" * 198)),
        ("x" * 199, "'" + "x" * 199 + "… (1 more characters)"),
        (list(range(100)), repr(list(range(100)))[:200] + "… (190 more characters)"),
        (nested(list), "[[[[[[[...]]]]]]]"),
        (nested(dict), "{'a': " * 6 + "{...}" + "}" * 6),
        (range(10**12), "range(0, 1000000000000)"),
    ],
)
def test_the_repr_of_a_value(value, text):
    assert short_repr(value) == text


def test_a_repr_that_fails_names_the_type():
    assert short_repr(FailingRepr()).startswith("<FailingRepr instance at 0x")
    assert short_repr([1, FailingRepr()]).startswith("[1, <FailingRepr instance at 0x")
    assert short_repr(10**5000) == "a value of type int whose repr fails"  # Python writes up to 4,300 digits
    assert short_repr("x" * 10, limit=5) == "'xxxx… (7 more characters)"


ENGINE = NGramEngine("a text and another text")


@pytest.mark.parametrize(
    "value",
    [nested(list), nested(dict), FailingRepr(), "x" * 200_000, 10**5000],
    ids=["list", "dict", "repr fails", "text", "number"],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda value: tk.response_format([[value]]),
        lambda value: tk.response_format({"type": "regex", "regex": [value]}),
        lambda value: tk.response_format({"type": "json_schema", "json_schema": [value]}),
        lambda value: tk.fold_system([[value]]),
        lambda value: tk.fold_system([{"role": [value], "content": "a"}]),
        lambda value: tk.fold_system([{"role": "user", "content": [value]}]),
        lambda value: tools([value]),
        lambda value: tk.verdict([value], None),
        lambda value: tk.Prompt([value]),
        lambda value: tk.Prompt("a", layout=[value]),
        lambda value: tk.Prompt("a", selector=[value]),
        lambda value: tk.Prompt("a").render([value]),
        lambda value: tk.grid(temperature=[[value]]),
        lambda value: tk.cases([value]),
        lambda value: tk.sweep("a", cells=[value]),
        lambda value: tk.sweep("a", repeats=[value]),
        lambda value: tk.tokens([value], "gpt-4"),
        lambda value: tk.tokens("a", [value]),
        lambda value: tk.image([value]),
        lambda value: Sampling(temperature=[value]),
        lambda value: Sampling(stop=[[value]]),
        lambda value: Sampling(logit_bias=[value]),
        lambda value: Sampling(seed=[value]),
        lambda value: Request(prompt=[value]),
        lambda value: Request.chat("a", tools=[], tool_choice=[value]),
        lambda value: Grade(thumb=[value]),
        lambda value: ENGINE.score("a", [[value]]),
        lambda value: ENGINE.branch([value], 0, "a"),
        lambda value: tk.few_shot([value]),
        lambda value: tk.playground([value]),
        lambda value: tk.results([value]),
        lambda value: tk.connect("http://127.0.0.1:9/v1", timeout=[value]),
        lambda value: tk.variants(env=[[value]]),
        lambda value: tk.models.local([value]),
    ],
)
def test_a_message_with_any_value_in_it_is_bounded(call, value):
    with pytest.raises((TypeError, ValueError, tk.StoreError)) as caught:
        call(value)
    assert len(str(caught.value)) < LONGEST


LONG = range(10**12)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: tk.grid(seed=LONG), "axis seed"),
        (lambda: tk.grid(seed=range(10**30)), "axis seed"),
        (lambda: tk.grid(prompt=LONG), "axis prompt"),
        (lambda: tk.zipped(seed=LONG, top_k=LONG), "axis seed"),
        (lambda: tk.grid(seed=itertools.count()), "axis seed"),
        (lambda: tk.Cells({} for _ in LONG), "cells"),
        (lambda: Sampling(stop_token_ids=LONG), "stop_token_ids"),
        (lambda: Sampling(allowed_token_ids=LONG), "allowed_token_ids"),
        (lambda: Request(prompt=LONG), "prompt"),
        (lambda: Request.chat("a", prefix=LONG), "prefix"),
        (lambda: tk.Prompt("a", documents=LONG), "documents"),
        (lambda: tk.count_many(LONG, "gpt-4"), "texts"),
        (lambda: tk.compare_tokenizers(["a"], LONG), "models"),
        (lambda: ENGINE.score("a", LONG), "continuations"),
        (lambda: tk.classify(ENGINE, "{x}", [{"x": "a"}], LONG, store=":memory:"), "labels"),
        (lambda: tk.calibration(LONG, LONG), "confidence"),
    ],
)
def test_what_has_too_many_items_is_refused_at_once(call, name):
    with pytest.raises(ValueError, match=rf"^{name} has more than 10?,000,000 items, got .*: give fewer"):
        call()


def test_the_combinations_of_axes_are_counted_before_they_are_made():
    thousand = range(1, 1001)
    with pytest.raises(
        ValueError, match=r"1,000 × 1,000 × 1,000 = 1,000,000,000 combinations, and at most 1,000,000"
    ):
        tk.grid(seed=thousand, top_k=thousand, max_tokens=thousand)
    with pytest.raises(ValueError, match="1,001 × 1,000 = 1,001,000 combinations"):
        tk.grid(seed=range(1001)) * tk.grid(top_k=thousand)
    assert len(tk.grid(seed=thousand) * tk.grid(top_k=range(10))) == 10_000


@pytest.mark.parametrize("repeats", [10**400, 10**15, 3_333_334])
def test_a_sweep_of_more_completions_than_a_plan_lists_is_refused(repeats):
    with pytest.raises(
        ValueError, match=r"at most 10,000,000 completions can be planned, .*: 3 requests with .* repeats"
    ):
        tk.sweep("a", tk.grid(seed=range(3)), repeats=repeats)
    with pytest.raises(ValueError, match="2 requests with 5000001 repeats"):
        tk.sweep(None, [{}], tk.grid(prompt=["a", "b"]), repeats=5_000_001)
    with pytest.raises(ValueError, match=r"1 request with .* repeats"):
        tk.protocols.same_seed(ENGINE, "a", n=10**9, store=":memory:")


def test_a_sweep_may_have_many_completions():
    assert tk.sweep("a", tk.grid(seed=range(2)), repeats=5_000_000).repeats == 5_000_000


@pytest.mark.parametrize("name", ["columns", "rows"])
def test_a_long_range_names_no_columns(name):
    results = tk.sweep("a", tk.grid(max_tokens=[1, 2])).run(ENGINE, ":memory:")
    with pytest.raises(TypeError, match="a column is named by a text, got 0"):
        results.pivot(**{"rows": "seed", "columns": "seed", name: LONG})
