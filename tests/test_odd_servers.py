"""What servers answer that is not quite OpenAI's API: read where its meaning is plain, unknown where it is not told,
and an error of one request where it does not fit what was asked."""

import asyncio
import functools
import gzip
import json
import math
import re
import resource
import time

import numpy as np
import pytest
from aiohttp import web
from hypothesis import given, settings, strategies as st
from test_connect import (  # noqa: F401  # fixtures
    KEY,
    ask,
    chat,
    chunk,
    connected,
    impatient,
    part,
    proxy,
    refuses,
    says,
    streams,
    token,
    with_logprobs,
)

import toolkit as tk
from toolkit.core.completion import UNKNOWN_USAGE
from toolkit.core.request import Request
from toolkit.engines.openai_api.client import ApiClient
from toolkit.engines.openai_api.dialect import Dialect, MalformedResponse, NoLogprobs
from toolkit.engines.openai_api.request_body import build_body, max_response_bytes
from toolkit.engines.openai_api.response_parser import parse_response
from toolkit.engines.openai_api.server_sent_events import event_data
from toolkit.engines.openai_api.stream import StreamAccumulator
from toolkit.pricing.budget import Spent
from toolkit.structured.tools import ToolCall

# Without a network: responses as data


def read(response, dialect=Dialect(), **sampling):  # noqa: B008
    body = build_body(Request.chat("x", **sampling).resolve({}), "m", dialect)
    return parse_response(body, response, lambda name, raw: len(name) or None, None)


def choices(*indices, text="abcdefgh"):
    """One for each index; ... for none."""
    made = []
    for place, index in enumerate(indices):
        choice = {"index": index, "message": {"content": text[place]}, "finish_reason": "stop"}
        made.append({name: value for name, value in choice.items() if value is not ...})
    return chat(choices=made)


def message(**fields):
    return part(message={"role": "assistant", **fields})


@pytest.mark.parametrize(
    ("indices", "texts"),
    [
        ((0, 1, 2), "abc"),
        ((2, 0, 1), "bca"),
        ((0, 0, 0), "abc"),
        ((..., ..., ...), "abc"),
        ((None, None), "ab"),
        (("0", "1"), "ab"),
        ((0.0, 1.0), "ab"),
        ((...,), "a"),
    ],
)
def test_choices_without_indices_of_their_own_are_numbered(indices, texts):
    found = read(choices(*indices), n=len(indices)).choices
    assert [c.index for c in found] == list(range(len(indices)))
    assert "".join(c.text for c in found) == texts


@pytest.mark.parametrize(
    ("n", "indices", "said"),
    [
        (3, (0,), "has 1 choice, and n=3 was requested: where a server ignores n, leave it out"),
        (3, (0, 1), "has 2 choices, and n=3"),
        (1, (0, 1), "has 2 choices, and n=1"),
        (3, (0, 1, 1), "have the indices 0, 1, 1, where 0 to 2 was expected"),
        (2, (0, -1), "indices 0, -1, where 0 to 1"),
        (2, (1, 2), "indices 1, 2, where"),
        (2, (0, ...), "indices 0, None, where"),
        (1, (2**70,), "indices 1180591620717411303424, where 0 to 0"),
        (1, (10**400,), r"indices 1000000\d*… \(377 more characters\), where"),
        (1, (-1,), "indices -1, where"),
        (1, ("first",), "choices.0.index: Input should be a valid integer"),
        (1, (0.5,), "choices.0.index: Input should be a valid integer"),
        (1, (math.inf,), "choices.0.index: Input should be a finite number"),
        (1, ([0],), "choices.0.index"),
    ],
)
def test_choices_that_do_not_fit_the_request(n, indices, said):
    with pytest.raises(MalformedResponse, match=said) as caught:
        read(choices(*indices), n=n)
    assert caught.value.usage == tk.Usage(14, 2, 8)  # it was generated all the same


TEXTS = {
    "a list of parts": ([{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris"}], "Paris"),
    "one part": ({"type": "text", "text": "Paris"}, "Paris"),
    "bare texts": (["Pa", "ris"], "Paris"),
    "OpenAI's newer parts": ([{"type": "output_text", "text": "Paris", "annotations": []}], "Paris"),
    "no type": ([{"text": "Paris"}], "Paris"),
    "no parts": ([], ""),
    "nothing": (None, ""),
    "a refusal": ([{"type": "refusal", "refusal": "Paris"}], "Paris"),
    "Mistral's thoughts": (
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}, {"type": "text", "text": "m"}]},
            {"type": "text", "text": "Paris"},
        ],
        "Paris",
    ),
    "thoughts that are hidden": (
        [{"type": "redacted_thinking", "data": "x"}, {"type": "reasoning", "summary": []}, "Paris"],
        "Paris",
    ),
    "thoughts as text": (
        [{"type": "thinking", "thinking": "Hmm"}, {"type": "text", "text": "Paris"}],
        "Paris",
    ),
}


