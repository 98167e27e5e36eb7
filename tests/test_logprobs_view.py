"""The strip of tokens, and the view of log probabilities over it, in a browser."""

import math

import numpy as np
import pytest
from browser import HOSTILE, mount, shot, static, unharmed

import toolkit as tk
from toolkit.analysis.logprobs import BY, Logprobs
from toolkit.core.choice import Choice
from toolkit.display import colored_tokens
from toolkit.widgets.base import View, assets, visible
from toolkit.widgets.logprobs import LogprobsView

WORDS = ["The", " cat", " sat", "\n", "日"[:1], " on", " the", " mat", ".", " dog", " a"]
VOCABULARY = [word.encode() for word in WORDS] + ["日".encode()[:1], "日".encode()[1:], b"\xff"]


def choice(ids, probabilities, top=(), mode="raw_logprobs", ranks=None, vocabulary=VOCABULARY, **fields):
    """top: for each token, (id, probability) of the most likely ones."""
    steps, width = len(ids), len(top[0]) if len(top) else 0
    pairs = np.array(top, np.float64).reshape(steps, width, 2)
    with np.errstate(divide="ignore"):
        own, likely = np.log(np.array(probabilities, np.float64)), np.log(pairs[:, :, 1])
    return Choice(
        0,
        b"".join(vocabulary[i] for i in ids).decode("utf-8", "replace"),
        "stop",
        token_ids=np.array(ids, np.int32),
        logprobs=own.astype(np.float32),
        ranks=np.array(ranks or [1] * steps, np.int32),
        top_ids=pairs[:, :, 0].astype(np.int32),
        top_logprobs=likely.astype(np.float32),
        logprobs_mode=mode,
        vocabulary=lambda: vocabulary,
        **fields,
    )


def cat():
    """The cat sat⏎日 on the mat. The fifth character has two tokens; the first token's probability is not known."""
    ids = [0, 1, 2, 3, 11, 12, 5, 6, 7, 8]
    shares = [np.nan, 0.9, 0.4, 0.05, 0.5, 0.99, 0.7, 0.2, 0.6, 1.0]
    top = [[(i, p), (9, 0.04), (10, 0.01)] for i, p in zip(ids, shares, strict=True)]
    return choice(ids, shares, top, ranks=[0, 1, 2, 40, 1, 1, 1, 300, 1, 1])


def cats():
    other = choice([0, 9], [0.5, 0.25], [[(0, 0.5), (1, 0.3)], [(1, 0.6), (9, 0.25)]], ranks=[1, 2])
    return Logprobs([cat(), other])


def long(pieces):
    return Logprobs([choice([i % 3 for i in range(pieces)], [0.5] * pieces)])


def forced():
    """One token of eleven told was allowed; nothing tells what the others would have been."""
    top = [[(0, 1.0), *((i, 0.0) for i in range(1, 11))]]
    return Logprobs([choice([0], [1.0], top, "constrained_logprobs")])


def held(free=True):
    """Two tokens held to a form: at the first two were allowed of three told, at the second at least two."""
    top = [[(0, 0.8), (1, 0.2), (2, 0.0)], [(1, 0.7), (5, 0.2), (6, 0.05)]]
    own = Logprobs([choice([0, 1], [0.8, 0.7], top, "constrained_logprobs")])
    # The grammar took half of the probability at the first, a tenth at the second.
    raw = [[(9, 0.45), (0, 0.4), (1, 0.1)], [(1, 0.63), (5, 0.18), (10, 0.07)]]
    return own, Logprobs([choice([0, 1], [0.4, 0.63], raw)]) if free else None


def pieces(page):
    return page.locator(".tk-pieces .tk-piece")


def tip(page):
    return page.locator(".tk-tip:popover-open")


# The engine first: its event loop and the browser's cannot run at once.


