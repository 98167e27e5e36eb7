"""What all widgets share: texts made visible, messages of Python and JavaScript, the tooltip, the keyboard."""

import json

import numpy as np
import pandas as pd
import pytest
from browser import HOSTILE, mount, shot, unharmed
from playwright.sync_api import expect

from toolkit.widgets.base import View, assets, command, model_text_html, plain, visible


class Echo(View):
    _esm = (
        assets()[0]
        + """
    export default widget(async ({ root, content, request, on, signal }) => {
      const said = h("pre", { class: "tk-said" });
      const list = h("div", {}, content.texts.map((text, i) => h("button", {
        "data-i": i, onclick: async () => {
          try { said.textContent = await request("echo", { i }); } catch (e) { said.textContent = "! " + e.message; }
        } }, text.slice(0, 60))));
      on("news", (value) => { said.textContent = "news: " + value; });
      on("content", (value) => { said.textContent = "content: " + value.texts; });
      root.append(list, said, chart({ x: "tokens", y: "share", series: [
        { name: "a", line: true, points: [[0, 1], [1, 0.5], [4, null], [9, 0.25]] },
        { name: "b", points: [[2, 0.3, "two"], [8, 0.9, "eight"]] }] }));
      rovingFocus(list, "button", signal).reset();
      tooltip(root, "button", (one) => h("b", {}, content.texts[one.dataset.i].slice(0, 200)), signal);
    });"""
    )
    _css = assets()[1]

    def __init__(self, texts):
        self.texts = list(texts)
        super().__init__({"texts": [visible(t) for t in self.texts]})

    @command
    def echo(self, i):
        return visible(self.texts[i])

    def html(self):
        return "".join(map(model_text_html, self.texts))

    def text(self):
        return "\n".join(map(visible, self.texts))


class Overtaken(Echo):
    """Two questions, of which the first is answered last, or fails."""

    _esm = (
        assets()[0]
        + """
    export default widget(async ({ root, content }) => {
      const said = h("pre"), answers = [];
      const put = latest(() => new Promise((resolve, reject) => answers.push({ resolve, reject })));
      const told = (text) => said.append(text + ";");
      for (let i = 0; i < 2; i++) put().then(told, (error) => told("! " + error.message));
      const [first, second] = answers;
      const answer = content.texts[0] === "fails" ? () => first.reject(new Error("old")) : () => first.resolve("old");
      if (content.texts[1] === "first") answer();
      second.resolve("new");
      if (content.texts[1] === "last") answer();
      root.append(said);
    });"""
    )


@pytest.mark.parametrize("first", ["answers", "fails"])
@pytest.mark.parametrize("when", ["first", "last"])
def test_of_questions_the_last_alone_is_answered(page, first, when):
    mount(page, Overtaken([first, when]))
    expect(page.locator("pre")).to_have_text("new;")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("a\x00b\x1b[31m\r", "a⟨U+0000⟩b⟨U+001B⟩[31m⟨U+000D⟩"),
        ("del \x7f \x85", "del ⟨U+007F⟩ ⟨U+0085⟩"),
        ("\u202eabc\u2066", "⟨U+202E⟩abc⟨U+2066⟩"),
        ("hidden \U000e0041\U000e0100", "hidden ⟨U+E0041⟩⟨U+E0100⟩"),
        ("soft\xadhyphen \u3164", "soft⟨U+00AD⟩hyphen ⟨U+3164⟩"),
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
        ([2**53, 2**53 + 1, -(2**63), True], [2**53, "9007199254740993", "-9223372036854775808", True]),
        ({"seed": np.uint64(2**64 - 1)}, {"seed": "18446744073709551615"}),
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
    for asked in (
        {"id": 1, "command": "echo", "arguments": {"i": 5}},
        {"id": 2, "command": "_secret", "arguments": {}},
    ):
        widget._on_message(widget, asked, [])
    assert sent[0] == {"reply_to": 1, "error": "list index out of range"}
    assert sent[1]["reply_to"] == 2
    assert "_secret" in sent[1]["error"]


