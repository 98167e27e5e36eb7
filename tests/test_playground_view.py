"""The playground: the editor, the controls and their errors, streaming and stopping, history, comparison, code."""

import json
import re
import threading
import time
from dataclasses import replace

import pytest
from browser import HOSTILE, mount, shot, static, unharmed
from playwright.sync_api import expect

import toolkit as tk
from toolkit.completion import Delta
from toolkit.engine import Engine, EngineError, RequestError
from toolkit.fingerprint import Fingerprint
from toolkit.request import Request
from toolkit.sampling import rule
from toolkit.widgets.code import sweep_code
from toolkit.widgets.draft import CONTROLS, Drafts
from toolkit.widgets.playground import Playground
from toolkit.widgets.reply import sides
from toolkit.widgets.view import visible

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the capital of France?"},
]


class Scripted(Engine):
    """Answers with given pieces, each when the test says so."""

    model = "scripted"
    tokenizer = object()
    fingerprint = Fingerprint({"max_model_len": 100, "generation_config": {}})
    vocabulary, ends, generated_tokens = (), frozenset(), 0

    def __init__(self, made, *pieces, free=True):
        self.made, self.pieces = made, pieces or ("The capital ", "is ", "Paris.")
        self.pace = threading.Semaphore(1_000_000 if free else 0)
        self.asked, self.closed, self.error = [], 0, None

    def stream_request(self, request):
        self.asked.append(request)
        try:
            if self.error:
                raise self.error
            for piece in self.pieces:
                assert self.pace.acquire(timeout=20)
                yield Delta(piece)
            assert self.pace.acquire(timeout=20)
            found = self.made("".join(self.pieces))
            choices = tuple(replace(found.choices[0], index=i) for i in range(request.sampling.n or 1))
            yield Delta("", 0, "stop", replace(found, request=request.resolve({}), choices=choices))
        finally:
            self.closed += 1

    def encode(self, request):
        return tuple(" ".join(m["content"] for m in request.messages).split())

    def generate(self, requests): ...
    def start(self): ...
    def close(self): ...


@pytest.fixture
def engine_of(made):
    return lambda *pieces, **options: Scripted(made, *pieces, **options)


def answered(page, number=1, state="done"):
    page.locator(f".tk-play-answer b:text-is('#{number}') + .tk-badge[data-state={state}]").wait_for()


def run(page):
    page.get_by_role("button", name="Run").click()


def typed(page, name):
    return page.get_by_label(name, exact=True)


def test_a_message_is_asked_and_answered(page, engine_of):
    engine = engine_of()
    widget = Playground(engine, TALK, temperature=0.3)
    mount(page, widget)
    run(page)
    answered(page)
    assert page.locator(".tk-play-text .tk-said").text_content() == "The capital is Paris."
    facts = page.locator(".tk-play-facts").text_content()
    for told in (
        "finish_reasonstop",
        "usage7 + 3 tokens",
        "seconds0.50",
        "tokens/s6.0",
        "seednone",
        "fp_0000000000",
    ):
        assert told in facts
    assert [c.text for c in widget.history] == ["The capital is Paris."]
    assert engine.asked[0].sampling.given() == {"temperature": 0.3}
    assert list(engine.asked[0].messages) == TALK
    unharmed(page)


def test_all_of_it_by_keyboard(page, engine_of):
    engine = engine_of("one ", "two ", free=False)
    widget = Playground(engine)
    mount(page, widget)
    page.keyboard.press("Tab")  # the role
    page.keyboard.press("ArrowUp")  # from user to developer
    page.keyboard.press("Tab")  # past the buttons that have nothing to move
    page.keyboard.press("Tab")
    page.keyboard.type("Count.")
    page.keyboard.press("Control+Enter")
    engine.pace.release()
    page.get_by_text("one", exact=True).wait_for()
    assert page.evaluate("document.activeElement.value") == "Count."
    page.keyboard.press("Escape")
    engine.pace.release(9)
    answered(page, state="stopped")
    assert engine.asked[0].messages == ({"role": "developer", "content": "Count."},)
    assert page.get_by_role("button", name="Run").is_enabled()


def test_the_buttons_keep_the_keyboard(page, engine_of):
    engine = engine_of(free=False)
    mount(page, Playground(engine, "Hi"))
    page.get_by_role("button", name="Run").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.textContent.includes('Stop')")
    engine.pace.release(9)
    page.wait_for_function("document.activeElement.textContent.includes('Run')")


