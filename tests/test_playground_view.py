"""The playground: the editor, the controls and their errors, streaming and stopping, history, comparison, code."""

import contextlib
import json
import re
import threading
import time
from dataclasses import replace

import pytest
from browser import HOSTILE, mount, shot, static, unharmed

import toolkit as tk
from toolkit.core.request import Request
from toolkit.core.sampling import rule
from toolkit.engines.vllm.engine import VLLMEngine
from toolkit.models import DEFAULT
from toolkit.widgets.base import escaped, visible
from toolkit.widgets.engine_labels import labels
from toolkit.widgets.playground import Playground
from toolkit.widgets.playground_draft import CONTROLS, MAX_TEXT, Drafts
from toolkit.widgets.playground_reply import Reply, diff_sides
from toolkit.widgets.python_source import sweep_code

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the capital of France?"},
]


LONG = {"temperature": 0, "max_tokens": 2000, "ignore_eos": True}
"""An answer that is stopped before it ends."""


def busy(engine):
    return engine.call(lambda llm: llm.llm_engine.has_unfinished_requests())


@pytest.fixture
def idle(tiny):
    """An engine, started: it takes longer than a test waits for; afterwards nothing may run on it any more."""
    tiny.start()
    yield tiny
    wait(lambda: not busy(tiny))


@pytest.fixture
def play(idle):
    """Playgrounds on the engine. A test that fails leaves no answer running either."""
    made = []

    def build(*messages, **options):
        made.append(Playground(idle, *messages, **options))
        return made[-1]

    yield build
    for widget in made:
        widget.close()


@pytest.fixture
def by_hand(made):
    """Finished answers that no engine gave."""

    def build(text, number=1, messages="Hi", changes=None, **asked):
        c = replace(made(text, messages=messages, **asked), **(changes or {}))
        request = Request.chat(messages, **asked)
        told = {"model": c.model, "fingerprint": c.system_fingerprint}
        return Reply(number, request, state="done", texts=[text], completion=c, **told)

    return build


def kept(widget, *replies):
    """The widget with these answers in its history."""
    for reply in replies:
        widget._replies.append(reply)
        widget._finish(reply)
    return widget


@contextlib.contextmanager
def held(engine):
    """Meanwhile the engine computes nothing, so that an answer that comes neither grows nor ends."""
    there, go = threading.Event(), threading.Event()
    thread = threading.Thread(target=engine.call, args=(lambda llm: (there.set(), go.wait(60)),))
    thread.start()
    try:
        assert there.wait(20)
        yield
    finally:
        go.set()
        thread.join()


