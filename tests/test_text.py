"""Values in error messages: of a bounded length, whatever they are."""

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
    assert short_repr(10**5000) == "<a int, whose repr fails>"  # Python writes up to 4,300 digits
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
        lambda value: tk.response_format([value]),
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
    with pytest.raises((TypeError, ValueError)) as caught:
        call(value)
    assert len(str(caught.value)) < LONGEST