def test_turns_are_added_moved_removed_and_change_their_role(page, engine_of):
    engine = engine_of()
    mount(page, Playground(engine, TALK))
    page.get_by_role("button", name="add a turn").click()
    page.keyboard.type("Rome?")
    page.get_by_label("move up turn 3").click()
    page.get_by_label("remove turn 1").click()
    page.get_by_label("role of turn 2").select_option("developer")
    page.keyboard.press("Control+Enter")
    answered(page)
    assert engine.asked[0].messages == (
        {"role": "assistant", "content": "Rome?"},
        {"role": "developer", "content": "What is the capital of France?"},
    )


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("temperature", "0.25", 0.25),
        ("top_p", "0.5", 0.5),
        ("frequency_penalty", "-1.5", -1.5),
        ("presence_penalty", "2", 2.0),
        ("max_tokens", "9", 9),
        ("seed", str(2**63 - 1), 2**63 - 1),
        ("n", "2", 2),
        ("stop", "\\n\n is", ("\n", " is")),
    ],
)
def test_settings_are_sent(page, engine_of, name, value, sent):
    engine = engine_of()
    mount(page, Playground(engine, "Hi"))
    typed(page, name).fill(value)
    page.keyboard.press("Control+Enter")
    answered(page)
    assert engine.asked[0].sampling.given() == {name: sent}
    assert page.locator(".tk-play-text").count() == (2 if name == "n" else 1)


def test_sliders_have_the_ranges_of_sampling(page, engine_of):
    engine = engine_of()
    mount(page, Playground(engine, "Hi", presence_penalty=-0.5))
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty"):
        slider = typed(page, f"{name}, slider")
        assert float(slider.get_attribute("max")) == rule(name).high
        assert float(slider.get_attribute("min")) >= rule(name).low
    assert typed(page, "presence_penalty, slider").input_value() == "-0.5"
    typed(page, "temperature, slider").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert typed(page, "temperature").input_value() == "0.05"
    typed(page, "logprobs").check()
    page.keyboard.press("Control+Enter")
    answered(page)
    assert engine.asked[0].sampling.given() == {
        "temperature": 0.05,
        "presence_penalty": -0.5,
        "logprobs": True,
    }


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("temperature", "3", "temperature must be a number from 0 to 2, got 3.0"),
        ("top_p", "0", "top_p must be a number above 0 to 1"),
        ("max_tokens", "many", "max_tokens must be a whole number, got 'many'"),
        ("seed", "-1", "seed must be a whole number from 0"),
        ("frequency_penalty", "nan", "frequency_penalty must be a number from -2 to 2"),
    ],
)
def test_bad_settings_are_told_beside_them(page, engine_of, name, value, error):
    engine = engine_of()
    mount(page, Playground(engine, "Hi"))
    typed(page, name).fill(value)
    told = page.get_by_role("alert").filter(has_text=error)
    told.wait_for()
    above = typed(page, name).bounding_box()
    assert 0 < told.bounding_box()["y"] - above["y"] < 60
    run(page)
    told.wait_for()
    assert engine.asked == []
    typed(page, name).fill("")
    told.wait_for(state="detached")


def test_settings_that_do_not_go_together_are_told(page, engine_of):
    mount(page, Playground(engine_of(), "Hi", temperature=0))
    typed(page, "n").fill("2")
    page.get_by_role("alert").filter(has_text="n must be 1 at temperature 0").wait_for()


def test_an_empty_message_is_told_at_it(page, engine_of):
    mount(page, Playground(engine_of(), TALK))
    typed(page, "text of turn 2").fill("")
    page.locator(".tk-play-turn").nth(1).get_by_text("messages[1] has no text").wait_for()


@pytest.mark.parametrize(
    ("kind", "text", "sent"),
    [
        ("json_object", None, {"type": "json_object"}),
        (
            "json_schema",
            '{"type": "object"}',
            {
                "type": "json_schema",
                "json_schema": {"name": "schema", "schema": {"type": "object"}, "strict": True},
            },
        ),
        ("choice", "yes\nno", {"type": "choice", "choice": ["yes", "no"]}),
        ("regex", "[0-9]+", {"type": "regex", "regex": "[0-9]+"}),
    ],
)
def test_the_form_of_the_answer(page, engine_of, kind, text, sent):
    engine = engine_of("no JSON")
    mount(page, Playground(engine, "Say it in JSON."))
    typed(page, "response format").select_option(kind)
    if text:
        typed(page, "what the answer must be").fill(text)
    run(page)
    answered(page)
    assert engine.asked[0].response_format.to_openai() == sent
    status = "wrong_schema" if kind in ("choice", "regex") else "not_json"
    assert page.locator(".tk-play-title .tk-badge").nth(1).text_content() == f"✕ {status}"