def wait(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def answered(page, number=1, state="done"):
    page.locator(f".tk-play-answer b:text-is('#{number}') + .tk-badge[data-state={state}]").wait_for()


def run(page):
    page.get_by_role("button", name="Run").click()


def coming(page):
    """Waits for the first words of an answer."""
    page.wait_for_function("document.querySelector('.tk-play-text .tk-said')?.textContent.trim()")


def texts(page):
    return page.locator(".tk-play-text .tk-said")


def typed(page, name):
    return page.get_by_label(name, exact=True)


def test_a_message_is_asked_and_answered(page, play, idle):
    widget = play(
        TALK, temperature=0.3, seed=4, max_tokens=6, price=tk.ModelPrice("m", input=1e6, output=1e6)
    )
    mount(page, widget)
    page.get_by_text(f"of {idle.window:,} remain").wait_for()
    counted = page.locator(".tk-play-counted").text_content()
    run(page)
    answered(page)
    (c,) = widget.history
    assert counted.startswith(f"{c.usage.prompt_tokens} tokens + 6 for the answer")
    assert texts(page).text_content() == visible(c.text)
    assert c.text == idle.chat(TALK, temperature=0.3, seed=4, max_tokens=6).text
    facts = page.locator(".tk-play-facts").text_content()
    for told in (
        f"finish_reason{c.finish_reason}",
        f"usage{c.usage.prompt_tokens} + {c.usage.completion_tokens} tokens",
        f"seconds{c.seconds:.2f}",
        f"tokens/s{c.tokens_per_second:.1f}",
        f"cost${c.usage.total_tokens}.00",
        "seed4",
        idle.fingerprint.id,
    ):
        assert told in facts
    (reply,) = widget.replies
    assert reply.request.sampling.given() == {"temperature": 0.3, "seed": 4, "max_tokens": 6}
    assert list(reply.request.messages) == TALK
    unharmed(page)


def test_all_of_it_by_keyboard(page, play):
    widget = play(**LONG)
    mount(page, widget)
    page.keyboard.press("Tab")  # the role
    page.keyboard.press("ArrowUp")  # from user to developer
    page.keyboard.press("Tab")  # past the buttons that have nothing to move
    page.keyboard.press("Tab")
    page.keyboard.type("Count.")
    page.keyboard.press("Control+Enter")
    coming(page)
    assert page.evaluate("document.activeElement.value") == "Count."
    page.keyboard.press("Escape")
    answered(page, state="stopped")
    assert widget.replies[0].request.messages == ({"role": "developer", "content": "Count."},)
    assert page.get_by_role("button", name="Run").is_enabled()


def test_the_buttons_keep_the_keyboard(page, play):
    widget = play("Hi", **LONG)
    mount(page, widget)
    page.get_by_role("button", name="Run").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.textContent.includes('Stop')")
    widget.stop()  # the answer ends, and nobody pressed a button
    page.wait_for_function("document.activeElement.textContent.includes('Run')")


def test_turns_are_added_moved_removed_and_change_their_role(page, play):
    widget = play(TALK, max_tokens=4)
    mount(page, widget)
    page.get_by_role("button", name="add a turn").click()
    page.keyboard.type("Rome?")
    page.get_by_label("move up turn 3").click()
    page.get_by_label("remove turn 1").click()
    page.get_by_label("role of turn 2").select_option("developer")
    page.keyboard.press("Control+Enter")
    answered(page)
    assert widget.replies[0].request.messages == (
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
def test_settings_are_sent(page, play, name, value, sent):
    widget = play("Hi", max_tokens=4)
    mount(page, widget)
    typed(page, name).fill(value)
    page.keyboard.press("Control+Enter")
    answered(page)
    assert widget.replies[0].request.sampling.given() == {"max_tokens": 4, name: sent}
    assert page.locator(".tk-play-text").count() == (2 if name == "n" else 1)


def test_sliders_have_the_ranges_of_sampling(page, play):
    widget = play("Hi", presence_penalty=-0.5, max_tokens=4)
    mount(page, widget)
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
    assert widget.replies[0].request.sampling.given() == {
        "temperature": 0.05,
        "presence_penalty": -0.5,
        "max_tokens": 4,
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
def test_bad_settings_are_told_beside_them(page, engine, name, value, error):
    widget = Playground(engine, "Hi")
    mount(page, widget)
    typed(page, name).fill(value)
    told = page.get_by_role("alert").filter(has_text=error)
    told.wait_for()
    above = typed(page, name).bounding_box()
    assert 0 < told.bounding_box()["y"] - above["y"] < 60
    run(page)
    told.wait_for()
    assert widget.replies == ()
    typed(page, name).fill("")
    told.wait_for(state="detached")


def test_settings_that_do_not_go_together_are_told(page, engine):
    mount(page, Playground(engine, "Hi", temperature=0))
    typed(page, "n").fill("2")
    page.get_by_role("alert").filter(has_text="n must be 1 at temperature 0").wait_for()


def test_an_empty_message_is_told_at_it(page, engine):
    mount(page, Playground(engine, TALK))
    typed(page, "text of turn 2").fill("")
    page.locator(".tk-play-turn").nth(1).get_by_text("messages[1] has no text").wait_for()


CLOSED = {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("kind", "text", "sent"),
    [
        ("json_object", None, {"type": "json_object"}),
        (
            "json_schema",
            json.dumps(CLOSED),
            {"type": "json_schema", "json_schema": {"name": "schema", "schema": CLOSED, "strict": True}},
        ),
        ("choice", "yes\nno", {"type": "choice", "choice": ["yes", "no"]}),
        ("regex", "[0-9]{2}", {"type": "regex", "regex": "[0-9]{2}"}),
    ],
)
def test_the_form_of_the_answer(page, play, kind, text, sent):
    widget = play("Say it in JSON.", max_tokens=8)
    mount(page, widget)
    typed(page, "response format").select_option(kind)
    if text:
        typed(page, "what the answer must be").fill(text)
    run(page)
    answered(page)
    assert widget.replies[0].request.response_format.to_openai() == sent
    verdict = widget.history[0].schema_verdict
    assert verdict.valid or kind == "json_object"  # of which 8 tokens may be a part
    badge = page.locator(".tk-play-title .tk-badge").nth(1).text_content()
    assert badge == f"{'✓' if verdict.valid else '✕'} {verdict.status}"


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"type": "json_object"}, "not_json"),
        ({"type": "object"}, "not_json"),
        ({"type": "choice", "choice": ["yes", "no"]}, "wrong_schema"),
        ({"type": "regex", "regex": "[0-9]+"}, "wrong_schema"),
    ],
)
def test_an_answer_without_its_form_says_so(page, engine, by_hand, form, status):
    reply = by_hand("no JSON", messages="Say it in JSON.", response_format=form)
    mount(page, kept(Playground(engine), reply))
    assert page.locator(".tk-play-title .tk-badge").nth(1).text_content() == f"✕ {status}"
    why = str(reply.completion.schema_verdict)
    assert page.locator(".tk-play-why").text_content() == f"verdict{visible(why)}"


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
def test_bad_forms_are_told_beside_them(page, engine, kind, text, error):
    widget = Playground(engine, "Hi")
    mount(page, widget)
    typed(page, "response format").select_option(kind)
    if text:
        typed(page, "what the answer must be").fill(text)
    page.locator(".tk-play-settings [role=alert]").filter(has_text=error).wait_for()
    page.keyboard.press("Control+Enter")
    assert widget.replies == ()


