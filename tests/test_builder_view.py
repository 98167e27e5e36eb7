"""The few-shot builder: the table, how examples are chosen, the prompt with its tokens, what a window leaves out."""

import json
from pathlib import Path

import pandas as pd
import pytest
from browser import HOSTILE, mount, shot, static, unharmed
from playwright.sync_api import expect

import toolkit as tk
from toolkit.prompts.selectors import MMR, Balanced, First, Random, Selector, Similar
from toolkit.widgets.base import visible
from toolkit.widgets.few_shot import Builder, prompt_code
from toolkit.widgets.prompt_parts import split_by_example

POOL = [
    {"id": "a", "text": "a dull film", "label": "neg"},
    {"id": "b", "text": "a great film", "label": "pos"},
    {"id": "c", "text": "cold soup", "label": "neg"},
    {"id": "d", "text": "warm soup and bread", "label": "pos"},
]
PROMPT = tk.Prompt("Review: {text}", system="Rate it.", examples=POOL, answer="{label}", k=2)
ROWS = [{"text": "soup, and a film"}, {"text": "a film"}]
GPT = "gpt-4o"


def box(page, name):
    return page.get_by_label(name, exact=True)


def shown(page, *texts):
    """Waits until the prompt shows these examples, in this order."""
    page.wait_for_function(
        "(want) => JSON.stringify([...document.querySelectorAll('.tk-build-turn[data-example=true] .tk-said')]"
        ".map((one) => one.textContent).filter((_, i) => i % 2 === 0)) === JSON.stringify(want)",
        arg=[f"Review: {text}" for text in texts],
    )


def put(page, name, value):
    box(page, name).fill(value)
    box(page, name).press("Tab")


def test_examples_are_shown_and_marked(page):
    widget = Builder(PROMPT, ROWS, GPT)
    mount(page, widget)
    shown(page, "a dull film", "a great film")
    assert page.locator(".tk-build-shown").all_text_contents() == ["shown 1", "shown 2"]
    assert page.locator(".tk-build-turn").count() == 6
    assert page.locator(".tk-build-prompt").text_content().endswith("Review: soup, and a film")
    unharmed(page)


def test_the_table_is_edited(page):
    widget = Builder(PROMPT, ROWS, GPT)
    mount(page, widget)
    put(page, "text of example 0", "a boring film")
    shown(page, "a boring film", "a great film")
    box(page, "include example 1").uncheck()
    shown(page, "a boring film", "cold soup")
    box(page, "move example 2 up").click()
    box(page, "move example 1 up").click()
    shown(page, "cold soup", "a boring film")
    box(page, "remove example 1").click()
    shown(page, "cold soup", "warm soup and bread")
    page.get_by_role("button", name="add an example").click()
    page.wait_for_function("document.activeElement.ariaLabel === 'text of example 3'")
    assert len(widget.prompt.examples) == 2  # a row without a text is no example yet
    page.keyboard.type("tea")
    page.keyboard.press("Tab")
    put(page, "label of example 3", "pos")
    page.wait_for_function("document.body.textContent.includes('3 of 4 included')")
    assert [e["text"] for e in widget.prompt.examples] == ["cold soup", "warm soup and bread", "tea"]
    assert PROMPT.examples[0]["text"] == "a dull film"


def test_by_keyboard_alone(page):
    widget = Builder(PROMPT, ROWS, GPT)
    mount(page, widget)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    shown(page, "a great film", "cold soup")
    page.wait_for_function("document.activeElement.ariaLabel === 'include example 0'")
    for _ in range(5):
        page.keyboard.press("Tab")  # three values, then the buttons: the first example cannot go up
    page.wait_for_function("document.activeElement.ariaLabel === 'remove example 0'")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.ariaLabel === 'move example 1 down'")
    assert [e.row["id"] for e in widget.examples] == ["b", "a", "c", "d"]