@pytest.mark.parametrize(
    ("kind", "text", "error"),
    [
        ("json_object", None, "JSON mode needs the word JSON"),
        ("json_schema", '{"type": "object"', "JSON Schema: Expecting ',' delimiter: line 1, column 18"),
        ("json_schema", '{"type": "objekt"}', "unknown type of response_format 'objekt'"),
        ("json_schema", '{"type": "object", "properties": []}', "no valid JSON Schema"),
        ("choice", " ", "choice must be a list of texts"),
        ("regex", "[0-9", "is no regex"),
    ],
)
def test_bad_forms_are_told_beside_them(page, engine_of, kind, text, error):
    engine = engine_of()
    mount(page, Playground(engine, "Hi"))
    typed(page, "response format").select_option(kind)
    if text:
        typed(page, "what the answer must be").fill(text)
    page.locator(".tk-play-settings [role=alert]").filter(has_text=error).wait_for()
    page.keyboard.press("Control+Enter")
    assert engine.asked == []


def test_tokens_are_counted_while_one_types(page, engine_of):
    price = tk.ModelPrice("mine", input=1000, output=2000)
    mount(page, Playground(engine_of(), "one two", price=price, max_tokens=10))
    page.get_by_text("2 tokens + 10 for the answer; 88 of 100 remain").wait_for()
    page.get_by_text("$0.0020 for the prompt, at most $0.022 with the answer (mine)").wait_for()
    typed(page, "text of turn 1").fill("word " * 95)
    page.locator(".tk-play-counted.tk-error").get_by_text("5 too many for the window of 100").wait_for()


def test_an_answer_streams_and_stops(page, engine_of):
    engine = engine_of(*(f"{i} " for i in range(100)), free=False)
    widget = Playground(engine, "Count.")
    mount(page, widget)
    run(page)
    engine.pace.release(3)
    page.wait_for_function("document.querySelector('.tk-play-text .tk-said')?.textContent.startsWith('0 ')")
    assert page.get_by_role("button", name="Run").is_disabled()
    assert "stop it first" in widget.do_run(widget.content["draft"])["errors"]["run"]
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("stopping …").wait_for()
    engine.pace.release(1)
    answered(page, state="stopped")
    assert page.locator(".tk-play-text .tk-said").text_content() == "0 1 2 3 "
    assert engine.closed == 1
    assert widget.history == []
    assert widget.replies[0].texts == ["0 1 2 3 "]
    facts = page.locator(".tk-play-facts").text_content()
    for told in ("finish_reasonnone", "usagenot told", "seednone", f"fingerprint{engine.fingerprint.id}"):
        assert told in facts
    past = page.locator(".tk-play-past")
    assert "0 1 2 3" in past.text_content()
    assert past.text_content().endswith("stopped")
    for told in (widget.html(), widget.text()):
        assert "stopped" in told
        assert "0 1 2 3" in told
    page.get_by_role("button", name="continue the conversation").click()
    page.wait_for_function("document.querySelectorAll('.tk-play-turn textarea').length === 3")
    assert typed(page, "text of turn 2").input_value() == "0 1 2 3 "


def test_messages_are_few_and_the_last_piece_is_there(page, engine_of):
    engine = engine_of(*["word "] * 20_000)
    widget = Playground(engine, "Talk.")
    sent = []
    mount(page, widget)
    send = widget.send
    widget.send = lambda content, buffers=None: (sent.append(content.get("what")), send(content))
    run(page)
    began = time.monotonic()
    answered(page)
    assert sent.count("more") <= 20 * (time.monotonic() - began) + 1
    assert page.locator(".tk-play-text .tk-said").text_content() == visible("word " * 20_000)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RequestError("the prompt has 9001 tokens: shorten the prompt"), "the prompt has 9001 tokens"),
        (EngineError("this engine is closed: toolkit.load() gives a new one"), "this engine is closed"),
        (EngineError("vLLM died: <b>oh</b>"), "vLLM died: <b>oh</b>"),
    ],
)
def test_errors_of_the_engine_are_told(page, engine_of, error, told):
    engine = engine_of()
    engine.error = error
    widget = Playground(engine, "Hi")
    mount(page, widget)
    run(page)
    answered(page, state="error")
    assert told in page.locator(".tk-play-answer > [role=alert]").text_content()
    engine.error = None
    run(page)
    answered(page, 2)
    assert told in widget.text()