def test_tokens_are_counted_while_one_types(page, play, idle):
    price = tk.ModelPrice("mine", input=1000, output=2000)
    mount(page, play("one two", price=price, max_tokens=10))
    tokens, window = idle.count("one two"), idle.window
    left = window - tokens - 10
    page.get_by_text(f"{tokens} tokens + 10 for the answer; {left:,} of {window:,} remain").wait_for()
    cost = f"${tokens / 1000:.3f} for the prompt, at most ${tokens / 1000 + 0.02:.3f} with the answer (mine)"
    page.get_by_text(cost).wait_for()
    many = "word " * window
    typed(page, "text of turn 1").fill(many)
    over = idle.count(many) + 10 - window
    page.locator(".tk-play-counted.tk-error").get_by_text(
        f"{over:,} too many for the window of {window:,}"
    ).wait_for()


def test_an_answer_streams_and_stops(page, play, idle):
    asked = "Write a long story about a lighthouse."
    widget = play(asked, **LONG)
    mount(page, widget)
    run(page)
    page.wait_for_function("document.querySelector('.tk-play-text .tk-said')?.textContent.length > 40")
    assert page.locator(".tk-play-answer .tk-badge").text_content() == "… running"
    assert page.get_by_role("button", name="Run").is_disabled()
    assert "stop it first" in widget.run(widget.content["draft"])["errors"]["run"]
    with held(idle):
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("stopping …").wait_for()
    answered(page, state="stopped")
    wait(lambda: not busy(idle))
    (reply,) = widget.replies
    (text,) = reply.texts
    assert texts(page).text_content() == text
    assert text.startswith(idle.chat(asked, temperature=0, max_tokens=40, ignore_eos=True).text[:40])
    assert widget.history == []
    facts = page.locator(".tk-play-facts").text_content()
    for told in ("finish_reasonnone", "usagenot reported", "seednone", f"fingerprint{idle.fingerprint.id}"):
        assert told in facts
    past = page.locator(".tk-play-past").text_content()
    assert text[:40] in past
    assert past.endswith("stopped")
    for told in (widget.html(), widget.text()):
        assert "stopped" in told
    assert escaped(text) in widget.html()
    assert visible(text) in widget.text()
    page.get_by_role("button", name="continue the conversation").click()
    page.wait_for_function("document.querySelectorAll('.tk-play-turn textarea').length === 3")
    assert typed(page, "text of turn 2").input_value() == text


