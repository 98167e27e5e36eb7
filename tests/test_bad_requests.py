"""One bad request spoils neither its batch nor its plan: it is an error, and the others are answered as alone."""

import re

import numpy as np
import pytest
from ngram_engine import NGramEngine
from reporting_server import ReportingServer

import toolkit as tk
from toolkit.core.request import Request, check_token_ids
from toolkit.core.sampling import Sampling
from toolkit.engines.base import request_errors
from toolkit.errors import EngineError, NotTold
from toolkit.prompts.messages import check_tool_calls
from toolkit.structured.tools import format_tool_call
from toolkit.tokenizers.huggingface import Tokenizer

CALL = {"id": "a", "function": {"name": "f"}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
IMAGE = f"data:image/png;base64,{PIXEL}"
PART = {"type": "image_url", "image_url": {"url": IMAGE}}


def deep(levels):
    value = "Hi"
    for _ in range(levels):
        value = [value]
    return value


def raw(*messages, **options):
    """A chat request whose messages nobody has checked."""
    return Request(messages=messages, **options)


def choice(*choices):
    return {"type": "choice", "choice": list(choices)}


def chat(**options):
    return Request.chat("Hi", **options)


BAD = {
    "a token id that is in no vocabulary": lambda: Request(prompt=(2**40,)),
    "one after the last of this model": lambda: Request(prompt=(1, 49152)),
    "one of a hundred bits": lambda: Request(prompt=(1, 2**100)),
    "one of NumPy": lambda: Request(prompt=np.array([1, 2**62])),
    "a prefix of such ids": lambda: chat(prefix=(5, 2**40)),
    "a prefix after a text": lambda: Request(prompt="Hi", prefix=(49152,)),
    "a bias of a token that is none": lambda: chat(logit_bias={2**40: 1}),
    "a stop token that is none": lambda: chat(stop_token_ids=[49152], min_tokens=2),
    "an allowed token that is none": lambda: chat(allowed_token_ids=[1, 2**33]),
    "no allowed token": lambda: chat(allowed_token_ids=[]),
    "more logprobs than the engine has": lambda: chat(top_logprobs=10**6),
    "and of the prompt": lambda: chat(prompt_logprobs=10**6),
    "a prompt beyond the window": lambda: Request.chat("word " * 9000),
    "max_tokens beyond the window": lambda: chat(max_tokens=2**40),
    "a suffix for a model that cannot fill in": lambda: Request(prompt="Hi", suffix="there"),
    "an image for a model that reads": lambda: Request.chat([{"role": "user", "content": [PART]}]),
    "an image and a prefix": lambda: Request.chat([{"role": "user", "content": [PART]}], prefix="A"),
    "choices that are all banned": lambda: chat(response_format=choice("yes", "no"), bad_words=["yes", "n"]),
    "a bad word without a token": lambda: chat(bad_words=[" "]),
    "a regex that is none": lambda: chat(response_format={"type": "regex", "regex": "("}),
    "a regex that looks ahead": lambda: chat(response_format={"type": "regex", "regex": "(?=a)b"}),
    "a grammar that is none": lambda: chat(response_format={"type": "grammar", "grammar": "root ::= ("}),
    "a schema that no grammar can hold": lambda: chat(
        response_format={"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    ),
    "a schema that counts too far": lambda: chat(response_format={"type": "array", "maxItems": 10**9}),
    "a schema that never ends": lambda: chat(
        response_format={"type": "array", "items": {"$ref": "#"}, "minItems": 1}
    ),
    "a value that is a special token's name": lambda: chat(response_format={"enum": ["<|im_end|>"]}),
    "a tool call without arguments": lambda: raw(
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": [CALL]}
    ),
    "a tool call that is a number": lambda: raw(
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": [5]}
    ),
    "tool calls that are a number": lambda: raw({"role": "assistant", "content": "", "tool_calls": 5}),
    "a message without content": lambda: raw({"role": "user"}),
    "a message without a role": lambda: raw({"content": "Hi"}),
    "a message that is a text": lambda: raw("Hi"),
    "content that is a number": lambda: raw({"role": "user", "content": 5}),
    "content of depth": lambda: raw({"role": "user", "content": deep(100_000)}),
    "content that is no data": lambda: raw({"role": "user", "content": "Hi", "name": {1, 2}}),
    "an image without an address": lambda: raw({"role": "user", "content": [{"type": "image_url"}]}),
}
"""Kinds of bad requests. Some may be refused where they are made, which is as good."""


def bad_requests():
    made = {}
    for kind, make in BAD.items():
        try:
            made[kind] = make()
        except (ValueError, RecursionError):  # refused at once
            continue
    return made


def test_most_of_the_bad_requests_can_be_made():
    made = bad_requests()
    assert len(made) >= 25
    assert "a token id that is in no vocabulary" in made


# What becomes an error of a request


@pytest.mark.parametrize(
    "error",
    [KeyError("arguments"), OverflowError("too large"), RecursionError(), IndexError(), TypeError("x")],
)
def test_whatever_fails_is_an_error_of_the_request(error):
    with (
        pytest.raises(
            ValueError, match=rf"cannot be handled \({type(error).__name__}: .*messages, token ids"
        ),
        request_errors(),
    ):
        raise error


@pytest.mark.parametrize(
    "error",
    [EngineError("died"), ValueError("bad"), NotTold("unknown"), KeyboardInterrupt(), tk.RequestError("x")],
)
def test_what_says_more_stays_as_it_is(error):
    with pytest.raises(type(error)) as raised, request_errors():
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(prompt=(2**40,)), "prompt has the token id 1099511627776, and those of m are 0 to 99"),
        (Request(prompt=(1, 100, 2**70)), "prompt has the token id 100, and"),
        (Request(prompt="x", prefix=(99, 100)), "prefix has the token id 100"),
        (Request.chat("x", prefix=[100]), "prefix has the token id 100"),
        (Request(prompt=(0, 99), prefix=(99,)), None),
        (Request(prompt="x", prefix="100"), None),
    ],
)
def test_token_ids_are_those_of_the_vocabulary(request_, message):
    if message is None:
        return check_token_ids(request_, "m", 100)
    with pytest.raises(ValueError, match=message):
        check_token_ids(request_, "m", 100)