def test_what_a_grammar_struck_out_of_a_real_answer(engine):
    form = {"type": "choice", "choice": ["yes", "no", "maybe"]}
    c = engine.chat("Is water wet?", response_format=form, temperature=0, top_logprobs=20, max_tokens=6)
    free = tk.logprobs(engine.score(c.prompt_token_ids.tolist(), [c.token_ids.tolist()], top_logprobs=20))
    own = tk.logprobs(c)
    (removed,) = tk.removed_mass(engine, [c])
    assert own.removed_mass(free) == pytest.approx(removed, abs=1e-3)
    token = LogprobsView(own, free).content["text"]["pieces"][0]["tokens"][0]
    assert token["removed"] == pytest.approx(removed[0], abs=1e-3)
    assert token["allowed"] < 20
    struck = [one for one in token["top"] if one["struck"]]
    assert struck
    assert all(one["p"] == 0 and one["free"] > 0 for one in struck)
    allowed = [one for one in token["top"] if one["struck"] is False]
    assert sum(one["p"] for one in allowed) == pytest.approx(1, abs=1e-3)
    assert sum(one["free"] for one in struck) <= token["removed"] + 1e-3


# The strip


class Row(View):
    _esm = (
        assets("colored_tokens")[0]
        + """
    export default widget(({ root, content, signal }) => {
      const heard = h("output", {}, "");
      const row = tokenRow(content.pieces, { signal, label: "words", total: content.total,
        tip: (i) => (i === 2 ? null : h("b", {}, `tip ${i}`)),
        onselect: (...span) => (heard.textContent = span.join()),
        more: async () => { if (content.fails) throw new Error("no kernel"); return content.pieces.slice(0, 3); } });
      root.append(row, heard, h("div", { id: "key" }));
      window.row = row; window.heard = heard; window.colourLegend = colourLegend; window.MEASURES = MEASURES;
      window.strengthOf = (by, v) => +getComputedStyle(coloured2(by, v)).getPropertyValue("--strength");
      const coloured2 = (by, v) => { const one = h("i"); setColour(one, v, by); root.append(one); return one; };
    });"""
    )
    _css = assets("colored_tokens")[1]

    def __init__(self, texts=("one", " two", "\n", " three", " four"), total=None, fails=False):
        values = {"probability": 0.1, "rank": 5, "surprisal": None}
        given = [{"text": text, "values": values} for text in texts]
        super().__init__({"pieces": given, "total": total or len(given), "fails": fails})


@pytest.mark.parametrize(
    ("by", "values"),
    [
        ("probability", [1, 0.75, 0.3, 0]),
        ("rank", [1, 3, 10, 100, 40_000]),
        ("surprisal", [0, 2.5, 4, 8, 20]),
        ("entropy", [0, 1.5, 4, 10]),
    ],
)
def test_the_strength_is_that_of_the_static_form(page, by, values):
    mount(page, Row())
    found = page.evaluate("([by, vs]) => vs.map((v) => strengthOf(by, v))", [by, values])
    assert found == pytest.approx(colored_tokens.strength(np.array(values, float), by).tolist(), abs=1e-3)


def test_each_measure_has_a_key_whose_four_samples_differ(page):
    mount(page, Row())
    assert page.evaluate("Object.keys(MEASURES)") == list(BY)
    for by in BY:
        page.evaluate("(by) => document.querySelector('#key').replaceChildren(colourLegend(by))", by)
        samples = page.locator("#key .tk-piece")
        assert samples.evaluate_all("all => all.map((one) => one.dataset.level)") == ["0", "1", "2", "3"]
        lines = samples.evaluate_all("all => all.map((one) => getComputedStyle(one).borderBottom)")
        assert len(set(lines)) == 4
        # As dark as the tokens are: a faint text cannot be read on the strongest colour.
        colour = "getComputedStyle(document.querySelector('.tk-pieces')).color"
        assert samples.last.evaluate("(one) => getComputedStyle(one).color") == page.evaluate(colour)


