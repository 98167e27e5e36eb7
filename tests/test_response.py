"""OpenAI's shape of logprobs, read by the official SDK's types."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, strategies as st
from openai.types import Completion as OpenAICompletion
from openai.types.chat import ChatCompletion

from toolkit.core.choice import PROMPT, Choice
from toolkit.core.openai_format import chat_choice, text_choice
from toolkit.core.request import Request
from toolkit.core.sampling import Sampling

PIECES = [b"caf", b"\xc3", b"\xa9", b" \xf0\x9f", b"\x8e", b"\x89", b"!", b"<|im_end|>", b"\xff"]


def choice(ids, logprobs=None, top=None, text=None, pieces=PIECES, **more):
    """A choice of the pieces above; `top` has (id, logprob) pairs for each step."""
    raw = b"".join(pieces[i] for i in ids)
    arrays = {}
    if logprobs is not None:
        top = [[]] * len(ids) if top is None else top
        pairs = np.array(top, float).reshape(len(ids), len(top[0]) if top else 0, 2)
        arrays = {
            "logprobs": np.array(logprobs, np.float32),
            "top_ids": pairs[..., 0].astype(np.int32),
            "top_logprobs": pairs[..., 1].astype(np.float32),
        }
    said = raw.decode("utf-8", "replace") if text is None else text
    return Choice(
        0, said, "stop", None, np.array(ids, np.int32), vocabulary=lambda: pieces, **{**arrays, **more}
    )


def chat(made, own):
    """The choice in a chat completion, as strict JSON and back through the SDK."""
    response = dataclasses.replace(made(), choices=(own,)).to_openai()
    parsed = ChatCompletion.model_validate_json(json.dumps(response, allow_nan=False), strict=True)
    assert parsed.to_dict() == response  # nothing lost, nothing unknown to the SDK
    return parsed.choices[0]


def legacy(made, own, prompt=None):
    asked = Request(prompt="x", echo=prompt is not None, sampling=Sampling()).resolve({})
    response = dataclasses.replace(made(), request=asked, choices=(own,), prompt=prompt).to_openai()
    data = json.loads(json.dumps(response, allow_nan=False))
    if prompt is None and not np.isnan(own.logprobs).any():
        parsed = OpenAICompletion.model_validate_json(json.dumps(response, allow_nan=False), strict=True)
        assert parsed.to_dict() == response
        return parsed.choices[0]
    # `construct` is how the SDK reads responses: its types know no None, the API gives it for unknown ones.
    return OpenAICompletion.construct(**data).choices[0]


@pytest.mark.parametrize("make", [lambda own: chat_choice(own, None), lambda own: text_choice(own, None)])
def test_without_logprobs_there_are_none(make):
    assert make(choice([0, 6]))["logprobs"] is None


def test_chat(made):
    found = chat(made, choice([0, 6], [-0.5, -1.5], [[(0, -0.5), (6, -1)], [(0, -0.25), (6, -1.5)]]))
    assert found.logprobs.refusal is None
    first, second = found.logprobs.content
    assert (first.token, first.logprob, first.bytes) == ("caf", -0.5, [99, 97, 102])
    assert [(t.token, t.logprob, t.bytes) for t in first.top_logprobs] == [
        ("caf", -0.5, [99, 97, 102]),
        ("!", -1.0, [33]),
    ]
    assert second.token == "!"
    assert found.message.content == "caf!"


def test_chat_spells_parts_of_characters_as_openai_does(made):
    """OpenAI's cookbook on logprobs shows such tokens as r"\\xf0\\x9f\\x92"; their bytes join to the text."""
    ids = [0, 1, 2, 3, 4, 5, 6]
    found = chat(made, choice(ids, [-1] * 7, [[(8, -2)]] * 7))
    tokens = [t.token for t in found.logprobs.content]
    assert tokens == ["caf", r"\xc3", r"\xa9", r" \xf0\x9f", r"\x8e", r"\x89", "!"]
    assert (
        bytes(b for t in found.logprobs.content for b in t.bytes).decode()
        == "café 🎉!"
        == found.message.content
    )
    assert found.logprobs.content[0].top_logprobs[0].token == r"\xff"
    assert found.logprobs.content[0].top_logprobs[0].bytes == [255]


def test_minus_infinity_is_what_openai_writes_for_it(made):
    own = choice([0, 6], [-0.5, -np.inf], [[(0, -0.5), (6, -np.inf)]] * 2)
    first, second = chat(made, own).logprobs.content
    assert [t.logprob for t in first.top_logprobs] == [-0.5, -9999.0]
    assert second.logprob == -9999.0
    found = legacy(made, own).logprobs
    assert found.token_logprobs == [-0.5, -9999.0]
    assert found.top_logprobs[0] == {"caf": -0.5, "!": -9999.0}


