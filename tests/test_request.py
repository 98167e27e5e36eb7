"""What an answer is given to begin with (`Request.prefix`): from the request to the file and back."""

import itertools

import numpy as np
import pytest

import toolkit as tk
from toolkit.core.choice import ARRAYS
from toolkit.core.request import Request
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store

ASKED = "What is the capital of France?"
GREEDY = {"temperature": 0, "max_tokens": 5, "top_logprobs": 2}


def add(a: int, b: int) -> int:
    "Add."
    return a + b


# What is asked

KEYS = {
    # Computed by the package as it was before there were prefixes (commit c96d976).
    "102a1c810f1a7cfe21446273f6166884": Request.chat("Hi", temperature=0, max_tokens=5, top_logprobs=2),
    "0e64a6e63f73f2864de6aba1bcb72508": Request(
        prompt=(1, 2, 3), echo=True, sampling=tk.Sampling(seed=3, n=2)
    ),
    "b33e8527ad468e53a599e3f60aa0923c": Request(
        prompt="def f(", suffix=")", sampling=tk.Sampling(temperature=0)
    ),
    "ee5b3d8933f3fd2727037ef330078d8c": Request.chat(
        "Hi", response_format={"type": "choice", "choice": ["a", "b"]}, seed=1
    ),
    "8bbfedbf02827a6e038541c0f7a95a0d": Request.chat("Hi", tools=[add], seed=1),
}


@pytest.mark.parametrize("key", KEYS)
def test_keys_without_a_prefix_are_what_they_were(key):
    assert KEYS[key].resolve({}).key == key


def test_every_prefix_is_another_question():
    asked = [Request.chat("Hi", prefix=p) for p in (None, "A", "A ", (65,), (65, 66))]
    asked += [Request(prompt="Hi", prefix=p) for p in (None, "A", (65,))]
    assert len({r.key for r in asked}) == len({r.input for r in asked}) == 8


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda ids: np.array(ids, np.int64), iter])
@pytest.mark.parametrize("name", ["prompt", "prefix"])
def test_token_ids_of_any_kind_are_the_same_request(kind, name):
    known = {"prompt": "Hi"} | {name: (1, 2)}
    found = Request(**known | {name: kind([1, 2])})
    assert getattr(found, name) == (1, 2)
    assert all(type(i) is int for i in getattr(found, name))
    assert found == Request(**known)
    assert found.key == Request(**known).key


@pytest.mark.parametrize("prefix", ["text é🎉", (1, 2)])
def test_a_request_comes_back_from_its_body(prefix):
    for asked in (Request.chat("Hi", prefix=prefix, seed=1), Request(prompt="Hi", prefix=prefix)):
        import json

        again = Request.of(json.loads(json.dumps(asked.body)), asked.sampling.given())
        assert again == asked
        assert again.key == asked.key