@pytest.mark.parametrize(("content", "text"), TEXTS.values(), ids=TEXTS)
def test_content_of_parts(content, text):
    found = read(message(content=content))
    assert found.choices[0].text == text
    thoughts = {"reasoning": "Hmm"} if '"thinking"' in json.dumps(content) else {}
    assert found.notes == thoughts
    whole = StreamAccumulator(chat=True)
    deltas = [whole.add({"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}]})]
    deltas.append(whole.add({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    streamed = read(whole.response)
    assert (streamed.choices[0].text, streamed.notes) == (text, thoughts)
    assert deltas[0][0][1] == ("" if "refusal" in json.dumps(content) else text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([{"type": "image_url", "image_url": {"url": "x"}}], "a part of type image_url has no text"),
        ({"answer": 4}, "a part of type text has no text"),
        ([7], "a part of type int has no text"),
        ([None], "a part of type NoneType has no text"),
        ([{"type": "text", "text": 7}], "a part of type text has no text"),
        ([{"type": ["text"]}], "a part of type .'text'. has no text"),
        (7, "content: Input should be a valid string"),
        (True, "content: Input should be a valid string"),
    ],
)
def test_content_that_is_no_text(content, said):
    with pytest.raises(MalformedResponse, match=said):
        read(message(content=content))


def call(name="weather", arguments='{"city": "Rome"}', number="c1", **more):
    made = {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}, **more}
    return {key: value for key, value in made.items() if value is not ...}


ARGUMENTS = {
    "text": ('{"city": "Rome"}', '{"city": "Rome"}'),
    "an object": ({"city": "Rome"}, '{"city": "Rome"}'),
    "nested": ({"a": {"b": [1, "é"]}}, '{"a": {"b": [1, "é"]}}'),
    "an empty object": ({}, "{}"),
    "a list": ([1], "[1]"),
    "nothing": (None, ""),
    "an empty text": ("", ""),
}


@pytest.mark.parametrize(("arguments", "text"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_of_tools_are_text(arguments, text):
    found = read(message(content=None, tool_calls=[call(arguments=arguments)]))
    assert found.choices[0].tool_calls == (ToolCall("c1", "weather", text),)
    whole = StreamAccumulator(chat=True)
    whole.add({"choices": [{"index": 0, "delta": {"tool_calls": [call(arguments=arguments, index=0)]}}]})
    whole.add({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    assert read(whole.response).choices[0].tool_calls == (ToolCall("c1", "weather", text),)


def test_calls_in_other_shapes():
    one = read(message(tool_calls=call())).choices[0].tool_calls  # of Hugging Face's TGI, without the list
    assert one == (ToolCall("c1", "weather", '{"city": "Rome"}'),)
    (old,) = read(message(function_call={"name": "weather", "arguments": "{}"})).choices[0].tool_calls
    assert (old.name, old.arguments, old.id[:5]) == ("weather", "{}", "call_")
    for missing in ("", None, ...):
        (made,) = read(message(tool_calls=[call(number=missing)])).choices[0].tool_calls
        assert made.id.startswith("call_")
    assert read(message(tool_calls=[call(number=7)])).choices[0].tool_calls[0].id == "7"
    same = read(message(tool_calls=[call(), call("time")])).choices[0].tool_calls
    assert [c.name for c in same] == ["weather", "time"]
    assert len({c.id for c in same}) == 2  # results are assigned by it
    for none in (None, [], {}, ""):
        assert read(message(content="x", tool_calls=none)).choices[0].tool_calls == ()
    for name in (None, "", ...):
        bare = call()
        bare["function"] = {"arguments": "{}"} if name is ... else {"name": name, "arguments": "{}"}
        with pytest.raises(MalformedResponse, match="tool call without the name of a function"):
            read(message(tool_calls=[bare]))
    for odd in ("weather(Rome)", [7], [{"id": "c1"}], [call(name=7)]):
        with pytest.raises(MalformedResponse, match="tool_calls"):
            read(message(tool_calls=odd))


PARALLEL = {
    "one index, two IDs": (
        [call(number="a", index=0), call("time", "{}", "b", index=0)],
        [("weather", '{"city": "Rome"}'), ("time", "{}")],
    ),
    "one index, two IDs, one name": (
        [call(number="a", index=0), call(number="b", index=0)],
        [("weather", '{"city": "Rome"}')] * 2,
    ),
    "no index, two IDs": (
        [call(number="a"), call("time", "{}", "b")],
        [("weather", '{"city": "Rome"}'), ("time", "{}")],
    ),
    "no index, no IDs": (
        [call(number=...), call("time", "{}", "")],
        [("weather", '{"city": "Rome"}'), ("time", "{}")],
    ),
    "one index, no IDs": (
        [call(number=..., index=0), call("time", "{}", ..., index=0)],
        [("weather", '{"city": "Rome"}'), ("time", "{}")],
    ),
    "in turns": (
        [
            call(arguments="{", number="a", index=0), call("time", "[", "b", index=1),
            {"index": 0, "function": {"arguments": "}"}}, {"index": 1, "function": {"arguments": "]"}},
        ],
        [("weather", "{}"), ("time", "[]")],
    ),
    "in turns by ID": (
        [
            call(arguments="{", number="a"), call("time", "[", "b"),
            {"id": "a", "function": {"arguments": "}"}}, {"id": "b", "function": {"arguments": "]"}},
        ],
        [("weather", "{}"), ("time", "[]")],
    ),
    "a new ID in every piece": (
        [call(arguments="", number="a", index=0), {"id": "b", "index": 0, "function": {"arguments": "{}"}}],
        [("weather", "{}")],
    ),
    "the name in every piece": (
        [call(arguments="{", number="a", index=0), call(arguments="}", number="a", index=0)],
        [("weather", "{}")],
    ),
    "huge and negative indices": (
        [call(number="a", index=2**40), call("time", "{}", "b", index=-3)],
        [("weather", '{"city": "Rome"}'), ("time", "{}")],
    ),
    "an index that is none": (
        [call(number="a", index="first"), call("time", "{}", "b", index=None)],
        [("weather", '{"city": "Rome"}'), ("time", "{}")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("pieces", "calls"), PARALLEL.values(), ids=PARALLEL)
def test_streamed_calls_that_are_made_in_parallel(pieces, calls):
    whole = StreamAccumulator(chat=True)
    for piece in pieces:
        whole.add({"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]})
    whole.add({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    found = read(whole.response).choices[0].tool_calls
    assert [(c.name, c.arguments) for c in found] == calls
    assert len({c.id for c in found}) == len(calls)


REASONS = {
    "stop": ("stop", "eos", "EOS_TOKEN", "stop_sequence", "end_turn", "COMPLETE", {"type": "stop", "matched": 2}),
    "length": ("length", "max_tokens", "MAX_TOKENS", "model_length", "max_new_tokens", {"type": "length"}),
    "tool_calls": ("tool_calls", "tool_use", "function_call"),
    "content_filter": ("content_filter", "SAFETY"),
    "something_new": ("something_new",),
}  # fmt: skip


@pytest.mark.parametrize(("reason", "told"), [(r, t) for r, words in REASONS.items() for t in words])
def test_finish_reasons_are_in_the_words_of_openai(reason, told):
    assert read(part(finish_reason=told)).choices[0].finish_reason == reason
    whole = StreamAccumulator(chat=True)
    assert whole.add({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": told}]}) == [
        (0, "x", reason)
    ]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("abort", "broke off"),
        ("cancelled", "broke off"),
        ("insufficient_system_resource", "broke off"),
        ("", "no finish_reason"),
        ("null", "no finish_reason"),
        (..., "no finish_reason"),
        (["stop"], "finish_reason: Input should be a valid string"),
        (7, "finish_reason: Input should be a valid string"),
    ],
)
def test_finish_reasons_of_what_is_not_finished(told, said):
    response = part(finish_reason=told)
    if told is ...:
        del response["choices"][0]["finish_reason"]
    with pytest.raises(MalformedResponse, match=said):
        read(response)


USAGES = {
    "missing": (..., UNKNOWN_USAGE),
    "null": (None, UNKNOWN_USAGE),
    "empty": ({}, UNKNOWN_USAGE),
    "zeros": ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, UNKNOWN_USAGE),
    "a text": ("14", UNKNOWN_USAGE),
    "a list": ([14, 2], UNKNOWN_USAGE),
    "no number": ({"prompt_tokens": "many", "completion_tokens": [2]}, UNKNOWN_USAGE),
    "negative": ({"prompt_tokens": -1, "completion_tokens": -1}, UNKNOWN_USAGE),
    "endless": ({"prompt_tokens": math.inf, "completion_tokens": math.nan}, UNKNOWN_USAGE),
    "far too much": ({"prompt_tokens": 10**30, "completion_tokens": 2**31}, UNKNOWN_USAGE),
    "texts": ({"prompt_tokens": "14", "completion_tokens": "2"}, tk.Usage(14, 2)),
    "whole floats": ({"prompt_tokens": 14.0, "completion_tokens": 2.0}, tk.Usage(14, 2)),
    "half of it": ({"prompt_tokens": 14}, tk.Usage(14, None)),
    "the other half": ({"completion_tokens": 2}, tk.Usage(None, 2, None)),
    "odd details": (
        {"prompt_tokens": 14, "completion_tokens": 2, "prompt_tokens_details": "x"}, tk.Usage(14, 2, None)
    ),
    "details of null": (
        {"prompt_tokens": 14, "completion_tokens": 2, "prompt_tokens_details": None}, tk.Usage(14, 2)
    ),
    "more cached than there are": (
        {"prompt_tokens": 14, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 15}},
        tk.Usage(14, 2, None),
    ),
    "DeepSeek's": ({"prompt_tokens": 14, "completion_tokens": 2, "prompt_cache_hit_tokens": 8}, tk.Usage(14, 2, 8)),
}  # fmt: skip


@pytest.mark.parametrize(("usage", "expected"), USAGES.values(), ids=USAGES)
def test_usage_that_is_not_told_is_unknown(usage, expected):
    assert read(chat(usage=usage)).usage == expected


def test_tokens_that_are_there_are_counted():
    response = with_logprobs(token("Pa", -0.1), token("ris", -0.2))
    del response["usage"]
    assert read(response, logprobs=True).usage == tk.Usage(None, 2, None)
    response["choices"][0]["token_ids"], response["prompt_token_ids"] = [5, 6, 7], [1, 2]
    assert read(response).usage == tk.Usage(2, 3, None)
    assert read(chat("", usage={"prompt_tokens": 14, "completion_tokens": 0})).usage == tk.Usage(14, 0)


def test_unknown_usages_add_up_to_unknown():
    total = tk.Usage(1, 2, 0) + tk.Usage(3, None, None)
    assert total == tk.Usage(4, None, None)
    assert total.total_tokens is None
    assert total.to_openai() is None
    assert (str(total), str(tk.Usage(1200, 7))) == ("4 + unknown tokens", "1,200 + 7 tokens")
    assert tk.Usage(1, 2).to_openai() == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


OPTIONAL = {
    "an ID that is a number": ({"id": 7}, {}),
    "an ID that is none": ({"id": ["x"]}, {"unreadable": ["id"]}),
    "a fingerprint that is a number": ({"system_fingerprint": 7}, {}),
    "a fingerprint that is none": ({"system_fingerprint": {"a": 1}}, {"unreadable": ["system_fingerprint"]}),
    "a list of fingerprints": ({"system_fingerprint": ["a"]}, {"unreadable": ["system_fingerprint"]}),
    "an odd time": ({"created": 1.5, "model": None, "object": 7, "service_tier": []}, {}),
    "odd usage": ({"usage": {"prompt_tokens": "x"}}, {"unreadable": ["prompt_tokens"]}),
    "no error": ({"error": None}, {}),
    "an empty error": ({"error": {}}, {}),
    "odd token IDs": ({"prompt_token_ids": [-1]}, {"unreadable": ["prompt_token_ids"]}),
}


@pytest.mark.parametrize(("fields", "notes"), OPTIONAL.values(), ids=OPTIONAL)
def test_optional_parts_that_cannot_be_read_are_noted(fields, notes):
    found = read(chat(**fields))
    assert found.choices[0].text == "Paris."
    assert found.notes == notes


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        ({"stop_reason": 2}, []),
        ({"stop_reason": "."}, []),
        ({"stop_reason": {"token": 2}}, ["stop_reason"]),
        ({"token_ids": [2**31]}, ["token_ids"]),
        ({"token_ids": "12"}, ["token_ids"]),
        ({"logprobs": "none"}, []),
    ],
)
def test_optional_parts_of_a_choice(fields, notes):
    found = read(part(**fields))
    assert list(found.notes.get("unreadable", ())) == notes
    assert found.choices[0].stop_reason == (None if "stop_reason" in notes else fields.get("stop_reason"))
    assert len(found.choices[0].token_ids) == 0


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (None, "has no choices: None"),
        ("Paris", "has no choices: 'Paris'"),
        ({"error": "Unexpected endpoint"}, "has no choices.*Unexpected endpoint"),
        ({"object": "error", "message": "out of memory"}, "has no choices.*out of memory"),
        (chat(choices=None), "has no choices"),
        (chat(choices={"0": {}}), "has no choices"),
        (chat(choices=[None]), r"choices.0: Input should be a valid dictionary"),
        (chat(choices=["Paris"]), r"choices.0: Input should be a valid dictionary"),
        (part(message=None), "has a choice without message or text"),
        (part(message="Paris"), "choices.0.message: "),
        (chat(error={"message": "overloaded"}), "broke off: .*overloaded"),
        (part(error={"message": "overloaded"}), "broke off: .*overloaded"),
        (part(error="overloaded"), "broke off: .*overloaded"),
    ],
)
def test_what_is_no_answer(response, said):
    with pytest.raises(MalformedResponse, match=said):
        read(response)


def test_texts_where_a_message_was_expected_and_messages_where_a_text_was():
    assert (
        read(chat(choices=[{"index": 0, "text": "Paris", "finish_reason": "stop"}])).choices[0].text
        == "Paris"
    )
    body = build_body(Request(prompt="x").resolve({}), "m", Dialect())
    assert parse_response(body, chat("Paris"), lambda *_: None, None).choices[0].text == "Paris"


LOGPROBS = {
    "null for one": ([token("Pa", -0.5), token("ris", None)], [-0.5, math.nan]),
    "texts": ([token("Paris", "-0.5")], [-0.5]),
    "no number": ([token("Paris", "low")], [math.nan]),
    "missing": ([{"token": "Paris"}], [math.nan]),
    "nan": ([token("Paris", math.nan)], [math.nan]),
    "minus infinity": ([token("Paris", -math.inf)], [-math.inf]),
    "bytes null": ([{**token("Paris", -0.5), "bytes": None}], [-0.5]),
    "bytes of none": ([{**token("Paris", -0.5), "bytes": [300, -1]}], [-0.5]),
    "bytes that are text": ([{**token("Paris", -0.5), "bytes": "Paris"}], [-0.5]),
    "tops null": ([{**token("Paris", -0.5), "top_logprobs": None}], [-0.5]),
    "a top of null": ([token("Paris", -0.5, ("Paris", -0.5), ("Rome", None))], [-0.5]),
    "tops as a table": ([{**token("Paris", -0.5), "top_logprobs": {"Paris": -0.5}}], [-0.5]),
    "a token that is a number": ([{**token("Paris", -0.5), "token": 7}], [-0.5]),
    "a token without a name": ([{"logprob": -0.5}], [-0.5]),
    "an ID far too large": ([{**token("Paris", -0.5), "token": "token_id:99999999999"}], [-0.5]),
    "an ID that is none": ([{**token("Paris", -0.5), "token": "token_id:²"}], [-0.5]),
}


@pytest.mark.parametrize(("entries", "values"), LOGPROBS.values(), ids=LOGPROBS)
def test_log_probabilities_that_are_unknown(entries, values):
    response = chat("Paris")
    response["choices"][0]["logprobs"] = {"content": entries}
    found = read(response, top_logprobs=1).choices[0]
    assert np.allclose(found.logprobs, values, equal_nan=True)


def test_tops_come_in_any_order():
    entry = token("b", -1.0, ("ccc", -3.0), ("b", -1.0), ("aa", -0.5))
    found = read(with_logprobs(entry), top_logprobs=3).choices[0]
    assert found.top_ids.tolist() == [[2, 1, 3]]
    assert found.top_logprobs.tolist() == [[-0.5, -1.0, -3.0]]
    assert found.ranks.tolist() == [2]
    fewer = read(with_logprobs(entry), top_logprobs=5).choices[0]
    assert np.isnan(fewer.top_logprobs[0, 3:]).all()
    assert read(with_logprobs(entry), top_logprobs=1).choices[0].ranks.tolist() == [0]


def test_log_probabilities_in_the_shape_of_text_completions():
    """Together and Fireworks give a chat the lists of a text completion; llama.cpp a completion those of a chat."""
    lists = {
        "tokens": ["Pa", "ris"],
        "token_logprobs": [None, -0.5],
        "top_logprobs": [None, {"ris": -0.5, "x": -2}],
    }
    found = read(part(logprobs=lists), top_logprobs=2).choices[0]
    assert np.allclose(found.logprobs, [math.nan, -0.5], equal_nan=True)
    for without in ("tokens", "top_logprobs"):
        bare = {name: value for name, value in lists.items() if name != without}
        assert len(read(part(logprobs=bare), top_logprobs=2).choices[0].logprobs) == 2
    body = build_body(Request(prompt="x", sampling=tk.Sampling(logprobs=True)).resolve({}), "m", Dialect())
    raw = {
        "index": 0,
        "text": "Paris",
        "finish_reason": "stop",
        "logprobs": {"content": [token("Paris", -0.5)]},
    }
    assert parse_response(body, chat(choices=[raw]), lambda *_: None, None).choices[0].logprobs.tolist() == [
        -0.5
    ]


@pytest.mark.parametrize(
    "logprobs",
    [
        None, {}, [], "none", True, {"content": None}, {"content": []}, {"content": [None]}, {"content": ["Paris"]},
        {"content": [{**token("Paris", [1])}]}, {"content": [{**token("Paris", -1), "top_logprobs": ["Paris"]}]},
        {"content": [{**token("Paris", -1), "top_logprobs": 5}]}, {"tokens": ["a"], "token_logprobs": None},
        {"tokens": ["a", "b"], "token_logprobs": [-1.0]}, {"tokens": "ab", "token_logprobs": [-1.0, -1.0]},
        {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [None, None]},
    ],
    ids=str,
)  # fmt: skip
def test_log_probabilities_that_cannot_be_read(logprobs):
    with pytest.raises(NoLogprobs, match="log probabilities"):
        read(part(logprobs=logprobs), logprobs=True)
    assert read(part(logprobs=logprobs)).choices[0].text == "Paris."  # nobody asked for them


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("stop"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(data, place=()):
    """The path of every value."""
    yield place
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*place, key))


def replaced(data, place, value):
    if not place:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[place[0]] = replaced(data[place[0]], place[1:], value)
    return copy


WHOLE = with_logprobs(token("Pa", -0.1, ("Pa", -0.1), ("Ro", -2)), token("ris", -0.2, ("ris", -0.2)))
WHOLE["choices"][0] |= {"token_ids": [5, 6], "stop_reason": 2}
WHOLE["choices"][0]["message"] |= {"tool_calls": [call()], "reasoning": "Hm"}
DELTA = chunk("Pa")
DELTA["choices"][0] |= {"logprobs": WHOLE["choices"][0]["logprobs"], "token_ids": [5]}
DELTA["choices"][0]["delta"]["tool_calls"] = [call(index=0)]


@settings(max_examples=4 * settings.default.max_examples, deadline=None)
@given(st.sampled_from(sorted(places(WHOLE), key=str)), JSON)
def test_any_value_at_any_place_is_read_or_malformed(place, value):
    response = replaced(WHOLE, place, value)
    try:
        found = read(response, top_logprobs=2)
    except MalformedResponse:
        return
    (choice,) = found.choices
    assert isinstance(choice.text, str)
    assert isinstance(choice.finish_reason, str)
    assert isinstance(choice.stop_reason, str | int | None)
    assert all(isinstance(c.arguments, str) and isinstance(c.name, str) for c in choice.tool_calls)
    assert choice.index == 0
    assert isinstance(found.system_fingerprint, str | None)
    counts = (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.cached_tokens)
    assert all(count is None or 0 <= count < 2**31 for count in counts)
    assert found.usage.prompt_tokens != 0


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(places(DELTA), key=str)), JSON), min_size=1, max_size=3))
def test_any_value_at_any_place_of_a_chunk_is_read_or_malformed(changes):
    whole = StreamAccumulator(chat=True)
    try:
        for place, value in changes:
            pieces = whole.add(replaced(DELTA, place, value))
            assert all(isinstance(text, str) and isinstance(index, int) for index, text, _ in pieces)
        whole.add(chunk(reason="stop"))
        read(whole.response, top_logprobs=2)
    except MalformedResponse:
        pass


# Server-sent events


def events(*parts):
    async def body():
        for piece in parts:
            yield piece

    async def collect():
        return [data async for data in event_data(body())]

    return asyncio.run(collect())


EVENTS = {
    "as they should be": (b"data: a\n\ndata: b\n\n", ["a", "b"]),
    "CRLF": (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
    "CR": (b"data: a\r\rdata: b\r\r", ["a", "b"]),
    "without spaces": (b"data:a\n\ndata:b\n\n", ["a", "b"]),
    "a mark of byte order": (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
    "comments": (b": OPENROUTER PROCESSING\n\n:\n\ndata: a\n\n: ping\n\n", ["a"]),
    "other fields": (b"event: message\nid: 1\nretry: 3000\ndata: a\n\nevent: ping\n\nretry: 1\n\n", ["a"]),
    "data of nothing": (b"data:\n\ndata: \n\ndata\n\ndata: a\n\n", ["a"]),
    "several lines": (b"data: a\ndata: b\n\n", ["a\nb"]),
    "no end": (b"data: a\n\ndata: b", ["a", "b"]),
    "an end of half a line end": (b"data: a\r\n\r\ndata: b\r", ["a", "b"]),
    "separators of Unicode": ("data: a\u2028b\u0085c\x0b\x0c\n\n".encode(), ["a\u2028b\u0085c\x0b\x0c"]),
    "broken UTF-8": (b"data: a\xff\n\n", ["a\ufffd"]),
    "llama.cpp's error": (b'data: a\n\nerror: {"code": 500}\n\n', ["a", '{"error":  {"code": 500}}']),
    "HTML": (b"<html>\n<p>down: now</p>\n</html>", []),
    "nothing": (b"", []),
}


@pytest.mark.parametrize(("body", "data"), EVENTS.values(), ids=EVENTS)
def test_events_of_a_stream(body, data):
    assert events(body) == data
    assert events(*(body[i : i + 1] for i in range(len(body)))) == data


@given(
    st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), min_size=1)),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.data(),
)
def test_events_are_the_same_however_they_are_cut(texts, end, data):
    body = "".join(f"data: {text}{end}{end}" for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)))))
    parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert events(*parts) == [text for text in texts if text.strip()]


