"""What `explain_difference` says of answers by hand; with engines it is tested in test_across.py."""

import re

import pytest
from test_determinism import stored, system

from toolkit.experiments.explain_difference import Explanation

A, B, C, D = (system(name).id for name in "abcd")


def explained(asked, tried=None):
    """Of {prompt: {system: runs}}: a and b, a with the dtype of b (c), a with the threads of b (d)."""
    tried = tried or {"dtype": C, "threads": D}
    changes = {"dtype": {"dtype": "float16"}, "threads": {"threads": 2}}
    return Explanation(A, B, tried, changes, stored(asked).determinism())


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (
            {"q": {"a": ["x"], "b": ["y"], "c": ["y"], "d": ["x"]}},
            r"The two answer 1 of 1 requests differently. dtype \(float16\) is enough: .*",
        ),
        (
            {"q": {"a": ["x"], "b": ["y"], "c": [None], "d": ["x"]}},
            "The two answer 1 of 1 requests differently. No setting alone changes an answer.*",
        ),
        (
            {"q": {"a": ["x"], "b": ["y"], "d": ["y"]}},
            r"The two answer 1 of 1 requests differently. threads \(2\) is enough.*",
        ),
        (
            {"q": {"a": ["x"], "b": ["y"], "c": ["y"]}, "r": {"a": ["x"], "b": ["y"], "c": [None]}},
            "The two answer 2 of 2 .* No setting alone is enough; these change some answers: dtype.",
        ),
        (
            {"q": {"a": [None], "b": ["y"], "c": ["y"], "d": ["x"]}},
            "No request was answered by both: the errors in the results say why.",
        ),
        ({"q": {"b": ["y"], "c": ["y"], "d": ["x"]}}, "No request was answered by both: .*"),
        (
            {"q": {"a": [None], "b": ["y"], "c": ["y"]}, "r": {"a": ["x"], "b": ["x"], "d": ["x"]}},
            "The two answer all of 1 requests alike: ask others, or more of them.",
        ),
    ],
)
def test_engines_that_answered_nothing_count_for_nothing(asked, sentence):
    found = explained(asked)
    assert re.fullmatch(sentence, found.sentence())
    assert "<table>" in found._repr_html_()


def test_a_setting_that_is_a_secret_is_not_shown():
    report = stored({"q": {"a": ["x"], "b": ["y"], "c": ["y"]}}).determinism()
    changes = {"hf_token": {"hf_token": "hf_secret"}, "API_KEY": {"env": {"API_KEY": "hf_secret"}}}
    found = Explanation(A, B, {"hf_token": C, "API_KEY": C}, changes, report)
    assert found.table["value"].tolist() == ["***", "***"]
    assert "hf_secret" not in repr(found) + found._repr_html_()


def test_a_setting_that_is_a_dict_is_shown_whole():
    config = {"level": 3, "mode": "none", "password": "pw"}
    changes = {"compilation_config": {"compilation_config": config}, "A": {"env": {"A": "1"}}}
    report = stored({"q": {"a": ["x"], "b": ["y"], "c": ["y"]}}).determinism()
    found = Explanation(A, B, dict.fromkeys(changes, C), changes, report)
    assert found.table["value"].tolist() == [{**config, "password": "***"}, "1"]
    assert str({**config, "password": "***"}) in found.sentence()


def test_a_request_that_was_not_answered_is_not_counted_as_changed():
    found = explained(
        {
            "q": {"a": ["x"], "b": ["y"], "c": ["y"], "d": [None]},
            "r": {"a": ["x"], "b": ["y"], "c": [None], "d": ["z"]},
            "s": {"a": ["x"], "b": ["x"], "c": ["y"], "d": ["x"]},
        }
    )
    rows = found.table[["requests", "changed", "as_b", "enough"]]
    assert rows.loc["dtype"].tolist() == [1, 1, 1, False]
    assert rows.loc["threads"].tolist() == [1, 1, 0, False]