def test_the_history_gives_messages_and_settings_back(page, engine_of):
    engine = engine_of()
    mount(page, Playground(engine, TALK))
    typed(page, "seed").fill("7")
    page.keyboard.press("Control+Enter")
    answered(page)
    typed(page, "seed").fill("8")
    typed(page, "text of turn 2").fill("And of Japan?")
    page.keyboard.press("Control+Enter")
    answered(page, 2)
    past = page.locator(".tk-play-past")
    assert past.count() == 2
    past.nth(0).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    answered(page, 1)
    page.wait_for_function("document.querySelectorAll('.tk-play-turn textarea')[1].value.includes('France')")
    assert typed(page, "seed").input_value() == "7"


def test_two_answers_are_compared(page, engine_of):
    engine = engine_of("It is Paris.")
    mount(page, Playground(engine, TALK, seed=1))
    run(page)
    answered(page)
    engine.pieces = ("It is Lyon.",)
    typed(page, "seed").fill("2")
    page.keyboard.press("Control+Enter")
    answered(page, 2)
    typed(page, "compare answer 1").check()
    page.keyboard.press("Shift+Tab")
    typed(page, "compare answer 2").check()
    page.locator(".tk-play-pair").wait_for()
    assert page.locator(".tk-play-pair td").all_text_contents() == ["seed", "1", "2"]
    assert page.locator(".tk-play-pair del").all_text_contents() == ["Paris"]
    assert page.locator(".tk-play-pair ins").all_text_contents() == ["Lyon"]
    shot(page, "playground-compare")
    page.get_by_role("button", name="close").press("Enter")
    page.wait_for_function("document.activeElement.ariaLabel === 'answer 2, done'")


@pytest.mark.parametrize(
    ("first", "second", "left", "right"),
    [
        (
            "a b c",
            "a x c",
            [(True, "a "), (False, "b"), (True, " c")],
            [(True, "a "), (False, "x"), (True, " c")],
        ),
        ("", "new", [], [(False, "new")]),
        ("same", "same", [(True, "same")], [(True, "same")]),
        ("x " * 4000, "y ", [(False, "x " * 1500), (True, "x " * 2500)], [(False, "y"), (True, " ")]),
    ],
)
def test_words_that_differ_are_marked(first, second, left, right):
    assert sides(first, second) == [left, right]


def test_the_conversation_goes_on_with_the_answer_as_it_was(page, engine_of):
    engine = engine_of("odd \x1b[31m answer")
    mount(page, Playground(engine, "Hi"))
    run(page)
    answered(page)
    page.get_by_role("button", name="continue the conversation").click()
    page.wait_for_function("document.activeElement.ariaLabel === 'text of turn 3'")
    assert typed(page, "text of turn 2").input_value() == "odd ⟨U+001B⟩[31m answer"
    page.keyboard.type("Go on.")
    page.keyboard.press("Control+Enter")
    answered(page, 2)
    assert engine.asked[1].messages == (
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "odd \x1b[31m answer"},
        {"role": "user", "content": "Go on."},
    )


def test_a_widget_that_is_removed_stops_its_thread(page, engine_of):
    engine = engine_of(*["x"] * 50, free=False)
    widget = Playground(engine, "Hi")
    mount(page, widget)
    run(page)
    engine.pace.release(1)
    page.get_by_text("x", exact=True).wait_for()
    page.evaluate("window.remove()")
    page.wait_for_function("new Promise((done) => setTimeout(() => done(true), 60))")
    engine.pace.release(1)
    wait(lambda: not widget.running)
    assert (engine.closed, widget.replies[0].state) == (1, "stopped")