# A server that answers so


SERVERS = {
    "content of parts": lambda: message(content=[{"type": "text", "text": "Paris."}]),
    "no usage": lambda: chat(usage=...),
    "usage of texts": lambda: chat(
        usage={"prompt_tokens": "14", "completion_tokens": "2", "total_tokens": "16"}
    ),
    "odd usage": lambda: chat(usage={"prompt_tokens": "many"}),
    "endless usage": lambda: chat(usage={"prompt_tokens": math.inf}),
    "no index": lambda: choices(..., text=["Paris."]),
    "eos": lambda: part(finish_reason="eos"),
    "an odd fingerprint": lambda: chat(fingerprint={"a": 1}),
    "log probabilities of null": lambda: with_logprobs(token("Paris.", None, ("Paris.", None))),
    "odd log probabilities": lambda: part(logprobs={"content": [{"token": "Paris.", "logprob": [1]}]}),
    "other lists": lambda: part(logprobs={"tokens": ["a", "b"], "token_logprobs": [-1.0]}),
    "a time that is no whole number": lambda: chat(created=1.5),
    "no ID": lambda: chat(id=None),
    "an error of null": lambda: chat(error=None),
}


@pytest.mark.parametrize("answer", SERVERS.values(), ids=SERVERS)
def test_an_optional_part_never_takes_the_server_down(proxy, answer):  # noqa: F811
    proxy.answer = lambda body: answer()
    with tk.connect(proxy.url) as engine:
        c = engine.chat("x")
        assert (c.text, c.finish_reason) == ("Paris.", "stop")
        assert engine.fingerprint.id.startswith("fp_")