def test_an_id_has_32_bits_where_the_vocabulary_is_not_known():
    check_token_ids(Request(prompt=(2**31 - 1,)), "m")
    with pytest.raises(ValueError, match="0 to 2147483647"):
        check_token_ids(Request(prompt=(2**31,)), "m")


@pytest.mark.parametrize("name", ["prompt", "prefix"])
def test_an_id_of_any_length_is_refused_at_once(name):
    with pytest.raises(ValueError, match=f"{name} has a token id of more than 128 bits"):
        Request(**{"prompt": "x", name: (1, 10**5000)})


# Tool calls


NO_CALLS = [
    {"id": "a", "function": {"name": "f"}},
    {"id": "a", "function": {"arguments": "{}"}},
    {"id": "a", "function": "f"},
    {"id": "a"},
    "f",
    5,
]
CALLS = [
    {"id": "a", "function": {"name": "f", "arguments": "{}"}},
    {"id": "a", "function": {"name": "f", "arguments": ""}},
    {"id": "a", "function": {"name": "f", "arguments": None}},
    {"id": "a", "function": {"name": "f", "arguments": {"a": 1}}},
    {"id": "a", "function": {"name": "f", "arguments": "no JSON"}},
    {"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}},
]


@pytest.mark.parametrize("call", NO_CALLS, ids=str)
def test_a_call_without_name_or_arguments_is_an_error_of_its_request(call):
    turns = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": [call]})
    says = re.escape(
        f"messages[1] has the tool call {call!r}, which must have a function with a name and arguments"
    )
    with pytest.raises(ValueError, match=says):
        check_tool_calls(turns)
    with pytest.raises(ValueError, match=says):
        Tokenizer(tk.models.path()).encode(raw(*turns))
    with ReportingServer() as server, tk.connect(server.url) as engine:
        answers = list(engine.generate([Request.chat("Say 1"), raw(*turns), Request.chat("Say 2")]))
        assert sorted(c.text for c in answers if c.error is None) == ["Say 1", "Say 2"]
        (failed,) = (c.error for c in answers if c.error is not None)
        assert failed.startswith("messages[1] has the tool call")
        assert sorted(server.questions()) == ["Say 1", "Say 2"]


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_a_call_with_both_is_none_of_these(call):
    check_tool_calls([{"role": "assistant", "content": "", "tool_calls": [call]}])


@pytest.mark.parametrize("arguments", ["{}", "", None, {}])
def test_a_call_of_nothing_is_written_in_one_way(arguments):
    call = {"id": "a", "function": {"name": "f", "arguments": arguments}}
    assert format_tool_call(call) == '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'


# Choices and bad words


@pytest.mark.parametrize(
    ("choices", "banned", "left"),
    [
        (["yes", "no"], ["yes"], ("no",)),
        (["yes", "no"], [" yes"], ("no",)),
        (["yes", "no", "yesterday"], ["yes"], ("no",)),
        (["yes", "no"], ["maybe"], ("yes", "no")),
        (["yes", "no"], ["YES"], ("yes", "no")),
        (["a b", "b"], ["a "], ("b",)),
        (["yes", "no"], [" "], ("yes", "no")),
        (["yes", "no"], [], ("yes", "no")),
    ],
)
def test_a_choice_with_a_bad_word_is_none(choices, banned, left):
    request = chat(response_format=choice(*choices), bad_words=banned)
    assert request.constraint.choices == left
    assert request.response_format.choices == tuple(choices)
    assert request.resolve({}).constraint.choices == left


def test_bad_words_leave_other_formats_as_they_are():
    for form in ({"type": "regex", "regex": "yes|no"}, {"type": "object"}, None):
        request = chat(response_format=form, bad_words=["yes"])
        assert request.constraint == request.response_format


def test_a_request_without_a_choice_left_says_so_and_can_be_stored():
    request = chat(response_format=choice("yes", "no"), bad_words=["e", "o"])
    with pytest.raises(
        ValueError, match=r"each of the choices 'yes', 'no' contains one of bad_words \('e', 'o'\)"
    ):
        request.constraint  # noqa: B018
    assert request.key
    assert request.logprobs_mode("raw_logprobs") == "constrained_logprobs"


# On a server


NOWHERE = ("a token id", "one of a", "one of N", "a prefix of", "choices", "content that is no", "content of")
"""Beginnings of the kinds that not even a server is asked, which may answer the others."""


def test_a_bad_request_spoils_no_batch_of_a_server():
    good = [Request.chat(f"Say {i}") for i in range(20)]
    bad = [request for kind, request in bad_requests().items() if kind.startswith(NOWHERE)]
    assert len(bad) >= 5
    with ReportingServer() as server, tk.connect(server.url) as engine:
        completions = {c.position: c for c in engine.generate([*good[:10], *bad, *good[10:]])}
    assert len(completions) == 20 + len(bad)
    failed = {position: c.error for position, c in completions.items() if c.error is not None}
    assert sorted(failed) == list(range(10, 10 + len(bad)))
    texts = [completions[position].text for position in sorted(completions.keys() - failed.keys())]
    assert texts == [f"Say {i}" for i in range(20)]
    assert "prompt has the token id 1099511627776" in failed[10]


def test_a_stream_of_a_bad_request_raises_what_the_batch_says():
    with ReportingServer() as server, tk.connect(server.url) as engine:
        with pytest.raises(tk.RequestError, match="token id 1099511627776"):
            list(engine.stream_request(Request(prompt=(2**40,))))
        with pytest.raises(ValueError, match="token id 1099511627776"):
            engine.encode(Request(prompt=(2**40,)))
        assert engine.chat("still here").text == "still here"


def test_of_choices_a_server_is_sent_those_without_a_bad_word():
    with ReportingServer() as server, tk.connect(server.url) as engine:
        engine.chat("Hi there", response_format=choice("yes", "no"), bad_words=["yes"])
        assert server.asked[-1]["structured_outputs"] == {"choice": ["no"]}
        with pytest.raises(tk.RequestError, match="contains one of bad_words"):
            engine.chat("Hi there", response_format=choice("yes", "no"), bad_words=["yes", "no"])


# In a plan


ERRORS = {
    "key": KeyError("arguments"),
    "overflow": OverflowError("out of range"),
    "depth": RecursionError("maximum recursion depth exceeded"),
    "template": ValueError("the model's chat template refuses these messages: roles must alternate"),
    "engine": EngineError("vLLM died"),
    "unknown": NotTold("not told"),
}


class Picky(NGramEngine):
    """Raises the error that its message names."""

    def encode(self, request):
        text = request.messages[-1]["content"]
        if text in ERRORS:
            raise ERRORS[text]
        return super().encode(request)


PICKY = Picky("abcdefghijklmnopqrstuvwxyz \n0123456789")


def plan_of(tmp_path, *texts, **settings):
    sweep = tk.sweep("{t}", [{"t": text} for text in texts], tk.grid(max_tokens=[4], **settings))
    return sweep.plan(PICKY, tmp_path / "run.db")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("key", "1 cannot be sent (this request cannot be handled (KeyError: 'arguments')"),
        ("overflow", "1 cannot be sent (this request cannot be handled (OverflowError: out of range)"),
        ("depth", "1 cannot be sent (this request cannot be handled (RecursionError: maximum"),
        (
            "template",
            "1 cannot be sent (the model's chat template refuses these messages: roles must alternate)",
        ),
    ],
)
def test_what_a_template_refuses_spoils_no_plan_and_is_told_as_that(tmp_path, kind, message):
    plan = plan_of(tmp_path, "good", kind, "fine")
    assert [r.messages[-1]["content"] for r in plan.refused] == [kind]
    assert message in repr(plan)
    assert "window" not in repr(plan)
    assert plan.prompt_tokens == 5 + 5