def test_what_is_not_known_is_left_out_of_a_chat_and_none_in_a_legacy_completion(made):
    nothing = [(0, np.nan), (0, np.nan)]
    own = choice(
        [0, 6, 0], [np.nan, -1, -2], [nothing, [(6, -1), (0, np.nan)], [(0, -2), (6, -3)]], prefix_tokens=1
    )
    content = chat(made, own).logprobs.content
    assert [t.token for t in content] == ["!", "caf"]
    assert [len(t.top_logprobs) for t in content] == [1, 2]
    found = legacy(made, own).logprobs
    assert found.tokens == ["caf", "!", "caf"]
    assert found.token_logprobs == [None, -1, -2]
    assert found.top_logprobs == [None, {"!": -1}, {"caf": -2, "!": -3}]
    assert found.text_offset == [0, 3, 4]


def test_legacy(made):
    found = legacy(made, choice([0, 1, 2, 3, 4, 5, 6], [-1] * 7, [[(0, -0.5), (8, -2)]] * 7)).logprobs
    assert found.tokens == [
        "caf", r"bytes:\xc3", r"bytes:\xa9", r"bytes: \xf0\x9f", r"bytes:\x8e", r"bytes:\x89", "!",
    ]  # fmt: skip
    assert found.text_offset == [0, 3, 3, 4, 5, 5, 6]
    assert found.top_logprobs[6] == {"caf": -0.5, r"bytes:\xff": -2.0, "!": -1.0}


def test_legacy_lists_the_sampled_token_too(made):
    """OpenAI's reference: "there may be up to logprobs+1 elements in the response"."""
    own = choice([6, 0], [-4, -0.5], [[(0, -0.5)], [(0, -0.5)]])
    assert legacy(made, own).logprobs.top_logprobs == [{"caf": -0.5, "!": -4.0}, {"caf": -0.5}]
    assert legacy(made, choice([6], [-4])).logprobs.top_logprobs == [{"!": -4.0}]


def test_bytes_that_are_no_character_at_all_count_in_the_offsets(made):
    """They are a � of the text: what comes after stands behind it."""
    own = choice([0, 8, 6, 0, 1, 6, 6], [-1] * 7)
    assert own.text == "caf�!caf�!!"
    found = legacy(made, own).logprobs
    for token, offset in zip(found.tokens[-1:], found.text_offset[-1:], strict=True):
        assert own.text[offset:] == token
    assert found.text_offset[:4] == [0, 3, 4, 5]


@pytest.mark.parametrize(
    ("tokens", "text", "offsets"),
    [
        ([0, 7, 6, 0], "caf!caf", [0, 3, 3, 4]),  # the end-of-text token is left out
        ([7, 0, 7, 7, 6], "caf!", [0, 0, 3, 3, 3]),
        ([0, 7, 6, 0], "caf<|im_end|>!caf", [0, 3, 13, 14]),  # and here it is not
        ([0, 7, 7, 7], "caf", [0, 3, 3, 3]),
        ([0, 1, 7, 2, 6], "caf\u00e9!", [0, 3, 3, 3, 4]),  # within a character
        ([0, 3, 7, 4, 5, 6], "caf \U0001f389!", [0, 3, 4, 4, 4, 5]),
        ([7, 7], "", [0, 0]),
        ([0, 6, 6, 6], "caf!", [0, 3, 4, 4]),  # cut by a stop string
        ([0, 7, 6, 0, 0], "caf!c", [0, 3, 3, 4, 5]),  # both
        ([7, 8, 7, 6], "\ufffd!", [0, 0, 1, 1]),
        ([0, 6, 0], "af!caf", [0, 3, 4]),  # white space that a tokenizer takes away: as the tokens say
    ],
)
def test_tokens_that_the_text_lacks_have_no_length(made, tokens, text, offsets):
    assert legacy(made, choice(tokens, [-1] * len(tokens), text=text)).logprobs.text_offset == offsets


CHARACTERS = ([0], [6], [7], [8], [1, 2], [1, 7, 2], [3, 4, 5], [3, 7, 4, 5])
"""Tokens of whole characters, with a special one within some."""