def test_a_prefix_stays_when_it_is_resolved():
    assert Request.chat("Hi", prefix="A").resolve({"temperature": 0.5}).prefix == "A"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix": ""}, "prefix is empty: give what the answer begins with, or leave it out"),
        ({"prefix": ()}, "prefix is empty"),
        ({"prefix": np.zeros(0, int)}, "prefix is empty"),
        ({"prefix": 5}, "prefix must be a string or a list of token ids, got 5"),
        ({"prefix": ["a"]}, r"prefix must be a string or a list of token ids, got \['a'\]"),
        ({"prefix": [1.5]}, r"prefix must be a string or a list of token ids, got \[1.5\]"),
        ({"prefix": (1, -1)}, r"prefix must be a string or a list of token ids, got \(1, -1\)"),
        ({"prefix": b"ab"}, "prefix must be a string or a list of token ids, got b'ab'"),
        ({"prefix": "\udc80"}, "prefix is not valid Unicode"),
        (
            {"prefix": "A", "response_format": {"type": "object"}},
            "prefix cannot be combined with response_format",
        ),
        (
            {"prefix": "A", "tools": [add], "tool_choice": "required"},
            "prefix cannot be combined with response_format or a forced tool call",
        ),
        ({"prefix": "A", "tools": [add], "tool_choice": "add"}, "prefix cannot be combined with .* a forced"),
        ({"prefix": "A", "tools": [add]}, None),
        ({"prefix": "A", "tools": [add], "tool_choice": "none"}, None),
    ],
)
def test_what_goes_with_a_prefix(options, message):
    if message is None:
        assert Request.chat("Give me JSON", **options).prefix
        return
    with pytest.raises(ValueError, match=message):
        Request.chat("Give me JSON", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"prompt": "a", "suffix": "b", "prefix": "c"},
            "prefix and suffix do not go together: put the prefix at ",
        ),
        ({"prompt": 5}, "prompt must be a string or a list of token ids, got 5"),
        ({"prompt": (-1,)}, r"prompt must be a string or a list of token ids, got \(-1,\)"),
        ({"prompt": np.zeros(0, int)}, "prompt is empty"),
        ({"prefix": "a"}, "either messages or a prompt"),
    ],
)
def test_what_a_prompt_and_a_prefix_may_be(options, message):
    with pytest.raises(ValueError, match=message):
        Request(**options)


# What is answered


def test_the_model_goes_on_from_the_prefix(engine, forced):
    c = engine.chat(ASKED, prefix="The capital of France is the city", **GREEDY)
    given = engine.tokenizer.hf.encode("The capital of France is the city")
    assert c.choices[0].prefix_tokens == len(given)
    assert c.token_ids[: len(given)].tolist() == given
    assert c.text.startswith("The capital of France is the city of")
    assert len(c.token_ids) == len(given) + 5
    assert (c.usage.prompt_tokens, c.usage.completion_tokens) == (len(c.prompt_token_ids) + len(given), 5)
    assert c.prompt_token_ids.tolist() == list(engine.encode(ASKED))
    assert engine.count(c.request) == c.usage.prompt_tokens
    expected = forced(c.prompt_token_ids, c.token_ids)[len(given) :]
    assert expected.argmax(axis=-1).tolist() == c.token_ids[len(given) :].tolist()
    # Of what was given nothing is known, unless it is asked for.
    assert np.isnan(c.logprobs[: len(given)]).all()
    assert (c.ranks[: len(given)] == 0).all()
    assert np.abs(expected.max(axis=-1) - c.logprobs[len(given) :]).max() < 1e-3
    assert c.prompt is None
    by_ids = engine.chat(ASKED, prefix=np.array(given), **GREEDY)
    assert by_ids.text == c.text
    assert by_ids.token_ids.tolist() == c.token_ids.tolist()


def test_prompt_logprobs_are_those_of_the_prefix_too(engine, forced):
    c = engine.chat(ASKED, prefix="The capital", prompt_logprobs=1, **GREEDY)
    expected = forced(c.prompt_token_ids, c.token_ids)
    own = expected[np.arange(len(c.token_ids)), c.token_ids]
    assert np.abs(own - c.logprobs).max() < 1e-3
    # One of the likeliest was asked for in the prompt, two in the answer.
    assert np.abs(expected.max(axis=-1) - c.top_logprobs[:, 0]).max() < 1e-3
    assert np.isnan(c.top_logprobs[:2, 1]).all()
    assert np.isfinite(c.top_logprobs[2:]).all()
    assert len(c.prompt.token_ids) == len(c.prompt_token_ids) == len(c.prompt.logprobs)
    before = forced(c.prompt_token_ids[:1], c.prompt_token_ids[1:])
    own = before[np.arange(len(before)), c.prompt_token_ids[1:]]
    assert np.abs(own - c.prompt.logprobs[1:]).max() < 1e-3