def test_messages_are_few_and_the_last_piece_is_there(page, play, monkeypatch):
    monkeypatch.setattr("toolkit.widgets.playground._PERIOD", 3600)  # the time for a second one never comes
    widget = play("Talk.", max_tokens=16, ignore_eos=True)
    sent = []
    mount(page, widget)
    send = widget.send
    widget.send = lambda content, buffers=None: (sent.append(content.get("event")), send(content))
    run(page)
    answered(page)
    assert sent.count("reply_text") == 1
    assert texts(page).text_content() == visible(widget.history[0].text)


def test_errors_of_the_engine_are_told(page, play):
    widget = play("Hi", max_tokens=9000)
    mount(page, widget)
    run(page)
    answered(page, state="error")
    told = "together they exceed the context window"
    assert told in page.locator(".tk-play-answer > [role=alert]").text_content()
    typed(page, "max_tokens").fill("4")
    run(page)
    answered(page, 2)
    assert told in widget.text()


def test_an_engine_that_was_closed_says_so(page):
    engine = VLLMEngine(DEFAULT, {})  # tk.load's is that of the session
    engine.close()
    mount(page, Playground(engine, "Hi"))
    run(page)
    answered(page, state="error")
    told = page.locator(".tk-play-answer > [role=alert]").text_content()
    assert told == "this engine is closed: toolkit.load() gives a new one"


def test_the_history_gives_messages_and_settings_back(page, play):
    mount(page, play(TALK, max_tokens=4))
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


def test_two_answers_are_compared(page, engine, by_hand):
    told = [by_hand(f"It is {city}.", i, TALK, seed=i) for i, city in enumerate(("Paris", "Lyon"), 1)]
    mount(page, kept(Playground(engine, TALK), *told))
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
    assert diff_sides(first, second) == [left, right]


def test_the_conversation_goes_on_with_the_answer_as_it_was(page, play, by_hand):
    widget = kept(play(), by_hand("odd \x1b[31m answer", max_tokens=4))
    mount(page, widget)
    page.get_by_role("button", name="continue the conversation").click()
    page.wait_for_function("document.activeElement.ariaLabel === 'text of turn 3'")
    assert typed(page, "text of turn 2").input_value() == "odd ⟨U+001B⟩[31m answer"
    page.keyboard.type("Go on.")
    page.keyboard.press("Control+Enter")
    answered(page, 2)
    assert widget.replies[1].request.messages == (
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "odd \x1b[31m answer"},
        {"role": "user", "content": "Go on."},
    )


def test_a_widget_that_is_removed_stops_its_thread(page, play, idle):
    widget = play("Hi", **LONG)
    mount(page, widget)
    run(page)
    coming(page)
    page.evaluate("window.remove()")
    wait(lambda: page.evaluate("true") and not widget.running)  # a page is heard while it is asked
    wait(lambda: not busy(idle))
    assert widget.replies[0].state == "stopped"


def test_a_widget_that_is_closed_stops_its_thread(play, idle):
    widget = play("Hi", **LONG)
    widget.run(widget.content["draft"])
    wait(lambda: widget.replies[0].texts != [""])
    widget.close()
    wait(lambda: not widget.running)
    wait(lambda: not busy(idle))
    assert widget.replies[0].state == "stopped"


