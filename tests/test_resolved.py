"""Requests whose every sampling parameter is explicit: how they are made, compared, changed and read back."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import toolkit as tk
from toolkit.core import request as request_module
from toolkit.core.request import Request, ResolvedRequest
from toolkit.core.sampling import NEUTRAL
from toolkit.store.store import Store

SAVED = Path(__file__).parent / "saved"
DEFAULTS = {"temperature": 0.6, "top_p": 0.9, "max_tokens": 100, "unknown": 1}


def add(a: int, b: int) -> int:
    "Add."
    return a + b


@pytest.mark.parametrize(
    ("sampling", "defaults", "explicit"),
    [
        ({}, {}, {}),
        ({}, DEFAULTS, {"temperature": 0.6, "top_p": 0.9, "max_tokens": 100}),
        ({"temperature": 1.2}, DEFAULTS, {"temperature": 1.2, "top_p": 0.9, "max_tokens": 100}),
        ({"temperature": 0, "seed": 7, "top_p": 0.5}, {}, {"temperature": 0.0}),
        ({"temperature": 0}, DEFAULTS, {"temperature": 0.0, "max_tokens": 100}),
        ({"seed": 7, "min_p": 0.1}, {"temperature": 0}, {"temperature": 0.0}),
        (
            {"seed": 7, "n": 2, "top_logprobs": 3},
            {},
            {"seed": 7, "n": 2, "top_logprobs": 3, "logprobs": True},
        ),
    ],
)
def test_every_parameter_is_explicit(sampling, defaults, explicit):
    resolved = Request.chat("Hi", **sampling).resolve(defaults)
    assert type(resolved) is ResolvedRequest
    assert resolved.sampling.given() == {**NEUTRAL, **explicit}
    assert resolved.messages == ({"role": "user", "content": "Hi"},)


def test_a_combination_that_only_the_defaults_make_is_refused():
    with pytest.raises(ValueError, match="n must be 1 at temperature 0, got 2"):
        Request.chat("Hi", n=2).resolve({"temperature": 0})


def test_a_resolved_request_resolves_to_itself():
    resolved = Request.chat("Hi").resolve({})
    assert resolved.resolve(DEFAULTS) is resolved
    assert resolved.sampling.resolve(DEFAULTS) is resolved.sampling


def test_a_request_is_validated_once(monkeypatch):
    counts = {}

    def counting(name):
        function = getattr(request_module, name)

        def call(*args):
            counts[name] = counts.get(name, 0) + 1
            return function(*args)

        monkeypatch.setattr(request_module, name, call)

    for name in ("response_format", "as_tools", "tool_choice"):
        counting(name)
    Request.chat("Hi", response_format={"type": "choice", "choice": ["a"]}, tools=[add]).resolve(
        DEFAULTS
    ).resolve({})
    assert counts == {"response_format": 1, "as_tools": 1, "tool_choice": 1}


def test_equal_fields_make_requests_equal_whether_resolved_or_not():
    resolved = Request(prompt="Hi").resolve({})
    same = Request(prompt="Hi", sampling=resolved.sampling)
    assert resolved == same
    assert same == resolved
    assert hash(resolved) == hash(same)
    assert resolved.key == same.key
    assert resolved != Request(prompt="Hi")  # its sampling is not explicit
    assert resolved != Request(prompt="Ho").resolve({})
    assert resolved != "Hi"


def test_a_changed_copy_is_resolved():
    resolved = Request.chat("Hi", seed=3).resolve(DEFAULTS)
    assert type(replace(resolved, prefix="A")) is ResolvedRequest
    greedy = replace(resolved, sampling=replace(resolved.sampling, temperature=0))
    assert (greedy.sampling.seed, greedy.sampling.top_p) == (None, 1.0)
    assert greedy.key == Request.chat("Hi", temperature=0, max_tokens=100).resolve({}).key
    with pytest.raises(
        ValueError, match=r"lacks top_p, .*: make a Request, and resolve it with engine\.defaults"
    ):
        replace(resolved, sampling=tk.Sampling(temperature=0.5))
    with pytest.raises(ValueError, match="prefix is empty"):
        replace(resolved, prefix="")


def test_a_resolved_request_survives_pickling():
    resolved = Request.chat("Hi", tools=[add], seed=1).resolve(DEFAULTS)
    again = pickle.loads(pickle.dumps(resolved))
    assert type(again) is ResolvedRequest
    assert again == resolved
    assert again.key == resolved.key


def test_what_is_read_back_is_resolved_though_its_version_knew_fewer_parameters():
    asked = Request.chat("Hi", temperature=0.5)
    read = ResolvedRequest.of(json.loads(json.dumps(asked.body)), {"temperature": 0.5})
    assert type(read) is ResolvedRequest
    assert read == asked.resolve({})
    assert read.key == asked.resolve({}).key


@pytest.mark.parametrize("version", range(1, 7))
def test_requests_of_every_format_keep_their_keys(tmp_path, version):
    shutil.copy(SAVED / f"format-{version}.db", tmp_path / "run.db")
    with Store(tmp_path / "run.db") as store:
        keys = [key for (key,) in store.query("SELECT key FROM requests")[1]]
        assert keys
        for key in keys:
            request = store.request(key)
            assert type(request) is ResolvedRequest
            assert request.key == key
