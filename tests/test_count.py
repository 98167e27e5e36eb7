import copy
import json
import math
import os
import pickle
import random
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from transformers import AutoTokenizer

import toolkit as tk
from toolkit import models
from toolkit.core.request import Request
from toolkit.tokenizers import text_tokenizer
from toolkit.tokenizers.tiktoken import encoding

DEFAULT = tk.models.DEFAULT
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

# From OpenAI's cookbook, How_to_count_tokens_with_tiktoken: the conversations, and the tokens that the API billed.
JARGON = [
    {
        "role": "system",
        "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain "
        "English.",
    },
    {
        "role": "system",
        "name": "example_user",
        "content": "New synergies will help drive top-line growth.",
    },
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Things working well together will increase revenue.",
    },
    {
        "role": "system",
        "name": "example_user",
        "content": "Let's circle back when we have more bandwidth to touch base on opportunities for increased "
        "leverage.",
    },
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Let's talk later when we're less busy about how to do better.",
    },
    {
        "role": "user",
        "content": "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    },
]
BILLED = {
    "gpt-3.5-turbo-0301": 127,
    "gpt-3.5-turbo-0613": 129,
    "gpt-3.5-turbo": 129,
    "gpt-4-0314": 129,
    "gpt-4-0613": 129,
    "gpt-4": 129,
    "gpt-4o": 124,
    "gpt-4o-mini": 124,
}
WEATHER = [
    {
        "role": "system",
        "content": "You are a helpful assistant that can answer to questions about the weather.",
    },
    {"role": "user", "content": "What's the weather like in San Francisco?"},
]
WORLD_SERIES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Who won the world series in 2020?"},
    {"role": "assistant", "content": "The Los Angeles Dodgers won the World Series in 2020."},
    {"role": "user", "content": "Where was it played?"},
]
FORECAST = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {
                    "type": "string",
                    "description": "The city and state, e.g. San Francisco, CA",
                },
                "unit": {
                    "type": "string",
                    "description": "The unit of temperature to return",
                    "enum": ["celsius", "fahrenheit"],
                },
            },
            "required": ["location"],
        },
    },
}


@pytest.mark.parametrize(("model", "billed"), BILLED.items())
def test_messages_as_openai_billed_them(model, billed):
    for given_ in (JARGON, tuple(JARGON), tk.Rendered(tuple(JARGON)), Request.chat(JARGON)):
        found = tk.count_tokens(given_, model)
        assert found == billed
        assert found.estimate


# The examples of OpenAI's guide to text generation. Its example response says gpt-3.5-turbo-0613, by whose rule the
# conversation has 53 tokens; but it was created at 1677664795, in March 2023, when the model was -0301.
@pytest.mark.parametrize(
    ("what", "model", "usage"),
    [
        (WORLD_SERIES, "gpt-3.5-turbo-0301", 57),
        (WORLD_SERIES, "openai/gpt-3.5-turbo-0301", 57),
        (WORLD_SERIES, "gpt-3.5-turbo-0613", 53),
        (
            "The 2020 World Series was played in Texas at Globe Life Field in Arlington.",
            "gpt-3.5-turbo-0301",
            17,
        ),
        ("Write a tagline for an ice cream shop.", "gpt-3.5-turbo-instruct", 10),
        (Request(prompt="Write a tagline for an ice cream shop."), "gpt-3.5-turbo-instruct", 10),
    ],
)
def test_usage_that_openai_published(what, model, usage):
    assert tk.count_tokens(what, model) == usage


@pytest.mark.parametrize(
    ("model", "billed"), [("gpt-3.5-turbo", 105), ("gpt-4", 105), ("gpt-4o", 101), ("gpt-4o-mini", 101)]
)
def test_tools_as_openai_billed_them(model, billed):
    found = tk.count_tokens(Request.chat(WEATHER, tools=[FORECAST]), model)
    assert found == billed
    assert "tools as published for gpt-4 and gpt-4o" in found.how
    silent = Request.chat(WEATHER, tools=[FORECAST], tool_choice="none")
    assert tk.count_tokens(silent, model) == tk.count_tokens(WEATHER, model)