def wait(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_widget_that_is_closed_stops_its_thread(engine_of):
    engine = engine_of(*["x"] * 50, free=False)
    widget = Playground(engine, "Hi")
    widget.do_run(widget.content["draft"])
    engine.pace.release(2)
    wait(lambda: widget.replies[0].texts != [""])
    widget.close()
    engine.pace.release(1)
    wait(lambda: not widget.running)
    assert engine.closed == 1


def test_two_views_show_the_same_answer(page, engine_of):
    engine = engine_of("one ", "two ", "three ", free=False)
    widget = Playground(engine, "Hi")
    mount(page, widget)
    page.evaluate("window.again()")
    page.locator(".tk-play").nth(1).get_by_role("button", name="Run").click()
    for i in range(2):
        page.locator(".tk-play").nth(i).get_by_role("button", name="Stop").and_(
            page.locator(":enabled")
        ).wait_for()
    engine.pace.release(1)
    texts = page.locator(".tk-play-text .tk-said")
    expect(texts).to_have_text(["one ", "one "], use_inner_text=False)
    page.locator(".tk-play").nth(0).get_by_role("button", name="Stop").click()
    engine.pace.release(9)
    page.locator(".tk-play-answer .tk-badge[data-state=stopped]").nth(1).wait_for()
    assert texts.all_text_contents() == ["one two "] * 2
    assert page.locator(".tk-play-past").count() == 2
    page.evaluate("window.remove()")
    page.locator(".tk-play").nth(1).get_by_role("button", name="Run").click()
    page.locator(".tk-play").nth(1).locator(
        ".tk-badge[data-state=done]"
    ).wait_for()  # one view goes, the other stays


def test_of_an_answer_that_comes_no_piece_is_shown_twice_or_lost(engine_of):
    engine = engine_of(free=False)
    widget = Playground(engine, "Hi")
    sent = []
    widget.send = lambda content, buffers=None: sent.append(content)
    widget.do_run(widget.content["draft"])
    reply = widget.replies[0]
    reply.texts[0] = "has come"  # and is yet to be told
    widget.do_open()
    widget._more(reply)
    begun = [one["value"] for one in sent if one["what"] == "began"]
    assert [one["texts"] for one in begun] == [[""], [""]]
    assert [one["value"]["news"] for one in sent if one["what"] == "more"] == [[[0, "has come"]]]
    widget.do_open()
    assert sent[-1]["value"]["texts"] == ["has come"]
    widget.close()
    engine.pace.release(9)
    wait(lambda: not widget.running)


def test_a_long_answer_is_followed_as_it_comes(page, engine_of):
    engine = engine_of(*(f"line {i}\n" for i in range(200)), free=False)
    mount(page, Playground(engine, "Talk."))
    run(page)

    def come(pieces):
        engine.pace.release(pieces)
        page.wait_for_timeout(100)  # what comes sooner after the last message is told with the next piece
        engine.pace.release(1)

    box = "document.querySelector('.tk-play-text .tk-said')"
    come(100)
    page.wait_for_function(f"{box}?.scrollHeight > 900")
    assert page.evaluate(f"{box}.scrollTop + {box}.clientHeight - {box}.scrollHeight") >= -1
    page.evaluate(f"{box}.scrollTop = 50")
    long = page.evaluate(f"{box}.scrollHeight")
    come(50)
    page.wait_for_function(f"{box}.scrollHeight > {long}")
    assert page.evaluate(f"{box}.scrollTop") == 50  # who reads is left alone
    engine.pace.release(99)
    answered(page)


def test_the_model_is_named(page, engine_of, monkeypatch):
    engine = engine_of()
    monkeypatch.setattr("toolkit.widgets.playground.load", lambda: engine)
    widget = Playground(messages="Hi")
    mount(page, widget)
    page.get_by_text("SmolLM2-135M-Instruct, loaded by the first run").wait_for()
    assert "loaded by the first run" in widget.html()
    run(page)
    answered(page)
    assert page.locator(".tk-play-model").text_content() == "by-hand"


def test_the_keyboard_stays_where_it_is_wanted(page, engine_of):
    mount(page, Playground(engine_of(), TALK))

    def at(label):
        page.wait_for_function("(label) => document.activeElement.ariaLabel === label", arg=label)

    page.get_by_role("button", name="add a turn").click()
    typed(page, "move up turn 3").focus()
    page.keyboard.press("Enter")
    at("move up turn 2")
    page.keyboard.press("Enter")
    at("text of turn 1")  # it cannot go higher
    for _ in range(3):
        typed(page, "remove turn 1").focus()
        page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.textContent === '+ add a turn'")
    page.keyboard.press("Enter")
    page.keyboard.type("Hi")
    page.keyboard.press("Control+Enter")
    answered(page)
    page.keyboard.press("Control+Enter")
    answered(page, 2)
    page.locator(".tk-play-past").nth(0).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Control+Enter")
    answered(page, 3)
    at("answer 1, done")


@pytest.mark.parametrize(
    "asked",
    [
        {"temperature": 0.1234567, "top_p": 1e-05, "seed": 2**63 - 1},
        {"stop": ["a\u2028b", "\n", "\\n", " x"]},
        {"response_format": {"type": "choice", "choice": ["a\u2028b", "c"]}},
        {"response_format": {"type": "object", "title": "named", "properties": {}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "mood", "schema": {"type": "object"}},
            }
        },
        {"response_format": {"type": "json_schema", "json_schema": {"name": "any", "schema": True}}},
        {"response_format": {"type": "json_object"}},
    ],
)
def test_a_draft_means_the_request_that_it_was_made_of(asked):
    request = Request.chat("Say it in JSON.", **asked)
    drafts = Drafts({})
    draft = drafts.of(request.messages, request.sampling, request.response_format)
    assert drafts.request(draft) == (request, {})