def test_several_reasons_are_told_apart(tmp_path):
    plan = plan_of(tmp_path, "good", "template", "key", "x" * 3000, "y" * 3000, "z" * 3000)
    assert len(plan.refused) == 5
    assert (
        "3 do not fit the window of 2,000 tokens; 2 cannot be sent (for example the model's chat template refuses"
        in repr(plan)
    )
    assert "3 do not fit the window" in plan._repr_html_()


def test_a_long_reason_is_shortened(tmp_path, monkeypatch):
    monkeypatch.setitem(ERRORS, "long", ValueError("word " * 1000))
    assert len(repr(plan_of(tmp_path, "long"))) < 1500


def test_a_dead_engine_ends_a_plan(tmp_path):
    with pytest.raises(EngineError, match="vLLM died"):
        plan_of(tmp_path, "good", "engine").prompt_tokens  # noqa: B018


def test_what_is_not_told_is_no_refusal(tmp_path):
    plan = plan_of(tmp_path, "good", "unknown")
    assert (plan.refused, plan.uncounted) == ((), 1)


# On vLLM


@pytest.fixture
def good():
    """400 requests that differ in all that a request has."""
    requests = []
    for i in range(400):
        options = [
            {"temperature": 0},
            {"seed": i},
            {"seed": i, "top_p": 0.9, "n": 2},
            {"temperature": 0, "frequency_penalty": 0.5, "top_logprobs": 3},
        ][i % 4]
        text = f"Tell me about the number {i}. " * (1 + i % 3)
        if i % 5 == 4:
            requests.append(Request(prompt=text, sampling=Sampling(max_tokens=6, **options)))
        else:
            requests.append(Request.chat(text, max_tokens=6, **options))
    return requests


