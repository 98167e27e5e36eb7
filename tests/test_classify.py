import enum

import numpy as np
import pandas as pd
import pytest
from ngram_engine import NGramEngine
from scipy.special import log_softmax

import toolkit as tk
from toolkit.experiments.classify import CONTENT_FREE, Classification

PROMPT = "Review: {text}\nIs it positive or negative? Answer with one word."
ROWS = [
    {"text": "I loved it", "expected": "good"},
    {"text": "Terrible food", "expected": "bad"},
    {"text": "It broke", "expected": "bad"},
]
LABELS = {"good": "Positive", "bad": "Negative", "none": "I am not sure"}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("classify") / "run.db"


@pytest.fixture(scope="module")
def found(engine, path):
    return tk.classify(engine, PROMPT, ROWS, LABELS, CONTENT_FREE, path)


def by_hand(logprobs, content_free=(), rows=None, errors=None, labels=("yes", "no")):
    table = np.log(np.array(logprobs, np.float64))
    empty = np.log(np.array(content_free, np.float64)).reshape(-1, len(labels))
    rows = rows or tuple({"text": str(i)} for i in range(len(table)))
    return Classification(labels, rows, table, empty, errors or (None,) * len(table))


def test_label_probabilities_are_those_of_transformers(engine, reference, found):
    for i, row in enumerate(ROWS):
        prompt = list(engine.encode(PROMPT.format(**row)))
        for j, text in enumerate(LABELS.values()):
            label = engine.tokenizer.hf.encode(text, add_special_tokens=False)
            logs = log_softmax(reference(prompt + label).astype(np.float64), axis=-1)
            own = sum(logs[len(prompt) + n - 1, token] for n, token in enumerate(label))
            assert found.logprobs[i, j] == pytest.approx(own, abs=2e-3)


def test_each_row_says_what_is_predicted_and_how_sure_it_is(found):
    frame = found.frame()
    assert frame["row.text"].tolist() == [row["text"] for row in ROWS]
    shares = frame[["p.good", "p.bad", "p.none"]].to_numpy()
    assert shares.sum(axis=1) == pytest.approx(1)
    assert frame["predicted"].tolist() == [found.labels[i] for i in shares.argmax(axis=1)]
    assert frame["confidence"].to_numpy() == pytest.approx(shares.max(axis=1))
    assert frame["covered_mass"].between(0, 1).all()
    right = [label == row["expected"] for label, row in zip(frame["predicted"], ROWS, strict=True)]
    assert frame["correct"].tolist() == right
    assert set(frame["uncalibrated"]) == {"good"}  # the model is biased: it says so to anything
    assert f"{sum(right)} of 3 right" in repr(found)
    assert "<table>" in found._repr_html_()


def test_variables_of_rows_are_exact():
    rows = ({"id": 2**53 + 1, "tag": "007"}, {"id": None}, {"id": 7, "flag": True})
    frame = by_hand([[0.5, 0.5]] * 3, rows=rows).frame()
    assert frame["row.id"].tolist() == [2**53 + 1, pd.NA, 7]
    assert frame["row.flag"].tolist() == [pd.NA, pd.NA, True]
    assert frame["row.tag"].tolist()[0] == "007"
    assert list(frame)[:3] == ["row.id", "row.tag", "row.flag"]


def test_what_is_stored_is_not_asked_again(engine, path, found):
    tokens = engine.generated_tokens
    again = tk.classify(engine, PROMPT, ROWS, LABELS, CONTENT_FREE, path)
    assert engine.generated_tokens == tokens
    assert np.array_equal(again.logprobs, found.logprobs)


def test_a_row_that_cannot_be_scored_is_an_error_and_the_others_are_unharmed(engine, db):
    rows = [{"text": "word " * engine.window}, {"text": "What a joy"}]
    table = tk.classify(engine, PROMPT, rows, ["Positive", "Negative"], store=db).frame()
    assert "context window" in table["error"][0]
    assert table["predicted"].isna().tolist() == [True, False]
    assert table["confidence"].isna().tolist() == [True, False]
    assert "correct" not in table


def test_shares_and_margins_as_worked_by_hand():
    made = by_hand([[0.3, 0.1], [0.02, 0.08]])
    frame = made.frame()
    assert frame["p.yes"].tolist() == pytest.approx([0.75, 0.2])
    assert frame["predicted"].tolist() == ["yes", "no"]
    assert frame["margin"].tolist() == pytest.approx([0.5, 0.6])
    assert frame["covered_mass"].tolist() == pytest.approx([0.4, 0.1])


def test_contextual_calibration_as_worked_by_hand():
    # Without content the model says yes with 0.8 and 0.6, no with 0.2 and 0.4: 0.7 and 0.3 on average.
    made = by_hand([[0.3, 0.1], [0.1, 0.1]], content_free=[[0.4, 0.1], [0.3, 0.2]])
    # 0.75 / 0.7 and 0.25 / 0.3, and 0.5 / 0.7 and 0.5 / 0.3.
    expected = np.array([[0.75 / 0.7, 0.25 / 0.3], [0.5 / 0.7, 0.5 / 0.3]])
    expected /= expected.sum(axis=1, keepdims=True)
    assert made.probabilities == pytest.approx(expected)
    assert made.frame()["predicted"].tolist() == ["yes", "no"]
    assert made.frame()["uncalibrated"].tolist() == ["yes", "yes"]