def test_colour_is_never_alone_and_what_is_not_known_has_none(page):
    mount(page, Row())
    page.evaluate("row.colour('probability')")
    assert pieces(page).first.get_attribute("data-level") == "3"
    page.evaluate("row.colour('surprisal')")
    assert pieces(page).first.get_attribute("data-level") == "unknown"
    assert page.evaluate("getComputedStyle(row.querySelector('.tk-piece')).fontStyle") == "italic"


def test_the_end_of_a_line_is_shown_and_breaks_it(page):
    mount(page, Row())
    assert pieces(page).nth(2).text_content() == "⏎\n"
    tops = pieces(page).evaluate_all("all => all.map((one) => one.offsetTop)")
    assert tops[0] == tops[1] < tops[3] == tops[4]


KEYS = [
    (["ArrowRight"], 1, ""),
    (["ArrowRight", "ArrowLeft", "ArrowLeft"], 0, ""),
    (["End"], 4, ""),
    (["End", "ArrowRight", "Home"], 0, ""),
    (["ArrowDown"], 3, ""),
    (["End", "ArrowUp"], 2, ""),
    (["Enter"], 0, "0,0"),
    (["ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight"], 3, "1,3"),
    (["End", "Shift+ArrowLeft"], 3, "3,4"),
    (["Shift+End", "ArrowLeft"], 3, "0,4"),  # a move keeps the span
    (["Shift+End", "ArrowLeft", "Shift+ArrowLeft"], 2, "2,3"),  # and the next span begins anew
    (["Shift+End", "Shift+Home"], 0, "0,0"),
    (["Shift+End", "Escape"], 4, ""),
]


@pytest.mark.parametrize(("keys", "at", "chosen"), KEYS, ids=[" ".join(keys) for keys, *_ in KEYS])
def test_the_keyboard_moves_and_selects(page, keys, at, chosen):
    mount(page, Row())
    page.keyboard.press("Tab")
    for key in keys:
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.dataset.i") == str(at)
    assert page.evaluate("heard.textContent") == chosen
    first, last = map(int, chosen.split(",")) if chosen else (1, 0)
    selected = [first <= i <= last for i in range(5)]
    assert pieces(page).evaluate_all("all => all.map((one) => one.ariaSelected === 'true')") == selected
    assert pieces(page).evaluate_all("all => all.filter((one) => one.tabIndex === 0).length") == 1


def test_the_mouse_drags_a_span_and_extends_it_with_shift(page):
    mount(page, Row())
    pieces(page).nth(4).hover()
    page.mouse.down()
    pieces(page).nth(1).hover()
    assert tip(page).count() == 0  # what is being selected is not covered
    page.mouse.up()
    assert page.evaluate("heard.textContent") == "1,4"
    pieces(page).nth(3).hover()  # no button is down any more
    assert page.evaluate("heard.textContent") == "1,4"
    pieces(page).nth(0).click()
    assert page.evaluate("heard.textContent") == "0,0"
    pieces(page).nth(3).click(modifiers=["Shift"])
    assert page.evaluate("heard.textContent") == "0,3"
    page.evaluate("row.select(null)")
    assert page.evaluate("heard.textContent") == ""


def test_the_tooltip_follows_the_pointer_and_the_focus(page):
    mount(page, Row())
    pieces(page).nth(1).hover()
    assert tip(page).text_content() == "tip 1"
    pieces(page).nth(1).click()
    page.keyboard.press("End")
    assert tip(page).text_content() == "tip 4"
    assert tip(page).get_attribute("id") == pieces(page).nth(4).get_attribute("aria-describedby")
    page.keyboard.press("Escape")
    assert tip(page).count() == 0
    pieces(page).nth(2).hover()  # of this one there is nothing to tell
    assert tip(page).count() == 0