def bits(completion):
    """All that an answer is, to the bit."""
    return [
        (c.text, c.finish_reason, c.token_ids.tobytes(), None if c.logprobs is None else c.logprobs.tobytes())
        for c in completion.choices
    ]


def mixed_with_bad(good):
    """500 requests, of which 100 are bad, in all the ways above, in between the others."""
    kinds = list(bad_requests().values())
    bad = [kinds[i % len(kinds)] for i in range(100)]
    mixed = list(good)
    for i, request in enumerate(bad):
        mixed.insert(5 * i, request)
    return mixed, bad


def test_of_500_requests_with_100_bad_ones_400_are_answered_as_alone(tiny, good):
    mixed, bad = mixed_with_bad(good)
    assert len({id(request) for request in bad}) >= 25
    answers, failed = {}, []
    for completion in tiny.generate(mixed):
        if completion.error is None:
            answers[completion.request.key] = completion
        else:
            failed.append(completion)
    assert (len(answers), len(failed)) == (400, 100)
    assert all(c.error and c.finish_reason == "error" for c in failed)
    for request in good:
        (alone,) = tiny.generate([request])
        among = answers[alone.request.key]
        assert among.choices[0].text == alone.choices[0].text
        for own, other in zip(among.choices, alone.choices, strict=True):
            assert (own.text, own.finish_reason) == (other.text, other.finish_reason)
            assert np.array_equal(own.token_ids, other.token_ids)
            if own.logprobs is not None:
                assert np.abs(own.logprobs - other.logprobs).max() < 1e-4


