"""The view of a completion, in a browser."""

import dataclasses
import html
import json

import numpy as np
import pytest
from browser import HOSTILE, mount, shot, static, unharmed

import toolkit as tk
from toolkit.core.fingerprint import Fingerprint
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store
from toolkit.structured.tools import ToolCall
from toolkit.widgets.base import visible
from toolkit.widgets.completion import CompletionView

FINGERPRINT = Fingerprint({"model": "by-hand", "tokenizer": "t", "generation_config": {}})
FORM = {
    "type": "json_schema",
    "json_schema": {
        "name": "mood",
        "schema": {
            "type": "object",
            "properties": {"mood": {"enum": ["good", "bad"]}},
            "required": ["mood"],
        },
    },
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def body(page):
    return page.locator(".tk-completion")


def changed(completion, **fields):
    """The completion with other fields in its first choice."""
    first, *rest = completion.choices
    return dataclasses.replace(completion, choices=(dataclasses.replace(first, **fields), *rest))


def test_it_tells_what_was_asked_what_came_and_what_it_took(page, made):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    mount(page, CompletionView(made(messages=turns, temperature=0.5, seed=7, max_tokens=9)))
    told = body(page).inner_text()
    for part in (
        "2 messages: What is the capital", "Paris.", "stop", "by-hand", "7 (2 cached) + 3", "0.50", "0.25 s",
        "fp_0000000000", "temperature 0.5, max_tokens 9",
    ):  # fmt: skip
        assert part in told
    assert "seed\n7" in told
    assert "Be brief." not in told
    assert page.get_by_role("button", name="tokens").count() == 0


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_what_was_asked_is_opened(page, made, how):
    turns = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi\nthere"}]
    mount(page, CompletionView(made(messages=turns)))
    if how == "mouse":
        page.locator("summary").click()
    else:
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
    assert page.locator(".tk-turn").all_inner_texts() == ["developer\nBe brief.", "user\nHi\nthere"]


def test_images_tools_calls_and_the_form_are_part_of_what_was_asked(page, made):
    turns = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "See:"}, {"type": "image_url", "image_url": PIXEL}],
        },
        {"role": "assistant", "tool_calls": [ToolCall("c1", "weather", '{"city": "Oslo"}').to_openai()]},
        {"role": "tool", "tool_call_id": "c1", "content": "Snow."},
        {"role": "user", "content": [{"type": "image_url", "image_url": "https://example.com/a.png"}]},
    ]
    widget = CompletionView(made(messages=turns, tools=[WEATHER], prefix="It"))
    mount(page, widget)
    page.locator("summary").click()
    roles = page.locator(".tk-turn").evaluate_all("all => all.map((one) => one.dataset.role)")
    assert roles == ["user", "assistant", "tool", "user", "prefix of the answer", "tools, tool_choice auto"]
    assert page.locator(".tk-turn img").evaluate("one => one.complete && one.naturalWidth") == 1
    told = page.locator(".tk-asked").inner_text()
    assert '→ weather({"city": "Oslo"})' in told
    assert "[image https://example.com/a.png]" in told
    unharmed(page)  # and nothing was fetched
    assert "prefix of the answer: It\ntools, tool_choice auto: {" in widget.text()
    assert "assistant: → weather(" in widget.text()
    static(page, widget)
    page.locator("summary").click()
    for part in ("prefix of the answer", "It", "tools, tool_choice auto", "The weather."):
        assert part in page.locator("details").inner_text()


@pytest.mark.parametrize(
    ("request_", "shown"),
    [
        ({"prompt": "Once upon"}, "prompt\nOnce upon"),
        ({"prompt": (5, 6, 7)}, "prompt\n3 token ids: 5 6 7"),
        ({"prompt": "def f(", "suffix": "):"}, "suffix\n):"),
    ],
)
def test_a_prompt_is_shown_as_it_was_given(page, made, request_, shown):
    completion = dataclasses.replace(made(), request=tk.Request(**request_).resolve({}))
    widget = CompletionView(completion)
    mount(page, widget)
    page.locator("summary").click()
    assert shown in "\n".join(page.locator(".tk-turn").all_inner_texts())
    for part in shown.split("\n"):
        assert part in widget.html()
    assert shown.replace("\n", ": ") in widget.text()


