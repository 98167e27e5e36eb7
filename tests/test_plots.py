import pandas as pd
import pytest

from toolkit.plots import agreement, overview


def table(temperatures, tokens, texts):
    return pd.DataFrame({"temperature": temperatures, "completion_tokens": tokens, "text": texts})


def test_overview_draws_each_completion_and_the_agreement():
    figure = overview(table([0, 0, 1, 1], [4, 4, 6, 8], ["a", "a", "b", "c"]), ["temperature"])
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["temperature 0", "temperature 1"]
    dots = [line.get_xdata().tolist() for line in left.lines if line.get_marker() == "o"]
    assert dots == [[4, 4], [6, 8]]
    means = [line.get_xdata()[0] for line in left.lines if line.get_marker() != "o"]
    assert means == [4, 7]
    assert [bar.get_width() for bar in right.patches] == [1.0, 0.5]


def test_agreement_is_among_answers_to_the_same_question():
    answers = pd.DataFrame({"row": [0, 0, 0, 0, 1, 1], "text": ["a", "a", "a", "b", "c", "d"]})
    assert agreement(answers) == (3 / 4 + 1 / 2) / 2  # by hand
    assert agreement(answers.drop(columns="row")) == 3 / 6


@pytest.mark.parametrize("axes", [[], ["seed"]])
def test_overview_of_one_setting(axes):
    figure = overview(table([1], [3], ["a"]).assign(seed=[0]), axes)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["all"]


def test_overview_says_which_settings_it_leaves_out():
    many = table([i / 20 for i in range(40)], [1] * 40, ["a"] * 40)
    assert "the first 24 of 40 settings" in overview(many, ["temperature"])._suptitle.get_text()