def test_marks_are_kept_until_their_piece_is_drawn(page):
    mount(page, Row([" word"] * 500))
    page.evaluate(
        "row.mark(3, 'fork'); row.mark(450, 'fork'); row.mark(3, 'same'); row.mark(3, 'fork', false)"
    )
    assert page.locator(".tk-is-same").get_attribute("data-i") == "3"
    assert page.locator(".tk-is-fork").count() == 0
    assert pieces(page).count() == 400
    page.get_by_role("button", name="Show more: 100 of 500 left").click()
    assert page.locator(".tk-is-fork").get_attribute("data-i") == "450"
    assert page.evaluate("document.activeElement.dataset.i") == "400"
    assert page.locator(".tk-strip-more").is_hidden()


def test_what_is_asked_later_is_drawn_and_gone_to(page):
    mount(page, Row(["a", "b", "c"], total=11))
    page.get_by_role("button", name="8 of 11 left").click()
    page.wait_for_function("row.querySelectorAll('.tk-piece').length === 6")
    page.evaluate("row.go(8)")
    page.wait_for_function("document.activeElement.dataset.i === '8'")
    assert "".join(pieces(page).all_text_contents()) == "abc" * 3


def test_what_cannot_be_asked_is_said(page):
    mount(page, Row(["a"], total=5, fails=True))
    page.locator(".tk-strip-more").press("Enter")
    page.get_by_role("button", name="no kernel: try again").wait_for()
    assert page.errors == []


# The view


def test_tokens_are_coloured_by_what_people_choose(page):
    mount(page, LogprobsView(cats()))
    texts = pieces(page).all_text_contents()
    assert texts == ["The", " cat", " sat", "⏎\n", "日", " on", " the", " mat", "."]
    levels = {
        "probability": ["unknown", "0", "2", "3", "2", "1", "3", "1", "0"],
        "rank": ["unknown", "0", "1", "2", "0", "0", "3", "0", "0"],
        "surprisal": ["unknown", "0", "0", "1", "0", "0", "0", "0", "0"],
        "entropy": None,
    }
    page.keyboard.press("Tab")  # the picker of texts, its two buttons, then the measures
    for _ in range(2):
        page.keyboard.press("Tab")
    for by, expected in levels.items():
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.locator(".tk-choices [aria-pressed=true]").text_content() == by
        assert page.locator(".tk-strip-key b").text_content() == by
        found = pieces(page).evaluate_all("all => all.map((one) => one.dataset.level)")
        assert expected is None or found == expected
    unharmed(page)


@pytest.mark.parametrize("how", ["pointer", "keyboard"])
def test_a_token_tells_its_numbers_and_the_most_likely_ones(page, how):
    logprobs = cats()
    mount(page, LogprobsView(logprobs))
    if how == "pointer":
        pieces(page).nth(2).hover()
    else:
        pieces(page).nth(0).focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
    told = tip(page).inner_text()
    low, high = logprobs.entropy_low[2], logprobs.entropy_high[2]
    for part in (
        "token 2, id 2", "b' sat'", "40.00 %", "0.92 nats (1.32 bits)", f"{math.log(10):.2f} nats", "55.00 %",
        f"{low:.2f} to {high:.2f} nats", "all others",
    ):  # fmt: skip
        assert part in told
    rows = page.locator(".tk-top tr").all_inner_texts()
    assert [row.split("\t")[1].strip() for row in rows] == ["sat", "dog", "a", "all others"]
    assert page.locator(".tk-own").count() == 1
    assert (
        page.locator(".tk-own td").first.text_content() == "▸"
    )  # the chosen one is not told by colour alone
    width = page.locator(".tk-own i").evaluate("one => one.style.width")
    assert width == "40%"


def test_a_character_of_several_tokens_tells_each(page):
    mount(page, LogprobsView(cats()))
    pieces(page).nth(4).hover()
    heads = page.locator(".tk-token-head").all_inner_texts()
    assert len(heads) == 2
    assert r"b'\xe6'" in heads[0]
    assert r"b'\x97\xa5'" in heads[1]