MODELS = {
    "a list without an object": ([{"id": "m"}], "m"),
    "null": ({"data": None}, None),
    "names": ({"data": ["m"]}, None),
    "one that is odd": ({"data": [None, {"name": "x"}, {"id": "m"}]}, "m"),
    "an ID that is a number": ({"data": [{"id": 7}]}, "7"),
    "odd fields": (
        {"data": [{"id": "m", "owned_by": {"a": 1}, "root": ["x"], "max_model_len": "long"}]},
        "m",
    ),
    "a window of text": ({"data": [{"id": "m", "max_model_len": "4096"}]}, "m"),
    "a negative window": ({"data": [{"id": "m", "max_model_len": -1}]}, "m"),
    "HTML": ("<html>hello</html>", None),
    "a number": (7, None),
}


@pytest.mark.parametrize(("listed", "model"), MODELS.values(), ids=MODELS)
def test_lists_of_models(proxy, listed, model):  # noqa: F811
    async def answer(request):
        return web.Response(
            text=listed if isinstance(listed, str) else json.dumps(listed),
            content_type="text/html" if isinstance(listed, str) else "application/json",
        )

    proxy._list = answer
    proxy.run(proxy.runner.cleanup())
    proxy.run(proxy._begin())
    if model is None:
        with pytest.raises(tk.EngineError, match="lists no models: give"):
            tk.connect(proxy.url).start()
    with tk.connect(proxy.url, None if model else "m") as engine:
        assert engine.chat("x").text == "Paris."
        assert engine.model == (model or "m")
        windows = {"a window of text": 4096}
        assert engine.fingerprint.components["max_model_len"] == windows.get(
            next(name for name, pair in MODELS.items() if pair[0] is listed)
        )