def tool_of(parameters):
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


@pytest.mark.parametrize("inside", [True, {}, {"properties": {"deep": {"type": "string"}}}])
def test_what_lies_inside_a_parameter_is_not_counted_and_the_count_says_so(inside):
    found = tk.count_tokens(
        Request.chat("Hi", tools=[tool_of({"type": "object", "properties": {"x": inside}})]), "gpt-4"
    )
    bare = tk.count_tokens(Request.chat("Hi", tools=[tool_of({"type": "object", "properties": {}})]), "gpt-4")
    assert found - bare == 3 + 3 + tk.count_tokens("x::", "gpt-4")
    assert "without what lies inside their parameters" in found.how


def test_calls_count_by_name_and_arguments():
    call = {"id": "call_abcdef", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    turns = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    texts = ("assistant", "f", '{"x": 1}')
    assert tk.count_tokens(turns, "gpt-4") == 3 + 3 + sum(tk.count_tokens(t, "gpt-4") for t in texts)
    answer = {"role": "tool", "tool_call_id": "call_abcdef", "content": "y"}
    assert tk.count_tokens([*turns, answer], "gpt-4") == tk.count_tokens(turns, "gpt-4") + 3 + 2


@pytest.mark.parametrize(
    ("request_", "number", "estimate"),
    [
        (Request(prompt="Hello world"), 2, False),
        (Request(prompt="Hello", suffix=" world"), 2, True),
        (Request.chat("Hello", prefix=" world"), 3 + 3 + 1 + 1 + 1, True),
    ],
)
def test_requests_of_other_kinds(request_, number, estimate):
    found = tk.count_tokens(request_, "gpt-4")
    assert found == number
    assert found.estimate is estimate


def test_a_count_is_a_number_that_says_how_it_was_counted():
    found = tk.count_tokens(JARGON, "gpt-4")
    assert repr(found) == (
        "129 (estimate: cl100k_base, the encoding of gpt-4; 3 tokens a message, those of its fields, and 3 for the "
        "reply, as OpenAI published for gpt-3.5-turbo to gpt-4o)"
    )
    assert f"{found} {found:,} {json.dumps(found)}" == "129 129 129"
    assert (found + 1, found == 129, max(found, 130)) == (130, True, 130)
    for same in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert repr(same) == repr(found)
    assert repr(tk.count_tokens("ChatGPT is great!", "cl100k_base")) == "6 (cl100k_base; plain text)"
    assert not tk.count_tokens("", "gpt-4o").estimate


def test_a_huggingface_tokenizer_is_exact():
    theirs = AutoTokenizer.from_pretrained(models.path())
    for text in ("", "Straße", "a\n\n b <|im_end|>", "お誕生日"):
        assert tk.count_tokens(text, DEFAULT) == len(theirs.encode(text, add_special_tokens=False))
    turns = [{"role": "user", "content": "Hi"}]
    expected = theirs.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    for model in (DEFAULT, models.path()):
        found = tk.count_tokens(turns, model)
        assert repr(found) == f"{len(expected)} (the tokenizer of {model} and its chat template)"
    assert tk.count_tokens(Request.chat(turns, prefix="Hello there"), DEFAULT) == len(expected) + 2
    assert tk.count_tokens(Request(prompt=(1, 2, 3)), DEFAULT) == 3


SCRAPS = (
    "",
    "a",
    "Why?",
    "don't",
    "3.14",
    "naïve",
    "Straße",
    "日本",
    "안녕",
    "нет",
    "مرحبا",
    "नमस्ते",
    "🎉",
    "👩‍👧",
)
SCRAPS += ("e\u0301", "x=1;", '{"a": 1}', "\n\n", "\t", "   ", "<b>", "<|im_end|>")
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"city": "Köln"}'}}