def test_what_is_not_known_is_no_number(page):
    mount(page, LogprobsView(cats()))
    pieces(page).nth(0).hover()
    told = tip(page).inner_text()
    assert "not known" in told
    assert "NaN" not in told
    assert "· 1 token of unknown probability" in page.locator(".tk-facts").inner_text()


def test_a_chosen_token_beyond_the_top_is_told_too(page):
    mount(page, LogprobsView(Logprobs([choice([8], [0.001], [[(0, 0.9), (1, 0.05)]], ranks=[77])])))
    pieces(page).nth(0).hover()
    assert page.locator(".tk-own").inner_text().split() == ["▸", ".", "0.10", "%"]


@pytest.mark.parametrize("how", ["drag", "keyboard"])
def test_a_span_has_the_product_of_its_probabilities(page, how):
    mount(page, LogprobsView(cats()))
    if how == "drag":
        pieces(page).nth(1).hover()
        page.mouse.down()
        pieces(page).nth(4).hover()
        page.mouse.up()
    else:
        pieces(page).nth(0).focus()
        for key in ["ArrowRight", *["Shift+ArrowRight"] * 3]:
            page.keyboard.press(key)
    told = page.locator(".tk-span").inner_text()
    joint = 0.9 * 0.4 * 0.05 * 0.5 * 0.99
    assert "5 tokens" in told
    assert f"{100 * joint:.2f} %" in told
    assert f"ln p {math.log(joint):.2f}" in told
    assert "least probable ⏎ 5.00 %" in told
    page.keyboard.press("Escape")
    assert "Drag over tokens" in page.locator(".tk-span").inner_text()


def test_a_span_counts_what_is_not_known_and_does_not_underflow(page):
    mount(page, LogprobsView(Logprobs([choice([0] * 300, [np.nan] + [0.05] * 299)])))
    pieces(page).nth(0).focus()
    page.keyboard.press("Enter")
    assert "1 token of unknown probability" in page.locator(".tk-span").inner_text()
    page.keyboard.press("Shift+End")
    told = page.locator(".tk-span").inner_text()
    assert "300 tokens, 1 of unknown probability" in told
    assert f"under 10^−300 (ln p {299 * math.log(0.05):.4g})" in told


def test_texts_are_picked_by_how_they_begin(page):
    mount(page, LogprobsView(cats()))
    box = page.locator(".tk-picker select")
    assert box.locator("option").all_text_contents()[1] == "2: The dog"
    page.get_by_role("button", name="next text").press("Enter")
    page.wait_for_function("document.querySelector('.tk-pieces').textContent === 'The dog'")
    assert box.input_value() == "1"
    page.get_by_role("button", name="next text").click()  # there is no third
    box.select_option("0")
    page.wait_for_function("document.querySelector('.tk-pieces').textContent.startsWith('The cat')")
    unharmed(page)


def test_of_many_texts_one_is_picked_by_its_number(page):
    texts = Logprobs([choice([i % 3], [0.5]) for i in range(250)])
    mount(page, LogprobsView(texts))
    page.locator(".tk-picker input").fill("150")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.tk-pieces').textContent === ' sat'")
    page.locator(".tk-picker input").fill("999")
    page.keyboard.press("Enter")
    page.get_by_text("text 998 is not among 0 to 249").wait_for()
    assert page.errors == []


def test_a_long_text_comes_page_by_page(page):
    widget = LogprobsView(long(5000))
    assert len(widget.content["text"]["pieces"]) == 300
    mount(page, widget)
    assert pieces(page).count() == 300
    page.get_by_role("button", name="Show more: 4,700 of 5,000 left").click()
    page.wait_for_function("document.querySelectorAll('.tk-pieces .tk-piece').length === 600")
    assert "each 9 tokens" in page.locator(".tk-surprisal").inner_text()
    pieces(page).nth(599).hover()
    assert "token 599" in tip(page).inner_text()