def test_two_views_show_the_same_answer(page, play, idle):
    widget = play("Count to one hundred.", **LONG)
    mount(page, widget)
    page.evaluate("window.again()")
    first, second = (page.locator(".tk-play").nth(i) for i in range(2))
    second.get_by_role("button", name="Run").click()
    for view in (first, second):
        view.get_by_role("button", name="Stop").and_(page.locator(":enabled")).wait_for()
    coming(page)
    with held(idle):
        page.wait_for_function(
            "new Set([...document.querySelectorAll('.tk-play-text .tk-said')].map((e) => e.textContent)).size === 1"
        )
        first.get_by_role("button", name="Stop").click()
    page.locator(".tk-play-answer .tk-badge[data-state=stopped]").nth(1).wait_for()
    assert texts(page).all_text_contents() == [visible(widget.replies[0].texts[0])] * 2
    assert page.locator(".tk-play-past").count() == 2
    page.evaluate("window.remove()")
    second.get_by_label("max_tokens", exact=True).fill("4")
    second.get_by_role("button", name="Run").click()
    second.locator(".tk-badge[data-state=done]").wait_for()  # one view goes, the other stays


def test_of_an_answer_that_comes_no_piece_is_shown_twice_or_lost(engine):
    widget = Playground(engine)
    sent = []
    widget.send = lambda content, buffers=None: sent.append(content)
    reply = Reply(1, Request.chat("Hi"), texts=[""], sent=[0])
    widget._replies.append(reply)
    reply.texts[0] = "has come"  # and is yet to be told
    widget.view_opened()
    assert sent[-1]["value"]["texts"] == [""]
    widget._send_text(reply)
    widget._send_text(reply)
    assert [one["value"]["deltas"] for one in sent if one["event"] == "reply_text"] == [[[0, "has come"]]]
    widget.view_opened()
    assert sent[-1]["value"]["texts"] == ["has come"]
    reply.texts[0] += "x" * MAX_TEXT
    widget._send_text(reply)
    widget._send_text(reply)
    news = [text for one in sent if one["event"] == "reply_text" for _, text in one["value"]["deltas"]]
    assert "".join(news) == reply.texts[0][:MAX_TEXT]
    widget.view_opened()
    assert sent[-1]["value"]["texts"] == [reply.texts[0][:MAX_TEXT]]


def test_a_long_answer_is_followed_as_it_comes(page, engine):
    widget = Playground(engine)
    reply = Reply(1, Request.chat("Talk."), texts=[""], sent=[0])
    widget._replies.append(reply)
    mount(page, widget)
    box = "document.querySelector('.tk-play-text .tk-said')"

    def come(line):
        reply.texts[0] += f"{line}\n" * 100
        widget._send_text(reply)
        page.wait_for_function(f"{box}?.textContent.endsWith('{line}\\n')")

    come("one")
    assert page.evaluate(f"{box}.scrollHeight") > 900
    assert page.evaluate(f"{box}.scrollTop + {box}.clientHeight - {box}.scrollHeight") >= -1
    page.evaluate(f"{box}.scrollTop = 50")
    long = page.evaluate(f"{box}.scrollHeight")
    come("two")
    assert page.evaluate(f"{box}.scrollHeight") > long
    assert page.evaluate(f"{box}.scrollTop") == 50  # who reads is left alone
    reply.state = "stopped"
    widget._finish(reply)
    answered(page, state="stopped")


def test_the_model_is_named(page, engine):
    widget = Playground(messages="Hi", max_tokens=4)
    mount(page, widget)
    page.get_by_text("SmolLM2-135M-Instruct, loaded by the first run").wait_for()
    assert "loaded by the first run" in widget.html()
    run(page)
    wait(lambda: widget.history, 120)  # vLLM loads; while it does, another test must not use another engine
    answered(page)
    assert page.locator(".tk-play-model").text_content() == engine.model
    assert widget.history[0].system_fingerprint == engine.fingerprint.id


def test_the_keyboard_stays_where_it_is_wanted(page, play):
    mount(page, play(TALK, max_tokens=4))

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
    draft = drafts.draft(request.messages, request.sampling, request.response_format)
    assert drafts.request(draft) == (request, {})


