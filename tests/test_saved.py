"""Files that earlier versions wrote: stores of every format, exports, prompts."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import toolkit as tk
from toolkit.store.store import Store

SAVED = Path(__file__).parent / "saved"


def content(results):
    return sorted(
        (
            c.request.messages[-1]["content"], c.text, c.finish_reason, c.system_fingerprint, c.token_ids.tolist(),
            [round(float(x), 4) for x in c.logprobs] if c.logprobs is not None else None,
        )
        for c in results
    )  # fmt: skip


def expected(version):
    rows = json.loads((SAVED / f"format-{version}.json").read_text())
    names = ("prompt", "text", "finish_reason", "fingerprint", "tokens", "logprobs")
    return sorted(tuple(row[name] for name in names) for row in rows)


@pytest.mark.parametrize("version", range(1, 7))
def test_a_store_of_every_format_opens_with_all_that_is_in_it(tmp_path, version):
    path = tmp_path / "run.db"
    shutil.copy(SAVED / f"format-{version}.db", path)
    for is_upgraded in (False, True):
        if is_upgraded:
            Store(path).close()
        results = tk.results(path)
        assert content(results) == expected(version)
        assert all(t.bytes == t.text.encode() for c in results for t in c.tokens if t.bytes.isascii())
        frame = results.frame()
        assert set(frame["row.country"].dropna()) == {"France", "Japan"}
        (fingerprint,) = results.fingerprints.values()
        assert fingerprint.components["model"] == "SmolLM2-135M-Instruct"
    if version >= 3:
        forms = results.verdicts()["verdict"].value_counts()
        assert forms["valid"] == 1


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_an_export_is_read(kind):
    results = getattr(tk.Results, f"from_{kind}")(SAVED / f"results.{kind}")
    assert content(results) == [row for row in expected(6) if row[0] != "Name a colour."]
    assert results[0].top_logprobs.shape[1] == 2
    assert not np.isnan(results[0].top_logprobs).any()


@pytest.mark.parametrize("kind", ["yaml", "json"])
def test_a_prompt_is_read(kind, tmp_path):
    prompt = tk.Prompt.load(SAVED / f"prompt.{kind}")
    assert list(prompt.messages({"text": "Great"})) == json.loads(
        (SAVED / "prompt.messages.json").read_text()
    )
    again = prompt.save(tmp_path / f"prompt.{kind}")
    assert again.read_text() == (SAVED / f"prompt.{kind}").read_text()
