"""Answers held to a form, and tools, on the real engine."""

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel
from scipy.special import log_softmax

import toolkit as tk
from toolkit.core.request import Request

GENERATION = json.loads((Path(__file__).parent / "schemas" / "generation.json").read_text())
ASK = "Fill in an example. Answer in JSON."
PARIS = "What is the weather in Paris?"


class Review(BaseModel):
    title: str
    mood: Literal["good", "bad"]
    stars: int


@dataclasses.dataclass
class Point:
    x: int
    y: int


def form(entry):
    return {"type": "json_schema", "json_schema": {"name": entry["name"], "schema": entry["schema"]}}


def test_every_answer_that_ended_has_its_form_and_what_cannot_be_enforced_is_told_by_name(engine):
    """Some 280 schemas of many kinds in one batch; those that the grammar backend refuses spoil no other."""
    entries = [e for e in GENERATION if e.get("compiles", True)]
    asked = [
        Request.chat(ASK, response_format=form(e), temperature=1, seed=i, max_tokens=160)
        for i, e in enumerate(entries)
    ]
    completions = list(engine.generate(asked))
    assert len(completions) == len(entries) >= 250
    found = Counter((c.finish_reason, None if c.error else c.schema_verdict.status) for c in completions)
    wrong = [
        (c.request.response_format.name, c.text, str(c.schema_verdict))
        for c in completions
        if c.finish_reason == "stop" and not c.schema_verdict.valid
    ]
    assert wrong == []
    assert found["stop", "valid"] >= 200
    assert set(found) <= {
        ("stop", "valid"),
        ("length", "truncated"),
        ("length", "valid"),
        ("length", "loop"),
        ("error", None),
    }
    refused = [c for c in completions if c.error]
    assert len(refused) < 30
    for c in refused:
        assert f"cannot hold an answer to response_format {c.request.response_format.name!r}: " in c.error
    # They are known before anything is generated.
    assert completions[: len(refused)] == refused


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("refused/not", r"Unimplemented keys: \[\"not\"\]"),
        ("refused/if-then-else", "Unimplemented keys"),
        ("refused/unique-items", "uniqueItems"),
        ("refused/ref-external", "http://example.com/schemas/person.json"),
        ("refused/regex-look-ahead", "regex parse error"),
        ("refused/one-of-overlapping", "oneOf constraints are not supported"),
        ("refused/bounds-crossed", "Unsatisfiable schema"),
    ],
)
def test_what_other_backends_drop_in_silence_is_refused(engine, name, message):
    (entry,) = [e for e in GENERATION if e["name"] == name]
    with pytest.raises(tk.RequestError, match=message):
        engine.chat(ASK, response_format=form(entry), max_tokens=10)


@pytest.mark.parametrize(
    "name",
    [
        "refused/all-of-two",
        "refused/pattern-and-length",
        "refused/ref-with-siblings",
        "refused/multiple-of-cents",
    ],
)
def test_what_other_backends_drop_in_silence_and_this_one_knows_is_enforced(engine, name):
    (entry,) = [e for e in GENERATION if e["name"] == name]
    asked = [Request.chat(ASK, response_format=form(entry), seed=s, max_tokens=40) for s in range(5)]
    assert all(c.schema_verdict.valid for c in engine.generate(asked))


def test_parse_gives_an_instance(engine):
    c = engine.parse("Review: I loved it. Answer in JSON.", Review, temperature=0, max_tokens=60)
    assert isinstance(c.parsed, Review)
    assert c.parsed == Review(**json.loads(c.text))
    assert c.schema_verdict.status == "valid"
    assert c.refusal is None
    assert list(json.loads(c.text)) == ["title", "mood", "stars"]
    response = ChatCompletion.model_validate(c.to_openai())
    assert response.choices[0].message.content == c.text
    assert isinstance(engine.parse("A point, as JSON.", Point, temperature=0, max_tokens=30).parsed, Point)


def test_a_cut_answer_is_told_and_not_raised(engine):
    c = engine.parse("Review: I loved it. Answer in JSON.", Review, temperature=0, max_tokens=5)
    assert c.parsed is None
    assert c.schema_verdict.status == "truncated"
    assert list(c.schema_verdict.value) == ["title"]