def test_settings_that_differ_are_told_however_alike_they_look(page, play):
    widget = play(TALK, max_tokens=4)
    mount(page, widget)
    forms = [{"type": "object", "description": "long " * 60, "required": [name]} for name in "ab"]
    typed(page, "response format").select_option("json_schema")
    for i, form in enumerate(forms):
        typed(page, "what the answer must be").fill(json.dumps(form))
        typed(page, "role of turn 1").select_option(["system", "developer"][i])
        page.keyboard.press("Control+Enter")
        answered(page, i + 1)
    found = widget.compare(1, 2)
    assert [row[0] for row in found["differ"]] == ["response_format"]
    assert found["messages"] is False  # the same words, by others


def test_a_view_that_begins_later_sees_the_answer_that_comes(page, play, idle):
    widget = play("Hi", **LONG)
    widget.run(widget.content["draft"])
    (reply,) = widget.replies
    wait(lambda: reply.sent_texts != [""])
    with held(idle):
        mount(page, widget)
        coming(page)
    page.get_by_role("button", name="Stop").click()
    answered(page, state="stopped")
    assert texts(page).text_content() == visible(reply.texts[0])


def test_code_is_shown_and_copied(page, engine):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    mount(page, Playground(engine, TALK, seed=3, temperature=0.2))
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
        ({"engine": "gpt-4o"}, TypeError, "engine must be an engine, a list of engines, or None"),
        ({"engine": [None]}, TypeError, "engine must be an engine"),
        ({"engine": []}, TypeError, "engine must be an engine"),
    ],
)
def test_bad_arguments(given, error, told):
    with pytest.raises(error, match=re.escape(told)):
        Playground(**given)


def test_settings_without_a_control_hold_for_every_answer(page, play):
    widget = play("Hi", top_k=5, bad_words=["a", "b"], max_tokens=4)
    mount(page, widget)
    page.get_by_text("also: top_k 5 · bad_words 'a', 'b'").wait_for()
    run(page)
    answered(page)
    given = {"top_k": 5, "bad_words": ("a", "b"), "max_tokens": 4}
    assert widget.replies[0].request.sampling.given() == given


@pytest.mark.parametrize(
    ("price", "told"),
    [
        (tk.LocalPrice(per_hour=3600), "cost$0.50"),
        (tk.LocalPrice(per_kwh=1), "costnot known"),
        (tk.ModelPrice("m", input=1e6, output=1e6), "cost$10.00"),
    ],
)
def test_what_an_answer_cost(page, engine, by_hand, price, told):
    mount(page, kept(Playground(engine, "Hi", price=price), by_hand("Paris.")))
    assert told in page.locator(".tk-play-facts").text_content()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_and_models(page, by_hand, name):
    text = HOSTILE[name]
    sendable = text.encode(errors="replace").decode()
    engine = tk.connect("http://127.0.0.1:9/v1", text)
    engine.close()  # so that nothing is asked
    widget = Playground(engine, sendable, stop=[sendable[:50]], bad_words=[sendable])
    odd = {"notes": {text: text}, "system_fingerprint": text, "model": text}
    kept(widget, *(by_hand(text, i, sendable, odd, stop=[sendable[:50]]) for i in (1, 2)))
    mount(page, widget)
    assert texts(page).text_content() == visible(text)
    run(page)
    answered(page, 3, "error")
    typed(page, "compare answer 1").check()
    typed(page, "compare answer 2").check()
    page.locator(".tk-play-pair").wait_for()
    page.get_by_role("button", name="make this a sweep").click()
    page.locator(".tk-play-code pre").wait_for()
    unharmed(page)
    static(page, widget)
    unharmed(page)
    assert not {"\x1b", "\x00", "\u202e", "\ud83d"} & set(widget.text() + widget.html())


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages(page, play, name):
    sendable = HOSTILE[name].encode(errors="replace").decode()
    widget = play(sendable, stop=[sendable[:50]], bad_words=[sendable], max_tokens=2)
    mount(page, widget)
    run(page)
    answered(page, state="error" if name == "line" else "done")  # which is too long for the window
    assert widget.replies[0].request.messages[0]["content"] == sendable
    unharmed(page)
    static(page, widget)
    unharmed(page)


