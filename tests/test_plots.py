import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

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


def panels(figure):
    """What the panels show, by the first line of their labels."""
    return [axis.get_xlabel().partition("\n")[0] for axis in figure.axes]


def labels(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def notes(axis):
    """Settings with words in place of a bar."""
    return {round(text.get_position()[1]): text.get_text() for text in axis.texts}


def study(**columns):
    """Two settings of three rows of data, which have one output each."""
    base = {
        "k": pd.array([0, 0, 0, 2, 2, 2], "Int64"),
        "row": [0, 1, 2] * 2,
        "text": ["yes", "no", "yes", "no", "no", "yes"],
        "completion_tokens": [1] * 6,
        "finish_reason": ["stop"] * 6,
    }
    return pd.DataFrame(base | columns)


LENGTHS, MIX = "completion tokens (bar: mean)", "share of each output"
AGREEMENT = "equal to the commonest"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, [MIX]),  # one output each agrees with itself by construction
        ({"text": list("abcdef"), "completion_tokens": [1, 2, 3, 4, 5, 6]}, [LENGTHS]),
        ({"text": ["yes"] * 6}, [LENGTHS]),
        ({"correct": [1, 0, 1, 0, 0, np.nan]}, ["score", MIX]),
        ({"correct": [np.nan] * 6}, [MIX]),
        ({"valid": [True] * 6}, [MIX]),  # all are, by construction of the constraint
        ({"valid": [True, None, False, True, True, True]}, [MIX, "valid for the response format"]),
        ({"row": [0, 0, 1] * 2}, [MIX, AGREEMENT]),
        ({"text": [f"{'long ' * 20}{i % 2}" for i in range(6)], "completion_tokens": [9, 8] * 3}, [LENGTHS]),
        ({"text": list("aabbcc"), "row": [0] * 6}, [MIX, AGREEMENT]),
        ({"text": list("aabbcd"), "completion_tokens": [1, 2] * 3}, [LENGTHS]),  # too many others
        ({"text": list("abcabc"), "completion_tokens": [1, 2, 3] * 2}, [LENGTHS]),  # each question has its own answer
    ],
)  # fmt: skip
def test_what_can_differ_is_drawn(columns, expected):
    assert panels(plot_sweep(study(**columns), ["k", "row"], "score")) == expected


def test_scores_are_means_of_rows_with_their_interval():
    answers = study(row=[0, 0, 1, 0, 1, 1], correct=[1, 0, 1, 1, 1, 1])
    axis = plot_sweep(answers, ["k", "row"], "score", lambda events, n: (events / n - 0.1, n / 10)).axes[0]
    assert [line.get_xdata().tolist() for line in axis.lines] == [[0.75], [1]]  # by hand: (1/2 + 1) / 2
    spans = [collection.get_segments()[0][:, 0].tolist() for collection in axis.collections]
    assert spans == [[0.65, 0.2], [0.9, 0.2]]
    assert axis.get_xlabel() == "score\n(mean of 2 rows, line: 95 %)"


def test_the_mix_of_labels():
    axis = plot_sweep(study(), ["k", "row"]).axes[0]
    shares = {bar.get_label(): [patch.get_width() for patch in bar] for bar in axis.containers}
    assert shares == {"yes": pytest.approx([2 / 3, 1 / 3]), "no": pytest.approx([1 / 3, 2 / 3])}


def test_outputs_that_are_no_labels_are_the_others():
    twice = pd.concat([study()] * 2, ignore_index=True)
    axis = plot_sweep(twice.assign(text=[*twice["text"][:-1], "Hm …"]), ["k", "row"]).axes[0]
    others = [bar for bar in axis.containers if bar.get_label() == "other outputs"]
    assert [patch.get_width() for patch in others[0]] == pytest.approx([0, 1 / 6])


def test_agreement_is_drawn_where_a_question_has_several_outputs():
    once = study(row=[0, 1, 2, 0, 0, 1])
    axis = plot_sweep(once, ["k", "row"]).axes[1]
    assert [bar.get_width() for bar in axis.patches] == [1]  # of row 0 under k = 2
    assert notes(axis) == {0: "one output each"}


def test_completions_that_were_cut_are_marked():
    texts = study(
        text=list("abcdef"),
        completion_tokens=[1, 2, 9, 4, 5, 6],
        finish_reason=["stop", "stop", "length"] * 2,
    )
    (axis,) = plot_sweep(texts, ["k", "row"]).axes
    cut = [line.get_xdata().tolist() for line in axis.lines if line.get_marker() == ">"]
    assert (cut, panels(axis.figure)) == ([[9], [6]], ["completion tokens (bar: mean, ▸: cut)"])


