import hashlib

import numpy as np
import pytest
from openai.types import Completion as OpenAICompletion
from openai.types.chat import ChatCompletion

from toolkit.core.choice import Choice
from toolkit.core.completion import Usage
from toolkit.core.request import Request
from toolkit.core.sampling import Sampling


def test_chat_response_has_the_shape_of_the_guides(made):
    response = made(top_logprobs=2, n=2).to_openai()
    parsed = ChatCompletion.model_validate(response)
    assert parsed.to_dict() == response  # nothing lost, nothing unknown to the official SDK
    assert list(response) == ["id", "object", "created", "model", "choices", "usage", "system_fingerprint"]
    assert list(response["choices"][0]) == ["index", "message", "logprobs", "finish_reason"]
    assert response["choices"][0]["message"] == {"role": "assistant", "content": "Paris.", "refusal": None}
    assert response["usage"] == {"prompt_tokens": 7, "completion_tokens": 6, "total_tokens": 13}
    assert response["created"] == 1_700_000_000
    assert [c["index"] for c in response["choices"]] == [0, 1]


def test_chat_logprobs_have_token_bytes_and_alternatives(made):
    content = made(top_logprobs=2).to_openai()["choices"][0]["logprobs"]["content"]
    assert content[0]["token"] == "A"
    assert content[0]["bytes"] == [65]
    assert content[0]["logprob"] == pytest.approx(-0.1)
    assert [t["logprob"] for t in content[1]["top_logprobs"]] == [-2.0, -3.0]


def test_legacy_response_has_the_shape_of_the_guides(made):
    import dataclasses

    asked = Request(prompt="Write a tagline.", sampling=Sampling(top_logprobs=1)).resolve({})
    completion = dataclasses.replace(made(top_logprobs=1), request=asked)
    response = completion.to_openai()
    assert OpenAICompletion.model_validate(response).to_dict() == response
    assert response["object"] == "text_completion"
    assert response["id"].startswith("cmpl-")
    assert response["choices"][0]["text"] == "Paris."
    assert response["choices"][0]["logprobs"]["tokens"] == ["A", "B", "C"]
    assert response["choices"][0]["logprobs"]["text_offset"] == [0, 1, 2]


def test_offsets_count_characters_when_a_character_spans_tokens():
    halves = [b"\xc3", b"\xa9", b"!"]
    choice = Choice(0, "é!", "stop", None, np.array([0, 1, 2], np.int32), np.zeros(3, np.float32),
                    vocabulary=lambda: halves)  # fmt: skip
    from toolkit.core.openai_format import _text_logprobs

    assert _text_logprobs(choice, None)["text_offset"] == [0, 0, 1]
    assert [t.text for t in choice.tokens] == ["�", "�", "!"]


def test_an_error_has_no_response(made):
    with pytest.raises(ValueError, match="an error has no OpenAI response: too long"):
        made(error="too long").to_openai()


def test_model_text_is_escaped_where_it_is_shown(made):
    shown = made(text="</script><img src=x onerror=alert(1)>")._repr_html_()
    assert "<img" not in shown
    assert "&lt;img" in shown


def test_equal_questions_have_equal_keys_and_others_not():
    def key(**options):
        return Request.chat("Hi", **options).resolve({}).key

    # The stored form, written out: it must not change, or every store loses its completions.
    asked = hashlib.blake2b(b'[{"content":"Hi","role":"user"}]', digest_size=16).hexdigest()
    stored = hashlib.blake2b(f'["{asked}",{{"seed":7}}]'.encode(), digest_size=16).hexdigest()
    assert key(seed=7) == key(seed=7, temperature=1, top_p=1.0) == stored
    assert key(temperature=0, seed=1) == key(temperature=0, seed=2, top_p=0.5)
    assert len({key(), key(temperature=0.5), key(seed=1), key(stop="x"), key(n=2), key(top_logprobs=0)}) == 6
    assert Request.chat("Hi").input != Request(prompt="Hi").input


def test_request_needs_one_of_messages_and_prompt():
    with pytest.raises(ValueError, match="either messages or a prompt"):
        Request()
    with pytest.raises(ValueError, match="prompt is empty"):
        Request(prompt="")


def test_usage_adds():
    assert Usage(1, 2, 1) + Usage(10, 20) == Usage(11, 22, 1)
    assert (Usage(1, 2) + Usage(3, 4)).total_tokens == 10


def test_token_text_without_a_vocabulary_says_what_is_needed():
    with pytest.raises(ValueError, match="vocabulary is not at hand"):
        Choice(0, "x", "stop").token_bytes(3)


def test_a_completion_shows_its_verdict_and_its_calls(made):
    import dataclasses

    from toolkit.structured.tools import ToolCall

    formed = made(text='{"a": 1', response_format={"type": "object"}, steps=2)
    assert "stop, not_json, 7 + 2 tokens" in repr(formed)
    assert "stop, not_json" in formed._repr_html_()
    choice = dataclasses.replace(
        formed.choices[0], text="", tool_calls=(ToolCall("1", "add", '{"a": "<b>"}'),)
    )
    called = dataclasses.replace(formed, choices=(choice,))
    assert "→ add" in repr(called)
    assert "→ add({&quot;a&quot;: &quot;&lt;b&gt;&quot;})" in called._repr_html_()


def test_the_former_name_of_prefix_tokens_warns(made):
    with pytest.warns(DeprecationWarning, match="Choice.given is now Choice.prefix_tokens"):
        assert made().choices[0].given == made().choices[0].prefix_tokens == 0
