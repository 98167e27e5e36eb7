import numpy as np
import pandas as pd
import pytest

from toolkit.analysis.logprobs import BY
from toolkit.display.plots.sweep import modal_share, plot_sweep
from toolkit.display.plots.tokens import plot_tokens


def table(temperatures, tokens, texts):
    return pd.DataFrame({"temperature": temperatures, "completion_tokens": tokens, "text": texts})


def test_overview_draws_each_completion_and_the_agreement():
    figure = plot_sweep(table([0, 0, 1, 1], [4, 4, 6, 8], ["a", "a", "b", "c"]), ["temperature"])
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["temperature 0", "temperature 1"]
    dots = [line.get_xdata().tolist() for line in left.lines if line.get_marker() == "o"]
    assert dots == [[4, 4], [6, 8]]
    means = [line.get_xdata()[0] for line in left.lines if line.get_marker() != "o"]
    assert means == [4, 7]
    assert [bar.get_width() for bar in right.patches] == [1.0, 0.5]


def test_agreement_is_among_answers_to_the_same_question():
    answers = pd.DataFrame({"row": [0, 0, 0, 0, 1, 1], "text": ["a", "a", "a", "b", "c", "d"]})
    assert modal_share(answers) == (3 / 4 + 1 / 2) / 2  # by hand
    assert modal_share(answers.drop(columns="row")) == 3 / 6


@pytest.mark.parametrize("axes", [[], ["seed"]])
def test_overview_of_one_setting(axes):
    figure = plot_sweep(table([1], [3], ["a"]).assign(seed=[0]), axes)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["all"]


def test_overview_says_which_settings_it_leaves_out():
    many = table([i / 20 for i in range(40)], [1] * 40, ["a"] * 40)
    assert "the first 24 of 40 settings" in plot_sweep(many, ["temperature"])._suptitle.get_text()


def strip_of(pieces, by="probability", **columns):
    """A figure of pieces of one token each, or (text, tokens)."""
    ends, placed = 0, []
    for piece in pieces:
        text, length = piece if isinstance(piece, tuple) else (piece, 1)
        placed.append((ends, ends + length, text))
        ends += length
    steps = np.arange(ends)
    made = {
        "column": 1 / (1 + steps % 5),
        "surprisal": steps % 5 * 1.0,
        "low": steps % 3 * 0.5,
        "high": 1 + steps % 3 * 0.75,
    }
    return plot_tokens(placed, by, **(made | columns))


def drawn(figure):
    figure.canvas.draw()
    return [text.get_text() for text in figure.axes[0].texts]


def test_tokens_are_drawn_with_their_surprisal_and_the_band_of_the_entropy():
    surprisal, low, high = np.array([0.5, 2, 1]), np.array([0, 1, 2]), np.array([1, 3, 2.5])
    figure = strip_of(
        ["The", " cat", "."], surprisal=surprisal, low=low, high=high, column=np.array([1, 0.5, 0])
    )
    assert drawn(figure) == ["The", " cat", "."]
    above, middle, below = figure.axes
    assert above.get_title() == "colour: probability"
    boxes = [(p.get_x(), p.get_width(), p.get_alpha()) for p in above.patches]
    assert boxes == [
        (0, 3, 0),
        (3, 4, 0.4),
        (7, 1, 0.8),
    ]  # as wide as the text, as strong as it is surprising
    assert [bar.get_height() for bar in middle.patches] == surprisal.tolist()
    (band,), (outline,) = below.collections, below.lines
    corners = {tuple(c) for c in band.get_paths()[0].vertices.tolist()}
    assert corners == {(x + side, y) for x in range(3) for side in (-0.5, 0.5) for y in (low[x], high[x])}
    assert outline.get_xydata().tolist() == [
        [-0.5, 1], [0.5, 1], [0.5, 3], [1.5, 3], [1.5, 2.5], [2.5, 2.5],
    ]  # fmt: skip
    assert below.get_ylim()[0] == 0


HARD = [
    "Price", " is $5", " and $10", "\n", "\tTab", "\r\n", " café", " 日本", ("語", 3), (" 🎉", 4), " \\frac{1}{2}",
    " a_b^2", " हिन्दी", " العربية", "\x00\x1b", "\ufffd", " ", "$", " $\\notatexcommand", "\u200d\ufe0f", "",
]  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("by", BY)
def test_any_text_can_be_drawn(by, tmp_path):
    """No glyph is missing, and a dollar sign begins no formula: matplotlib would warn, or fail."""
    figure = strip_of(HARD, by)
    figure.savefig(tmp_path / "strip.png")
    figure.savefig(tmp_path / "strip.svg")
    texts = drawn(figure)
    assert texts[:8] == ["Price", " is $5", " and $10", "⏎", "⇥Tab", "▯⏎", " café", " ▯▯"]
    assert " \\frac{1}{2}" in texts


def test_a_line_ends_where_the_text_says_and_where_it_is_full():
    pieces = ["ab", "\n", "c" * 60, "d" * 39, "ee", "日" * 49, "ff"]
    above = strip_of(pieces).axes[0]
    places = [(p.get_x(), p.get_y(), p.get_width()) for p in above.patches]
    assert places == [
        (0, 0, 2), (2, 0, 1), (0, 1, 60), (60, 1, 39), (0, 2, 2), (2, 2, 98), (0, 3, 2),
    ]  # fmt: skip
    assert above.get_ylim() == (4, 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("pieces", "columns"),
    [
        ([], {}),
        (["a"], {}),
        (["a", "b"], {name: np.full(2, np.nan) for name in ("column", "surprisal", "low", "high")}),
        (["a", "b"], {"high": np.array([np.nan, 1])}),
    ],
)
def test_little_can_be_drawn_too(pieces, columns):
    figure = strip_of(pieces, **columns)
    assert drawn(figure) == pieces
    for axis in figure.axes[1:]:
        assert all(float(tick).is_integer() for tick in axis.get_xticks())  # a token has a whole number


def test_a_long_text_is_cut_and_the_title_says_so():
    figure = strip_of([*["w "] * 399, ("🎉", 4), *["w "] * 600])
    assert figure.axes[0].get_title() == "colour: probability, the first 399 tokens of 1003"
    assert len(drawn(figure)) == len(figure.axes[1].patches) == 399
    assert "first" not in strip_of(["w"] * 400).axes[0].get_title()