def test_settings_that_differ_are_told_however_alike_they_look(page, engine_of):
    engine = engine_of()
    widget = Playground(engine, TALK)
    mount(page, widget)
    forms = [{"type": "object", "description": "long " * 60, "required": [name]} for name in "ab"]
    typed(page, "response format").select_option("json_schema")
    for i, form in enumerate(forms):
        typed(page, "what the answer must be").fill(json.dumps(form))
        typed(page, "role of turn 1").select_option(["system", "developer"][i])
        page.keyboard.press("Control+Enter")
        answered(page, i + 1)
    found = widget.do_compare(1, 2)
    assert [row[0] for row in found["differ"]] == ["response_format"]
    assert found["messages"] is False  # the same words, by others


def test_a_view_that_begins_later_sees_the_answer_that_comes(page, engine_of):
    engine = engine_of("one ", "two ", free=False)
    widget = Playground(engine, "Hi")
    widget.do_run(widget.content["draft"])
    engine.pace.release(1)
    wait(lambda: widget.replies[0].texts == ["one "])
    mount(page, widget)
    page.get_by_text("one", exact=True).wait_for()
    engine.pace.release(9)
    answered(page)
    assert page.locator(".tk-play-text .tk-said").text_content() == "one two "


def test_code_is_shown_and_copied(page, engine_of):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    mount(page, Playground(engine_of(), TALK, seed=3, temperature=0.2))
    page.get_by_role("button", name="make this a sweep").click()
    code = page.locator(".tk-play-code pre").text_content()
    assert "temperature=[0.0, 0.2, 0.7]" in code
    assert "seed=range(3, 7)" in code
    page.keyboard.press("Enter")
    page.get_by_text(re.compile("^(copied|selected)")).wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.textContent === 'make this a sweep'")
    page.locator(".tk-play-code").wait_for(state="hidden")


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"temperature": 0, "seed": 5, "n": 1},
        {"seed": 2**63 - 1},
        {"n": 3, "stop": ["\n", "a'b\""], "logit_bias": {5: -100}, "top_logprobs": 3, "bad_words": ["x"]},
        {"response_format": {"type": "choice", "choice": ["yes", "no"]}},
        {"response_format": {"type": "object", "properties": {"ä": {"enum": [True, None, 1.5]}}}},
    ],
)
def test_the_code_makes_the_sweep(asked):
    turns = [{"role": "system", "content": "{braces}\n'\"\\ \u202e" * 30}, {"role": "user", "content": "Hi"}]
    request = Request.chat(turns, **asked)
    code = sweep_code(request, None).replace("engine = tk.load()", "engine = None").split("results =")[0]
    names = {}
    exec(code, names)
    found = [request for request, _ in names["sweep"].requests({})]
    seeds = {r.sampling.seed for r in found if r.sampling.temperature}
    first = min(asked.get("seed", 0), 2**63 - 4)
    assert seeds == set(range(first, first + 4))
    for one in found:
        same = {k: v for k, v in request.sampling.given().items() if k not in ("temperature", "seed", "n")}
        assert same.items() <= one.sampling.given().items()
        assert one.response_format == request.response_format
        assert list(one.messages) == turns


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"temperature": 3}, ValueError, "temperature must be a number from 0 to 2"),
        ({"temprature": 1}, TypeError, "did you mean 'temperature'"),
        ({"messages": [{"role": "tool", "content": "x"}]}, ValueError, "the playground edits these alone"),
        ({"messages": [{"role": "robot", "content": "x"}]}, ValueError, "unknown role 'robot'"),
        ({"price": "gpt-nothing"}, tk.PriceError, "unknown model"),
    ],
)
def test_bad_arguments(given, error, told):
    with pytest.raises(error, match=re.escape(told)):
        Playground(**given)