def conversations(number, seed):
    """Requests of 1 to some 20 messages of all roles, in many scripts, with calls and tools: mostly short ones."""
    chance = random.Random(seed)

    def scrap():
        return chance.choice(SCRAPS) or "-"

    for i in range(number):
        first = chance.choice(["system", "developer"] * 20 + ["user", "assistant"])
        turns = [{"role": first, "content": f"{i}{scrap()}"}]
        if chance.random() < 0.4:
            words = chance.choices(SCRAPS, k=30 if i % 100 == 0 else chance.choice([1, 1, 1, 2, 3]))
            turns.append({"role": "user", "content": " ".join(words) + "?"})
        while chance.random() < (0.8 if i % 100 == 1 else 0.03):
            if chance.random() < 0.5:
                turns.append({"role": "assistant", "content": scrap(), "name": "bo"})
            else:
                turns.append({"role": "assistant", "content": chance.choice(SCRAPS), "tool_calls": [CALL]})
                turns.append({"role": "tool", "tool_call_id": "c1", "content": scrap()})
            if chance.random() < 0.7:
                turns.append({"role": "user", "content": [{"type": "text", "text": scrap()}]})
        tools = [FORECAST] if i % 200 == 2 else []
        yield Request.chat(turns, tools=tools, max_tokens=1, temperature=0)


def test_the_loaded_models_counts_are_those_it_reports(engine, tiny):
    """1,000 conversations, counted before they are asked: 50 of the loaded model, all of a tiny one that has its
    tokenizer."""
    asked = [request.resolve(engine.defaults) for request in conversations(1000, seed=6)]
    counted = {request.key: tk.count_tokens(request) for request in asked}
    assert len(counted) == 1000
    assert all(engine.count(r) == counted[r.key] == tk.count_tokens(r, DEFAULT) for r in asked)
    reported = {c.request.key: c.usage.prompt_tokens for c in engine.generate(asked[:50])}
    assert reported == {request.key: counted[request.key] for request in asked[:50]}
    reported = {c.request.key: c.usage.prompt_tokens for c in tiny.generate(asked)}
    assert reported == counted
    assert len(set(reported.values())) > 40


def test_the_loaded_models_count_of_a_prompt_is_that_it_reports(engine):
    for request in (
        Request(prompt="def fib(n):"),
        Request(prompt=(5, 6, 7)),
        Request.chat("Hi", prefix="Oh, no"),
    ):
        (done,) = engine.generate([request])
        assert tk.count_tokens(request) == tk.count_tokens(request, engine)
        assert tk.count_tokens(request) == done.usage.prompt_tokens


@pytest.mark.parametrize("model", ["gpt-4", "gpt-4o", DEFAULT])
@settings(max_examples=50)
@given(texts=st.lists(st.text(max_size=30), max_size=8))
def test_many_texts_have_the_counts_of_each(model, texts):
    found = tk.count_many(texts, model)
    assert found.dtype == np.int64
    assert found.tolist() == [tk.count_tokens(text, model) for text in texts]


@pytest.mark.parametrize("kind", [list, tuple, iter, np.array, pd.Series])
def test_texts_may_be_any_list(kind):
    texts = ["Hi", "Some words"]
    assert tk.count_many(kind(texts), "gpt-4").tolist() == [1, 2]
    found = tk.compare_tokenizers(kind(texts), kind(["gpt-4"]))
    assert found["text"].tolist() == [0, 1]
    assert found["tokens"].tolist() == [1, 2]


@pytest.mark.parametrize("name", ["cl100k_base", "o200k_base"])
def test_long_texts_are_counted_by_several_threads_and_exactly(name, monkeypatch):
    monkeypatch.setattr(text_tokenizer, "_BATCH", 500)
    texts = [os.linesep.join(SCRAPS) * n + "It's one long text. " * (n % 7) * 30 for n in range(60)]
    expected = [len(encoding(name).encode_ordinary(text)) for text in texts]
    for _ in range(2):
        assert tk.count_many(iter(texts), name).tolist() == expected
    assert [t.name for t in threading.enumerate() if t.name.startswith("toolkit-count")]