def test_hostile_errors(page, play):
    """What the engine says of a form that it does not know has the form's own words in it."""
    text = " ".join(HOSTILE.values()).encode(errors="replace").decode()
    schema = {"type": "object", "properties": {"a": {"type": "string", "format": text}}}
    widget = play("Hi", max_tokens=4)
    mount(page, widget)
    typed(page, "response format").select_option("json_schema")
    typed(page, "what the answer must be").fill(json.dumps(schema))
    run(page)
    answered(page, state="error")
    assert text in widget.replies[0].error
    assert HOSTILE["script"] in page.locator(".tk-play-answer > [role=alert]").text_content()
    unharmed(page)
    static(page, widget)
    unharmed(page)


@pytest.mark.parametrize(("theme", "width"), [("light", 1200), ("dark", 1200), ("light", 600), ("dark", 600)])
def test_pictures(page, play, theme, width):
    page.set_viewport_size({"width": width, "height": 800})
    price = tk.ModelPrice("my-model", input=0.5, output=2)
    widget = play(TALK, temperature=0.7, max_tokens=24, price=price, top_k=40)
    mount(page, widget, theme)
    for seed in (1, 2):
        typed(page, "seed").fill(str(seed))
        page.keyboard.press("Control+Enter")
        answered(page, seed)
    typed(page, "response format").select_option("choice")
    typed(page, "what the answer must be").fill("Paris\nLyon")
    page.keyboard.press("Control+Enter")
    answered(page, 3)
    assert texts(page).text_content() in ("Paris", "Lyon")
    assert page.locator(".tk-play-title .tk-badge").nth(1).text_content() == "✓ valid"
    typed(page, "top_p").fill("1.5")
    page.get_by_role("alert").filter(has_text="top_p must be").wait_for()
    shot(page, f"playground-{theme}" + ("-narrow" if width < 900 else ""))
    unharmed(page, width)
    if theme == "light":
        static(page, widget)
        shot(page, "playground-static")


def test_without_a_browser(engine, by_hand):
    widget = Playground(engine, TALK, seed=3)
    for told in (widget.html(), widget.text()):
        for part in (engine.model, "Be brief.", "What is the capital of France?", "seed 3"):
            assert part in told
    kept(widget, by_hand("The capital is Paris.", messages=TALK, seed=3))
    assert repr(widget).split("\n") == [
        "Playground on SmolLM2-135M-Instruct, 1 answer",
        "#1 done; seed 3",
        "system: Be brief.",
        "user: What is the capital of France?",
        "answer: The capital is Paris.",
        "[finish_reason stop, usage 7 + 3 tokens, seconds 0.50, tokens/s 8.0, seed 3, fingerprint fp_0000000000]",
    ]
    for told in ("Be brief.", "The capital is Paris.", "7 + 3 tokens", "fp_0000000000"):
        assert told in widget.html()
    assert set(CONTROLS) <= widget.content["draft"]["sampling"].keys()


def test_an_answer_needs_no_browser(play):
    widget = play(TALK, max_tokens=4)
    widget.run(widget.content["draft"])
    wait(lambda: widget.content["history"])
    assert f"answer: {widget.history[0].text}" in repr(widget)


def test_several_choices_stream(page, play):
    widget = play("Tell me a joke.", seed=1, n=2, max_tokens=24, logprobs=True)
    mount(page, widget)
    run(page)
    answered(page)
    (completion,) = widget.history
    assert texts(page).all_text_contents() == [visible(c.text) for c in completion.choices]
    assert completion.logprobs is not None


