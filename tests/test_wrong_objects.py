"""An object of another kind in place of an engine, a completion, a store or a position is named, with what is
allowed."""

import json
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
from ngram_engine import NGramEngine

import toolkit as tk
from toolkit._internal.validation import Whole, instance_of, position
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request
from toolkit.core.sampling import Sampling
from toolkit.engines.variant import Variant
from toolkit.store.rows import Grade
from toolkit.store.store import Store
from toolkit.structured.tools import ToolCall

ENGINE = NGramEngine("a text and another text\n\nwords")
SCORED = ENGINE.chat("a text", max_tokens=3, logprobs=True, top_logprobs=2)
PROMPT = tk.Prompt("{x}")
SWEEP = tk.sweep("a text", tk.grid(max_tokens=[1, 2]))
STORE = Store(":memory:")
RESULTS = SWEEP.run(ENGINE, STORE)
COMPARISON = RESULTS.compare("max_tokens")
MATCHES = COMPARISON.find()
TOKENS = tk.tokens("a text", "gpt-4")
SCHEMA = {"type": "object"}


@pytest.mark.parametrize("value", [None, 1.5, "SmolLM2-135M-Instruct", SimpleNamespace(model="m")])
@pytest.mark.parametrize(
    "call",
    [
        lambda value: SWEEP.run(value, ":memory:"),
        lambda value: SWEEP.plan(value, STORE),
        lambda value: tk.Conversation(value),
        lambda value: tk.run_tools(value, "a text", []),
        lambda value: tk.explore(value, "a text"),
        lambda value: tk.explore(value, SCORED, width=2),
        lambda value: tk.classify(value, PROMPT, [{"x": "a"}], ["a", "t"], store=":memory:"),
        lambda value: tk.price_of_schema(value, "a", SCHEMA, store=":memory:"),
        lambda value: tk.removed_mass(value, [SCORED]),
        lambda value: tk.determinism_ladder(value, ["a text"], n=2, store=":memory:"),
        lambda value: tk.protocols.same_seed(value, "a text", n=1, store=":memory:"),
    ],
)
def test_what_is_no_engine(call, value):
    with pytest.raises(TypeError, match=r"engine must be an? Engine, got .*: toolkit.load\(\) makes one"):
        call(value)


