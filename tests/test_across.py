"""Sweeps on several engines (`Sweep.run_across`), and which setting makes them differ (`explain_difference`)."""

import os
import signal
import sys
import threading
import time
from functools import partial

import pytest

import toolkit as tk
from toolkit.store.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm")]
ODD = {"rms_norm_eps": 0.5}
"""Another model, as good as: its answers differ on every machine."""
SWEEP = tk.sweep(
    "What is the capital of {c}?",
    [{"c": "France"}, {"c": "Peru"}],
    tk.grid(temperature=0, max_tokens=8, top_logprobs=5),
    repeats=2,
)


@pytest.fixture(scope="module")
def variants(tiny_folder):
    return partial(tk.variants, str(tiny_folder), kv_cache_memory_bytes=64 << 20)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("across") / "run.db"


@pytest.fixture(scope="module")
def results(path, variants, warm_python):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", warm_python)
        return SWEEP.run_across(variants(hf_overrides=[{}, ODD], max_num_seqs=32), path)


def test_each_variant_answers_the_same_requests_into_one_store(results, path):
    assert len(results) == 8
    assert len(results.fingerprints) == 2
    plain, odd = (f for f in results.fingerprints.values())
    assert list(plain.diff(odd)) == ["config"]
    report = results.determinism()
    (pair,) = report.between.to_dict("records")
    assert (pair["requests"], pair["forked"]) == (2, 2)
    assert "the weights" not in pair["differ"]
    assert "model's configuration" in pair["differ"]
    assert all(same == 1 for same in report.within["same"])
    assert "would be rarer than 1 in 20" in repr(report)


def test_what_is_stored_is_not_asked_again(results, path, variants, capsys):
    runs = Store(path).query("SELECT count(*) FROM runs")[1]
    again = SWEEP.run_across(variants(hf_overrides=[{}, ODD], max_num_seqs=32), Store(path))
    assert again.frame().equals(results.frame())
    assert Store(path).query("SELECT count(*) FROM runs")[1] == runs
    assert "2 of 2: hf_overrides" in capsys.readouterr().out


def test_the_setting_that_is_enough_is_found(results, path, variants):
    a, b = variants(max_num_seqs=32)[0], variants(hf_overrides=ODD, max_num_seqs=48)[0]
    found = tk.explain_difference(a, b, SWEEP, path)
    assert found.table["enough"].to_dict() == {"hf_overrides": True, "max_num_seqs": False}
    assert found.table.loc["hf_overrides", ["requests", "changed", "as_b"]].tolist() == [2, 2, 2]
    assert found.table.loc["max_num_seqs", ["value", "changed"]].tolist() == [48, 0]
    assert "The two answer 2 of 2 requests differently. hf_overrides" in found.sentence()
    assert "is enough: with it alone, a answers as b does" in found.sentence()
    assert "<table>" in found._repr_html_()


def test_nothing_to_explain(results, path, variants):
    a = variants(max_num_seqs=32)[0]
    with pytest.raises(ValueError, match="differ in nothing that can be set here"):
        tk.explain_difference(a, a, SWEEP, path)
    found = tk.explain_difference(a, a.with_("b", max_num_seqs=48), SWEEP, path)
    assert found.sentence() == "The two answer all of 2 requests alike: ask others, or more of them."


@pytest.mark.parametrize(
    ("variants", "store", "error", "message"),
    [
        ([], "x.db", ValueError, "variants is empty: give at least one"),
        (["float16"], "x.db", TypeError, "a variant is made by toolkit.variants"),
        ([tk.Variant()], ":memory:", ValueError, "other processes cannot write into a store in memory"),
    ],
)
def test_bad_calls(variants, store, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        SWEEP.run_across(variants, store)


def test_interrupted_and_run_again(tmp_path, variants):
    path = tmp_path / "run.db"
    sweep = tk.sweep("Count to {n}.", [{"n": n} for n in range(60)], tk.grid(temperature=0, max_tokens=80))
    few = variants(max_num_seqs=4)

    def interrupt():
        while True:
            time.sleep(0.2)
            if path.exists() and Store(path).query("SELECT count(*) FROM completions")[1][0][0] >= 3:
                return os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        sweep.run_across(few, path)
    before = Store(path).query("SELECT id FROM completions")[1]
    assert 3 <= len(before) < 60
    results = sweep.run_across(few, path)
    assert len(results) == 60
    assert set(before) <= set(Store(path).query("SELECT id FROM completions")[1])