@given(st.lists(st.sampled_from(CHARACTERS), max_size=8), st.booleans())
def test_every_token_of_the_text_stands_at_its_offset(characters, is_cut):
    """Hidden tokens are the special ones: the text is that of all others."""
    from toolkit.core.openai_format import _text_offsets

    ids = [i for tokens in characters for i in tokens]
    visible = b"".join(PIECES[i] for i in ids if i != 7).decode("utf-8", "replace")
    text = visible[: len(visible) // 2] if is_cut else visible
    offsets = _text_offsets([PIECES[i] for i in ids], text)
    assert offsets == sorted(offsets)
    assert all(0 <= offset <= len(text) for offset in offsets)
    for i, offset in zip(ids, offsets, strict=True):
        if i in (0, 6):
            assert PIECES[i].decode().startswith(text[offset : offset + len(PIECES[i])])


def test_a_prompts_first_token_that_the_text_lacks_has_no_length(made):
    prompt = dataclasses.replace(choice([7, 0], [np.nan, -3], [[(0, np.nan)], [(0, -1)]]), index=PROMPT)
    own = choice([6, 0], [-1, -2], [[(6, -1)]] * 2, text="caf!caf")
    assert legacy(made, own, prompt).logprobs.text_offset == [0, 0, 3, 4]


def test_echo(made):
    prompt = dataclasses.replace(choice([0, 6], [np.nan, -3], [[(0, np.nan)], [(0, -1)]]), index=PROMPT)
    own = choice([6, 1, 2], [-1, -2, -3], [[(6, -1)]] * 3, text="caf!!é")
    found = legacy(made, own, prompt)
    assert found.text == "caf!!é"
    assert found.logprobs.tokens == ["caf", "!", "!", r"bytes:\xc3", r"bytes:\xa9"]
    assert found.logprobs.token_logprobs == [None, -3, -1, -2, -3]
    assert found.logprobs.top_logprobs[:2] == [None, {"caf": -1, "!": -3}]
    assert found.logprobs.text_offset == [0, 3, 4, 5, 5]


def test_an_empty_answer(made):
    own = choice([], [], text="")
    assert chat(made, own).logprobs.content == []
    assert legacy(made, own).logprobs.tokens == []


def test_offsets_of_a_long_text_take_no_time(made):
    import time

    own = choice([0] * 20_000, [-1] * 20_000)
    started = time.perf_counter()
    assert legacy(made, own).logprobs.text_offset[-1] == 3 * 19_999
    assert time.perf_counter() - started < 3


def test_a_refusal_and_calls_have_logprobs_as_well(made):
    from toolkit.structured.tools import ToolCall

    own = choice([0, 6], [-1, -2])
    assert chat_choice(own, "I cannot.")["message"] == {
        "role": "assistant", "content": None, "refusal": "I cannot.",
    }  # fmt: skip
    called = dataclasses.replace(
        own, text="", finish_reason="tool_calls", tool_calls=(ToolCall("call_1", "f", "{}"),)
    )
    found = chat(made, called)
    assert found.message.content is None
    assert found.message.tool_calls[0].function.name == "f"
    assert [t.token for t in found.logprobs.content] == ["caf", "!"]


# Real answers


def test_a_constrained_answer_is_json(engine):
    """Under a grammar most of the vocabulary is impossible: of five listed, some are at minus infinity."""
    form = {"type": "choice", "choice": ["yes", "no"]}
    c = engine.chat("Is water wet?", response_format=form, temperature=0, top_logprobs=5, max_tokens=4)
    assert np.isneginf(c.top_logprobs).any()
    response = json.loads(json.dumps(c.to_openai(), allow_nan=False))
    parsed = ChatCompletion.model_validate(response, strict=True)
    assert parsed.to_dict() == response
    listed = [t.logprob for step in parsed.choices[0].logprobs.content for t in step.top_logprobs]
    assert min(listed) == -9999.0


@pytest.mark.parametrize("scored", [False, True])
def test_an_answer_with_a_prefix(engine, scored):
    options = {"prompt_logprobs": 2} if scored else {}
    c = engine.chat(
        "What is the capital of France?",
        prefix="The capital",
        temperature=0,
        max_tokens=4,
        top_logprobs=2,
        **options,
    )
    response = json.loads(json.dumps(c.to_openai(), allow_nan=False))
    content = ChatCompletion.model_validate(response, strict=True).choices[0].logprobs.content
    assert len(content) == 4 + (2 if scored else 0)
    text = bytes(b for t in content for b in t.bytes).decode()
    assert c.text == text if scored else c.text == "The capital" + text


def test_an_emoji_in_both_shapes(engine):
    c = engine.chat("Repeat after me: 🎉🎊", temperature=0, max_tokens=6, top_logprobs=2)
    content = ChatCompletion.model_validate(c.to_openai(), strict=True).choices[0].logprobs.content
    assert [t.token for t in content][:3] == [r"\xf0\x9f", r"\x8e", r"\x89"]
    assert bytes(b for t in content for b in t.bytes).decode("utf-8", "ignore").startswith("🎉")
    text = engine.complete("A 🎉🎉", echo=True, temperature=0, max_tokens=6, top_logprobs=2)
    found = OpenAICompletion.construct(**text.to_openai()).choices[0]
    assert found.logprobs.tokens[:4] == ["A", r"bytes: \xf0\x9f", r"bytes:\x8e", r"bytes:\x89"]
    for token, offset in zip(found.logprobs.tokens, found.logprobs.text_offset, strict=True):
        assert token.startswith("bytes:") or found.text[offset:].startswith(token)