def test_the_bad_ones_leave_the_batch_as_it_is_to_the_bit(tiny, good):
    """Where all begin in one step, so that the batches are the same, float32 is too."""
    mixed, _ = mixed_with_bad(good[:120])
    tiny.reset_prefix_cache()
    without = {c.request.key: bits(c) for c in tiny.generate_in_one_step(good[:120])}
    tiny.reset_prefix_cache()
    answers = [c for c in tiny.generate_in_one_step(mixed) if c.error is None]
    assert {c.request.key: bits(c) for c in answers} == without


@pytest.mark.parametrize("kind", BAD)
def test_every_bad_request_says_what_is_wrong(tiny, kind):
    made = bad_requests()
    if kind not in made:
        pytest.skip("refused where it is made")
    (completion,) = tiny.generate([made[kind]])
    assert completion.error
    assert "bad_words, allowed_token_ids, logit_bias" not in completion.error  # a guess of what it may be
    with pytest.raises(tk.RequestError):
        list(tiny.stream_request(made[kind]))
    assert tiny.chat("Hi", max_tokens=1).error is None


def test_a_choice_with_a_bad_word_is_not_given(engine):
    for seed in range(20):
        c = engine.chat("Yes or no?", response_format=choice("yes", "no"), bad_words=["yes"], seed=seed)
        assert c.text == "no"


def test_an_answer_that_cannot_be_read_is_an_error_of_its_request(tiny, monkeypatch):
    from toolkit.engines.vllm.outputs import OutputReader

    read = OutputReader.completion

    def fails(self, prepared, output):
        if prepared.request.messages[-1]["content"] == "bad":
            raise IndexError("list index out of range")
        return read(self, prepared, output)

    monkeypatch.setattr(OutputReader, "completion", fails)
    answers = {
        c.request.messages[-1]["content"]: c.error
        for c in tiny.generate(Request.chat(t, max_tokens=1) for t in ("a", "bad", "b"))
    }
    assert (answers["a"], answers["b"]) == (None, None)
    assert "IndexError: list index out of range" in answers["bad"]
