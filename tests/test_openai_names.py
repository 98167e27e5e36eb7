"""What people who come from OpenAI's API write: it is taken, or the message says what to write here."""

import inspect
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Literal, get_type_hints

import numpy as np
import pandas as pd
import pytest
from ngram_engine import NGramEngine

import toolkit as tk
from toolkit.core.openai_names import ALIASES, HINTS
from toolkit.core.options import ChatOptions, SamplingOptions
from toolkit.core.sampling import FIELDS
from toolkit.engines.base import Engine
from toolkit.engines.vllm.config import Spec
from toolkit.structured.verdict import parsed

ENGINE = NGramEngine("Hi.\n\nHi there, you.")


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Stars(IntEnum):
    ONE = 1
    TWO = 2


def key(**options):
    return tk.Request.chat("Pick one", **options).resolve({}).key


# Options


@pytest.mark.parametrize(
    "made",
    [
        lambda **options: tk.Sampling(**options).max_tokens,
        lambda **options: tk.Sampling(max_tokens=9).with_(**options).max_tokens,
        lambda **options: tk.Request.chat("Hi", **options).sampling.max_tokens,
        lambda **options: ENGINE.chat("Hi", **options).request.sampling.max_tokens,
        lambda **options: ENGINE.complete("Hi", **options).request.sampling.max_tokens,
        lambda **options: list(ENGINE.stream("Hi", **options))[-1].completion.request.sampling.max_tokens,
        lambda **options: tk.Conversation(ENGINE, **options).sampling.max_tokens,
        lambda **options: (
            tk.Conversation(ENGINE, max_tokens=9).say("Hi", **options).request.sampling.max_tokens
        ),
        lambda **options: next(iter(tk.grid(**options)))["max_tokens"],
        lambda **options: next(iter(tk.zipped(**options)))["max_tokens"],
        lambda **options: next(iter(tk.cases(options)))["max_tokens"],
    ],
)
def test_max_completion_tokens_is_max_tokens(made):
    assert made(max_completion_tokens=3) == 3


def test_a_grid_of_max_completion_tokens_is_one_of_max_tokens():
    assert list(tk.grid(max_completion_tokens=[1, 2])) == list(tk.grid(max_tokens=[1, 2]))


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"max_completion_tokens": None}, None),
        ({"max_completion_tokens": None, "max_tokens": 4}, 4),
        ({"max_completion_tokens": 4, "max_tokens": None}, 4),
    ],
)
def test_none_is_an_option_that_is_not_given(options, value):
    assert tk.Sampling(**options).max_tokens == value


@pytest.mark.parametrize(
    "made",
    [tk.Sampling, lambda **options: tk.Request.chat("Hi", **options), tk.grid, lambda **o: tk.cases(o)],
)
def test_one_option_under_two_names_is_an_error(made):
    with pytest.raises(
        ValueError, match="max_completion_tokens=5 and max_tokens=6 are the same option: give one of them"
    ):
        made(max_completion_tokens=5, max_tokens=6)


