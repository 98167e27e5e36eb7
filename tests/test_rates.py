"""How long a plan says that a run will take: from this store, or from the last run on this machine."""

import pytest
from ngram_engine import NGramEngine

import toolkit as tk
from toolkit._internal.files import toolkit_home

SWEEP = tk.sweep("Say it", tk.grid(temperature=[1.0], seed=range(5), max_tokens=8))


@pytest.fixture
def ngram(tmp_path, monkeypatch):
    monkeypatch.setenv("TOOLKIT_HOME", str(tmp_path / "home"))
    return NGramEngine("Say it: good or bad.\n\nI said it.")


def test_a_plan_knows_the_rate_of_a_run_in_another_store(ngram, tmp_path):
    other = tmp_path / "other.db"
    plan = SWEEP.plan(ngram, other)
    assert (plan.rate, plan.seconds) == (None, None)
    assert "not known before this engine's first run" in repr(plan)
    SWEEP.run(ngram, tmp_path / "a.db")
    measured = SWEEP.plan(ngram, tmp_path / "a.db").rate
    plan = SWEEP.plan(ngram, other)
    assert plan.rate == measured > 0
    least, most = plan.seconds
    assert (least, most) == (5 / measured, (plan.prompt_tokens + 5 * 8) / measured)
    assert "tokens a second" in repr(plan)
    assert not other.exists()


def test_the_rate_in_the_store_itself_counts_first(ngram, tmp_path):
    SWEEP.run(ngram, tmp_path / "a.db")
    before = SWEEP.plan(ngram, tmp_path / "a.db").rate
    tk.sweep("Say it", tk.grid(max_tokens=30, seed=range(20), temperature=[1.0])).run(
        ngram, tmp_path / "b.db"
    )
    assert SWEEP.plan(ngram, tmp_path / "a.db").rate == before
    assert SWEEP.plan(ngram, tmp_path / "b.db").rate != before


def test_another_fingerprint_has_another_rate(ngram, tmp_path):
    SWEEP.run(ngram, tmp_path / "a.db")
    assert SWEEP.plan(NGramEngine(ngram.text, order=2), tmp_path / "b.db").rate is None


@pytest.mark.parametrize("text", ["", "{}", "null", "-1", "0", "NaN", '"3"', "true", "1e999"])
def test_a_damaged_record_is_none(ngram, tmp_path, text):
    SWEEP.run(ngram, tmp_path / "a.db")
    (file,) = (toolkit_home() / "rates").iterdir()
    file.write_text(text)
    assert SWEEP.plan(ngram, tmp_path / "b.db").rate is None


def test_a_home_that_cannot_be_written_stops_no_run(ngram, tmp_path):
    (tmp_path / "home").write_text("a file")
    assert len(SWEEP.run(ngram, tmp_path / "a.db")) == 5