def test_settings_without_a_control_hold_for_every_answer(page, engine_of):
    engine = engine_of()
    mount(page, Playground(engine, "Hi", top_k=5, bad_words=["a", "b"]))
    page.get_by_text("also: top_k 5 · bad_words 'a', 'b'").wait_for()
    run(page)
    answered(page)
    assert engine.asked[0].sampling.given() == {"top_k": 5, "bad_words": ("a", "b")}


@pytest.mark.parametrize(
    ("price", "told"),
    [
        (tk.LocalPrice(per_hour=3600), "cost$0.50"),
        (tk.LocalPrice(per_kwh=1), "costnot known"),
        (tk.ModelPrice("m", input=1e6, output=1e6), "cost$10.00"),
    ],
)
def test_what_an_answer_cost(page, engine_of, price, told):
    mount(page, Playground(engine_of(), "Hi", price=price))
    run(page)
    answered(page)
    assert told in page.locator(".tk-play-facts").text_content()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_and_messages(page, engine_of, name):
    text = HOSTILE[name]
    sendable = text.encode(errors="replace").decode()
    engine = engine_of(text)
    engine.model = text
    engine.made = lambda said, build=engine.made: replace(
        build(said), notes={text: text}, system_fingerprint=text
    )
    widget = Playground(
        engine, [{"role": "user", "content": sendable}], stop=[sendable[:50]], bad_words=[sendable]
    )
    mount(page, widget)
    run(page)
    answered(page)
    run(page)
    answered(page, 2)
    assert engine.asked[0].messages[0]["content"] == sendable
    assert page.locator(".tk-play-text .tk-said").text_content() == visible(text)
    typed(page, "compare answer 1").check()
    typed(page, "compare answer 2").check()
    page.locator(".tk-play-pair").wait_for()
    page.get_by_role("button", name="make this a sweep").click()
    page.locator(".tk-play-code pre").wait_for()
    unharmed(page)
    static(page, widget)
    unharmed(page)
    assert not {"\x1b", "\x00", "\u202e", "\ud83d"} & set(widget.text() + widget.html())


def test_hostile_errors(page, engine_of):
    engine = engine_of()
    engine.error = RequestError(" ".join(HOSTILE.values()))
    widget = Playground(engine, "Hi")
    mount(page, widget)
    run(page)
    answered(page, state="error")
    unharmed(page)
    static(page, widget)
    unharmed(page)


@pytest.mark.parametrize(("theme", "width"), [("light", 1200), ("dark", 1200), ("light", 600), ("dark", 600)])
def test_pictures(page, engine_of, theme, width):
    page.set_viewport_size({"width": width, "height": 800})
    engine = engine_of(
        "The capital of France is Paris. It lies on the Seine, in the north of the country, and has been its "
        "capital since the tenth century."
    )
    price = tk.ModelPrice("my-model", input=0.5, output=2)
    widget = Playground(engine, TALK, temperature=0.7, max_tokens=60, price=price, top_k=40)
    mount(page, widget, theme)
    for seed in (1, 2):
        typed(page, "seed").fill(str(seed))
        page.keyboard.press("Control+Enter")
        answered(page, seed)
    typed(page, "response format").select_option("choice")
    typed(page, "what the answer must be").fill("Paris\nLyon")
    page.keyboard.press("Control+Enter")
    answered(page, 3)
    typed(page, "top_p").fill("1.5")
    page.get_by_role("alert").filter(has_text="top_p must be").wait_for()
    shot(page, f"playground-{theme}" + ("-narrow" if width < 900 else ""))
    unharmed(page, width)
    if theme == "light":
        static(page, widget)
        shot(page, "playground-static")