@pytest.mark.parametrize("value", [None, 1.5, "x", [1], np.arange(2)])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda value: ENGINE.branch(value, 0, "a"), "completion"),
        (lambda value: tk.removed_mass(ENGINE, [SCORED, value]), r"completions\[1\]"),
        (lambda value: tk.logprobs(SCORED).removed_mass(value), "free"),
        (lambda value: tk.logprobs(SCORED).forbidden(value), "free"),
        (lambda value: ENGINE.fingerprint.diff(value), "other"),
        (lambda value: TOKENS.same(value), "other"),
        (lambda value: TOKENS.beside(value), "other"),
        (lambda value: tk.Results.of(value), "store"),
        (lambda value: COMPARISON.cell(0, 0, value), "matches"),
        (lambda value: COMPARISON.visible_choices(0, value), "matches"),
        (lambda value: STORE.add([value]), r"answers\[0\]"),
        (lambda value: STORE.restore_grades(value), "grades"),
        (lambda value: Sampling().resolve(value), "defaults"),
    ],
)
def test_what_is_no_such_object(call, name, value):
    with pytest.raises(TypeError, match=f"^{name} must be "):
        call(value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: PROMPT.fit({"x": "a"}, 1.5, 5),
            TypeError,
            "engine must count tokens and have a window, got 1.5",
        ),
        (lambda: Request.of((), {}), TypeError, r"body must be a Mapping, got \(\)"),
        (lambda: Request.of({"prompt": "a"}, 3), TypeError, "sampling must be a Mapping, got 3"),
        (lambda: Request(prompt="a", sampling={}), TypeError, r"sampling must be a Sampling, got \{\}"),
        (
            lambda: tk.calibration([0.5], [True], bins=2**53),
            ValueError,
            "bins must be a whole number from 1 to",
        ),
        (lambda: RESULTS.filter(3), TypeError, "where must be a function of a table, got 3"),
        (lambda: RESULTS.summary(3), TypeError, "a column is named by a text, got 3"),
        (lambda: RESULTS.compare([]), ValueError, r"no column is named, got \[\]: give at least one"),
        (lambda: list(RESULTS.group(set())), ValueError, r"no column is named, got set\(\)"),
        (lambda: tk.verdict(3, SCHEMA), TypeError, "text must be text, got 3"),
        (
            lambda: tk.verdict(None, {"type": "choice", "choice": ["a"]}),
            TypeError,
            "text must be text, got None",
        ),
        (lambda: tk.verdict(1.5, {"type": "regex", "regex": "a"}), TypeError, "text must be text, got 1.5"),
        (lambda: TOKENS.cut(()), TypeError, r"text must be text, got \(\)"),
        (lambda: ToolCall("c", "f", "{}").verdict(3), TypeError, "tools must be a list of functions, got 3"),
        (
            lambda: ToolCall("c", "f", "{}").verdict("f"),
            TypeError,
            "tools must be a list of functions, got 'f'",
        ),
        (lambda: Variant(env=3), TypeError, "env must be a dict, got 3"),
        (lambda: Variant(arguments="a"), TypeError, "arguments must be a dict, got 'a'"),
        (lambda: STORE.ids_of_system({}), TypeError, r"fingerprint must be a Fingerprint, got \{\}"),
        (lambda: Fingerprint.from_json({"notes": {}}), ValueError, "no fingerprint, got {'notes': {}}"),
        (lambda: Fingerprint.from_json(3), ValueError, "no fingerprint, got 3"),
        (lambda: COMPARISON.find(where=[1]), TypeError, r"where must be a Mapping, got \[1\]"),
        (lambda: COMPARISON.find(3), TypeError, "search must be a text, a regular expression, got 3"),
        (
            lambda: SCORED.choices[0].token_bytes([]),
            TypeError,
            r"a token id must be a whole number, got \[\]",
        ),
        (lambda: STORE.arrays(["a", float("nan")]), TypeError, r"requests\[1\] must be a str, got nan"),
        (lambda: list(STORE.token_ids([1])), TypeError, r"requests\[0\] must be a str, got 1"),
        (
            lambda: STORE.completion_timings(range(10**12)),
            ValueError,
            "fingerprints has more than 10,000,000 items",
        ),
        (
            lambda: RESULTS.of(STORE, sweep=[]),
            TypeError,
            r"sweep must be a str, got \[\]: the id of one, or None",
        ),
        (
            lambda: Grade(thumb=Decimal("sNaN")),
            ValueError,
            r"thumb must be 1, -1 or None, got Decimal",
        ),
        (
            lambda: tk.Usage(completion_tokens=Decimal("sNaN")),
            ValueError,
            "completion_tokens must be a whole number",
        ),
        (lambda: tk.Usage(2**70), ValueError, "prompt_tokens must be a whole number from 0 to"),
        (
            lambda: tk.Usage(cached_tokens=float("nan")),
            ValueError,
            "cached_tokens must be a whole number, got nan",
        ),
        (lambda: tk.variants(env=[1, [{}]]), TypeError, "env must be a dict, got 1"),
        (lambda: tk.connect("http://127.0.0.1:9/v1", model={"a": 1}), TypeError, "model must be a str, got"),
        (
            lambda: COMPARISON.over(range(10**12), ["max_tokens"]),
            ValueError,
            "rows has more than 10,000 items",
        ),
        (lambda: PROMPT.example(2**70), IndexError, "place must be from 0 to -1, got"),
        (
            lambda: SCORED.choices[0].token_bytes(Decimal("sNaN")),
            TypeError,
            "a token id must be a whole number, got",
        ),
        (lambda: Fingerprint(()), TypeError, r"components must be a Mapping, got \(\): values by name"),
        (lambda: Fingerprint({}, 3), TypeError, "notes must be a Mapping, got 3"),
        (lambda: SCORED.choice({}), TypeError, r"choice must be a whole number, got \{\}"),
        (lambda: ENGINE.branch(SCORED, "0", "a"), TypeError, "at must be a whole number, got '0'"),
        (lambda: ENGINE.branch(SCORED, np.arange(2), "a"), TypeError, "at must be a whole number"),
        (
            lambda: ENGINE.branch(SCORED, 10**400, "a"),
            IndexError,
            "at must be from 0 to 3, got 1000.* more characters",
        ),
        (lambda: tk.microscope(SCORED, 0.0), TypeError, "choice must be a whole number, got 0.0"),
        (lambda: tk.microscope(SCORED, -1), IndexError, "choice must be from 0 to 0, got -1"),
        (
            lambda: ENGINE.branch(SCORED, 0, "a", choice=[]),
            TypeError,
            r"choice must be a whole number, got \[\]",
        ),
        (lambda: ENGINE.branch(SCORED, 0, np.arange(2)), ValueError, "token must be text or an id from 0 to"),
    ],
)
def test_the_value_and_what_is_allowed_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda i: COMPARISON.cell(i, 0, MATCHES),
        lambda i: COMPARISON.cell(0, i, MATCHES),
        lambda i: COMPARISON.row_values(i),
        lambda i: COMPARISON.column_values(i),
        lambda i: COMPARISON.base(i),
        lambda i: COMPARISON.metadata(i),
        lambda i: COMPARISON.diff(i, 0),
        lambda i: COMPARISON.diff(0, i),
        lambda i: COMPARISON.pieces(i),
        lambda i: COMPARISON.in_brief(i),
        lambda i: COMPARISON.missing_axes(i, 0),
        lambda i: COMPARISON.grade(i, thumb=1),
        lambda i: RESULTS[i],
        lambda i: tk.logprobs(SCORED).top(i),
        lambda i: tk.microscope(SCORED).at(i),
        lambda i: RESULTS.determinism().texts(i),
    ],
)
def test_positions(call):
    for value in ("a", 1.5, [], np.arange(2), None, float("nan")):
        with pytest.raises(TypeError, match="got "):
            call(value)
    for value in (7, 2**70, np.uint64(2**64 - 1)):
        with pytest.raises(IndexError):
            call(value)