def test_keys_of_requests_are_what_they_were():
    """The names of other APIs are made ours before a request is hashed: stores find what they hold."""
    chat = tk.Request.chat
    assert [
        chat("Hi", max_completion_tokens=5).resolve({}).key,
        chat("Hi", max_completion_tokens=256).resolve({}).key,
        chat("Pick", ["yes", "no"], temperature=0).resolve({}).key,
    ] == [
        "6db3e3306e8c91e5839b82755319d1ce",
        "a149044d6a3dacee1927125e93300776",
        "f4db8d4c846dfee82fa1ad48ae485113",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stream", r"engine\.stream\(messages, …\) gives the answer piece by piece"),
        ("stream_options", r"engine\.stream"),
        ("system", r"one of the messages, \[\{'role': 'system'.*toolkit\.Prompt\(template, system=…\)"),
        ("instructions", "the system message is one of the messages"),
        ("model", r"an engine has one model: toolkit\.load\('…'\).*toolkit\.connect\(url, model='…'\)"),
        ("reasoning_effort", "say in the messages how much to reason .* limit all .* with max_tokens"),
        ("functions", r"give tools=\[…\]: typed Python functions, or OpenAI's dicts"),
        ("function_call", "give tool_choice=…"),
        ("user", "concerns OpenAI's own servers: leave it out"),
        ("parallel_tool_calls", "leave it out"),
        ("timeout", r"toolkit\.connect\(url, api_key=…, timeout=…\)"),
        ("max_output_tokens", "max_tokens=… is the most tokens"),
        ("max_new_tokens", "max_tokens=… is the most tokens"),
        ("text_format", "give response_format=…"),
        ("best_of", "n=… gives several choices"),
        ("echo", r"engine\.complete\(prompt, echo=…\)"),
        ("input", "the messages are the first argument"),
        ("temprature", "did you mean 'temperature'"),
    ],
)
@pytest.mark.parametrize(
    "made",
    [
        tk.Sampling,
        lambda **options: ENGINE.chat("Hi", **options),
        lambda **options: ENGINE.stream("Hi", **options),
        lambda **options: tk.Conversation(ENGINE, **options),
        lambda **options: tk.grid(**{name: [value] for name, value in options.items()}),
    ],
    ids=["Sampling", "chat", "stream", "Conversation", "grid"],
)
def test_an_option_of_another_api_says_what_to_write_here(made, name, message):
    with pytest.raises(TypeError, match=f"unknown (sampling option|axis) '{name}': .*{message}"):
        made(**{name: "x"})


def test_no_hint_stands_in_the_way_of_an_option():
    assert not HINTS.keys() & {*FIELDS, *ALIASES}


def test_a_number_of_logprobs_is_that_of_top_logprobs():
    with pytest.raises(ValueError, match="logprobs must be True or False, got 5: give top_logprobs=5"):
        tk.Sampling(logprobs=5)


# Completion of names


def test_the_typed_options_are_the_fields_of_sampling():
    assert {*get_type_hints(SamplingOptions)} == {*FIELDS, *ALIASES}
    assert {*get_type_hints(ChatOptions)} - {*get_type_hints(SamplingOptions)} == {
        *inspect.signature(tk.Request.chat).parameters
    } - {*FIELDS, *ALIASES, "turns"}


@pytest.mark.parametrize(
    "function",
    [
        Engine.chat, Engine.stream, Engine.parse, Engine.complete, tk.Request.chat, tk.Conversation,
        tk.Conversation.say, tk.explore, tk.run_tools, tk.playground,
    ],
)  # fmt: skip
def test_a_signature_spells_the_options_out(function):
    parameters = inspect.signature(function).parameters
    assert {*FIELDS, *ALIASES} <= parameters.keys()
    assert all(parameter.kind != parameter.VAR_KEYWORD for parameter in parameters.values())


@pytest.mark.parametrize("function", [tk.grid, tk.zipped])
def test_a_grid_spells_its_axes_out(function):
    assert {*FIELDS, "prompt", "response_format", "k", "selector", "order_seed"} == {
        *inspect.signature(function).parameters
    }


def test_tab_shows_the_public_names_alone():
    assert dir(tk) == tk.__all__


# Response formats


@pytest.mark.parametrize(
    ("given", "text", "value"),
    [
        (["yes", "no"], "no", "no"),
        (("yes", "no"), "no", "no"),
        (np.array(["yes", "no"]), "no", "no"),
        (pd.Series(["yes", "no", "no"]).unique(), "no", "no"),
        (Literal["yes", "no"], "no", "no"),
        (Mood, "bad", Mood.BAD),
        (Colour, "blue", Colour.BLUE),
        (Literal[Mood.GOOD, Mood.BAD], "bad", Mood.BAD),
    ],
)
def test_texts_to_choose_from(given, text, value):
    form = tk.response_format(given)
    assert (form.kind, text in form.choices, len(form.choices)) == ("choice", True, 2)
    assert parsed(tk.verdict(text, given), form) is value or parsed(tk.verdict(text, given), form) == value
    assert tk.verdict("neither", given).status == "wrong_schema"
    assert form == tk.response_format(form.to_openai())
    assert len(tk.grid(response_format=[given, None])) == 2


