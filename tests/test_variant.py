import pytest

import toolkit as tk
from toolkit.core.fingerprint import Fingerprint
from toolkit.engines.vllm.hardware import device


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ["default"]),
        ({"dtype": "bfloat16"}, ["default"]),  # the same for all: nothing sets them apart
        ({"dtype": ["float32", "bfloat16"]}, ["dtype=float32", "dtype=bfloat16"]),
        (
            {"dtype": ["float32", "float16"], "threads": [1, 2]},
            ["dtype=float32, threads=1", "dtype=float32, threads=2", "dtype=float16, threads=1",
             "dtype=float16, threads=2"],
        ),
        ({"env": [{}, {"A": "1", "B": "2"}]}, ["no env", "A=1, B=2"]),
        ({"env": {"A": "1"}, "max_num_seqs": (8, 16)}, ["max_num_seqs=8", "max_num_seqs=16"]),
        ({"model": ["a/b", "c/d"]}, ["model=a/b", "model=c/d"]),
    ],
)  # fmt: skip
def test_every_combination_of_lists(given, names):
    assert [str(v) for v in tk.variants(**given)] == names


def test_what_is_no_list_is_the_same_for_all():
    made = tk.variants("a/b", dtype="float16", threads=[1, 2], env={"A": "1"})
    assert [(v.model, v.arguments, v.threads, v.env) for v in made] == [
        ("a/b", {"dtype": "float16"}, n, {"A": "1"}) for n in (1, 2)
    ]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"dtypes": ["float32"]}, TypeError, "unknown engine argument 'dtypes': did you mean 'dtype'"),
        ({"dtype": []}, ValueError, "dtype is empty: give at least one value"),
        ({"threads": 0}, ValueError, "threads must be a whole number from 1 up"),
        ({"threads": "two"}, (TypeError, ValueError), "threads must be a whole number"),
        ({"env": {"A": 1}}, TypeError, r"env must be a dict of strings \(None: not set\), got 'A': 1"),
    ],
)
def test_bad_settings(given, error, message):
    with pytest.raises(error, match=message):
        tk.variants(**given)


def test_a_variant_with_one_thing_changed():
    first = tk.Variant("a/b", {"dtype": "float32", "max_num_seqs": 8}, 2, {"A": "1"})
    second = first.with_("other", dtype="float16", max_num_seqs=None, env={"B": None}, threads=1)
    assert (second.name, second.model, second.threads) == ("other", "a/b", 1)
    assert second.arguments == {"dtype": "float16"}
    assert second.env == {"A": "1", "B": None}
    assert first.arguments == {"dtype": "float32", "max_num_seqs": 8}


def test_a_variant_of_an_engine_or_its_fingerprint(engine):
    of_engine, of_fingerprint = tk.Variant.of(engine), tk.Variant.of(engine.fingerprint)
    assert of_engine == of_fingerprint
    assert of_engine.arguments == engine.spec.arguments
    assert of_engine.threads == device()["threads"]
    assert tk.Variant.of(of_engine) is of_engine
    full = tk.Variant().resolved()
    assert (full.model, full.arguments, full.threads) == (
        of_engine.model,
        of_engine.arguments,
        of_engine.threads,
    )


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            "float16",
            TypeError,
            "a variant is made by toolkit.variants, or of an engine or a fingerprint, got 'float16'",
        ),
        (Fingerprint({"engine": "server"}), ValueError, "does not say how its engine was made"),
    ],
)
def test_what_no_variant_can_be_made_of(given, error, message):
    with pytest.raises(error, match=message):
        tk.Variant.of(given)
