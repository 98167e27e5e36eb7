"""The view of a text's tokens, by one tokenizer or two, in a browser."""

import pytest
from browser import HOSTILE, mount, shot, static, unharmed

import toolkit as tk
from toolkit.widgets.base import visible
from toolkit.widgets.tokens import TokensView

OTHER = "o200k_base"
TEXT = (
    "ChatGPT is great! お誕生日おめでとう 🎉\nantidisestablishmentarianism: 2 + 2 = 4\n"
    "\tdef f(x):\n\t\treturn x ** 2"
)


def two(text=TEXT):
    return TokensView(tk.tokens(text, "gpt-4"), tk.tokens(text, OTHER))


def side(page, number):
    return page.locator(".tk-side").nth(number).locator(".tk-piece")


def tip(page):
    return page.locator(".tk-tip:popover-open")


def test_a_text_shows_its_tokens_and_their_counts(page):
    mount(page, TokensView(tk.tokens("お誕tiktoken", "gpt-4")))
    assert side(page, 0).all_text_contents() == ["お", "誕", "t", "ik", "token"]
    told = page.locator(".tk-side").inner_text()
    for part in (
        "cl100k_base, the encoding of gpt-4",
        "6 tokens",
        "10 characters",
        "14 bytes",
        "2.3 bytes a token",
    ):
        assert part in told
    assert "the other" not in told


@pytest.mark.parametrize("how", ["pointer", "keyboard"])
def test_a_token_tells_its_id_its_bytes_and_its_place(page, how):
    mount(page, TokensView(tk.tokens("お誕tiktoken", "gpt-4")))
    if how == "pointer":
        side(page, 0).nth(1).hover()
    else:
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
    rows = [row.split("\t") for row in tip(page).locator("tr").all_inner_texts()[1:]]
    assert rows == [["1", "45918", r"b'\xe8\xaa'", "e8 aa"], ["2", "243", r"b'\x95'", "95"]]
    assert "character 1" in tip(page).inner_text()
    side(page, 0).nth(3).hover()
    assert "characters 3 to 4" in tip(page).inner_text()


@pytest.mark.parametrize("how", ["pointer", "keyboard"])
def test_the_same_place_is_shown_in_the_other_tokenizers_tokens(page, how):
    mount(page, two("tiktoken is great!"))
    assert side(page, 0).all_text_contents() == ["t", "ik", "token", " is", " great", "!"]
    assert side(page, 1).all_text_contents() == ["t", "ikt", "oken", " is", " great", "!"]
    if how == "pointer":
        side(page, 0).nth(2).hover()
    else:
        for key in ["Tab", "Tab", "ArrowRight", "ArrowRight"]:
            page.keyboard.press(key)
    assert page.locator(".tk-is-same").all_text_contents() == ["ikt", "oken"]
    if how == "pointer":
        side(page, 1).nth(1).hover()
        assert page.locator(".tk-is-same").all_text_contents() == ["ik", "token"]
        page.mouse.move(1, 1)
    else:
        page.keyboard.press("Tab")
        assert page.locator(".tk-is-same").all_text_contents() == ["t"]
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
    assert page.locator(".tk-is-same").count() == 0


def test_two_tokenizers_are_compared(page):
    mount(page, two("tiktoken is great! 2 + 2 = 4 お誕生日"))
    first, second = page.locator(".tk-side").all_inner_texts()
    own, other = (tk.tokens("tiktoken is great! 2 + 2 = 4 お誕生日", name) for name in ("gpt-4", OTHER))
    assert len(own) > len(other)
    more = len(other) - len(own)
    assert f"{-more} fewer (−{-100 * more / len(own):.0f} %) than the first" in second
    assert f"{own.same(other).sum()} of them are the other's too" in first
    assert f"{other.same(own).sum()} of them" in second
    apart = page.locator(".tk-side").nth(0).locator(".tk-is-apart").all_text_contents()
    assert apart[:2] == ["ik", "token"]


def test_a_text_that_is_edited_is_cut_anew(page):
    widget = two("one")
    mount(page, widget)
    area = page.get_by_label("text to cut")
    assert area.input_value() == "one"
    area.fill("tiktoken\n")
    page.wait_for_function("document.querySelectorAll('.tk-piece').length === 8")
    assert side(page, 1).all_text_contents() == ["t", "ikt", "oken", "⏎\n"]
    page.keyboard.press("End")
    page.keyboard.type("!")
    page.wait_for_function("document.querySelector('.tk-side').textContent.includes('10 characters')")
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"
    assert (widget.tokens.text, widget.other.text) == ("tiktoken\n!", "tiktoken\n!")
    area.fill("")
    page.wait_for_function("document.querySelectorAll('.tk-piece').length === 0")
    assert "0 tokens" in page.locator(".tk-side").first.inner_text()
    unharmed(page)