def test_json_mode_choice_regex_and_grammar(engine):
    c = engine.chat(
        "Describe a person as JSON.", response_format={"type": "json_object"}, max_tokens=200, temperature=0
    )
    assert isinstance(c.parsed, dict) or c.finish_reason == "length"
    assert "\n" not in c.text  # compact: no white space to get lost in
    for given, expected in (
        ({"type": "choice", "choice": ["blue", "green"]}, ("blue", "green")),
        ({"type": "grammar", "grammar": 'root ::= "a" | "b"'}, ("a", "b")),
    ):
        assert engine.chat("Choose.", response_format=given, max_tokens=8).text in expected
    c = engine.complete(
        "A number: ", response_format={"type": "regex", "regex": r"\d{3}-\d{2}"}, max_tokens=12
    )
    assert c.schema_verdict.valid
    assert c.parsed == c.text


def test_options_that_leave_no_token_are_an_error(engine):
    ids = [i for i, t in enumerate(engine.vocabulary) if t in (b"zebra", b"lion")] or [5, 6]
    with pytest.raises(
        tk.RequestError, match="no token was allowed by both the response_format and the sampling"
    ):
        engine.chat(
            "Choose.",
            response_format={"type": "choice", "choice": ["0", "1"]},
            allowed_token_ids=ids,
            max_tokens=4,
        )


def test_logprobs_under_a_form_are_those_of_what_is_allowed(engine, reference):
    """vLLM takes "raw" logprobs after the grammar's mask: they sum to 1 over the allowed tokens alone."""
    c = engine.chat(
        "Is water wet?", response_format={"type": "choice", "choice": ["yes", "no"]}, temperature=0, top_logprobs=8,
        max_tokens=4,
    )  # fmt: skip
    prompt = c.prompt_token_ids.tolist()
    raw = log_softmax(reference(prompt)[-1].astype(np.float64))
    allowed = [i for i, t in zip(c.top_ids[0], c.top_logprobs[0], strict=True) if t > -1e9]
    renormalised = raw[allowed] - np.logaddexp.reduce(raw[allowed])
    assert np.allclose(renormalised, c.top_logprobs[0][: len(allowed)], atol=1e-3)
    assert len(allowed) < 8


def test_forms_are_an_axis_and_verdicts_are_data(engine, db, tmp_path):
    forms = [None, {"type": "choice", "choice": ["yes", "no"]}, Review]
    cells = tk.grid(response_format=forms, temperature=0, max_tokens=40)
    sweep = tk.sweep("Is the sky blue? Answer yes or no, in JSON.", cells)
    results = sweep.run(engine, db)
    assert results.frame()["response_format"].tolist() == ["text", "choice", "Review"]
    assert len(sweep.plan(engine, db).missing) == 0
    table = results.verdicts()
    assert table["verdict"].tolist()[1:] == ["valid", "valid"]
    assert table["verdict"].isna().tolist() == [True, False, False]
    # Any text can be held against any form afterwards.
    free = results.verdicts({"type": "choice", "choice": ["yes", "no"]})
    assert free["verdict"].iloc[1] == "valid"
    assert free["verdict"].iloc[2] == "wrong_schema"
    assert results[2].parsed["mood"] in ("good", "bad")  # from the store: plain data, the class is not in it
    again = tk.Results.from_parquet(results.to_parquet(tmp_path / "r.parquet"))
    assert again.verdicts()["verdict"].tolist()[1:] == ["valid", "valid"]


def weather(city: str) -> str:
    """The weather of a city."""
    return f"{city}: sunny"


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@pytest.mark.parametrize(("choice", "reason"), [("required", "tool_calls"), ("weather", "stop")])
def test_calls_that_must_be_made_are_made_and_fit_their_schema(engine, choice, reason):
    c = engine.chat(
        "What is the weather in Paris?",
        tools=[weather, add],
        tool_choice=choice,
        temperature=0,
        max_tokens=80,
    )
    assert c.finish_reason == reason
    assert c.text == ""
    assert c.tool_calls[0].name == "weather"
    assert all(call.verdict(c.request.tools).valid for call in c.tool_calls)
    assert c.notes == {"tools": "described in the system message"}
    message = ChatCompletion.model_validate(c.to_openai()).choices[0].message
    assert message.content is None
    assert json.loads(message.tool_calls[0].function.arguments).keys() == {"city"}


