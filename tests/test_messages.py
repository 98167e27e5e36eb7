import base64
import copy
import enum

import numpy as np
import pandas as pd
import pytest
from ngram_engine import NGramEngine
from openai.types.chat import ChatCompletion, ChatCompletionMessage, ParsedChatCompletionMessage

import toolkit as tk
from toolkit.core.request import Request
from toolkit.prompts import messages_html
from toolkit.prompts.messages import copy_messages, fold_system, messages
from toolkit.prompts.messages_html import caption, view
from toolkit.structured.tools import ToolCall

DOT = base64.b64decode(  # one red pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
)
URL = "data:image/png;base64," + base64.b64encode(DOT).decode()
USER = {"role": "user", "content": "Hi"}


def test_a_string_is_one_user_message():
    assert messages("Hi") == (USER,)


def test_content_parts_of_text_are_joined_by_line_breaks_as_vllm_does():
    part = {"type": "text", "text": "Write a haiku about programming."}
    assert messages([{"role": "user", "content": [part]}])[0]["content"] == part["text"]
    assert messages([{"role": "user", "content": [part, part]}])[0]["content"] == "\n".join(
        [part["text"]] * 2
    )


def test_parts_with_an_image_stay_parts():
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": URL}}]
    assert messages([{"role": "user", "content": parts}])[0]["content"] == parts


def test_the_detail_of_an_image_is_kept():
    part = {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}}
    assert messages([{"role": "user", "content": [part]}])[0]["content"] == [part]


def test_a_response_can_be_sent_back_as_it_came():
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    given = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": calls, "refusal": None, "annotations": []},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]
    assert messages(given) == (
        USER,
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    )


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
UNSET = {"refusal": None, "annotations": None, "audio": None, "function_call": None, "tool_calls": None}
ASSISTANT = {"role": "assistant", "content": "Ho"}
RESPONSES = {
    "an object": (ChatCompletionMessage(**ASSISTANT), ASSISTANT),
    "its dump": (ChatCompletionMessage(**ASSISTANT).model_dump(), ASSISTANT),
    "vLLM's": ({**ASSISTANT, **UNSET, "reasoning": None, "reasoning_content": None}, ASSISTANT),
    "vLLM's as an object": (ChatCompletionMessage(**ASSISTANT, reasoning=None), ASSISTANT),
    "with reasoning": (
        ChatCompletionMessage(**ASSISTANT, reasoning="Hm."),
        {**ASSISTANT, "reasoning": "Hm."},
    ),
    "of reasoning alone": (
        {**UNSET, "role": "assistant", "content": None, "reasoning_content": "Hm."},
        {"role": "assistant", "content": "", "reasoning_content": "Hm."},
    ),
    "a refusal": (
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": "No."},
    ),
    "a refusal as an object": (
        ChatCompletionMessage(role="assistant", refusal="No."),
        {"role": "assistant", "content": "No."},
    ),
    "a refusal without content": (
        {"role": "assistant", "refusal": "No."},
        {"role": "assistant", "content": "No."},
    ),
    "a refusal as a part": (
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "assistant", "content": "No."},
    ),
    "a refusal beside content": (
        {**ASSISTANT, "refusal": "No."},
        {**ASSISTANT, "refusal": "No."},
    ),
    "calls": (
        ChatCompletionMessage(role="assistant", tool_calls=[CALL]),
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
    ),
    "calls as objects": (
        {
            **UNSET,
            "role": "assistant",
            "content": None,
            "tool_calls": ChatCompletionMessage(role="assistant", tool_calls=[CALL]).tool_calls,
        },
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
    ),
    "calls of ours": (
        {"role": "assistant", "content": "", "tool_calls": (ToolCall("1", "f", "{}"),)},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
    ),
    "parsed": (ParsedChatCompletionMessage(**ASSISTANT, parsed={"a": 1}), ASSISTANT),
    "an unknown field that is empty": ({**ASSISTANT, "provider_specific_fields": {}}, ASSISTANT),
    "a row of a data frame": (pd.Series({**ASSISTANT, "name": np.nan}).to_dict(), ASSISTANT),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_is_taken_wherever_messages_are(name):
    given, taken = RESPONSES[name]
    turns = [USER, given, USER]
    want = (USER, taken, USER)
    assert messages(turns) == want
    assert messages(messages(turns)) == want
    assert Request.chat(turns).messages == want
    assert tk.Prompt("Hi", history=turns[:2]).messages() == want
    assert tk.Conversation(NGramEngine("ab", 1), turns[:2]).messages == want[:2]
    ((request, _),) = tk.sweep(turns).requests({})
    assert request.messages == want
    ((request, _),) = tk.sweep(turns, [{"x": 1}]).requests({})
    assert request.messages == want
    assert next(r.messages for r, _ in tk.sweep(None, tk.grid(prompt=[turns, "Hi"])).requests({})) == want
    assert tk.sweep(turns).workload.prompts == [list(want)]
    if len(taken) == 2:  # the playground edits texts alone
        shown = tk.playground(messages=turns).content["draft"]["messages"]
        assert [(turn["role"], turn["text"]) for turn in shown] == [(m["role"], m["content"]) for m in want]