@pytest.mark.parametrize(
    ("text", "reason", "badges"),
    [
        ('{"mood": "good"}', "stop", ["stop", "✓ valid"]),
        ('{"mood": "odd"}', "stop", ["stop", "✕ wrong_schema"]),
        ('{"mood": "go', "length", ["✂ length", "✕ truncated"]),
        ("Good!", "stop", ["stop", "✕ not_json"]),
        ("I'm sorry, I can't help with that.", "stop", ["stop", "✕ refused"]),
    ],
)
def test_a_form_has_a_verdict(page, made, text, reason, badges):
    completion = changed(made(text=text, response_format=FORM), finish_reason=reason)
    widget = CompletionView(completion)
    mount(page, widget)
    assert page.locator(".tk-badge").all_inner_texts() == badges
    if badges[1] == "✕ wrong_schema":
        for shown in (body(page).inner_text(), html.unescape(widget.html()), widget.text()):
            assert "/mood: 'odd' is not one of ['good', 'bad']" in shown
    for shown in (widget.html(), widget.text()):
        assert completion.schema_verdict.status in shown


@pytest.mark.parametrize(
    ("call", "badge"),
    [
        (ToolCall("c", "weather", '{"city": "Oslo"}'), "✓ valid"),
        (ToolCall("c", "weather", '{"town": "Oslo"}'), "✕ wrong_schema"),
        (ToolCall("c", "whether", "{}"), "✕ wrong_schema"),
    ],
)
def test_calls_are_shown_with_their_verdicts(page, made, call, badge):
    completion = changed(
        made(text="", tools=[WEATHER]), tool_calls=(call,), finish_reason="tool_calls", text=""
    )
    mount(page, CompletionView(completion))
    assert f"→ {call.name}({call.arguments})" in body(page).inner_text()
    assert page.locator(".tk-badge").all_inner_texts() == [badge, "tool_calls"]
    assert "(no text)" not in body(page).inner_text()


def test_each_choice_is_shown(page, made):
    completion = changed(made(text="one", n=3, temperature=1), stop_reason="\n\n")
    widget = CompletionView(completion)
    mount(page, widget)
    assert page.locator(".tk-answer").count() == 3
    assert "choice 2 of 3" in body(page).inner_text()
    assert r"at '\n\n'" in page.locator(".tk-answer").first.inner_text()
    for shown in (html.unescape(widget.html()), widget.text()):
        assert r"choice 1 of 3: stop at '\n\n'" in shown
        assert "choice 2 of 3: stop" in shown


def test_an_error_is_shown_in_place_of_an_answer(page, made):
    widget = CompletionView(made(error="the prompt is <b>too</b> long", top_logprobs=2))
    mount(page, widget)
    assert "✕ error" in body(page).inner_text()
    assert "the prompt is <b>too</b> long" in body(page).inner_text()
    assert page.get_by_role("button", name="tokens").count() == 0
    assert "&lt;b&gt;too" in widget.html()
    assert "too</b> long" in widget.text()


def test_an_answer_without_text_says_so(page, made):
    widget = CompletionView(made(text="", steps=0))
    mount(page, widget)
    for shown in (body(page).inner_text(), widget.html(), widget.text()):
        assert "(no text)" in shown


# Tokens


