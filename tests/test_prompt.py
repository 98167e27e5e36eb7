import pytest
from hypothesis import given
from hypothesis import strategies as st

import toolkit as tk
from toolkit.prompt import messages


def test_a_string_is_one_user_message():
    assert messages("Hi") == ({"role": "user", "content": "Hi"},)


def test_content_parts_of_text_are_joined_as_in_the_guides():
    part = {"type": "text", "text": "Write a haiku about programming."}
    assert messages([{"role": "user", "content": [part, part]}])[0]["content"] == part["text"] * 2


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ([], "messages is empty: give at least one"),
        (
            [{"role": "wizard", "content": "x"}],
            r"messages\[0\] has the unknown role 'wizard': use one of system",
        ),
        ([{"content": "x"}], r"messages\[0\] must have 'role' and 'content'"),
        (["x"], r"messages\[0\] must have 'role' and 'content', got 'x'"),
        ([{"role": "user", "content": ""}], r"messages\[0\] has no text"),
        (
            [{"role": "user", "content": "a\ud800"}],
            r"messages\[0\] is not valid Unicode: '\\ud800' at character 1",
        ),
        ([{"role": "user", "content": None}], r"messages\[0\] has no text, got None"),
        (
            [{"role": "user", "content": [{"type": "image_url"}]}],
            r"messages\[0\] has a part that is not text",
        ),
    ],
)
def test_bad_messages_are_refused(given_, message):
    with pytest.raises(ValueError, match=message):
        messages(given_)


def test_messages_of_another_type_are_refused():
    with pytest.raises(TypeError, match="messages must be a string or a list of messages, got 7"):
        messages(7)


def test_prompt_fills_variables_in_both_parts():
    prompt = tk.Prompt("Review: {text}", system="You rate {thing}s.")
    assert prompt.variables == ("thing", "text")
    assert prompt.messages({"text": "{ok}", "thing": "film", "more": 1}) == (
        {"role": "system", "content": "You rate films."},
        {"role": "user", "content": "Review: {ok}"},
    )


def test_all_missing_variables_are_named_at_once():
    with pytest.raises(ValueError, match=r"the row lacks a, c \(it has b\)"):
        tk.Prompt("{a} {b} {c}").messages({"b": 1})


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{", "is malformed"),
        ("{a b}", "use a plain name"),
        ("{}", "use a plain name"),
        ("", "non-empty string"),
    ],
)
def test_bad_templates_fail_when_made(template, message):
    with pytest.raises(ValueError, match=message):
        tk.Prompt(template)


@given(st.text())  # hypothesis makes no lone surrogates
def test_any_text_survives_as_a_value_and_as_an_escaped_literal(text):
    literal = text.replace("{", "{{").replace("}", "}}")
    content = tk.Prompt("x" + literal + "{v}").messages({"v": text})[0]["content"]
    assert content == "x" + text + text