class Louder(Echo):
    def echo(self, i):
        return super().echo(i).upper()

    @command
    def length(self, i):
        return len(self.texts[i])


def test_only_commands_are_called_and_a_subclass_has_those_of_its_base():
    widget = Louder(["abc"])
    sent = []
    widget.send = sent.append
    for name in ("echo", "length", "text", "close"):
        arguments = {"i": 0} if name in ("echo", "length") else {}
        widget._on_message(widget, {"id": name, "command": name, "arguments": arguments}, [])
    assert [reply.get("value") for reply in sent] == ["ABC", 3, None, None]
    assert [reply.get("error") for reply in sent[2:]] == [
        f"Louder has no command {name!r}; its commands: echo, length" for name in ("text", "close")
    ]
    assert Echo._commands == {"echo"}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("\u202eodd \ud83d"), "⟨U+202E⟩odd ⟨U+D83D⟩"),
        (ValueError("long" * 9000), "long" * 500 + "… (34,000 more characters)"),
        (ValueError(), "ValueError"),
    ],
)
def test_an_error_is_shown_as_any_text(error, told):
    widget = Echo(["a"])

    def fail(i):
        raise error

    sent = []
    widget.echo, widget.send = fail, sent.append
    widget._on_message(widget, {"id": 1, "command": "echo", "arguments": {"i": 0}}, [])
    assert sent == [{"reply_to": 1, "error": told}]


def test_it_is_told_news(page):
    widget = Echo(["a"])
    mount(page, widget)
    widget.notify("news", 5)
    page.get_by_text("news: 5").wait_for()


def test_every_view_is_told_of_new_content_and_begins_with_it(page):
    widget = Echo(["a"])
    mount(page, widget)
    page.evaluate("window.again()")
    widget.content = {"texts": ["other", "more"]}
    expect(page.locator("pre")).to_have_text(["content: other,more"] * 2)
    page.evaluate("window.again()")
    expect(page.locator(".tk").nth(2).locator("button")).to_have_text(["other", "more"])


def test_a_kernel_that_does_not_answer_is_told_until_it_does(page):
    widget = Echo(["a"])
    mount(page, widget)
    page.evaluate("() => { window.real = window.toPython; window.toPython = () => new Promise(() => {}) }")
    page.get_by_role("button").click()
    silence = page.get_by_role("status").get_by_text("The kernel does not answer")
    silence.wait_for()
    page.evaluate("() => { window.toPython = window.real }")
    page.get_by_role("button").click()
    silence.wait_for(state="hidden")


def test_a_kernel_that_is_gone_is_told_at_once(page):
    mount(page, Echo(["a"]), "dark")
    page.evaluate("() => { window.gone = true }")
    page.get_by_role("button").click()
    page.get_by_role("status").get_by_text("The kernel does not answer").wait_for()
    assert page.errors == []
    shot(page, "view-no-kernel")


CONTRASTS = """(kind) => {
  const text = document.querySelector(".tk").appendChild(document.createElement("b"));
  text.className = kind;
  const root = getComputedStyle(document.documentElement);
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const light = (colours) => { // of colours laid over each other
    for (const one of colours) { canvas.fillStyle = one; canvas.fillRect(0, 0, 1, 1); }
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  return ["--jp-layout-color1", "--jp-layout-color2"].map((name) => {
    const ground = root.getPropertyValue(name).trim();
    const both = [light([ground]), light([ground, getComputedStyle(text).color])];
    return Math.max(...both) / Math.min(...both);
  });
}"""
"""The contrast of a text to the theme's two grounds, as WCAG 2.2 defines it: it asks for 4.5."""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["tk-said", "tk-faint", "tk-error", "tk-silence"])
def test_texts_have_contrast_to_what_is_behind_them(page, theme, kind):
    mount(page, Echo(["a"]), theme)
    assert min(page.evaluate(CONTRASTS, kind)) >= 4.5


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