def test_a_setting_that_failed_says_so():
    failed = study(finish_reason=["error"] * 3 + ["stop"] * 3, text=[""] * 3 + ["yes", "no", "no"])
    assert notes(plot_sweep(failed, ["k", "row"]).axes[0]) == {0: "all failed"}
    assert notes(plot_sweep(failed.head(0), []).axes[0]) == {0: "no completion yet"}
    assert notes(plot_sweep(failed.head(3), ["row"]).axes[0]) == dict.fromkeys(range(3), "all failed")


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ({"temperature": [0.0] * 3 + [0.7] * 3, "top_p": [np.nan] * 3 + [0.9] * 3},
         ["temperature 0", "temperature 0.7, top_p 0.9"]),
        ({"k": pd.array([None] * 3 + [4] * 3, "Int64")}, ["k 4", "k –"]),
        ({"top_p": [0.99999] * 3 + [1.0] * 3}, ["top_p 1 [0]", "top_p 1 [1]"]),
        ({"case": ["costs $5 or $6\n"] * 3 + ["日本"] * 3}, ["case costs $5 or $6⏎", "case ▯▯"]),
        ({"prompt": [f"{'Write about the sea, please. ' * 9}{i}" for i in (0, 0, 0, 1, 1, 1)]},
         ["prompt Write about the sea, please. Wr… [0]", "prompt Write about the sea, please. Wr… [1]"]),
        ({"row.country": ["France", "Japan", "Brazil"] * 2},
         ["row.country Brazil", "row.country France", "row.country Japan"]),
        ({"row.country": ["France", "Japan", "Japan"] * 2}, ["row 0", "row 1", "row 2"]),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_labels_of_settings(axes, expected):
    figure = plot_sweep(study().drop(columns="k").assign(**axes), [*axes, "row"])
    figure.draw_without_rendering()
    assert [label.replace("\n", " ") for label in labels(figure)] == expected


def test_long_labels_stay_in_the_picture():
    names = {f"axis_{i}": [f"{'value ' * 9}{i}"] * 3 + ["x" * 300] * 3 for i in range(4)}
    figure = plot_sweep(study(**names), [*names, "row"])
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    for axis in figure.axes:
        for text in (*axis.get_yticklabels(), *axis.get_xticklabels(), axis.xaxis.label):
            box = text.get_window_extent()
            assert 0 <= box.x0 <= box.x1 <= width, text.get_text()
            assert 0 <= box.y0 <= box.y1 <= height, text.get_text()
    assert figure.axes[0].get_window_extent().width > width / 4


def test_a_legend_stays_in_the_picture():
    figure = plot_sweep(
        study(text=[f"{i % 3} a rather long label" for i in range(6)], row=[0] * 6), ["k", "row"]
    )
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    (legend,) = figure.legends
    for text in legend.get_texts():
        box = text.get_window_extent()
        assert 0 <= box.x0 <= box.x1 <= width
        assert 0 <= box.y0 <= box.y1 <= height


def test_a_figure_has_a_dark_form():
    figure = plot_sweep(study(correct=[1, 0, 1, 0, 0, 1]), ["k", "row"], "score")
    figure.axes[0].set_title("changed afterwards")
    light, dark = (np.asarray(f.get_facecolor())[:3].mean() for f in (figure, figure.dark()))
    assert (light, round(dark, 2)) == (1, 0.07)
    for text in figure.dark().findobj(Text):
        assert to_rgb(text.get_color())[0] >= 0.5, text.get_text()
    assert figure.dark().axes[0].get_title() == "changed afterwards"
    assert all(
        patch.get_edgecolor()[3] == 0 for patch in figure.dark().axes[1].patches
    )  # nothing else is drawn
    bars = [[patch.get_facecolor() for patch in f.axes[1].patches] for f in (figure, figure.dark())]
    assert bars[0] == bars[1]  # colours stay


def test_notebooks_get_both_forms():
    page = plot_sweep(study(), ["k", "row"])._repr_mimebundle_()["text/html"]
    assert re.findall(r'class="(.*?)" alt="(.*?)" width="(\d+)"', page) == [
        (theme, "share of each output, by setting", "690") for theme in ("tk-light", "tk-dark")
    ]
    first, second = re.findall(r'src="data:image/png;base64,(.*?)"', page)
    assert first != second
    with plt.style.context("dark_background"):
        assert plot_sweep(study(), ["k", "row"])._repr_mimebundle_() == {}  # it is dark already


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