def test_a_server_that_ignores_n_is_an_error_of_each_row(proxy, connected, db):  # noqa: F811
    engine = connected()
    results = tk.sweep("x {i}", [{"i": i} for i in range(2)], tk.grid(n=[1, 3])).run(engine, db)
    frame = results.frame()
    assert frame["error"].notna().tolist() == [n == 3 for n in frame["n"]]
    assert frame["error"].dropna().str.contains("has 1 choice, and n=3 was requested").all()
    attempts = results.costs(price=tk.ModelPrice("m", 1, 1)).total
    assert (attempts["failed_attempts"], attempts["spent_on_failures"]) == (2, pytest.approx(2 * 16e-6))
    proxy.answer = lambda body: choices(*[0] * (body.get("n") or 1))
    again = tk.sweep("x {i}", [{"i": i} for i in range(2)], tk.grid(n=[1, 3])).run(engine, db)
    assert again.frame()["error"].isna().all()
    assert len(again) == 8


def test_unknown_tokens_are_unknown_everywhere(proxy, connected, db, tmp_path):  # noqa: F811
    proxy.answer = lambda body: chat(usage=...)
    engine = connected()
    price = tk.ModelPrice("gpt-4o", 2, 8)
    results = tk.sweep("x {i}", [{"i": i} for i in range(3)]).run(engine, db)
    for c in (results[0], engine.chat("x")):
        assert c.usage == UNKNOWN_USAGE
        assert c.to_openai()["usage"] is None
        assert "unknown + unknown tokens" in repr(c)
    counts = ["prompt_tokens", "completion_tokens", "cached_tokens"]
    assert results.frame()[counts].isna().all(axis=None)
    assert "without those of 3 rows, which are unknown" in repr(results)
    costs = results.costs(price=price, at=[tk.ModelPrice("other", 1, 1)])
    assert (
        costs.total[[*counts, "spent_tokens", "cost", "spent", "at other", "tokens_per_second"]].isna().all()
    )
    assert costs.total["machine_seconds"] > 0
    shown = costs.sentences()[0] + repr(costs) + costs._repr_html_()
    assert "3 completions; the tokens of 3 are unknown, and so are all sums with them." in shown
    assert "US$ 0" not in shown
    assert re.search(r"^cost_\w+ .*–", repr(costs), re.MULTILINE)
    assert np.isnan(costs.at(price)[1])
    local = results.costs(price=tk.LocalPrice(per_hour=3.6)).total
    assert local["cost"] == pytest.approx(local["machine_seconds"] / 1000)
    for again in (
        tk.Results.from_jsonl(results.to_jsonl(tmp_path / "x.jsonl")),
        tk.Results.from_parquet(results.to_parquet(tmp_path / "x.parquet")),
        tk.results(db),
    ):
        assert again[0].usage == UNKNOWN_USAGE
        assert again.frame()[counts].isna().all(axis=None)
    assert results.summary()["mean_tokens"].isna().all()
    assert results.determinism() is not None
    assert results.plot() is not None
    assert results.to_html(tmp_path / "x.html").exists()
    plan = tk.sweep("x {i}", [{"i": i} for i in range(4)]).plan(engine, db)
    assert (len(plan.missing), plan.seconds) == (1, None)