def test_several_choices_share_the_prefix(engine):
    c = engine.chat(ASKED, prefix="The", n=3, temperature=1, seed=4, max_tokens=6, top_logprobs=1)
    assert [choice.prefix_tokens for choice in c.choices] == [1, 1, 1]
    assert all(choice.text.startswith("The") for choice in c.choices)
    assert c.usage.completion_tokens == sum(len(choice.token_ids) - 1 for choice in c.choices)
    alone = [engine.chat(ASKED, prefix="The", temperature=1, seed=s, max_tokens=6).text for s in (4, 5, 6)]
    assert [choice.text for choice in c.choices] == alone


def test_after_a_text_it_is_the_text_itself(engine):
    options = tk.Sampling(**GREEDY)
    whole, parted, echoed = engine.generate(
        [
            Request(prompt="The capital of France is", sampling=options),
            Request(prompt="The capital", prefix=" of France is", sampling=options),
            Request(prompt="The capital", prefix=" of France is", echo=True, sampling=options),
        ]
    )
    whole, parted, echoed = sorted(
        (whole, parted, echoed), key=lambda c: (c.request.prefix or "", c.request.echo)
    )
    assert parted.text == " of France is" + whole.text
    assert echoed.text == "The capital" + parted.text
    assert np.isfinite(echoed.logprobs).all()


def test_tools_are_called_in_the_whole_answer(engine):
    begun = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>'
    c = engine.chat("What is 2 + 3?", tools=[add], prefix=begun, temperature=0, max_tokens=2)
    assert [(call.name, call.arguments) for call in c.tool_calls] == [("add", '{"a": 2, "b": 3}')]
    assert c.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    "prefix", ["1, 2,", "Let me count 日本", None, pytest.param((10813, 232), id="within 🎉")]
)
def test_a_stream_is_the_whole_answer_in_pieces(engine, prefix):
    options = {"prefix": prefix, "temperature": 0, "max_tokens": 6}
    pieces = list(engine.stream("Count to ten 🎉", **options))
    assert "".join(d.text for d in pieces) == pieces[-1].completion.text
    assert pieces[-1].completion.text == engine.chat("Count to ten 🎉", **options).text


@pytest.mark.parametrize("stop", ["🎉🎉", "🎉\n", "zzz"])
def test_a_stream_after_a_prefix_that_ends_within_a_character_with_a_stop_string(engine, stop):
    options = {"prefix": (10813, 232), "temperature": 0, "max_tokens": 7, "stop": stop}
    pieces = list(engine.stream("Repeat: 🎉🎉🎉", **options))
    c = pieces[-1].completion
    assert "".join(d.text for d in pieces) == c.text
    assert stop not in c.text
    assert (c.finish_reason == "stop") == (c.choices[0].stop_reason == stop or c.token_ids[-1] == 2)


def test_a_stop_string_across_the_end_of_the_prefix_ends_a_stream_as_well(engine):
    options = {"prefix": "The capital of Fra", "temperature": 0, "max_tokens": 8}
    free = engine.chat(ASKED, **options)
    border = len("The capital of Fra")
    across = free.text[border - 2 : border + 2]
    for stop, text in ((across, free.text[: border - 2]), ("ital", free.text)):
        pieces = list(engine.stream(ASKED, **options, stop=["zzz", stop]))
        assert "".join(d.text for d in pieces) == pieces[-1].completion.text == text
        assert (pieces[-1].finish_reason == "stop") == (stop == across)
        assert engine.chat(ASKED, **options, stop=["zzz", stop]).text == text


def test_a_prompt_that_ends_within_a_character(engine):
    """vLLM alone would begin the answer with the whole prompt."""
    ids = [*engine.encode(Request(prompt="Party time! ")), *engine.encode(Request(prompt="🎉"))[:2]]
    c = engine.complete(ids, temperature=0, max_tokens=4)
    raw = b"".join(map(c.choices[0].token_bytes, c.token_ids.tolist()))
    assert c.text == raw.decode("utf-8", "replace")
    odd = engine.complete("what\ufffd", temperature=0, max_tokens=3)
    assert "what" not in odd.text