@pytest.mark.slow
def test_a_forked_process_counts_as_well():
    texts = ["Some words, and more. " * 40_000] * 3
    expected = tk.count_many(texts, "gpt-4o").tolist()
    child = os.fork()
    if not child:
        os._exit(tk.count_many(texts, "gpt-4o").tolist() != expected)
    assert os.waitpid(child, 0)[1] == 0


def test_an_error_in_a_thread_is_told():
    with pytest.raises(ValueError, match="Max stack size exceeded"):
        tk.count_many(["Some words. " * 300_000, " " * 1_000_000], "o200k_base")


def test_tokenizers_compared():
    texts = {"English": "It's 3.14, isn't it?", "Japanese": "お誕生日 🎉", "Hindi": "हिन्दी में", "signs": "?!"}
    found = tk.compare_tokenizers(texts, ["gpt-4", "gpt-4o", DEFAULT])
    assert list(found["text"]) == [name for name in texts for _ in range(3)]
    assert list(found["model"]) == ["gpt-4", "gpt-4o", DEFAULT] * 4
    assert found.groupby("text", sort=False)["words"].first().tolist() == [4, 4, 2, 0]
    assert found["overhead"].tolist() == [7, 7, 30] * 4
    assert found["estimate"].tolist() == [True, True, False] * 4
    for row in found.itertuples():
        text = texts[row.text]
        assert row.tokens == tk.count_tokens(text, row.model)
        assert row.fertility == row.tokens / row.words if row.words else math.isnan(row.fertility)
        assert row.characters_per_token == len(text) / row.tokens
        assert row.bytes_per_token == len(text.encode()) / row.tokens


def test_a_tokenizer_without_a_chat_template_has_no_overhead(tmp_path, engine):
    bare = AutoTokenizer.from_pretrained(models.path())
    bare.chat_template = None
    bare.save_pretrained(tmp_path)
    found = tk.compare_tokenizers(["Hi", "Ho"], [str(tmp_path), None, engine])
    assert found["overhead"].isna().tolist() == [True, False, False] * 2
    assert found["estimate"].isna().tolist() == [True, False, False] * 2
    assert found["model"].tolist() == [str(tmp_path), "loaded", engine.model] * 2
    assert found["text"].tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match="has no chat template"):
        tk.count_tokens(JARGON, str(tmp_path))


PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}]
FAR = [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}
]


@pytest.mark.parametrize(
    ("what", "model", "error", "message"),
    [
        (3, "gpt-4o", TypeError, "messages must be a string or a list of messages, got 3"),
        (b"Hi", "gpt-4o", TypeError, "messages must be a string or a list of messages, got b'Hi'"),
        (None, "gpt-4o", TypeError, "messages must be a string or a list of messages, got None"),
        (JARGON[0], "gpt-4o", TypeError, "messages must be a string or a list of messages, got {'role'"),
        (["a", "b"], "gpt-4o", TypeError, "these are texts, not messages: toolkit.count_many counts each"),
        ([], "gpt-4o", ValueError, "messages is empty"),
        ([{"role": "user"}], "gpt-4o", ValueError, "must have 'role' and 'content'"),
        ([{"role": "bot", "content": "x"}], "gpt-4o", ValueError, "unknown role 'bot'"),
        ("a\udc00", "gpt-4o", ValueError, "text is not valid Unicode"),
        (PICTURE, "gpt-4o", ValueError, "images cannot be counted for o200k_base, the encoding of gpt-4o"),
        (PICTURE, DEFAULT, ValueError, "images are counted by a loaded engine"),
        (Request(prompt=(1, 2)), "gpt-4o", ValueError, "token ids, which are another token in another model"),
        ("Hi", "gpt-4p", tk.ModelError, "unknown model 'gpt-4p': did you mean 'gpt-4"),
        ("Hi", "cl100k", tk.ModelError, "unknown model 'cl100k': did you mean 'cl100k_base'"),
        (
            "Hi",
            "qwertz",
            tk.ModelError,
            "unknown model 'qwertz': known: .*a Hugging Face tokenizer must be a folder",
        ),
        ("Hi", "acme/none", tk.ModelError, "'acme/none' is not on this machine: .*hf download acme/none"),
        ("Hi", "", tk.ModelError, "unknown model ''"),
        ("Hi", "a" * 5000, tk.ModelError, r"unknown model 'aaa.*a… \(4,802 more characters\): known: "),
        ("Hi", "a/" * 5000, tk.ModelError, r"'a/a.*… \(9,800 more characters\)' is not on this machine"),
        ("Hi", "p50k_base", tk.ModelError, "tiktoken's p50k_base is not in .*data/tiktoken"),
        ("Hi", 4, TypeError, "model must be a name or an engine, got 4"),
        ("Hi", os.path.dirname(__file__), tk.ModelError, "has no tokenizer that transformers can load"),
    ],
)
def test_what_cannot_be_counted_is_refused(what, model, error, message):
    with pytest.raises(error, match=message):
        tk.count_tokens(what, model)