def test_a_conversation_may_be_of_objects_alone():
    turns = [ChatCompletionMessage(**ASSISTANT)]
    assert messages(turns) == Request(messages=turns).messages == (ASSISTANT,)
    assert len(tk.grid(prompt=turns)) == 1


def test_a_whole_completion_is_no_message_and_the_error_says_which_is(made):
    ours = made("Hello.")
    theirs = ChatCompletion.model_validate(ours.to_openai())
    for completion in (ours, theirs):
        with pytest.raises(
            ValueError, match=r"messages\[1\] must have .*: of a completion give the message of a ch"
        ):
            messages([USER, completion])
    for message in (ours.to_openai()["choices"][0]["message"], theirs.choices[0].message):
        assert messages([USER, message])[1] == {"role": "assistant", "content": "Hello."}


def test_a_refusal_of_ours_is_taken_back(made):
    form = {"type": "json_schema", "json_schema": {"name": "f", "schema": {"type": "object"}}}
    refusal = made("I can't help with that.", messages="JSON", response_format=form)
    message = refusal.to_openai()["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "I can't help with that.")
    assert messages([USER, message])[1] == {"role": "assistant", "content": "I can't help with that."}


class Role(str, enum.Enum):  # noqa: UP042  # as people write it
    USER = "user"


def test_texts_of_a_subclass_are_texts():
    (turn,) = messages([{"role": Role.USER, "content": np.str_("Hi"), "name": Role.USER}])
    assert turn == {"role": "user", "content": "Hi", "name": "user"}
    assert {type(value) for value in turn.values()} == {str}


def test_copies_share_nothing_that_can_be_changed():
    call = copy.deepcopy(CALL)
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": URL}}]
    turns = messages([{"role": "user", "content": parts}, {**ASSISTANT, "tool_calls": [call]}])
    before = copy.deepcopy(turns)
    for other in (copy_messages(turns), messages(turns), fold_system(turns)):
        other[0]["content"][0]["text"] = "b"
        other[0]["content"][1]["image_url"]["url"] = "c"
        other[1]["tool_calls"][0]["function"]["name"] = "g"
        other[1]["tool_calls"].append("d")
    assert turns == before


@pytest.mark.parametrize("role", ["assistant", "tool"])
def test_an_answer_may_be_empty(role):
    assert messages([USER, {"role": role, "content": ""}])[1] == {"role": role, "content": ""}


def image(**url):
    return [{"role": "user", "content": [{"type": "image_url", **url}]}]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "messages is empty: give at least one"),
        (
            [{"role": "wizard", "content": "x"}],
            r"messages\[0\] has the unknown role 'wizard': use one of system",
        ),
        ([{"content": "x"}], r"messages\[0\] must have 'role' and 'content'"),
        ([USER, {"role": "user"}], r"messages\[1\] must have 'role' and 'content'"),
        (["x"], r"messages\[0\] must have 'role' and 'content', got 'x'"),
        ([{"role": "user", "content": ""}], r"messages\[0\] has no text"),
        ([{"role": "assistant", "content": None}], r"messages\[0\] has no text, got None"),
        (
            [{"role": "user", "content": "a\ud800"}],
            r"messages\[0\] is not valid Unicode: '\\ud800' at character 1",
        ),
        ([{"role": "user", "content": None}], r"messages\[0\] has no text, got None"),
        ([{"role": "user", "content": float("nan")}], r"messages\[0\] has no text, got nan"),
        ([{"role": "user", "content": pd.NA}], r"messages\[0\] has no text, got <NA>"),
        ([{"role": "user", "content": pd.NaT}], r"messages\[0\] has no text, got NaT"),
        ([{"role": "user", "content": 7}], r"messages\[0\] has no text, got 7"),
        ([{"role": "user", "content": np.array(["a"])}], r"messages\[0\] has no text"),
        ([{"role": "user", "content": None, "refusal": "No."}], r"messages\[0\] has no text, got None"),
        ([{"role": ["user"], "content": "x"}], r"messages\[0\] has the unknown role \['user'\]"),
        ([{**USER, "name": "a\ud800"}], r"messages\[0\], name is not valid Unicode"),
        ([{**USER, "tool_calls": [{"id": "\ud800"}]}], r"messages\[0\], tool_calls is not valid Unicode"),
        ([{**USER, "name": {1, 2}}], r"messages\[0\] has 'name' of type set, which is no data"),
        ([{**USER, 1: "x"}], r"messages\[0\] has an unknown key '1'"),
        ([{**USER, "contents": "x"}], r"messages\[0\] has an unknown key 'contents': did you mean 'content'"),
        ([{"role": "user", "content": [{"type": "audio"}]}], "has a part that is neither text nor image_url"),
        (image(), "has an image without its url"),
        (image(image_url={"url": "https://x", "detail": "huge"}), "detail must be one of auto, low, high"),
        (
            image(image_url={"url": "no/such.png"}),
            r"the image 'no/such.png' in a message is neither an https: nor a data: URL: toolkit.image\(path\) makes",
        ),
    ],
)
def test_bad_messages_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        messages(given)