def test_a_form_after_a_text(engine):
    c = engine.complete(
        "Is water wet? ", response_format={"type": "choice", "choice": ["yes", "no"]}, max_tokens=5
    )
    assert c.text in ("yes", "no")


def test_token_ids_as_they_come_from_a_completion(engine):
    first = engine.complete("The sky is", **GREEDY)
    again = engine.complete(first.prompt_token_ids, **GREEDY)
    assert again.text == first.text


# Kept and read again


@pytest.fixture(scope="module")
def answers(engine):
    """With and without prefix, echo and several choices; the first has nothing beside its answer."""
    asked = [
        Request.chat(ASKED, temperature=0, max_tokens=3),
        Request.chat(ASKED, prefix="The capital", n=2, temperature=1, seed=1, max_tokens=4, top_logprobs=2),
        Request.chat(ASKED, prefix="The capital", prompt_logprobs=3, **GREEDY),
        Request(prompt="Once upon", prefix=(253, 655), echo=True, sampling=tk.Sampling(**GREEDY)),
        Request(prompt="Once upon", prefix=" a", sampling=tk.Sampling(max_tokens=2, temperature=0)),
    ]
    found = {c.request.key: c for c in engine.generate(asked)}
    return [found[r.resolve(engine.defaults).key] for r in asked]


def same(one, other):
    assert one.request == other.request
    assert one.usage == other.usage
    assert one.text == other.text
    assert np.array_equal(one.prompt_token_ids, other.prompt_token_ids)
    pairs = [*zip(one.choices, other.choices, strict=True)]
    assert (one.prompt is None) == (other.prompt is None)
    for a, b in [*pairs, *([(one.prompt, other.prompt)] if one.prompt else [])]:
        assert (a.text, a.prefix_tokens, a.index, a.finish_reason) == (
            b.text,
            b.prefix_tokens,
            b.index,
            b.finish_reason,
        )
        for name in ARRAYS:
            x, y = getattr(a, name), getattr(b, name)
            assert (x is None) == (y is None), name
            if x is not None:
                assert x.shape == y.shape, name
                assert x.dtype == y.dtype, name
                assert np.array_equal(x, y, equal_nan=x.dtype == np.float32), name


@pytest.fixture
def results(engine, answers, db):
    store = Store(db)
    requests = [c.request for c in answers]
    store.begin_run("s", engine.fingerprint, engine.vocabulary)
    store.define("s", {}, requests, [Cell(r.key, 1, {}) for r in requests])
    store.add([StoredCompletion(c, 0) for c in answers])
    return tk.results(store)


def test_from_the_store(results, answers):
    assert len(results) == 6
    for c in answers:
        same(next(r for r in results if r.request.key == c.request.key), c)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("reverse", [False, True])
def test_from_a_file(results, answers, tmp_path, kind, reverse):
    """Whatever comes first: a table has the columns of its first row."""
    kept = results.filter(where=lambda t: t["choice"] >= 0)
    kept = tk.Results(kept._table.iloc[:: -1 if reverse else 1].reset_index(drop=True), kept._store)
    path = getattr(kept, f"to_{kind}")(tmp_path / f"run.{kind}")
    again = getattr(tk.Results, f"from_{kind}")(path)
    assert len(again) == 6
    for c in answers:
        found = next(r for r in again if r.request.key == c.request.key)
        same(found, c)


def test_what_was_given_is_shown_in_a_table_of_logprobs(results, answers):
    own = [c for c in answers if c.logprobs is not None]
    table = tk.logprobs(own).frame()
    sizes = itertools.chain.from_iterable(c.choices for c in own)
    assert table.groupby("sequence")["given"].sum().tolist() == [choice.prefix_tokens for choice in sizes]