@pytest.mark.parametrize("given", [Mood, Literal["yes", "no"], Literal[1, 2], Stars])
def test_a_type_to_choose_from_is_one_value_of_an_axis(given):
    assert [cell["response_format"] for cell in tk.grid(response_format=given)] == [given]


@pytest.mark.parametrize(
    ("given", "text", "value"),
    [
        (Stars, "2", Stars.TWO),
        (Stars, "1.0", Stars.ONE),
        (Literal[1, 2], "2", 2),
        (Literal["a", 1], '"a"', "a"),
        (Literal[True, 1], "1", 1),
        (Literal[1, True], "true", True),
    ],
)
def test_other_values_are_chosen_as_json(given, text, value):
    form = tk.response_format(given)
    result = parsed(tk.verdict(text, given), form)
    assert (form.kind, result, type(result)) == ("json_schema", value, type(value))
    assert tk.verdict("3", given).status == "wrong_schema"


def test_a_flat_json_schema_is_the_nested_one():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    parts = {"name": "answer", "schema": schema, "strict": True}
    flat = {"type": "json_schema", **parts}
    nested = {"type": "json_schema", "json_schema": parts}
    assert tk.response_format(flat) == tk.response_format(nested)
    assert key(response_format=flat) == key(response_format=nested)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (
            "yes",
            TypeError,
            r"an Enum, a Literal or a list of texts, got 'yes'; .* give a list of them, \['yes', …\]",
        ),
        ({"yes", "no"}, TypeError, "a list of texts, got {"),
        ([], ValueError, r"choice must be a list of texts, got \[\]"),
        ([1, 2], ValueError, r"choice must be a list of texts, got \[1, 2\]"),
        (Enum("Nothing", {}), TypeError, "to choose from texts, an Enum, a Literal or a list of them"),
        (Enum("Odd", {"a": object()}), TypeError, "Odd has no JSON Schema"),
        ({"type": "json_schema", "schema": {}, "nmae": "x"}, ValueError, "unknown key of json_schema 'nmae'"),
        ({"type": "json_schema", "name": "x"}, ValueError, "json_schema must have a 'schema'"),
    ],
)
def test_what_is_no_response_format(given, kind, message):
    with pytest.raises(kind, match=message):
        tk.response_format(given)


# Engines, models and their arguments


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("x.db", r"the store comes after it, as in sweep\.run\(engine, store='x\.db'\)"),
        (Path("runs/x"), r"sweep\.run\(engine, store='runs/x'\)"),
        (tk.Store(":memory:"), r"sweep\.run\(engine, store=':memory:'\)"),
        ("http://localhost:8000/v1", r"toolkit\.connect\('http://localhost:8000/v1'\) on this server"),
        ("Qwen/Qwen3-0.6B", r"toolkit\.load\('Qwen/Qwen3-0\.6B'\) of this model"),
        (None, r"toolkit\.connect\(url\) one on a server$"),
    ],
)
@pytest.mark.parametrize("call", [tk.sweep("Hi").run, tk.sweep("Hi").plan, tk.Conversation])
def test_what_is_given_in_place_of_an_engine_says_what_to_write(call, given, message):
    with pytest.raises(TypeError, match=f"engine must be an Engine, got .*: toolkit.load.*{message}"):
        call(given)


@pytest.mark.parametrize("given", ["x.db", Path("x.db"), ENGINE])
def test_run_across_takes_a_list(given):
    with pytest.raises(
        TypeError, match=r"variants must be a list, as toolkit\.variants\(dtype=\[…\]\) makes it"
    ):
        tk.sweep("Hi").run_across(given)


