import dataclasses
import string
from fractions import Fraction
from math import comb
from typing import Literal

import numpy as np
import pytest
from ngram_engine import NGramEngine
from pydantic import BaseModel
from scipy.special import log_softmax

import toolkit as tk
from toolkit.analysis.determinism.statistics import holm, mcnemar
from toolkit.core.completion import Usage
from toolkit.experiments.schema_cost import _measured, _thinking_usage
from toolkit.structured.response_format import response_format


class Mood(BaseModel):
    mood: Literal["positive", "negative"]


ROWS = [
    {"review": "I loved it.", "expected": '{"mood": "positive"}'},
    {"review": "Awful.", "expected": {"mood": "negative"}},
    {"review": "Best film ever!", "expected": '{"mood": "positive"}'},
]
PROMPT = tk.Prompt("Is this review positive or negative? {review}")


@pytest.fixture(scope="module")
def price(engine, tmp_path_factory):
    store = tmp_path_factory.mktemp("price") / "run.db"
    return tk.price_of_schema(engine, PROMPT, Mood, ROWS, store=store, temperature=0, max_tokens=30)


def test_four_arms_over_the_same_rows(price):
    frame = price.frame()
    assert frame.groupby("arm", sort=False).size().to_dict() == {
        "free": 3, "instructed": 3, "reasoned": 3, "constrained": 3,
    }  # fmt: skip
    held = frame[frame["arm"].isin(["reasoned", "constrained"])]
    assert held["valid"].all()
    assert held["removed_mass"].between(0, 1).all()
    assert frame[frame["arm"].isin(["free", "instructed"])]["removed_mass"].isna().all()
    assert (frame["thinking_tokens"] > 0).tolist() == (frame["arm"] == "reasoned").tolist()
    assert (frame["all_tokens"] == frame["completion_tokens"] + frame["thinking_tokens"]).all()
    right = [row["text"].replace(" ", "") == '{"mood":"positive"}' for _, row in held.iterrows()]
    expected = [r if i in (0, 2) else not r for r, i in zip(right, held["row"], strict=True)]
    assert held["correct"].tolist() == expected
    assert price.summary().loc["constrained", "valid"] == 1


def test_the_arms_are_asked_as_they_say(price):
    said = {arm: [m["content"] for m in cs[0].request.messages] for arm, cs in price.answers.items()}
    assert said["free"] == ["Is this review positive or negative? I loved it."]
    assert said["instructed"] == said["constrained"]
    assert '"enum": ["positive", "negative"]' in said["instructed"][0]
    assert "step by step" in said["reasoned"][0]
    assert len(said["reasoned"]) == 3
    forms = {arm: cs[0].request.response_format for arm, cs in price.answers.items()}
    assert [arm for arm, form in forms.items() if form] == ["reasoned", "constrained"]


def test_every_two_arms_are_compared(price):
    pairs = price.pairs()
    assert len(pairs) == 6
    row = pairs[(pairs["first"] == "reasoned") & (pairs["second"] == "constrained")].iloc[0]
    assert (row["valid_first_only"], row["valid_second_only"], row["valid_p"]) == (0, 0, 1)
    assert row["all_tokens_difference"] < 0  # thinking counts
    assert "constrained" in repr(price)
    assert "<table>" in price._repr_html_()


def test_removed_mass_is_what_the_model_gave_to_the_tokens_that_were_forbidden(engine, reference):
    form = {"type": "choice", "choice": ["yes", "no", "maybe"]}
    c = engine.chat("Is water wet?", response_format=form, temperature=0, top_logprobs=20, max_tokens=6)
    (removed,) = tk.removed_mass(engine, [c])
    prompt, ids = c.prompt_token_ids.tolist(), c.token_ids.tolist()
    raw = log_softmax(reference(prompt + ids)[len(prompt) - 1 : -1].astype(np.float64), axis=-1)
    for step in range(len(ids)):
        allowed = c.top_ids[step][c.top_logprobs[step] > -1e9]
        assert len(allowed) < 20
        assert removed[step] == pytest.approx(1 - np.exp(raw[step][allowed]).sum(), abs=2e-3)


@pytest.mark.parametrize(
    ("text", "valid", "correct"),
    [
        ('{"mood": "positive"}', True, True),
        ('{"mood": "negative"}', True, False),
        ('Sure:\n```json\n{"mood": "positive"}\n```', False, True),
        ('Sure:\n```json\n{"mood": "odd"}\n```', False, False),
        ("It is positive.", False, False),
    ],
)
def test_what_counts_as_valid_and_as_correct(made, text, valid, correct):
    found = _measured(made(text=text), response_format(Mood), ROWS[0], None)
    assert (found["valid"], found["correct"]) == (valid, correct)
    assert _measured(made(text=text), response_format(Mood), {}, None)["correct"] is None
    own = _measured(made(text=text), response_format(Mood), {}, lambda answer, row: answer.mood == "positive")
    assert own["correct"] == correct


def test_without_logprobs_nothing_is_known(engine):
    (removed,) = tk.removed_mass(engine, [engine.chat("Hi", temperature=0, max_tokens=2)])
    assert np.isnan(removed).tolist() == [True, True]


def test_a_free_answer_lost_nothing(engine):
    (removed,) = tk.removed_mass(engine, [engine.chat("Hi", temperature=0, max_tokens=6, top_logprobs=0)])
    assert np.abs(removed).max() < 1e-3


