"""Right answers: which variable holds them, and which texts are them."""

import re

import pytest
from ngram_engine import NGramEngine
from test_comparison import filled

import toolkit as tk
from toolkit.results.targets import is_right, target_variable

SHOT = {"template": "Review: {review}", "answer": "{label}"}


@pytest.mark.parametrize(
    ("variables", "prompts", "name"),
    [
        (["review", "label"], [SHOT], "label"),
        (["review", "sentiment"], [{**SHOT, "answer": "{sentiment}"}], "sentiment"),  # whatever its name
        (["review", "sentiment"], [{**SHOT, "answer": "{{ sentiment }}"}], "sentiment"),
        (["review", "label", "expected"], ["{review}"], "expected"),
        (["question", "answer"], ["{question}"], "answer"),
        (
            ["question", "answer", "label"],
            ["Is {answer} right for {question}?"],
            "label",
        ),  # a judge sees the answer
        (["question", "answer"], [{"template": "{question}", "system": "Judge {answer}"}], None),
        (["question"], ["{question}"], None),
        (["review"], [SHOT], None),
        ([], [], None),
        (["expected"], [[{"role": "user", "content": "Hi"}]], "expected"),
    ],
)
def test_the_variable_of_the_right_answer(variables, prompts, name):
    assert target_variable(variables, prompts) == name


@pytest.mark.parametrize(
    ("text", "target", "right"),
    [
        ("positive", "positive", True),
        (" Positive.\n", "positive", True),
        ("**positive**", "Positive", True),
        ("“New  York”", "new york", True),
        ("negative", "positive", False),
        ("", "positive", False),
        ("The sentiment is positive", "positive", None),  # or is it? "not positive" has the word too
        ("not positive", "positive", None),
        ("positively", "positive", False),
        ("4", 4, True),
        ("4.0", 4, True),
        ("1,000", 1000, True),
        ("5", 4, False),
        ("14", 4, False),
        ("true", True, True),
        ("?", "!", False),
        *[(text, target, False) for text, target in [("-5", 5), (".5", 5), ("5%", 50), ("C#", "F")]],
        ("C++", "C", None),
        ("$5", 5, None),
        ("*Paris*, of course", "Paris", None),
        ('{"label": "positive", "why": "warm"}', "positive", True),
        ('{"label": "negative", "why": "not positive"}', "positive", False),
        ('{"label": 4}', 4, True),
        ('{"label": ["a", "b"]}', ("a", "b"), True),
        ('{"other": "positive"}', "positive", None),
        ('{"label": "posi', "positive", False),
        ("A summary in other words", "long " * 30, None),  # has more than one wording
        ("long " * 30, "long " * 30, True),
        ("Ünïcode", "ünÏCODE", True),
        ("positive", None, None),
        ("positive", float("nan"), None),
    ],
)
def test_the_right_answer(text, target, right):
    assert is_right(text, target, "label") is right


@pytest.fixture
def ngram():
    return NGramEngine("a text of some words")


def test_the_columns_of_a_sweep_know_right_from_wrong(db, made):
    repeats = ["x", "y", "an x", {"error": "broke"}, {"text": "x", "finish_reason": "length"}]
    results = filled(db, made, [(0, {"seed": 1}, repeats)], [{"q": "a", "expected": "x"}])
    comparison = results.compare("seed", rows="repeat")
    assert comparison.facts.target == "row.expected"
    assert comparison.facts.correct == [True, False, None, None, True]
    assert comparison.facts.codes("correct")[1] == ["right", "wrong", None]
    assert comparison.tally(comparison.facts.failed | True) == {"right": 2, "wrong": 1, "unclear": 1}
    found = comparison.find(where={"correct": ["wrong"]})
    assert [comparison.row_values(row) for row in found.rows.tolist()] == [{"repeat": 1}]
    assert comparison.find(group="correct").groups == (
        "correct right", "correct right", "correct wrong", "correct –", "correct –",
    )  # fmt: skip


def test_without_right_answers_nothing_is_claimed(ngram):
    comparison = tk.sweep("{q}", [{"q": "a"}], tk.grid(max_tokens=1)).run(ngram, ":memory:").compare("row.q")
    assert comparison.facts.target is None
    assert comparison.facts.correct == [None]
    assert "correct" not in comparison.measures
    assert "right" not in re.sub("<[^>]*>", "", comparison.html())
    with pytest.raises(KeyError, match="unknown column 'correct'"):
        comparison.find(sort="correct")