@pytest.mark.parametrize("given", ["gpt-4o-mini", "localhost:8000", "", None])
def test_what_is_no_address_says_where_the_model_goes(given):
    with pytest.raises(ValueError, match=r"url must be the address of an API.*model='gpt-4o-mini'\)"):
        tk.connect(given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["Hi", "Ho"],), "several prompts go by name, {'short': …, 'long': …}, or are an axis"),
        (([tk.Prompt("Hi")],), "several prompts go by name"),
        (
            ("Hi", {"temperature": [0, 1]}),
            r"rows must be a list of dicts.*settings are made by toolkit\.grid\(temp",
        ),
    ],
)
def test_what_a_sweep_takes_in_another_way(arguments, message):
    with pytest.raises(TypeError, match=message):
        tk.sweep(*arguments)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (
            {"temprature": 0},
            TypeError,
            r"unknown engine argument 'temprature': temperature is a sampling option, engine\.chat\(…, "
            r"temperature=…\); did you mean '\w+', '\w+' or '\w+'\?",
        ),
        ({"max_tokens": 5}, TypeError, "max_tokens is a sampling option"),
        ({"dtpye": "float16"}, TypeError, r"did you mean 'dtype', '\w+' or '\w+'\?"),
        (
            {"dtype": "fp16"},
            ValueError,
            "dtype must be one of 'auto', .*, got 'fp16': did you mean 'float16'",
        ),
        ({"dtype": "bf16"}, ValueError, "got 'bf16': did you mean 'bfloat16'"),
        ({"dtype": "fp32"}, ValueError, "got 'fp32': did you mean 'float32'"),
        ({"kv_cache_dtype": "fp88"}, ValueError, "kv_cache_dtype must be one of .*did you mean 'fp8'"),
        ({"logprobs_mode": "raw"}, ValueError, "logprobs_mode must be one of 'raw_logits'"),
    ],
)
@pytest.mark.parametrize(
    "make", [lambda **a: tk.load(**a), lambda **a: tk.variants(**a)], ids=["load", "variants"]
)
def test_an_argument_that_vllm_does_not_have_is_refused_at_the_call(make, arguments, kind, message):
    with pytest.raises(kind, match=message):
        make(**arguments)


@pytest.mark.parametrize("dtype", ["auto", "half", "float16", "bfloat16", "float", "float32"])
def test_every_dtype_of_vllm_is_taken(tmp_path, dtype):
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 2048}')
    assert Spec.of(str(tmp_path), {"dtype": dtype, "log_level": "INFO"}).arguments["dtype"] == dtype


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "gpt-4o-mini",
            r"OpenAI does not give its weights away. toolkit\.connect\('https://api\.openai\.com/v1', "
            r"model='gpt-4o-mini'\).*the nearest model on this machine is '",
        ),
        ("openai/gpt-4o", r"toolkit\.connect\('https://api\.openai\.com/v1', model='gpt-4o'\)"),
        ("o3-mini", r"toolkit\.connect\('https://api\.openai\.com/v1', model='o3-mini'\)"),
        ("claude-sonnet-4-5", r"toolkit\.connect\('https://api\.anthropic\.com/v1/'"),
        ("gemini-2.5-flash", r"toolkit\.connect\('https://generativelanguage\.googleapis\.com"),
        (
            "SmolLM2-135M-Instruc",
            r"no local folder.*nearest .* is 'SmolLM2-135M-Instruct'.*toolkit\.connect\(url",
        ),
        ("smollm2", r"nearest model on this machine is 'SmolLM2-135M-Instruct'"),
        ("gpt-oss-20b", r"has an owner, as in 'Qwen/Qwen3-0\.6B'"),
        (
            "http://localhost:8000/v1",
            r"is the address of a server: toolkit\.connect\('http://localhost:8000/v1'\)",
        ),
    ],
)
def test_a_model_that_is_not_to_be_had_answers_at_once(monkeypatch, model, message):
    import huggingface_hub

    def ask(*arguments, **options):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", ask)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", ask)
    with pytest.raises(tk.ModelError, match=message):
        tk.load(model)


@pytest.mark.parametrize("model", ["openai/gpt-oss-20b", "google/gemma-3-1b-it", "gpt2", "Qwen/Qwen3-0.6B"])
def test_the_hub_is_asked_once_for_what_it_may_have(monkeypatch, model):
    import huggingface_hub

    asked = []

    def ask(self, name, timeout):
        asked.append(name)
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", ask)
    with pytest.raises(tk.ModelError, match=r"the Hugging Face hub does not give it \(no network\)"):
        tk.load(model)
    assert asked == [model]