@pytest.mark.parametrize("name", ["first", "random", "balanced", "similar", "mmr"])
def test_selectors_choose_as_the_prompt_does(page, name):
    widget = Builder(PROMPT, ROWS, GPT)
    mount(page, widget)
    page.get_by_label("selector").select_option(name)
    made = PROMPT.with_(selector=name)
    shown(page, *(POOL[i]["text"] for i in made.chosen(ROWS[0])))
    assert widget.prompt == made
    put(page, "row", "1")
    shown(page, *(POOL[i]["text"] for i in made.chosen(ROWS[1])))


@pytest.mark.parametrize(
    ("name", "option", "typed", "made"),
    [
        ("random", "seed", "3", Random(seed=3)),
        ("balanced", "by", "id", Balanced(by="id")),
        ("mmr", "relevance", "0.9", MMR(relevance=0.9)),
    ],
)
def test_options_of_selectors(page, name, option, typed, made):
    widget = Builder(PROMPT, ROWS, GPT)
    mount(page, widget)
    page.get_by_label("selector").select_option(name)
    put(page, option, typed)
    shown(page, *(POOL[i]["text"] for i in PROMPT.with_(selector=made).chosen(ROWS[0])))
    assert widget.prompt.selector == made


def test_k_and_the_order(page):
    widget = Builder(PROMPT, ROWS, GPT)
    mount(page, widget)
    put(page, "k", "")
    shown(page, *(e["text"] for e in POOL))
    put(page, "k", "3")
    put(page, "order_seed", "5")
    shown(page, *(POOL[i]["text"] for i in PROMPT.with_(k=3, order_seed=5).chosen(ROWS[0])))
    box(page, "another order").click()
    shown(page, *(POOL[i]["text"] for i in PROMPT.with_(k=3, order_seed=6).chosen(ROWS[0])))
    assert widget.prompt == PROMPT.with_(k=3, order_seed=6)


@pytest.mark.parametrize(
    ("name", "typed", "error"),
    [
        ("k", "9", "k is 9, but 4 examples are included"),
        ("k", "-1", "k must be a whole number from 0"),
        ("k", "two", "k must be a whole number, got 'two'"),
        ("order_seed", "x", "order_seed must be a whole number"),
        ("window", "0", "window must be a whole number of tokens from 1 up"),
        ("reserve", "", "reserve must be a whole number of tokens from 1 up"),
    ],
)
def test_bad_settings_are_told(page, name, typed, error):
    widget = Builder(PROMPT, ROWS, GPT)
    mount(page, widget)
    put(page, name, typed)
    page.get_by_role("alert").filter(has_text=error).wait_for()
    assert widget.prompt == PROMPT


def test_bad_options_and_rows_are_told(page):
    mount(page, Builder(PROMPT, [{"words": "x"}], GPT))
    page.get_by_role("alert").filter(has_text="the row lacks text (it has words)").wait_for()
    page.get_by_label("selector").select_option("mmr")
    put(page, "relevance", "2")
    page.get_by_role("alert").filter(has_text="relevance must be a number from 0 to 1").wait_for()


@pytest.mark.parametrize("layout", ["turns", "flat"])
def test_tokens_make_up_the_whole(page, layout):
    widget = Builder(PROMPT.with_(layout=layout), ROWS, GPT)
    mount(page, widget)
    rendered = widget.prompt.render(ROWS[0])
    whole = tk.count_tokens(rendered, GPT)
    assert widget.content["tokens"] == sum(widget.content["sizes"]) == whole
    assert widget.content["sizes"][0] == tk.count_tokens(PROMPT.with_(k=0).render(ROWS[0]), GPT)
    page.get_by_text(f"about {whole} tokens").wait_for()
    page.get_by_text("an estimate: o200k_base, the encoding of gpt-4o").wait_for()
    page.get_by_text(f"example 1: {widget.content['sizes'][1]} tokens").wait_for()