def test_what_a_grammar_struck_out_is_struck_through(page):
    own, free = held()
    assert own.removed_mass(free) == pytest.approx([0.5, 0.1])
    assert own.forbidden(free).tolist() == [[1, 0, 0], [0, 0, 1]]
    widget = LogprobsView(own, free)
    mount(page, widget)
    assert "The grammar took away 30.0 %" in page.locator(".tk-notice").inner_text()
    pieces(page).nth(0).hover()
    told = tip(page).inner_text()
    assert "2 tokens" in told
    assert "50.00 %" in told
    struck = page.locator(".tk-struck")
    assert struck.locator("s").text_content() == " dog"
    assert struck.inner_text().split() == ["✕", "dog", "45.00", "%", "struck", "out"]
    shot(page, "logprobs-grammar-light")
    for shown in (widget.html(), widget.text()):
        assert "The grammar took away 30.0 %" in shown


def test_a_chosen_token_that_was_unlikely_without_the_grammar_is_told(page):
    free = Logprobs([choice([0], [0.001], [[(9, 0.6), (10, 0.3)]])])
    mount(page, LogprobsView(forced(), free))
    pieces(page).nth(0).hover()
    assert page.locator(".tk-top .tk-own").inner_text().split() == ["▸", "The", "0.10", "%", "100.00", "%"]
    assert page.locator(".tk-struck s").all_inner_texts() == [" dog", " a"]


def test_what_is_not_known_of_a_grammar_is_said(page):
    widget = LogprobsView(held(free=False)[0])
    mount(page, widget)
    assert "is not stored" in page.locator(".tk-notice").inner_text()
    pieces(page).nth(1).hover()
    told = tip(page).inner_text()
    assert "3 tokens or more" in told
    assert "not known" in told
    assert "is not stored" in widget.html()


def test_a_few_of_many_forbidden_tokens_are_shown(page):
    mount(page, LogprobsView(forced()))
    pieces(page).nth(0).hover()
    assert "this token alone" in tip(page).inner_text()
    assert page.locator(".tk-struck s").all_inner_texts() == [" cat", " sat", "⏎"]


def test_of_what_a_grammar_allowed_too_little_may_be_told():
    own = Logprobs([choice([0], [0.8], [[(0, 0.8)]], "constrained_logprobs")])
    free = Logprobs([choice([0], [0.4], [[(9, 0.45), (0, 0.4), (1, 0.1)]])])
    # What is likelier than the one that was told would have been told; what is not may be allowed or not.
    assert own.forbidden(free).tolist() == [[1, 0, -1]]
    none = Logprobs([choice([0], [0.8], mode="constrained_logprobs")])
    assert none.forbidden(free).tolist() == [[-1, 0, -1]]
    with pytest.raises(
        ValueError, match="free must hold the same tokens without the grammar, got 2 tokens for 1"
    ):
        LogprobsView(own, Logprobs([choice([0, 1], [0.4, 0.4])]))