def test_some_tokens_are_known_and_some_are_not(proxy, connected, db):  # noqa: F811
    engine = connected(concurrency=1)
    proxy.answer = lambda body: chat(usage=... if body["messages"][0]["content"] == "x 0" else {
        "prompt_tokens": 14, "completion_tokens": 2,
    })  # fmt: skip
    sweep = tk.sweep("x {i}", [{"i": i} for i in range(3)])
    results = sweep.run(engine, db)
    frame = results.frame()
    assert str(frame["completion_tokens"].dtype) == "Int64"
    assert sorted(frame["completion_tokens"].dropna().tolist()) == [2, 2]
    assert "4 completion tokens without those of 1 row, which are unknown" in repr(results)
    by_row = results.costs("row.i", price=tk.ModelPrice("m", 1, 1))
    assert by_row.table["prompt_tokens"].isna().tolist() == [True, False, False]
    assert by_row.table["cost"].iloc[1] == pytest.approx(16e-6)
    assert np.isnan(by_row.total["cost"])
    assert (by_row.table["machine_seconds"] > 0).all()
    assert tk.sweep("y").plan(engine, db).rate > 0  # by those that are known


def test_a_limit_holds_where_tokens_are_unknown(proxy, connected, db):  # noqa: F811
    """The most that a request can use is counted in place of what it used."""
    engine = connected()
    proxy.answer = lambda body: chat(usage=...)
    sweep = tk.sweep("x", tk.grid(seed=range(10), max_tokens=[20]))
    most = tk.count_tokens(Request.chat("x"), "gpt-4o") + 20
    assert len(sweep.run(engine, db, max_tokens=3 * most + 1)) == 3
    spent = Spent()
    spent.add(UNKNOWN_USAGE, tk.ModelPrice("m", 1, 1), (10, 20))
    spent.add(tk.Usage(4, None), None, (10, 20))
    assert (spent.tokens, spent.cost) == (54, pytest.approx(30e-6))


def test_what_failed_has_spent_what_is_told(proxy, connected, db):  # noqa: F811
    """Nothing where it was refused; unknown where the answer was lost."""
    engine = connected(concurrency=1)
    proxy.script += [refuses(400, "bad"), says(text="no JSON")]
    refused, lost = ask(engine, "a")[0], ask(engine, "b")[0]
    assert (refused.usage, lost.usage) == (tk.Usage(), UNKNOWN_USAGE)
    proxy.script += [says(text="no JSON")]
    costs = (
        tk.sweep("x {i}", [{"i": i} for i in range(2)]).run(engine, db).costs(price=tk.ModelPrice("m", 1, 1))
    )
    assert "1 failed attempt (cost unknown)" in "".join(costs.sentences())
    assert costs.total["cost"] == pytest.approx(16e-6)