def test_right_and_wrong_are_counted():
    rows = tuple({"text": "-", "expected": e} for e in ("yes", "no", "no", "no"))
    made = by_hand([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.1, 0.9]], rows=rows)
    assert made.confusion().to_numpy().tolist() == [[1, 0], [1, 2]]
    told = made.calibration()
    assert told.accuracy == 0.75
    assert told.brier == pytest.approx((0.1**2 + 0.6**2 + 0.2**2 + 0.1**2) / 4)
    assert told.thresholds([0.7])["accuracy"].tolist() == [1]


def test_rows_with_and_without_an_expected_label_may_be_mixed():
    made = by_hand([[0.9, 0.1], [0.6, 0.4]], rows=({"text": "a", "expected": "no"}, {"text": "b"}))
    assert made.frame()["correct"].isna().tolist() == [False, True]
    assert made.calibration().n == 1


def test_without_expected_labels_there_is_no_calibration():
    with pytest.raises(ValueError, match="give rows an `expected`"):
        by_hand([[0.3, 0.1]]).calibration()


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ("yes", TypeError, "labels must be a list of texts or a dict"),
        (["yes"], ValueError, "at least two different"),
        (["yes", "yes"], ValueError, "at least two different"),
        (["yes", ""], ValueError, "label '' must be text that is not empty"),
        ({"a": "yes", "b": 3}, ValueError, "label 'b' must be text"),
        (["yes", "yes, sir"], ValueError, "label 'yes' is how 'yes, sir' begins"),
        ({"a": "yes", "b": "yes"}, ValueError, "label 'a' is how 'b' begins"),
    ],
)
def test_bad_labels(engine, db, labels, error, message):
    with pytest.raises(error, match=message):
        tk.classify(engine, PROMPT, ROWS, labels, store=db)


def test_bad_prompts_and_rows(engine, db):
    with pytest.raises(TypeError, match="prompt must be text or a Prompt"):
        tk.classify(engine, [{"role": "user", "content": "Hi"}], ROWS, LABELS, store=db)
    with pytest.raises(ValueError, match="text"):
        tk.classify(engine, PROMPT, [{"other": "x"}], LABELS, store=db)
    with pytest.raises(ValueError, match=r"the prompt without content .* cannot be scored"):
        tk.classify(engine, PROMPT, ROWS, LABELS, ["word " * engine.window], db)


def test_a_gallery_prompt_checks_whether_the_context_holds_the_answer(engine, db):
    entry = tk.gallery()["check-context"]
    frame = tk.classify(engine, entry.prompt, entry.rows, ["Yes", "No"], store=db).frame()
    assert (frame["covered_mass"] > 0.5).all()  # its examples teach the form of the answer
    assert frame["correct"].notna().all()


class Mood(str, enum.Enum):  # noqa: UP042  # as people write it
    GOOD = "good"
    BAD = "bad"


def test_a_row_that_cannot_be_written_has_an_error_and_the_others_are_scored(db):
    ngram = NGramEngine("R: good, bad, okay\n\nx: 1.25 good\n")
    rows = pd.DataFrame(
        {"x": ["good", "bad \ud83d", "okay"], "expected": [Mood.GOOD, Mood.BAD, None]}, dtype=object
    )
    frame = tk.classify(ngram, tk.Prompt("R: {x}"), rows, list(Mood), store=db).frame()
    assert frame["error"].notna().tolist() == [False, True, False]
    assert frame["error"][1].startswith("row 1: 'x' is not valid Unicode")
    assert frame["confidence"].notna().tolist() == [True, False, True]
    assert frame["correct"].notna().tolist() == [True, False, False]
    alone = tk.classify(ngram, "R: {x}", rows[::2], list(Mood), store=db).frame()
    assert alone["p.good"].tolist() == frame["p.good"].tolist()[::2]
    with pytest.raises(ValueError, match="row 2: the row has no value for 'expected', got "):
        tk.classify(ngram, "R: {expected}", rows, list(Mood), store=db)


@pytest.mark.parametrize("expected", [None, float("nan"), pd.NA, pd.NaT])
def test_a_row_whose_label_is_missing_is_neither_right_nor_wrong(expected):
    found = by_hand([(0.9, 0.1)] * 2, rows=({"expected": "yes"}, {"expected": expected}))
    assert found.frame()["correct"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "\ud83d"], "is not valid Unicode"),
        ({"a": "a", None: "b"}, "the label 'b' has no name, got None"),
        ({"a": "a", float("nan"): "b"}, "the label 'b' has no name, got nan"),
        ({"a": "a", "b": None}, "label 'b' must be text that is not empty, got None"),
        (["a", pd.NA], "label None must be text that is not empty, got None"),
    ],
)
def test_missing_and_broken_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        tk.classify(NGramEngine("ab"), "{x}", [{"x": "a"}], labels)