def test_what_a_window_leaves_out(page):
    widget = Builder(PROMPT.with_(k=4), ROWS, GPT)
    mount(page, widget)
    page.get_by_text("all of it fits").wait_for()
    sizes = widget.content["sizes"]
    put(page, "reserve", "10")
    put(page, "window", str(sum(sizes) - sizes[1] + 10))
    page.get_by_text("left out: 1 example; then it fits").wait_for()
    assert (
        page.locator(".tk-build-left .tk-badge").text_content() == f"example 1: {sizes[1]} tokens, left out"
    )
    page.get_by_label("may be left out").select_option("refuse")
    page.get_by_text("do not fit the context window").wait_for()
    page.get_by_label("may be left out").select_option("examples")
    put(page, "window", "12")
    page.get_by_text("before leaving out 4 examples").wait_for()


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("layout", ["turns", "flat"])
def test_parts_are_the_messages(layout, fold):
    history = [
        {"role": "system", "content": "More."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
    ]
    prompt = PROMPT.with_(layout=layout, fold_system=fold, history=history)
    rendered = prompt.render(ROWS[0])
    parts = split_by_example(prompt, rendered, prompt.chosen(ROWS[0]))
    assert [(role, "".join(text for text, _ in pieces)) for role, pieces in parts] == [
        (m["role"], m["content"]) for m in rendered.messages
    ]
    marked = [(text, n) for _, pieces in parts for text, n in pieces if n is not None]
    assert not any("Rate it." in text for text, _ in marked)  # what is folded into an example is none of it
    if layout == "flat":
        assert marked == [("Review: a dull film\nneg", 0), ("Review: a great film\npos", 1)]
    else:
        assert [n for _, n in marked] == [0, 0, 1, 1]
        assert [
            text.endswith(end)
            for (text, _), end in zip(marked, ["dull film", "neg", "great film", "pos"], strict=True)
        ] == [True] * 4


def test_a_second_view_shows_the_same_and_changes_the_same(page):
    widget = Builder(PROMPT, ROWS, GPT)
    mount(page, widget)
    page.evaluate("window.again()")
    first, second = (page.locator(".tk-build").nth(i) for i in range(2))
    first.get_by_label("remove example 0").click()
    second.get_by_text("3 of 3 included").wait_for()
    second.get_by_label("text of example 0").fill("a fine film")
    second.get_by_label("text of example 0").press("Tab")
    expect(first.get_by_label("text of example 0")).to_have_value("a fine film")
    first.get_by_label("selector").select_option("random")
    expect(second.get_by_label("selector")).to_have_value("random")
    second.get_by_label("k", exact=True).fill("1")
    second.get_by_label("k", exact=True).press("Tab")
    expect(first.get_by_label("k", exact=True)).to_have_value("1")
    assert widget.prompt == PROMPT.with_(
        examples=[{**POOL[1], "text": "a fine film"}, *POOL[2:]], selector="random", k=1
    )


def test_who_types_on_while_an_answer_comes_loses_nothing(page):
    widget = Builder(PROMPT, ROWS, GPT)
    mount(page, widget)
    put(page, "text of example 0", "a boring film")
    box(page, "text of example 1").fill("half a sen")
    widget.include(3, False)  # whatever comes meanwhile
    page.get_by_text("3 of 4 included").wait_for()
    page.wait_for_function("document.activeElement.ariaLabel === 'text of example 1'")
    page.keyboard.type("tence")
    page.keyboard.press("Tab")
    shown(page, "a boring film", "half a sentence")
    assert [e.row["text"] for e in widget.examples[:2]] == ["a boring film", "half a sentence"]


def test_a_click_is_not_lost_to_the_answer_of_what_was_typed(page):
    widget = Builder(PROMPT, ROWS, GPT)
    mount(page, widget)
    box(page, "text of example 0").fill("a boring film")
    at = box(page, "remove example 1").bounding_box()
    page.mouse.move(at["x"] + 5, at["y"] + 5)
    page.mouse.down()  # leaves the cell: its text is sent, and answered before the button comes up
    shown(page, "a boring film", "a great film")
    page.mouse.up()
    page.get_by_text("3 of 3 included").wait_for()
    assert [e.row["id"] for e in widget.examples] == ["a", "c", "d"]


def test_k_holds_once_there_are_enough_examples(page):
    widget = Builder(PROMPT, ROWS, GPT)
    mount(page, widget)
    put(page, "k", "5")
    told = page.get_by_role("alert").filter(has_text="k is 5, but 4 examples are included")
    told.wait_for()
    page.get_by_role("button", name="add an example").click()
    page.wait_for_function("document.activeElement.ariaLabel === 'text of example 4'")
    page.keyboard.type("tea")
    page.keyboard.press("Tab")
    told.wait_for(state="hidden")
    assert widget.prompt.k == 5


def test_a_row_that_is_not_there_gives_the_last(page):
    mount(page, Builder(PROMPT, ROWS, GPT))
    box(page, "row").fill("7.5")
    box(page, "row").press("Enter")
    expect(box(page, "row")).to_have_value("1")
    page.locator(".tk-build-row").get_by_text("a film").wait_for()


def test_options_say_what_they_are_when_left_out(page):
    mount(page, Builder(PROMPT, ROWS, GPT))
    page.get_by_label("selector").select_option("mmr")
    assert box(page, "relevance").get_attribute("placeholder") == "0.5"


class Last(Selector):
    def select(self, pool, item, k):
        return [int(i) for i in pool.open(item)[-k:]]


def test_a_selector_of_ones_own_is_kept(page):
    widget = Builder(PROMPT.with_(selector=Last()), ROWS, GPT)
    mount(page, widget)
    shown(page, "cold soup", "warm soup and bread")
    assert page.get_by_label("selector").input_value() == "last"
    page.get_by_label("selector").select_option("first")
    shown(page, "a dull film", "a great film")
    page.get_by_label("selector").select_option("last")
    shown(page, "cold soup", "warm soup and bread")
    names = {}
    exec(widget.code(), names)
    assert names["prompt"] == PROMPT


def test_many_examples_are_made_one_prompt_of(monkeypatch):
    pool = [{"text": f"film {i}", "label": "pos"} for i in range(500)]
    widget = Builder(PROMPT.with_(examples=pool, k=3), ROWS, GPT)
    read = []
    columns = Builder._columns.fget
    monkeypatch.setattr(Builder, "_columns", property(lambda self: read.append(1) or columns(self)))
    widget.edit(0, "text", "other")
    assert len(read) < 5  # not once for each example


def test_many_examples_are_paged(page):
    pool = [{"text": f"film {i}", "label": "pos"} for i in range(95)]
    widget = Builder(PROMPT.with_(examples=pool, k=None), ROWS, GPT)
    mount(page, widget)
    page.get_by_text("page 1 of 10").wait_for()
    assert page.locator(".tk-build-table tbody tr").count() == 10
    box(page, "next page").click()
    page.get_by_text("page 2 of 10").wait_for()
    put(page, "text of example 12", "changed")
    shown(page, *(("changed" if i == 12 else f"film {i}") for i in range(95)))
    assert widget.content["sizes"] is None  # too many to be counted one by one
    assert widget.content["tokens"] == tk.count_tokens(widget.prompt.render(ROWS[0]), GPT)


def test_values_that_are_no_text_stay_so(page):
    pool = [{"text": "x", "label": 1, "more": [1, 2]}]
    widget = Builder(PROMPT.with_(examples=pool, k=1), ROWS, GPT)
    mount(page, widget)
    put(page, "label of example 0", "5")
    shown(page, "x")
    put(page, "more of example 0", "[3]")
    page.wait_for_function("document.querySelectorAll('.tk-build-prompt .tk-said')[2].textContent === '5'")
    assert widget.prompt.examples[0] == {"text": "x", "label": 5, "more": [3]}


def test_the_code_makes_the_prompt(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    widget = Builder(PROMPT, ROWS, GPT)
    mount(page, widget)
    page.get_by_label("selector").select_option("random")
    put(page, "seed", "7")
    page.get_by_role("button", name="code").click()
    names = {}
    exec(page.locator(".tk-build-code pre").text_content(), names)
    assert names["prompt"] == widget.prompt == PROMPT.with_(selector=Random(7))


@pytest.mark.parametrize(
    "prompt",
    [
        tk.Prompt("Hi"),
        PROMPT.with_(
            name="n", layout="flat", block="{question} {answer}", order_seed=3, selector=MMR(relevance=0.3)
        ),
        tk.Prompt(
            "{{ a }}'\"\\\u202e",
            syntax="jinja",
            developer="x\n" * 60,
            documents=["d"],
            system="{{ documents }}",
        ),
        tk.Prompt("{a}", history=[{"role": "user", "content": "x"}], examples=[{"a": 1.5, "answer": "\n"}]),
    ],
)
def test_code_of_every_field(prompt):
    names = {}
    exec(prompt_code(prompt), names)
    assert names["prompt"] == prompt


def test_a_selector_with_a_function_is_kept():
    def embed(texts):
        return [[len(t), 1] for t in texts]

    widget = Builder(PROMPT.with_(selector=Similar(embed)), ROWS, GPT)
    assert widget.prompt.selector == Similar(embed)
    assert "holds a function" in widget.code()
    options = {"selector": {"name": "mmr", "options": {"relevance": "0.2"}}, "k": "1", "order_seed": ""}
    widget.configure(options, {"window": "100", "reserve": "5", "strategy": "examples"})
    assert widget.prompt.selector == MMR(embed, 0.2)
    options["selector"] = {"name": "first", "options": {}}
    widget.configure(options, {"window": "100", "reserve": "5", "strategy": "examples"})
    assert widget.prompt.selector == First()


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        (("text", ROWS), TypeError, "prompt must be a Prompt, got 'text': toolkit.Prompt"),
        ((PROMPT, ["x"]), TypeError, r"rows\[0\] must be a dict"),
        ((PROMPT, ROWS, "no-such-model"), tk.ModelError, "unknown model 'no-such-model'"),
    ],
)
def test_bad_arguments(given, error, told):
    with pytest.raises(error, match=told):
        Builder(*given)