def test_a_picture_is_not_fetched_to_be_counted(engine):
    with pytest.raises(ValueError, match="those of https: URLs are not fetched to be counted"):
        tk.count_tokens(FAR, engine)


def test_without_an_engine_a_model_must_be_named(monkeypatch):
    monkeypatch.setattr("toolkit.engines.loading._loaded", None)
    with pytest.raises(ValueError, match=r"no engine is loaded .*toolkit.load\(\) first, or name a model"):
        tk.count_tokens("Hi")


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (
            lambda: tk.count_many("Hi", "gpt-4"),
            TypeError,
            "texts must be a list, not str: toolkit.count_tokens counts one text",
        ),
        (lambda: tk.count_many({"a": "some words"}, "gpt-4"), TypeError, "texts must be a list, not dict"),
        (lambda: tk.count_many(None, "gpt-4"), TypeError, "texts must be a list, not NoneType"),
        (lambda: tk.count_many(3, "gpt-4"), TypeError, "texts must be a list, not int"),
        (
            lambda: tk.count_many(pd.DataFrame({"a": ["x"]}), "gpt-4"),
            TypeError,
            "texts must be a list, not DataFrame",
        ),
        (lambda: tk.count_many(np.array("Hi"), "gpt-4"), TypeError, "texts must be a list, not ndarray"),
        (lambda: tk.compare_tokenizers(5, ["gpt-4"]), TypeError, "texts must be a list, not int"),
        (lambda: tk.compare_tokenizers(["Hi"], 5), TypeError, "models must be a list, not int"),
        (lambda: tk.compare_tokenizers(["Hi"], {}), TypeError, "models must be a list, not dict"),
        (lambda: tk.count_many(["Hi", 3], "gpt-4"), TypeError, r"texts\[1\] must be a string, got 3"),
        (lambda: tk.count_many(["Hi", None], DEFAULT), TypeError, r"texts\[1\] must be a string, got None"),
        (lambda: tk.count_many(["a\ud800"], "gpt-4"), ValueError, r"texts\[0\] is not valid Unicode"),
        (lambda: tk.compare_tokenizers("Hi", ["gpt-4"]), TypeError, r"not str: one text is \[text\]"),
        (lambda: tk.compare_tokenizers(["Hi"], "gpt-4"), TypeError, r"not str: one model is \[model\]"),
        (lambda: tk.compare_tokenizers([], ["gpt-4"]), ValueError, "give at least one text and one model"),
        (lambda: tk.compare_tokenizers({}, ["gpt-4"]), ValueError, "give at least one text and one model"),
        (lambda: tk.compare_tokenizers(iter(()), ["gpt-4"]), ValueError, "give at least one text and one"),
        (lambda: tk.compare_tokenizers(["Hi"], []), ValueError, "give at least one text and one model"),
        (
            lambda: tk.compare_tokenizers({"a": ""}, ["gpt-4"]),
            TypeError,
            r"texts\['a'\] must be a text that is not",
        ),
    ],
)
def test_what_are_no_texts_is_refused(ask, error, message):
    with pytest.raises(error, match=message):
        ask()
