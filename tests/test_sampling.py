import numpy as np
import pytest
from hypothesis import given, strategies as st

from toolkit.core.sampling import FIELDS, NEUTRAL, Sampling

BAD = [
    ({"temperature": 3}, "temperature must be a number from 0 to 2, got 3: 0 is greedy"),
    ({"temperature": "hot"}, "temperature must be a number from 0 to 2, got 'hot'"),
    ({"temperature": True}, "temperature must be a number from 0 to 2, got True"),
    ({"temperature": np.True_}, "temperature must be a number from 0 to 2, got "),
    ({"temperature": 10**400}, "temperature must be a number from 0 to 2, got 1000"),
    ({"repetition_penalty": float("inf")}, "repetition_penalty must be a number above 0, got inf"),
    ({"temperature": float("nan")}, "temperature must be a number from 0 to 2, got nan"),
    ({"top_p": 0}, "top_p must be a number above 0 to 1, got 0"),
    ({"frequency_penalty": -5}, "frequency_penalty must be a number from -2 to 2, got -5"),
    ({"presence_penalty": 2.01}, "presence_penalty must be a number from -2 to 2, got 2.01"),
    ({"seed": "x"}, "seed must be a whole number, got 'x'"),
    ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
    ({"seed": 2**64}, "seed must be a whole number from 0 to 9223372036854775807, got 18446744073709551616"),
    ({"seed": -1}, "seed must be a whole number from 0 to"),
    ({"seed": 2**63 - 1, "n": 2}, r"seed \+ n must stay below 2\*\*63"),
    ({"n": 0}, "n must be a whole number from 1 to 16384, got 0"),
    ({"n": 3, "temperature": 0}, "n must be 1 at temperature 0, got 3"),
    ({"max_tokens": 0}, "max_tokens must be a whole number from 1 up, got 0"),
    ({"stop": ""}, "stop must be a non-empty string or a list of them, got ''"),
    ({"stop": 3}, "stop must be a non-empty string or a list of them, got 3"),
    ({"logprobs": 5}, "logprobs must be True or False, got 5"),
    ({"logprobs": False, "top_logprobs": 5}, "logprobs=False contradicts top_logprobs=5"),
    ({"top_logprobs": -2}, "top_logprobs must be a whole number from -1 up, got -2"),
    ({"logit_bias": {5: 200}}, "logit_bias must be a number from -100 to 100, got 200"),
    ({"logit_bias": "x"}, "logit_bias must map token ids to numbers"),
    ({"logit_bias": {"five": 1}}, "logit_bias must be a whole number, got 'five'"),
    ({"stop_token_ids": "12"}, "stop_token_ids must be a list of token ids, got '12'"),
    ({"min_tokens": 300}, r"min_tokens must be at most max_tokens \(256\), got 300"),
    ({"repetition_penalty": 0}, "repetition_penalty must be a number above 0, got 0: 1 is off"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[str(o) for o, _ in BAD])
def test_bad_values_are_refused_with_what_is_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**options)


@pytest.mark.parametrize(
    ("name", "near"), [("temprature", "temperature"), ("max_token", "max_tokens"), ("topp", "top_p")]
)
def test_unknown_option_names_the_nearest(name, near):
    with pytest.raises(TypeError, match=f"unknown sampling option '{name}': did you mean '{near}'"):
        Sampling(**{name: 1})


@pytest.mark.parametrize(
    ("given", "field", "kept"),
    [
        ({"temperature": 1}, "temperature", 1.0),
        ({"temperature": np.float32(0.5)}, "temperature", 0.5),
        ({"temperature": np.int64(2)}, "temperature", 2.0),
        ({"seed": np.int64(7)}, "seed", 7),
        ({"stop": "END"}, "stop", ("END",)),
        ({"stop": ["a", "b"]}, "stop", ("a", "b")),
        ({"logit_bias": {"9": 1, 2: -100}}, "logit_bias", ((2, -100.0), (9, 1.0))),
        ({"top_logprobs": 0}, "logprobs", True),
    ],
)
def test_values_are_kept_in_one_form(given, field, kept):
    value = getattr(Sampling(**given), field)
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    ("given", "defaults", "expected"),
    [
        ({}, {}, {"temperature": 1.0, "max_tokens": 256}),
        ({}, {"temperature": 0.6, "top_k": 20}, {"temperature": 0.6, "top_k": 20}),
        ({"temperature": 0.9}, {"temperature": 0.6}, {"temperature": 0.9}),
        ({"temperature": 0, "seed": 3, "top_p": 0.5}, {}, {"seed": None, "top_p": 1.0}),
        ({}, {"temperature": 0, "top_k": 20}, {"top_k": 0}),
        ({}, {"pad_token_id": 2}, {}),
    ],
)
def test_resolve_makes_everything_explicit(given, defaults, expected):
    resolved = Sampling(**given).resolve(defaults)
    assert {k: getattr(resolved, k) for k in expected} == expected
    assert all(getattr(resolved, name) is not None for name in NEUTRAL)


sampling = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0.01, 1),
        "seed": st.integers(0, 2**62),
        "frequency_penalty": st.floats(-2, 2),
        "max_tokens": st.integers(1, 10_000),
        "stop": st.lists(st.text(min_size=1), min_size=1, max_size=4),
        "logit_bias": st.dictionaries(st.integers(0, 50_000), st.floats(-100, 100)),
        "top_logprobs": st.integers(0, 20),
    },
)


@given(sampling)
def test_resolving_twice_changes_nothing_and_fields_survive_a_round_trip(options):
    resolved = Sampling(**options).resolve({})
    assert resolved.resolve({}) == resolved
    assert Sampling(**resolved.given()) == resolved
    assert hash(resolved) == hash(Sampling(**resolved.given()))
    assert resolved.canonical().keys() <= set(FIELDS)