def test_rows_may_be_a_frame_or_none():
    assert Builder(PROMPT, pd.DataFrame(ROWS), GPT).content["rows"] == 2
    assert Builder(tk.Prompt("Hi"), model=GPT).content["turns"] == [["user", [["Hi", None]]]]


@pytest.mark.parametrize("layout", ["turns", "flat"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_examples_and_rows(page, name, layout):
    text = HOSTILE[name].encode(errors="replace").decode()[:60_000]
    key = text[:40]
    pool = [{"text": text, "label": text, key: text}]
    system = text.replace("{", "{{").replace("}", "}}")
    prompt = tk.Prompt("{text}", system=system, examples=pool, answer="{label}", layout=layout)
    widget = Builder(prompt, [{"text": text + " another", key: text}], GPT)
    mount(page, widget)
    page.locator(".tk-build-example").first.wait_for()
    assert visible(text)[:50] in page.locator(".tk-build-prompt").text_content()
    box(page, "include example 0").uncheck()
    page.get_by_text("0 of 1 included").wait_for()
    box(page, "include example 0").check()
    page.get_by_role("button", name="code").click()
    page.locator(".tk-build-code pre").wait_for()
    page.get_by_text("1 of 1 included").wait_for()
    unharmed(page)
    assert list(widget.prompt.examples) == pool
    static(page, widget)
    unharmed(page)
    assert visible(text)[:50] in widget.text()


@pytest.mark.parametrize(("theme", "width"), [("light", 1200), ("dark", 1200), ("light", 600), ("dark", 600)])
def test_pictures(page, theme, width):
    page.set_viewport_size({"width": width, "height": 800})
    pool = [
        *POOL,
        *({"id": str(i), "text": f"the {i}th film of a long series", "label": "neg"} for i in range(9)),
    ]
    widget = Builder(PROMPT.with_(examples=pool, selector="mmr", k=3), ROWS, GPT)
    mount(page, widget, theme)
    put(page, "reserve", "20")
    put(page, "window", str(sum(widget.content["sizes"]) + 10))
    box(page, "include example 2").uncheck()
    page.get_by_text("left out:").wait_for()
    shot(page, f"builder-{theme}" + ("-narrow" if width < 900 else ""))
    unharmed(page, width)
    if theme == "light":
        static(page, widget)
        page.add_style_tag(content="td, th { text-align: right }")  # as nbconvert's pages have it
        assert page.locator("td").last.evaluate("e => getComputedStyle(e).textAlign") == "left"
        shot(page, "builder-static")


def test_without_a_browser():
    widget = Builder(PROMPT, ROWS, GPT)
    assert "Review: a dull film" in repr(widget)
    assert repr(widget).endswith("all of it fits: 49 + 256 of 8,192 tokens") or "all of it fits" in repr(
        widget
    )
    for told in (widget.html(), widget.text()):
        for part in (
            "4 of 4 examples", "chosen by first, k 2", "row 0 of 2: text soup, and a film", "shown 2",
            "warm soup and bread", "user, example 2: 14 tokens", "assistant, example 2", "examples 14 + 14",
        ):  # fmt: skip
            assert part in told
    widget.configure(
        {**widget.content["shots"], "k": "x"}, {"window": "50", "reserve": "10", "strategy": "examples"}
    )
    for told in (widget.html(), widget.text()):
        for part in (
            "k must be a whole number",
            "user, example 1: 14 tokens, left out",
            "user, example 2: 14 tokens",
        ):
            assert part in told


@pytest.mark.parametrize(
    ("model", "window", "note"),
    [
        ("gpt-4o", 128_000, "the window of gpt-4o"),
        ("gpt-4", 8192, "the window of gpt-4"),
        ("o3-mini", 200_000, "the window of o3-mini"),
        ("gpt-4o-2024-08-06", 128_000, "the window of gpt-4o-2024-08-06"),
        ("cl100k_base", 8192, "assumed: the window of cl100k_base is not known"),  # an encoding is no model
    ],
)
def test_the_window_is_that_of_the_model(model, window, note):
    widget = Builder(PROMPT, ROWS, model)
    assert widget.content["fit"]["window"] == str(window)
    assert widget.content["window_note"] == note
    assert f"of {window:,} tokens ({note})" in widget.text()


def test_a_local_model_has_the_window_of_its_config(tiny_folder):
    config = json.loads((Path(tiny_folder) / "config.json").read_text())
    widget = Builder(PROMPT, ROWS, str(tiny_folder))
    assert widget.content["fit"]["window"] == str(config["max_position_embeddings"])
    assert widget.content["window_note"].startswith("the window of ")


def test_another_window_is_set_beside_that_of_the_model(page):
    widget = Builder(PROMPT, ROWS, "gpt-4o")
    mount(page, widget)
    expect(box(page, "window")).to_have_value("128000")
    expect(page.get_by_text("the window of gpt-4o")).to_be_visible()
    put(page, "window", "500")
    expect(page.get_by_text("gpt-4o has 128,000")).to_be_visible()
    put(page, "window", "128000")
    expect(page.get_by_text("the window of gpt-4o")).to_be_visible()
    unharmed(page)


def test_a_real_engine_counts_exactly(page, engine):
    widget = Builder(PROMPT, ROWS, engine)
    mount(page, widget)
    whole = engine.count(widget.prompt.render(ROWS[0]))
    page.get_by_text(f"{whole} tokens", exact=True).wait_for()
    page.get_by_text("exact: the tokenizer of SmolLM2-135M-Instruct").wait_for()
    assert box(page, "window").input_value() == str(engine.window)