def test_another_view_shows_what_was_edited(page):
    widget = two("one")
    mount(page, widget)
    page.evaluate("again()")
    areas = page.get_by_label("text to cut")
    areas.nth(0).fill("tiktoken is great!")
    page.wait_for_function("document.querySelectorAll('textarea')[1].value === 'tiktoken is great!'")
    page.wait_for_function("document.querySelectorAll('.tk-piece').length === 24")
    assert page.locator(".tk-side").nth(3).locator(".tk-piece").all_text_contents()[:2] == ["t", "ikt"]
    assert areas.nth(0).input_value() == widget.content["text"] == "tiktoken is great!"
    assert page.evaluate("document.activeElement === document.querySelectorAll('textarea')[0]")
    unharmed(page)


def test_what_cannot_be_cut_is_said(page):
    mount(page, two("one"))
    area = page.get_by_label("text to cut")
    area.evaluate("one => { one.value = 'x'.repeat(20001); one.dispatchEvent(new Event('input')); }")
    page.get_by_text("the text has 20,001 characters; here it can have 20,000").wait_for()
    area.fill("two")
    page.wait_for_function("document.querySelector('.tk-piece').textContent === 'two'")
    assert page.locator(".tk-error").text_content() == ""
    assert page.errors == []


def test_a_long_text_comes_page_by_page_and_is_not_edited(page):
    widget = TokensView(tk.tokens("word " * 5000, "gpt-4"))
    assert len(widget.content["sides"][0]["pieces"]) == 400
    mount(page, widget)
    assert page.locator("textarea").count() == 0
    assert "cannot be edited here" in page.locator(".tk").inner_text()
    page.get_by_role("button", name="Show more").press("Enter")
    page.wait_for_function("document.querySelectorAll('.tk-piece').length === 800")
    side(page, 0).nth(799).hover()
    assert "799" in tip(page).inner_text()


def test_tokens_of_another_text_are_refused():
    with pytest.raises(ValueError, match="the tokens are of two texts"):
        TokensView(tk.tokens("one", "gpt-4"), tk.tokens("two", OTHER))


def test_the_static_form_and_the_text_compare_too(page):
    text = "tiktoken is great! 2 + 2 = 4 お誕生日"
    widget = two(text)
    mount(page, widget)
    told = [line for side in page.locator(".tk-side > p").all_inner_texts() for line in side.split("\n")]
    parts = [part for line in told for part in line.split(" · ")]
    assert len(parts) == 10
    static(page, widget)
    shown = page.locator("body").inner_text()
    assert all(part in shown and part in widget.text() for part in parts)
    own, other = widget.tokens, widget.other
    dotted = page.locator("span").evaluate_all(
        "all => all.filter((e) => getComputedStyle(e).borderBottomStyle === 'dotted').map((e) => e.textContent)"
    )
    apart = [t for s, o in ((own, other), (other, own)) for a, b, t in s.pieces if not s.same(o)[a:b].all()]
    assert dotted == apart
    assert page.evaluate("document.documentElement.scrollWidth") <= 1200


def test_one_token_is_told_as_one():
    assert tk.tokens("a", "gpt-4").counts() == ["1 token", "1 character", "1 byte", "1.0 bytes a token"]
    assert tk.tokens("a " * 2000, "gpt-4").counts()[1:3] == ["4,000 characters", "4,000 bytes"]
    assert tk.tokens("", "gpt-4").counts() == ["0 tokens", "0 characters", "0 bytes"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_text(page, name):
    text = HOSTILE[name].encode(errors="replace").decode()
    widget = two(text)
    mount(page, widget, "dark")
    shown = "".join(side(page, 0).all_text_contents())
    assert visible(text, len(text)).startswith(shown) if name == "line" else shown == visible(text)
    side(page, 0).nth(1).hover()
    unharmed(page, 1200)
    unharmed(static(page, widget))
    assert not {"\x1b", "\x00", "\u202e"} & set(widget.text() + widget.html())


@pytest.mark.parametrize(("theme", "width"), [("light", 1200), ("dark", 1200), ("light", 600), ("dark", 600)])
def test_it_is_looked_at(page, theme, width):
    page.set_viewport_size({"width": width, "height": 560})
    mount(page, two(), theme)
    side(page, 0).nth(8).hover()
    unharmed(page, width)
    shot(page, f"tokens-{theme}{'' if width == 1200 else '-narrow'}")
