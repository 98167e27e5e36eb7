from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, strategies as st

from toolkit.analysis.logprobs import BY
from toolkit.display import colored_tokens


class Page(HTMLParser):
    """What a browser makes of a page: text, title and colour of each piece, and the names of all tags."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.titles, self.alphas, self.tags, self._open = [], [], [], set(), []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self._open.append(tag)
        if tag == "span":
            (_, style), (_, title) = attributes
            self.texts.append("")
            self.titles.append(title)
            self.alphas.append(float(style.split("rgba(213,94,0,")[1].split(")")[0]))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "span":
            self.texts[-1] += data


def told(*pieces):
    return [(piece, np.array([0.5]), f"of {number}") for number, piece in enumerate(pieces)]


HOSTILE = [
    "<script>alert(1)</script>", "</div></span>", '" onmouseover="alert(1)', "' x='", "&lt;b&gt;", "<!--", "]]>",
    "<img src=x onerror=alert(1)>", "\x1b[31m", "</title><style>", "\u202eevil", "`${x}`",
]  # fmt: skip


def test_text_of_a_model_is_escaped():
    page = Page(colored_tokens.page([colored_tokens.text(told(*HOSTILE), "probability")], "probability", 1))
    assert page.tags == {"div", "span", "small"}
    assert page.texts == HOSTILE
    assert page.titles == [f"{piece!r}: of {number}" for number, piece in enumerate(HOSTILE)]


@given(st.lists(st.text(st.characters(exclude_characters="\r\x00")), max_size=6))
def test_of_any_text_a_page_shows_all(pieces):
    page = Page(colored_tokens.text(told(*pieces), "surprisal"))
    assert [text.replace("⏎\n", "\n") for text in page.texts] == pieces
    assert all("\n" not in title for title in page.titles)
    assert page.tags <= {"div", "span"}


def test_the_end_of_a_line_is_shown_and_kept():
    page = colored_tokens.text(told("a\n\n", "  ", "\tb"), "rank")
    assert Page(page).texts == ["a⏎\n⏎\n", "  ", "\tb"]
    assert "white-space:pre-wrap" in page


@pytest.mark.parametrize(
    ("by", "values", "expected"),
    [
        ("probability", [1, 0.75, 0], [0, 0.25, 1]),
        ("rank", [1, 10, 100, 40_000], [0, 0.5, 1, 1]),
        ("surprisal", [0, 4, 8, 20], [0, 0.5, 1, 1]),
        ("entropy", [0, 1, 4, 10], [0, 0.25, 1, 1]),
        # What is not known is not coloured: NaN, and 0 as a rank.
        ("probability", [np.nan], [0]),
        ("rank", [0, np.nan], [0, 0]),
        ("surprisal", [np.nan, np.inf], [0, 1]),
        ("entropy", [np.nan], [0]),
        ("entropy", [], []),
    ],
)
def test_strength(by, values, expected):
    assert colored_tokens.strength(np.array(values, np.float64), by).tolist() == expected


def test_there_is_a_strength_and_a_legend_for_each_colouring():
    assert tuple(colored_tokens._LEGEND) == BY
    for by in BY:
        assert colored_tokens.strength(np.array([0.5]), by).shape == (1,)
        assert f"colour by {by}: {by} " in colored_tokens.page([], by, 0)


def test_a_piece_is_as_strong_as_its_most_surprising_token():
    parts = [
        ("🎉", np.array([0.9, np.nan, 0.2]), ""),
        ("a", np.array([1.0]), ""),
        ("b", np.array([np.nan]), ""),
    ]
    assert Page(colored_tokens.text(parts, "probability")).alphas == [0.6, 0, 0]  # 0.75 of its strength


def test_a_long_text_is_cut_and_what_is_left_is_counted_in_tokens():
    parts = [("x", np.array([0.5]), "")] * 4001 + [("🎉", np.array([0.5] * 4), "")]
    page = colored_tokens.text(parts, "probability")
    assert len(Page(page).texts) == 4000
    assert page.endswith(" … and 5 more tokens</div>")
    assert "more" not in colored_tokens.text(parts[:4000], "probability")


def test_what_is_too_long_for_a_token_is_cut():
    page = Page(colored_tokens.text(told("long" * 250_000), "rank"))
    assert page.texts == ["long" * 250 + "…"]
    assert len(page.titles[0]) < 1100


@pytest.mark.parametrize(
    ("total", "more"), [(20, ""), (21, "… and 1 more texts"), (5020, "… and 5,000 more texts")]
)
def test_texts_that_are_left_out_are_counted(total, more):
    page = colored_tokens.page(["<div>t</div>"] * colored_tokens.TEXTS, "rank", total)
    assert more in page
    assert ("more texts" in page) == bool(more)