def test_the_code_runs_as_it_stands(page, engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    widget = Playground(engine, TALK, max_tokens=4, stop="\n")
    mount(page, widget)
    page.get_by_role("button", name="make this a sweep").click()
    names = {}
    exec(page.locator(".tk-play-code pre").text_content(), names)
    assert names["engine"] is engine
    assert len(names["results"]) == 3 * 4 - 3
    assert (tmp_path / "runs/playground.db").exists()


# Several engines


@pytest.fixture(scope="module")
def remote(serving):
    """A second engine that answers: vLLM's own server, with a smaller window."""
    small = {"kv_cache_memory_bytes": 512 << 20, "max_model_len": 1024}
    with serving(**small) as server, tk.connect(server.url) as engine:
        yield engine.start()


@pytest.mark.slow
def test_two_models_answer_and_are_compared(page, idle, remote, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    widget = Playground([idle, remote], TALK, temperature=0, max_tokens=4, ignore_eos=True)
    mount(page, widget)
    model, past = typed(page, "model"), page.locator(".tk-play-past")
    here, there = (
        f"{idle.model} ({idle.fingerprint.id})",
        f"{remote.model} ({remote.url.removeprefix('http://')})",
    )
    assert model.locator("option").all_text_contents() == [here, there]
    page.get_by_text(f"of {idle.window:,} remain").wait_for()
    run(page)
    answered(page)
    model.select_option(there)
    page.get_by_text(f"of {remote.window:,} remain").wait_for()
    run(page)
    answered(page, 2)
    assert f"model {there} · temperature 0" in page.locator(".tk-play-title").first.text_content()
    assert [reply.engine for reply in widget.replies] == [idle, remote]
    assert [c.system_fingerprint for c in widget.history] == [idle.fingerprint.id, remote.fingerprint.id]
    typed(page, "compare answer 1").check()
    typed(page, "compare answer 2").check()
    page.locator(".tk-play-pair").wait_for()
    assert page.locator(".tk-play-pair td").all_text_contents() == ["model", here, there]
    shot(page, "playground-models")
    past.nth(1).click()
    page.wait_for_function("document.querySelector('[aria-label=model]').value === '0'")
    typed(page, "compare answer 1").uncheck()
    answered(page, 1)
    model.select_option(there)
    page.get_by_role("button", name="continue the conversation").click()
    page.wait_for_function("document.querySelector('[aria-label=model]').value === '0'")
    past.nth(0).click()
    page.wait_for_function("document.querySelector('[aria-label=model]').value === '1'")
    page.get_by_role("button", name="make this a sweep").click()
    names = {}
    exec(page.locator(".tk-play-code pre").text_content(), names)
    assert names["engine"].url == remote.url
    assert {c.system_fingerprint for c in names["results"]} == {remote.fingerprint.id}
    names["engine"].close()
    typed(page, "max_tokens").fill("900")
    run(page)
    answered(page, 3, "running")
    coming(page)
    page.keyboard.press("Escape")
    answered(page, 3, "stopped")
    assert widget.replies[2].fingerprint == remote.fingerprint.id
    for told in (here, there, f"#2 done; model {there} · temperature 0"):
        assert told in widget.text()
    static(page, widget)
    assert there in page.text_content("body")


def test_engines_of_one_name_are_told_apart(idle):
    other = VLLMEngine(DEFAULT, {"max_model_len": 1111})
    servers = [tk.connect("http://127.0.0.1:9/v1", name) for name in ("a", "b", "b")]
    name = idle.model
    assert labels([idle, other, *servers]) == (
        f"{name} ({idle.fingerprint.id})",
        f"{name} (not loaded yet)",
        "a",
        "b (127.0.0.1:9/v1) #4",
        "b (127.0.0.1:9/v1) #5",
    )
    assert not other.running
    for server in servers:
        server.close()


def test_one_engine_that_fails_leaves_the_others(page, idle):
    engine = VLLMEngine(DEFAULT, {})
    engine.close()
    widget = Playground((engine, idle, idle), "Hi", max_tokens=4)
    mount(page, widget)
    assert typed(page, "model").locator("option").count() == 2
    run(page)
    answered(page, state="error")
    typed(page, "model").select_option("1")
    run(page)
    answered(page, 2)
    assert widget.replies[1].engine is idle


def test_a_list_of_one_engine_is_that_engine(page, engine):
    widget = Playground([engine], "Hi")
    mount(page, widget)
    assert page.locator(".tk-play-model").text_content() == engine.model
    assert typed(page, "model").count() == 0
    assert widget.text() == Playground(engine, "Hi").text()