def test_tools_run_on_a_server_that_gives_objects_and_eos(proxy, connected):  # noqa: F811
    engine = connected()

    def weather(city: str) -> str:
        """The weather."""
        return f"sunny in {city}"

    def answer(body):
        if body["messages"][-1]["role"] == "tool":
            return part(finish_reason="eos", message={"content": [{"type": "text", "text": "Sunny."}]})
        calls = [call(arguments={"city": "Rome"}), call(arguments={"city": "Oslo"})]
        return part(finish_reason="tool_use", message={"content": None, "tool_calls": calls})

    proxy.answer = answer
    run = tk.run_tools(engine, "Weather?", [weather])
    assert run.finished
    assert run.text == "Sunny."
    assert [result for _, result, _ in run.steps[0].results] == ["sunny in Rome", "sunny in Oslo"]
    proxy.answer = lambda body: {**answer(body), "usage": None}
    assert "unknown + unknown tokens" in tk.run_tools(engine, "Weather?", [weather])._repr_html_()


def test_a_conversation_on_a_server_without_usage(proxy, connected, tmp_path):  # noqa: F811
    proxy.models[0]["max_model_len"] = 4096
    engine = connected()
    proxy.answer = lambda body: chat(usage=...)
    talk = tk.Conversation(engine)
    talk.say("x")
    assert talk.usage == UNKNOWN_USAGE
    assert "unknown + unknown tokens in all" in repr(talk)
    assert talk.frame()["prompt_tokens"].isna().all()
    assert tk.Conversation.load(engine, talk.save(tmp_path / "talk.json")).usage == UNKNOWN_USAGE


# Streams


def raw_stream(*lines, kind="text/event-stream", end=True):
    """Bytes as they stand."""

    async def step(request, asked):
        response = web.StreamResponse(headers={"content-type": kind})
        await response.prepare(request)
        for line in lines:
            await response.write(line.encode())
        if not end:
            request.transport.close()
        return response

    return step


def data(*chunks):
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)


USAGE = chat(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 2})
STREAMS = {
    "no [DONE]": raw_stream(data(chunk("Paris"), chunk(reason="stop"), USAGE)),
    "[DONE] without a space": raw_stream(data(chunk("Paris"), chunk(reason="stop"), USAGE), "data:[DONE]\n\n"),
    "CRLF": raw_stream(data(chunk("Paris"), chunk(reason="stop"), USAGE).replace("\n", "\r\n")),
    "comments": raw_stream(": wait\n\n" * 3, data(chunk("Paris"), chunk(reason="stop"), USAGE), "data: [DONE]\n\n"),
    "a mark of byte order": raw_stream("\ufeff", data(chunk("Paris"), chunk(reason="stop"), USAGE)),
    "retry alone": raw_stream("retry: 3\n\n", data(chunk("Paris"), chunk(reason="stop"), USAGE)),
    "the kind of a text": raw_stream(data(chunk("Paris"), chunk(reason="stop"), USAGE), kind="text/plain"),
    "no blank line at the end": raw_stream(data(chunk("Paris"), chunk(reason="stop"), USAGE).rstrip("\n")),
    "nulls": streams(
        chat(choices=None, usage=None), part(delta=None, message=None, finish_reason=None), chunk("Paris"),
        chunk(reason="stop"), USAGE,
    ),
    "Azure's first": streams(chat(choices=[], prompt_filter_results=[]), chunk("Paris"), chunk(reason="stop"), USAGE),
    "parts": streams(chunk([{"type": "text", "text": "Pa"}]), chunk(["ris"]), chunk(reason="stop"), USAGE),
    "no index": streams({"choices": [{"delta": {"content": "Paris"}, "finish_reason": "stop"}]}, USAGE),
    "reasons of nothing": streams(chunk("Pa", ""), chunk("ris", "null"), chunk("", "EOS"), USAGE),
    "an error of null": streams(chunk("Paris", error=None), chunk(reason="stop"), USAGE),
    "not streamed": says(body=chat("Paris", usage={"prompt_tokens": 5, "completion_tokens": 2})),
    "a whole message in a chunk": streams(chat("Paris", usage={"prompt_tokens": 5, "completion_tokens": 2})),
    "counts in every chunk": streams(
        chunk("Pa") | {"usage": {"prompt_tokens": 5, "completion_tokens": 1}}, chunk("ris"), chunk(reason="stop"),
        USAGE,
    ),
    "separators of Unicode": raw_stream(
        "data: " + json.dumps({**chunk("Paris"), "x": "a\u2028b"}, ensure_ascii=False) + "\n\n",
        data(chunk(reason="stop"), USAGE),
    ),
}  # fmt: skip


@pytest.mark.parametrize("step", STREAMS.values(), ids=STREAMS)
def test_streams_of_other_servers(proxy, connected, step):  # noqa: F811
    engine = connected()
    proxy.script.append(step)
    deltas = list(engine.stream("x"))
    c = deltas[-1].completion
    assert "".join(d.text for d in deltas) == c.text == "Paris"
    assert (c.finish_reason, c.usage) == ("stop", tk.Usage(5, 2))
    assert [d.finish_reason for d in deltas][-1] == "stop"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (streams(chunk("Paris"), {"error": "overloaded"}), "broke off: 'overloaded'"),
        (
            streams(chunk("Paris"), part(delta={}, message=None, error={"message": "overloaded"})),
            "overloaded",
        ),
        (raw_stream(data(chunk("Paris")), 'error: {"message": "overloaded"}\n\n'), "overloaded"),
        (says(body={"error": {"message": "overloaded"}}), "broke off: .*overloaded"),
        (says(text="<html>down</html>", kind="text/html"), r"no JSON \(text/html.*down"),
        (raw_stream("data: Paris\n\n"), "no JSON .*Paris"),
        (raw_stream("data: " + "[" * 100_000 + "\n\n"), "no JSON"),
        (streams(chunk("Paris", "abort")), "broke off"),
        (streams(chat(choices="Paris")), "choices: Input should be a valid list"),
        (
            streams(chat(choices=[{"index": 2**70, "delta": {"content": "x"}, "finish_reason": "stop"}])),
            "indices",
        ),
        (streams(chunk(7), chunk(reason="stop")), "content: Input should be a valid string"),
    ],
)
def test_streams_that_end_in_an_error(proxy, connected, step, said):  # noqa: F811
    engine = connected()
    proxy.script.append(step)
    with pytest.raises(tk.RequestError, match=said):
        list(engine.stream("x"))
    assert engine.chat("x").text == "Paris."