@pytest.mark.parametrize(
    ("value", "index"), [(0, 0), (2, 2), (-1, 2), (-3, 0), (np.int8(1), 1), (np.array(2), 2), (True, 1)]
)
def test_a_position(value, index):
    assert position("i", value, 3) == index
    assert [*"abc"][position("i", value, 3)] == [*"abc"][value]


@pytest.mark.parametrize("value", [3, -4, 2**70, np.uint64(2**64 - 1)])
def test_a_position_out_of_range(value):
    with pytest.raises(IndexError, match=rf"^i must be from -3 to 2, got {int(value)}$"):
        position("i", value, 3)


@pytest.mark.parametrize("token_id", [-1, 10**6, 2**70, -(2**70)])
def test_an_id_that_is_not_in_the_vocabulary_has_no_bytes(token_id):
    assert SCORED.choices[0].token_bytes(token_id) == b""


def test_what_is_nested_too_deeply_is_shown_in_part():
    value = []
    for _ in range(5000):
        value = [value]
    assert repr(tk.Rendered((value,))) == "Rendered(messages=([[[[[[...]]]]]],))"
    assert "***" in repr(tk.Variant(arguments={"dtype": value}))


def test_numbers_of_tokens_are_whole():
    usage = tk.Usage(np.int64(3), 4.0, None)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (3, 4, None)
    assert [type(n) for n in (usage.prompt_tokens, usage.completion_tokens)] == [int, int]


@pytest.mark.parametrize("value", [3, -1, -3, 2**70])
def test_a_position_that_is_not_counted_from_the_end(value):
    with pytest.raises(IndexError, match=rf"^i must be from 0 to 2, got {value}$"):
        position("i", value, 3, from_end=False)
    assert position("i", np.uint8(2), 3, from_end=False) == 2


def test_an_object_of_the_kind_is_given_back():
    assert instance_of(list, "x", value := [1], "a list") is value


@pytest.mark.parametrize("value", [np.arange(2), np.array([1.5]), "1", 1.0, None, True])
def test_what_is_no_whole_number(value):
    with pytest.raises(ValueError, match="n must be a whole number, got "):
        Whole(0, None, "a count")("n", value)


def test_a_long_range_is_not_listed():
    assert len(RESULTS.filter(max_tokens=range(2, 10**12))) == 1
    assert len(RESULTS.filter(max_tokens=range(3, 10**12), text=range(10**12))) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("said", 3),
        ("said", {"role": "user", "content": {"a": 1}}),
        ("answer", None),
        ("usage", []),
        ("said", None),
    ],
)
def test_a_damaged_turn_is_no_conversation(tmp_path, field, value):
    talk = tk.Conversation(ENGINE, max_tokens=2)
    talk.say("a text")
    path = talk.save(tmp_path / "talk.json")
    assert tk.Conversation.load(ENGINE, path).messages == talk.messages
    data = json.loads(path.read_text())
    data["exchanges"][0][field] = value
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"talk\.json is no conversation that was saved here"):
        tk.Conversation.load(ENGINE, path)