def test_messages_of_another_type_are_refused():
    with pytest.raises(TypeError, match="messages must be a string or a list of messages, got 7"):
        messages(7)


SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("given", "folded"),
    [
        ([USER], [USER]),
        ([SYSTEM, USER], [{"role": "user", "content": "Be brief.\n\nHi"}]),
        (
            [
                SYSTEM,
                {"role": "developer", "content": "Rhyme."},
                USER,
                {"role": "assistant", "content": "Ho"},
                USER,
            ],
            [
                {"role": "user", "content": "Be brief.\n\nRhyme.\n\nHi"},
                {"role": "assistant", "content": "Ho"},
                USER,
            ],
        ),
    ],
)
def test_folding_puts_system_text_before_the_first_user_message(given, folded):
    assert list(fold_system(given)) == folded


def test_folding_before_an_image():
    part = {"type": "image_url", "image_url": {"url": URL}}
    (turn,) = fold_system([SYSTEM, {"role": "user", "content": [part]}])
    assert turn["content"] == [{"type": "text", "text": "Be brief.\n\n"}, part]


def test_folding_needs_a_user_message():
    with pytest.raises(ValueError, match="there is no user message to fold the system text into"):
        fold_system([SYSTEM])


def test_a_view_escapes_what_people_and_models_wrote():
    shown = view(messages([{"role": "user", "content": "<script>alert(1)</script>"}]), "<b>")
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "&lt;script&gt;" in shown


def test_a_view_shows_pictures_that_are_at_hand_and_names_those_that_are_not():
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in (URL, "https://example.org/a.png")]
    shown = view(messages([{"role": "user", "content": parts}]))
    assert f'src="{URL}"' in shown
    assert "[image https://example.org/a.png]" in shown


def test_a_view_shows_calls():
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    shown = view(messages([USER, {"role": "assistant", "content": None, "tool_calls": [call]}]))
    assert "→ add({&quot;a&quot;: 1})" in shown


def test_a_caption_counts_with_the_engine_loaded_last_and_never_fails(monkeypatch):
    turns = messages("Hi")
    monkeypatch.setattr(messages_html, "counter", None)
    assert caption(turns) == "1 messages; tokens are counted once an engine is loaded"
    monkeypatch.setattr(messages_html, "counter", lambda turns: 1234)
    assert caption(turns) == "1 messages, 1,234 tokens"

    def fail(turns):
        raise ValueError("System role not supported")

    monkeypatch.setattr(messages_html, "counter", fail)
    assert caption(turns) == "1 messages (System role not supported)"