@pytest.mark.parametrize("width", [1200, 600])
def test_the_static_form_tells_the_numbers_of_texts_and_tokens(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    logprobs = cats()
    static(page, LogprobsView(logprobs))
    page.locator("summary").click()
    unharmed(page, width)
    first, second, *rest = (
        dict(zip(table.locator("th").all_inner_texts(), values, strict=True))
        for table in page.locator("table").all()
        for values in (row.locator("td").all_inner_texts() for row in table.locator("tbody tr").all())
    )
    assert float(second["perplexity"]) == pytest.approx(logprobs.perplexity[1], rel=0.01)
    assert (first["tokens"], first["unknown"]) == ("10", "1")
    tokens = rest
    assert len(tokens) == 10
    assert tokens[0]["probability"] == "–"
    sat = tokens[2]
    assert (sat["token"].strip(), sat["id"], sat["bytes"], sat["rank"]) == ("sat", "2", "b' sat'", "2")
    assert float(sat["probability"]) == pytest.approx(0.4)
    assert float(sat["surprisal, nats"]) == pytest.approx(-math.log(0.4), abs=0.01)
    assert float(sat["missing mass"]) == pytest.approx(0.55, abs=0.001)
    assert sat["entropy, nats"] == f"{logprobs.entropy_low[2]:.2f} to {logprobs.entropy_high[2]:.2f}"
    assert sat["most likely"].split(", ") == [" sat 40.0 %", " dog 4.0 %", " a 1.0 %"]
    assert "raw_logprobs" in page.locator("body").inner_text()


def test_the_static_form_says_what_a_grammar_struck_out(page):
    static(page, LogprobsView(*held()))
    page.locator("summary").click()
    assert page.get_by_text(" dog struck out").count() == 1


def hostile():
    """Each hostile text as a token of its own, and as a candidate beside it."""
    vocabulary = [text.encode(errors="replace") for text in HOSTILE.values()]
    ids = range(len(vocabulary))
    top = [[(i, 0.5), ((i + 1) % len(vocabulary), 0.3)] for i in ids]
    return Logprobs([choice([*ids], [0.5] * len(vocabulary), top, vocabulary=vocabulary) for _ in range(2)])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_hostile_text_is_text(page, theme):
    widget = LogprobsView(hostile())
    mount(page, widget, theme)
    for i, text in enumerate(HOSTILE.values()):
        raw = text.encode(errors="replace").decode()
        assert pieces(page).nth(i).text_content() == visible(raw, 80).replace("\n", "⏎\n")
        pieces(page).nth(i).hover()
        assert tip(page).evaluate("e => e.getBoundingClientRect().right <= innerWidth")
    pieces(page).nth(0).focus()
    page.keyboard.press("Shift+End")
    page.get_by_role("button", name="next text").click()
    unharmed(page, 1200)
    unharmed(static(page, widget))
    assert "window.PWNED = 1" in widget.text()
    assert "\x1b" not in widget.text() + widget.html()


def real():
    """Something that looks like an answer, to look at."""
    text = (
        "A haiku about recursion:\n\nA function that calls\nitself, again and again,\nuntil the base case.\n\nEach "
        "call waits for one below it: 12 * 11 * … * 1 = 479,001,600. Then they return, the last one first 🎉."
    )
    cut = tk.tokens(text, "gpt-4")
    ids, random = cut.ids.tolist(), np.random.default_rng(4)
    known = dict(zip(ids, cut.bytes, strict=True))
    extra = {5: b" the", 6: b" one", 7: b"\n", 8: b" which", 9: b" it"}
    vocabulary = [(known | extra).get(i, b"") for i in range(max(ids) + 1)]
    shares, top, ranks = [], [], []
    for i in ids:
        share = float(np.clip(random.beta(1.3, 0.6), 0.002, 0.999))
        rest = np.sort(random.dirichlet([0.7] * 6))[::-1][:5] * (1 - share)
        pairs = sorted([(i, share), *zip(extra, rest, strict=True)], key=lambda pair: -pair[1])
        shares.append(share)
        top.append(pairs[:5])
        place = [one for one, _ in pairs].index(i) + 1
        ranks.append(place if place < 6 else 23)
    return choice(ids, shares, top, ranks=ranks, vocabulary=vocabulary)


@pytest.mark.parametrize(("theme", "width"), [("light", 1200), ("dark", 1200), ("light", 600), ("dark", 600)])
def test_it_is_looked_at(page, theme, width):
    page.set_viewport_size({"width": width, "height": 640})
    mount(page, LogprobsView(Logprobs([real(), cat()])), theme)
    page.get_by_role("button", name="surprisal").click()
    pieces(page).nth(16).focus()
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    box = tip(page).bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    unharmed(page, width)
    shot(page, f"logprobs-{theme}{'' if width == 1200 else '-narrow'}")
