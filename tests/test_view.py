"""What all widgets share: texts made visible, the wire between the halves, the tooltip, the keyboard."""

import json

import numpy as np
import pandas as pd
import pytest
from browser import HOSTILE, mount, shot, unharmed

from toolkit.widgets.view import View, assets, plain, said, visible


class Echo(View):
    _esm = (
        assets()[0]
        + """
    export default widget(async ({ root, content, ask, on, signal }) => {
      const said = h("pre", { class: "tk-said" });
      const list = h("div", {}, content.texts.map((text, i) => h("button", {
        "data-i": i, onclick: async () => {
          try { said.textContent = await ask("echo", { i }); } catch (e) { said.textContent = "! " + e.message; }
        } }, text.slice(0, 60))));
      on("news", (value) => { said.textContent = "news: " + value; });
      root.append(list, said, chart({ x: "tokens", y: "share", series: [
        { name: "a", line: true, points: [[0, 1], [1, 0.5], [4, null], [9, 0.25]] },
        { name: "b", points: [[2, 0.3, "two"], [8, 0.9, "eight"]] }] }));
      roving(list, "button", signal).reset();
      tip(root, "button", (one) => h("b", {}, content.texts[one.dataset.i].slice(0, 200)), signal);
    });"""
    )
    _css = assets()[1]

    def __init__(self, texts):
        self.texts = list(texts)
        super().__init__({"texts": [visible(t) for t in self.texts]})

    def do_echo(self, i):
        return visible(self.texts[i])

    def html(self):
        return "".join(map(said, self.texts))

    def text(self):
        return "\n".join(map(visible, self.texts))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("a\x00b\x1b[31m\r", "a⟨U+0000⟩b⟨U+001B⟩[31m⟨U+000D⟩"),
        ("del \x7f \x85", "del ⟨U+007F⟩ ⟨U+0085⟩"),
        ("\u202eabc\u2066", "⟨U+202E⟩abc⟨U+2066⟩"),
        ("hidden \U000e0041", "hidden ⟨U+E0041⟩"),
        ("👩\u200d👩 نمی\u200cخواهم", "👩\u200d👩 نمی\u200cخواهم"),
        ("half \ud83d", "half ⟨U+D83D⟩"),
        ("x" * 20_001, "x" * 20_000 + "… (1 more characters)"),
    ],
)
def test_what_is_not_seen_is_spelt(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (float("nan"), None),
        (np.float32("-inf"), None),
        (np.arange(3), [0, 1, 2]),
        (np.array([[1.5, np.nan]]), [[1.5, None]]),
        ({1: (True, None)}, {"1": [True, None]}),
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2026-01-02"), "2026-01-02 00:00:00"),
        ("\ud83d", "?"),
        (np.str_("a"), "a"),
        (b"ab", "b'ab'"),
    ],
)
def test_values_are_made_plain(value, found):
    assert plain(value) == found
    json.dumps(plain(value), allow_nan=False).encode()


def test_hostile_text_is_text_in_every_form(page):
    widget = Echo(HOSTILE.values())
    mount(page, widget, "dark")
    assert page.locator(".tk button").count() == len(HOSTILE)
    for i, text in enumerate(HOSTILE.values()):
        page.locator(".tk button").nth(i).click()
        page.wait_for_function(
            "(t) => document.querySelector('.tk pre').textContent === t", arg=visible(text)
        )
    unharmed(page)
    shot(page, "view-dark")
    page.set_content(widget.html())
    unharmed(page)
    assert "window.PWNED = 1" in widget.text()


def test_an_error_of_the_python_half_reaches_whoever_asked(page):
    mount(page, Echo(["only"]))
    page.evaluate("document.querySelector('.tk button').dataset.i = 7")
    widget = Echo(["a"])
    sent = []
    widget.send = sent.append
    for asked in ({"id": 1, "what": "echo", "given": {"i": 5}}, {"id": 2, "what": "_secret", "given": {}}):
        widget._received(widget, asked, [])
    assert sent[0] == {"to": 1, "error": "list index out of range"}
    assert sent[1]["to"] == 2
    assert "do__secret" in sent[1]["error"]


def test_it_is_told_news(page):
    widget = Echo(["a"])
    mount(page, widget)
    widget.tell("news", 5)
    page.get_by_text("news: 5").wait_for()


def test_the_keyboard_moves_among_its_buttons_and_the_tooltip_follows(page):
    mount(page, Echo(["first", "second", "third"]))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "first"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.textContent") == "third"
    tip = page.locator(".tk-tip")
    assert tip.text_content() == "third"
    assert tip.evaluate("e => e.matches(':popover-open')")
    page.keyboard.press("Escape")
    assert not tip.evaluate("e => e.matches(':popover-open')")
    shot(page, "view-light")


def test_a_notebook_keeps_it_as_html_and_as_text():
    data, _ = Echo(["<b>"])._repr_mimebundle_()
    assert "&lt;b&gt;" in data["text/html"]
    assert "<b>" not in data["text/html"]
    assert data["text/plain"] == "<b>"
    assert "application/vnd.jupyter.widget-view+json" in data
