"""Files that earlier versions wrote: stores of every format, exports, prompts."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from nbconvert import HTMLExporter
from nbformat import read

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


@pytest.mark.parametrize("version", range(1, 8))
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
        assert frame["queued_seconds"].isna().all()  # which is not known, and not 0
        assert frame["decode_seconds"].min() > 0
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


VIEWS = [
    "8 rows × 3 columns (temperature), 20 outputs, 8 rows with an output that differs",
    "The proud capital of France is Anjou, born on July 16, 1959, it",
    "The capital of France is Paris.",
    "26 tokens, 52 characters",
    "Step 1, temperature=1.4",
    "4 requests, 8 runs, none differs from the others",
    "20 completions of 840 prompt tokens (512 of them cached by the engine) and 313 generated",
    "4 of 4 examples chosen by first, k all",
    "Write a haiku about the sea.",
]
"""Of each widget in the saved notebook a part of what it says, read in the file."""


def test_a_notebook_shows_its_widgets_without_a_kernel(page, tmp_path):
    html, _ = HTMLExporter().from_notebook_node(read(SAVED / "widgets.ipynb", as_version=4))
    (tmp_path / "saved.html").write_text(html)
    page.goto((tmp_path / "saved.html").as_uri(), wait_until="domcontentloaded")
    views = page.locator(".jp-OutputArea-output[data-mime-type='text/html']").all()
    assert len(views) == len(VIEWS)
    for view, part in zip(views, VIEWS, strict=True):
        assert part in " ".join(view.inner_text().split())
        assert view.locator("script").count() == 0
    assert views[0].locator("ins, del, mark").count() > 0  # the words that differ from the first column