def test_without_calls_there_is_text(engine):
    c = engine.chat("Hi", tools=[weather], tool_choice="none", temperature=0, max_tokens=4)
    plain = engine.chat("Hi", temperature=0, max_tokens=4)
    assert (c.tool_calls, c.text, c.usage.prompt_tokens) == ((), plain.text, plain.usage.prompt_tokens)
    cut = engine.chat("Hi", tools=[weather], tool_choice="required", temperature=0, max_tokens=4)
    assert (cut.tool_calls, cut.finish_reason) == ((), "length")


def test_auto_reads_the_calls_that_the_model_writes(engine):
    """The default model seldom writes a call by itself; held to the words of one, it goes the way of any other."""
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
    words = {"type": "choice", "choice": ["Sure. " + call + call]}
    c = engine.chat("1 + 2?", tools=[weather, add], response_format=words, max_tokens=120)
    assert [(t.name, json.loads(t.arguments)) for t in c.tool_calls] == [("add", {"a": 1, "b": 2})] * 2
    assert c.finish_reason == "tool_calls"
    assert c.text.strip() == "Sure."
    assert len({t.id for t in c.tool_calls}) == 2


def test_calls_in_a_history_are_written_out_though_no_tools_are_given(engine):
    calls = [{"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}]
    turns = [
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
    ]
    c = engine.chat(turns, temperature=0, max_tokens=2)
    sent = engine.tokenizer.decode(tuple(c.prompt_token_ids))
    assert '{"name": "add", "arguments": {"a": 1, "b": 2}}' in sent
    assert "<tool_response>\n3\n</tool_response>" in sent


def test_calls_survive_the_store(engine, db):
    from toolkit.store.rows import StoredCompletion
    from toolkit.store.store import Store

    c = engine.chat("Weather in Rome?", tools=[weather], tool_choice="required", temperature=0, max_tokens=60)
    with Store(db) as store:
        store.begin_run("s", engine.fingerprint, engine.vocabulary)
        store.add([StoredCompletion(c, 0)])
        again = store.completion(c.request.key, c.system_fingerprint, 0)
        assert again.tool_calls == c.tool_calls
        assert again.request == c.request
        assert again.to_openai() == c.to_openai()


def test_a_run_with_tools_records_every_step(engine):
    done = tk.run_tools(
        engine,
        "What is the weather in Paris?",
        [weather, add],
        tool_choice="required",
        turns=3,
        temperature=0,
        max_tokens=60,
    )
    first = done.steps[0]
    assert first.completion.finish_reason == "tool_calls"
    call, result, ok = first.results[0]
    assert (call.name, ok) == ("weather", True)
    assert result.endswith(": sunny")
    roles = [m["role"] for m in done.messages]
    assert roles[:3] == ["user", "assistant", "tool"]
    assert done.finished == (done.completion.finish_reason == "stop")
    assert done.usage.prompt_tokens == sum(s.completion.usage.prompt_tokens for s in done.steps)
    assert done.frame().loc[0, "result"] == result
    assert "sunny" in done._repr_html_()
    sent = engine.tokenizer.decode(tuple(done.steps[1].completion.prompt_token_ids))
    assert f"<tool_response>\n{result}\n</tool_response>" in sent
    assert '<tool_call>\n{"name": "weather"' in sent


def test_a_run_with_tools_has_a_limit(engine):
    done = tk.run_tools(
        engine, PARIS, [weather, add], tool_choice="required", turns=1, temperature=0, max_tokens=60
    )
    assert (len(done.steps), done.finished) == (1, False)
    assert done.steps[0].results
    with pytest.raises(ValueError, match="turns must be a whole number from 1 up, got 0"):
        tk.run_tools(engine, "x", [weather], turns=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"tools": [weather], "tool_choice": "required", "response_format": Review},
            "both say what the answer must be",
        ),
        ({"tool_choice": "auto"}, "there are no tools"),
        ({"response_format": Review, "ignore_eos": True}, "ignore_eos generates past the end of"),
    ],
)
def test_contradictions_are_refused(engine, options, message):
    with pytest.raises(ValueError, match=message):
        engine.chat("x", **options)