def test_without_a_browser(engine_of):
    widget = Playground(engine_of(), TALK, seed=3)
    for told in (widget.html(), widget.text()):
        for part in ("scripted", "Be brief.", "What is the capital of France?", "seed 3"):
            assert part in told
    widget.do_run(widget.content["draft"])
    wait(lambda: not widget.running)
    wait(lambda: widget.content["history"])
    assert repr(widget).split("\n") == [
        "Playground on scripted, 1 answer",
        "#1 done; seed 3",
        "system: Be brief.",
        "user: What is the capital of France?",
        "answer: The capital is Paris.",
        "[finish_reason stop, usage 7 + 3 tokens, seconds 0.50, tokens/s 6.0, seed 3, fingerprint fp_0000000000]",
    ]
    for told in ("Be brief.", "The capital is Paris.", "7 + 3 tokens", "fp_0000000000"):
        assert told in widget.html()
    assert set(CONTROLS) <= widget.content["draft"]["sampling"].keys()


# On the real engine.


@pytest.fixture
def idle(engine):
    """The engine, started: it takes longer than a test waits for; afterwards nothing may run on it any more."""
    engine.chat("Hi", max_tokens=1)
    yield engine
    wait(lambda: not engine.call(lambda llm: llm.llm_engine.has_unfinished_requests()))


def test_the_real_engine_streams_and_stops(page, idle):
    widget = Playground(
        idle, "Write a long story about a lighthouse.", temperature=0, max_tokens=2000, ignore_eos=True
    )
    mount(page, widget)
    run(page)
    page.wait_for_function("document.querySelector('.tk-play-text .tk-said')?.textContent.length > 40")
    assert page.locator(".tk-play-answer .tk-badge").text_content() == "… running"
    page.keyboard.press("Escape")
    answered(page, state="stopped")
    wait(lambda: not idle.call(lambda llm: llm.llm_engine.has_unfinished_requests()))
    text = widget.replies[0].texts[0]
    assert page.locator(".tk-play-text .tk-said").text_content() == text
    whole = idle.chat(
        "Write a long story about a lighthouse.", temperature=0, max_tokens=40, ignore_eos=True
    ).text
    assert text.startswith(whole[:40])
    assert widget.history == []


def test_the_real_engine_answers(page, idle):
    widget = Playground(idle, TALK, temperature=0, max_tokens=20)
    mount(page, widget)
    page.get_by_text(f"of {idle.window:,} remain").wait_for()
    counted = page.locator(".tk-play-counted").text_content()
    run(page)
    answered(page)
    (completion,) = widget.history
    assert completion.text == idle.chat(TALK, temperature=0, max_tokens=20).text
    assert counted.startswith(f"{completion.usage.prompt_tokens} tokens + 20 for the answer")
    assert page.locator(".tk-play-text .tk-said").text_content() == visible(completion.text)
    assert completion.system_fingerprint in page.locator(".tk-play-facts").text_content()
    typed(page, "max_tokens").fill("9000")
    run(page)
    answered(page, 2, "error")
    assert "context window" in page.locator(".tk-play-answer > [role=alert]").text_content()
    typed(page, "max_tokens").fill("20")
    typed(page, "response format").select_option("choice")
    typed(page, "what the answer must be").fill("Paris\nLyon")
    run(page)
    answered(page, 3)
    assert page.locator(".tk-play-text .tk-said").text_content() in ("Paris", "Lyon")
    assert page.locator(".tk-play-title .tk-badge").nth(1).text_content() == "✓ valid"
    shot(page, "playground-engine")


def test_several_choices_stream_on_the_real_engine(page, idle):
    widget = Playground(idle, "Tell me a joke.", seed=1, n=2, max_tokens=24, logprobs=True)
    mount(page, widget)
    run(page)
    answered(page)
    (completion,) = widget.history
    assert page.locator(".tk-play-text .tk-said").all_text_contents() == [
        visible(c.text) for c in completion.choices
    ]
    assert completion.logprobs is not None


def test_the_code_runs_as_it_stands(page, idle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    widget = Playground(idle, TALK, max_tokens=4, stop="\n")
    mount(page, widget)
    page.get_by_role("button", name="make this a sweep").click()
    names = {}
    exec(page.locator(".tk-play-code pre").text_content(), names)
    assert names["engine"] is idle
    assert len(names["results"]) == 3 * 4 - 3
    assert (tmp_path / "runs/playground.db").exists()