@pytest.fixture
def stored(db, made):
    """A completion with log probabilities, read from a store."""
    store = Store(db)
    store.begin_run("s", FINGERPRINT, [bytes([i]) for i in range(256)])
    done = dataclasses.replace(made(text="ABC", top_logprobs=3), system_fingerprint=FINGERPRINT.id)
    store.add([StoredCompletion(done, 0, 1)])
    store.define("s", {"rows": [], "prompts": ["Hi"]}, [done.request], [Cell(done.request.key, 1, {})])
    return tk.results(store)[0]


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_it_switches_to_its_tokens_and_back(page, stored, how):
    mount(page, CompletionView(stored))

    def press(name):
        button = page.get_by_role("button", name=name, exact=True)
        button.click() if how == "mouse" else button.press("Enter")

    press("tokens")
    page.locator(".tk-pieces .tk-piece").first.wait_for()
    assert page.locator(".tk-pieces .tk-piece").all_text_contents() == ["A", "B", "C"]
    assert page.locator(".tk-answer").is_hidden()
    page.locator(".tk-pieces .tk-piece").nth(1).hover()
    assert "token 1, id 66" in page.locator(".tk-tip:popover-open").inner_text()
    press("text")
    assert page.locator(".tk-answer").is_visible()
    assert page.locator(".tk-pieces .tk-piece").first.is_hidden()
    press("tokens")
    assert page.locator(".tk-pieces").count() == 1
    unharmed(page)


def test_the_tokens_of_several_choices_are_picked(page, made):
    mount(page, CompletionView(made(text="ABC", n=2, temperature=1, top_logprobs=2)))
    page.get_by_role("button", name="tokens").click()
    page.get_by_role("button", name="next text").click()
    page.get_by_role("listbox", name="tokens of text 2").wait_for()


def test_without_log_probabilities_it_is_light(made):
    plain, told = CompletionView(made()), CompletionView(made(top_logprobs=5))
    assert len(json.dumps(plain.get_state())) < len(json.dumps(told.get_state())) - 20_000
    assert "logprobsView({ root" not in str(plain._esm).split("export default")[0]
    assert len(json.dumps(told.content)) < 1000  # the tokens come when they are asked for
    with pytest.raises(ValueError, match="no log probabilities: ask with top_logprobs=5"):
        plain.tokens()


@pytest.mark.parametrize(
    "fields",
    [
        {"vocabulary": None},
        {"logprobs_mode": "raw_logits"},
        {"token_ids": np.zeros(0, np.int32)},
    ],
)
def test_log_probabilities_that_cannot_be_shown_are_not_offered(made, fields):
    assert CompletionView(changed(made(top_logprobs=2), **fields)).content["tokens"] is False


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_text(page, made, name):
    text = HOSTILE[name]
    whole = text.encode(errors="replace").decode()
    turns = [{"role": "user", "content": whole}, {"role": "assistant", "content": whole}]
    first = changed(
        made(text=text, messages=turns, response_format=FORM, n=2, temperature=1, top_logprobs=2),
        stop_reason=text,
        tool_calls=(ToolCall("c", text, text),),
    )
    widget = CompletionView(dataclasses.replace(first, model=text, system_fingerprint=text))
    mount(page, widget)
    page.locator("summary").click()
    assert page.locator(".tk-answer .tk-said").all_text_contents() == [visible(text)] * 2
    assert visible(text) in page.locator(".tk-call").text_content()
    unharmed(page, 1200)
    assert not {"\x1b", "\x00", "\u202e", "\ud83d"} & set(widget.text() + widget.html())
    unharmed(static(page, widget))


def test_a_hostile_error_is_text(page, made):
    text = "".join(HOSTILE.values())
    widget = CompletionView(made(error=text))
    mount(page, widget)
    assert page.locator(".tk-error.tk-said").text_content() == visible(text)
    unharmed(page, 1200)
    unharmed(static(page, widget))


@pytest.mark.parametrize(("theme", "width"), [("light", 1200), ("dark", 1200), ("light", 600), ("dark", 600)])
def test_it_is_looked_at(page, made, theme, width):
    page.set_viewport_size({"width": width, "height": 520})
    turns = [
        {"role": "system", "content": "You read reviews."},
        {"role": "user", "content": "The actors carry every scene, and the music stays with you."},
    ]
    completion = changed(
        made(text='{"mood": "splendid"}', messages=turns, response_format=FORM, seed=3, n=2, top_logprobs=2),
        text='{"mood": "good"}',
    )
    mount(page, CompletionView(completion), theme)
    page.locator("summary").click()
    unharmed(page, width)
    shot(page, f"completion-{theme}{'' if width == 1200 else '-narrow'}")