@pytest.mark.parametrize("form", [None, {"type": "regex", "regex": "a"}])
def test_only_a_schema_has_a_price(engine, form):
    with pytest.raises(ValueError, match="form must be a JSON Schema or a type"):
        tk.price_of_schema(engine, PROMPT, form, ROWS)


def test_mcnemar_and_holm_as_worked_by_hand():
    import pandas as pd

    a = pd.Series([True] * 1 + [False] * 7 + [True] * 2)
    b = pd.Series([False] * 1 + [True] * 7 + [True] * 2)
    # 1 against 7 of 8: p = 2 (C(8,0) + C(8,1)) / 2^8 = 18/256.
    assert mcnemar(a, b) == {"first_only": 1, "second_only": 7, "p": pytest.approx(18 / 256)}
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])


# The test of two arms


def two_arms(first_only, second_only, both=5):
    """A price of two arms, of which so many answers are valid in one alone."""
    valid = [(True, False)] * first_only + [(False, True)] * second_only + [(True, True)] * both
    measured = {"text": "", "verdict": "", "correct": None, "removed_mass": 0.0, "prompt_tokens": 1}
    spent = {"completion_tokens": 2, "thinking_tokens": 0, "seconds": 0.123456, "thinking_seconds": 0.0}
    rows = [
        {"arm": arm, "row": i, "valid": pair[j], **measured, **spent}
        for j, arm in enumerate(("free", "constrained"))
        for i, pair in enumerate(valid)
    ]
    return tk.Price("form", tuple(rows), {}, {})


def exact_p(first_only, second_only):
    """McNemar's test by the definition, in whole numbers."""
    n, k = first_only + second_only, min(first_only, second_only)
    return min(Fraction(1), Fraction(2 * sum(comb(n, i) for i in range(k + 1)), 2**n))


@pytest.mark.parametrize(
    "counts",
    [(0, 0), (3, 3), (0, 5), (2, 9), (0, 14), (1, 20), (0, 16), (0, 40), (3, 60), (0, 500), (400, 2)],
)
def test_a_p_value_has_four_digits_and_is_never_zero(counts):
    (row,) = two_arms(*counts).pairs().to_dict("records")
    assert (row["valid_first_only"], row["valid_second_only"]) == counts
    assert 0 < row["valid_p"] <= 1
    assert row["valid_p"] == pytest.approx(float(exact_p(*counts)), rel=6e-4)
    assert np.isnan(row["correct_p"])
    assert row["all_seconds_difference"] == 0


def test_unknown_seconds_and_tokens_are_missing(made):
    import pandas as pd

    def measured(arm, seconds, thinking):
        answer = {"arm": arm, "row": 0, **_measured(made(text="x"), response_format(Mood), {}, None)}
        return {**answer, "seconds": seconds, **_thinking_usage(thinking), "removed_mass": np.nan}

    unknown = dataclasses.replace(made(text="x"), seconds=None, usage=Usage(1, None, None))
    rows = [
        measured("free", 2.0, None),
        measured("instructed", None, None),
        measured("reasoned", 2.0, unknown),
    ]
    frame = tk.Price("form", tuple(rows), {}, {}).frame()
    assert frame["all_seconds"].fillna(-1).tolist() == [2, -1, -1]
    assert frame["thinking_seconds"].fillna(-1).tolist() == [0, 0, -1]
    assert frame["thinking_tokens"].tolist() == [0, 0, pd.NA]
    assert frame["all_tokens"].isna().tolist() == [False, False, True]


def test_a_p_value_below_all_numbers_is_the_smallest_one():
    (row,) = two_arms(0, 1200).pairs().to_dict("records")
    assert float(exact_p(0, 1200)) == 0
    assert 0 < row["valid_p"] < 1e-320


def test_a_failed_answer_is_an_error_and_not_an_answer_that_is_no_json(made):
    found = _measured(made(error="too long"), response_format(Mood), ROWS[0], None)
    assert (found["verdict"], found["valid"], found["correct"], found["error"]) == (
        "error",
        False,
        False,
        "too long",
    )
    assert _measured(made(text="{}"), response_format(Mood), {}, None)["error"] is None


class Forgetful(NGramEngine):
    """Fails at the thinking step of one row."""

    def encode(self, request):
        request = request if isinstance(request, tk.Request) else tk.Request.chat(request)
        text = request.messages[-1]["content"] if request.messages else ""
        if "Awful" in text and "step by step" in text:
            raise ValueError("too long to think about")
        return super().encode(request)


def test_an_answer_is_not_asked_of_what_could_not_be_thought_about(tmp_path):
    engine = Forgetful(string.printable, 2)
    found = tk.price_of_schema(
        engine, PROMPT, Mood, ROWS, store=tmp_path / "run.db", max_tokens=3, top_logprobs=0
    )
    reasoned = found.frame().query("arm == 'reasoned'")
    assert len(reasoned) == 3
    assert reasoned["error"].tolist()[1] == "too long to think about"
    assert reasoned["error"].str.contains("does nothing else").tolist() == [True, False, True]
    assert reasoned["valid"].tolist() == [False] * 3
    turns = [[m["content"] for m in c.request.messages] for c in tk.results(tmp_path / "run.db")]
    assert not any("Awful" in conversation[0] and len(conversation) > 1 for conversation in turns)
    assert found.frame().query("arm == 'free'")["error"].isna().all()