def test_a_stream_that_breaks_off_after_its_end_is_whole(proxy, connected):  # noqa: F811
    engine = connected()
    proxy.script.append(streams(chunk("Paris"), chunk(reason="stop"), end=False))
    c = list(engine.stream("x"))[-1].completion
    assert (c.text, c.finish_reason, c.usage) == ("Paris", "stop", UNKNOWN_USAGE)
    proxy.script.append(streams(chunk("Paris"), chunk(reason="stop"), end=False))
    with pytest.raises(tk.RequestError, match=r"cannot be read|broke off"):
        list(engine.stream("x", n=2))


def test_a_stream_of_fewer_choices_than_were_asked(proxy, connected):  # noqa: F811
    engine = connected()
    proxy.script.append(streams(chunk("a"), chunk("b"), chunk("c"), chunk(reason="stop")))
    with pytest.raises(tk.RequestError, match="has 1 choice, and n=3 was requested"):
        list(engine.stream("x", n=3))


# Answers without end


@functools.cache
def compressed_body(start, megabytes, end):
    return gzip.compress(start + b" " * (megabytes << 20) + end, 1)


def compressed(start, megabytes, end=b"", headers=None):
    """An answer of so many MB of spaces, which is small as it is sent."""
    body = compressed_body(start, megabytes, end)

    async def step(request, asked):
        kind = headers or {"content-type": "application/json"}
        return web.Response(body=body, headers={**kind, "content-encoding": "gzip"})

    return step


@pytest.mark.parametrize("status", [200, 400])
def test_an_answer_far_longer_than_what_was_asked_is_not_read_whole(proxy, connected, status):  # noqa: F811
    engine = connected()
    small = compressed(b"", 1, json.dumps(chat()).encode())
    proxy.script.append(small)
    assert engine.chat("x").text == "Paris."
    large = compressed(b'{"choices": [', 400, b"]}")

    async def step(request, asked):
        response = await large(request, asked)
        response.set_status(status)
        return response

    proxy.script.append(step)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    (c,) = ask(engine)
    assert c.error
    if status == 200:
        assert "longer than 16 MiB, more than the request can need" in c.error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 << 10  # KiB
    assert time.monotonic() - began < 10
    assert len(proxy.asked) == 2  # not tried again
    assert engine.chat("x").text == "Paris."


def test_a_stream_without_end_is_not_read_whole(proxy, connected):  # noqa: F811
    engine = connected()
    headers = {"content-type": "text/event-stream"}
    proxy.script.append(compressed(b"data: ", 100, headers=headers))
    with pytest.raises(tk.RequestError, match="longer than 16 MiB, more than the request can need"):
        list(engine.stream("x"))
    proxy.script.append(compressed(data(chunk("Paris")).encode() + b": ", 100, headers=headers))
    with pytest.raises(tk.RequestError, match="longer than 16 MiB"):
        list(engine.stream("x"))
    assert engine.chat("x").text == "Paris."


def test_a_list_of_models_without_end_is_not_read_whole(proxy):  # noqa: F811
    async def answer(request):
        return await compressed(b'{"data": [', 100, b"]}")(request, None)

    proxy._list = answer
    proxy.run(proxy.runner.cleanup())
    proxy.run(proxy._begin())
    with tk.connect(proxy.url, "m") as engine:
        assert engine.chat("x").text == "Paris."


def test_what_is_asked_for_has_room():
    assert max_response_bytes({}) == 16 << 20
    top = {"max_tokens": 8192, "n": 4, "logprobs": True, "top_logprobs": 20}
    assert max_response_bytes(top) > 8192 * 4 * 21 * 200
    assert max_response_bytes({"max_tokens": 10, "logprobs": -1}) > 10 * 200_000 * 100
    assert max_response_bytes({"prompt": [1] * 8192, "max_tokens": 1, "prompt_logprobs": 5}) > 8192 * 6 * 100
    assert max_response_bytes({"max_completion_tokens": 100, "n": None}) < 17 << 20


# Keys and connections


@pytest.mark.parametrize("key", ["", " ", "\n"])
def test_an_empty_key_is_no_key(key, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)  # which must not go to another server instead
    with pytest.raises(ValueError, match="api_key must be the key itself, got an empty text: leave it out"):
        tk.connect("http://127.0.0.1:9/v1", "m", key)


@pytest.mark.parametrize("environment", ["", " ", None])
def test_an_empty_key_of_the_environment_is_none(environment, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if environment is not None:
        monkeypatch.setenv("OPENAI_API_KEY", environment)
    client = ApiClient("http://127.0.0.1:9/v1", None, 1.0)
    assert client._key == "none"
    client.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9/v1", "is the server running there"),
        ("http://no-such-host.invalid/v1", "is the host's name right"),
    ],
)
def test_what_to_check_when_there_is_no_connection(url, said):
    with pytest.raises(tk.EngineError, match=f"cannot connect to {url} .*{said}"):
        tk.connect(url, "m").start()


def test_a_server_that_speaks_no_tls(proxy):  # noqa: F811
    with pytest.raises(tk.EngineError, match="does not speak TLS: is its address one of http:// instead"):
        tk.connect(proxy.url.replace("http:", "https:"), "m").start()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"concurrency": 0},
            "concurrency must be a whole number from 1 up, got 0: give the most requests open at once",
        ),
        (
            {"timeout": 0},
            "timeout must be a number above 0, got 0: give the seconds that one request may take",
        ),
    ],
)
def test_what_to_give_instead_of_a_bad_number(options, said):
    with pytest.raises(ValueError, match=said):
        tk.connect("http://127.0.0.1:9/v1", **options)
