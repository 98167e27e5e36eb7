"""What a notebook opens as a widget, and what it keeps where no kernel runs."""

import re
import subprocess
import sys
from dataclasses import replace
from html import unescape

import pytest
from browser import mount, shot
from nbclient import NotebookClient
from nbformat import write as written
from nbformat.v4 import new_code_cell, new_notebook

import toolkit as tk
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store
from toolkit.widgets.comparison import CompareView
from toolkit.widgets.display_hook import _VIEWS, _bundle
from toolkit.widgets.few_shot import Builder
from toolkit.widgets.microscope import MicroscopeView

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def stored(db, made):
    """A run of two temperatures, as a kernel of a notebook finds it."""
    answers = [made(f"Answer at {t}.", temperature=t, top_logprobs=2) for t in (0.5, 1.0)]
    fingerprint = tk.Fingerprint({"model": "by-hand", "tokenizer": "t", "logprobs_mode": "raw_logprobs"})
    with Store(db) as store:
        run = store.begin_run("s", fingerprint, [bytes([i]) for i in range(256)])
        named = [replace(a, system_fingerprint=fingerprint.id) for a in answers]
        store.add([StoredCompletion(a, 0, run) for a in named])
        store.define(
            "s", {"prompts": ["Hi"]}, [a.request for a in named], [Cell(a.request.key, 1, {}) for a in named]
        )
        store.end_run(run, 1.0, None)
    return db


def displayed(*sources):
    """The data of what each cell shows."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [[o.data for o in cell.outputs if "data" in o] for cell in notebook.cells]


SHOWN = {
    "results[0]": "CompletionView",
    "tk.logprobs(results[1])": "LogprobsView",
    "tk.microscope(results[1])": "MicroscopeView",
    "results.compare('temperature')": "CompareView",
    "results.costs()": "CostsView",
    "results.determinism()": "DeterminismView",
    "tk.tokens('one two', 'gpt-4o')": "TokensView",
    "tk.few_shot(tk.Prompt('{x}'), [{'x': 1}])": "Builder",
    "tk.playground(messages='Hi')": "Playground",
}


def test_every_one_opens_in_a_notebook_and_leaves_its_content_without_a_kernel(stored):
    begin = f"import toolkit as tk\nresults = tk.results({str(stored)!r})"
    _, *found = displayed(begin, *SHOWN)
    for source, outputs in zip(SHOWN, found, strict=True):
        (data,) = outputs
        assert VIEW in data, source
        assert data["text/html"].startswith("<"), source
        assert "<script" not in data["text/html"], source
        assert data["text/plain"].strip(), source
        assert "object at 0x" not in data["text/plain"], source


def test_a_page_of_nbconvert_tells_it_all_without_a_network(stored, page, tmp_path):
    begin = f"import toolkit as tk\nresults = tk.results({str(stored)!r})"
    notebook = tmp_path / "saved.ipynb"
    written(new_notebook(cells=[new_code_cell(source) for source in (begin, *SHOWN)]), notebook)
    # Of a notebook that Lab has saved, the page is made without the last two.
    command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "html", str(notebook), "--execute"]
    command += ["--ExecutePreprocessor.store_widget_state=False"]
    subprocess.run(command, check=True, capture_output=True)
    page.goto(notebook.with_suffix(".html").as_uri(), wait_until="domcontentloaded")
    outputs = page.locator(".jp-OutputArea-output").all()
    assert len(outputs) == len(SHOWN)
    for source, output in zip(SHOWN, outputs, strict=True):
        assert output.inner_text().strip(), source
        assert output.locator("script").count() == 0, source
    assert "Answer at 0.5." in outputs[0].inner_text()
    assert outputs[3].locator("del, ins").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1300
    shot(page, "nbconvert")


def test_all_that_opens_is_known_here():
    assert {view.partition(":")[2] for view in _VIEWS.values()} == set(SHOWN.values()) - {
        "Builder",
        "Playground",
    }


def test_elsewhere_objects_are_as_they_were():
    code = "import toolkit as tk, sys; print(repr(tk.tokens('one two', 'gpt-4o'))); print('anywidget' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.endswith("False\n")
    assert "one" in told


def test_what_has_nothing_to_look_into_is_shown_as_it_is(made):
    empty = replace(made("", steps=0, top_logprobs=2).choices[0], logprobs_mode="raw_logprobs")
    data, _ = _bundle("toolkit.widgets.microscope:MicroscopeView", tk.microscope(empty))
    assert data["text/plain"].startswith("Microscope(0 steps")
    assert data["text/plain"].endswith(
        "Not opened as a widget: the completion has no tokens: there is no step to look at."
    )
    assert VIEW not in data


def test_what_a_notebook_keeps_says_what_it_lacks_and_why():
    data, _ = tk.few_shot(tk.Prompt("{x}"), [{"x": 1}])._repr_mimebundle_()
    note = (
        "Saved output without editing: no kernel runs, or this notebook is not trusted. Run its cell again."
    )
    assert note in data["text/html"]


@pytest.fixture
def hard_to_write(db, made):
    """Results of thirds, of long numbers and of missing values, over two models."""
    rows = [
        {"share": 1 / 3, "label": "a", "note": "x"},
        {"share": 123456.789, "label": "b"},
        {"share": 2, "label": "a"},
    ]
    store, cells, requests = Store(db), [], []
    for model in ("small", "large"):
        fingerprint = tk.Fingerprint({"model": model, "tokenizer": "t", "logprobs_mode": "raw_logprobs"})
        store.begin_run("s", fingerprint, [bytes([i]) for i in range(256)])
        for row in range(3):
            for temperature in (1 / 3, 2 / 3):
                answer = made("a", messages=f"JSON {row}", temperature=temperature, top_logprobs=2)
                times = {"seconds": None if row else 123.456789, "first_token_seconds": 0.123456789}
                named = replace(answer, model=model, system_fingerprint=fingerprint.id, **times)
                store.add([StoredCompletion(named, 0, 1)])
                if model == "small":
                    cells.append(Cell(answer.request.key, 1, {"row": row}))
                    requests.append(answer.request)
    store.define("s", {"rows": rows, "prompts": ["JSON"]}, requests, cells)
    results = tk.results(store)
    results.compare("temperature").grade(0, score=1 / 3)
    return results


def _views(results):
    pool = [{"text": "x", "label": "a", "note": None}, {"text": "y", "label": "b", "note": float("nan")}]
    prompt = tk.Prompt("{text}", examples=pool, answer="{label}", k=1)
    return {
        "compare": lambda: CompareView(results.compare("temperature", price=tk.LocalPrice(per_hour=1 / 3))),
        "compare of models": lambda: CompareView(results.compare("model")),
        "few-shot": lambda: Builder(prompt, [{"text": "a"}], "gpt-4o"),
        "microscope": lambda: MicroscopeView(tk.microscope(results[0])),
    }


NOTHINGS = re.compile(r"(?<!\w)(nan|NaN|<NA>|NaT|None|undefined|null)(?!\w)")
FRACTION = re.compile(r"(?<![\w.])\d[\d,]*\.\d+")
FINGERPRINT = re.compile(r"fp_\w+")


def _plain_to_read(text):
    assert NOTHINGS.findall(text) == []
    digits = {
        number: number.replace(",", "").replace(".", "").lstrip("0") for number in FRACTION.findall(text)
    }
    assert [number for number, significant in digits.items() if len(significant) > 4] == []
    assert FINGERPRINT.findall(text) == []


@pytest.mark.parametrize("name", ["compare", "compare of models", "few-shot", "microscope"])
def test_static_outputs_have_no_nothings_and_no_long_numbers(hard_to_write, name):
    view = _views(hard_to_write)[name]()
    _plain_to_read(unescape(re.sub(r"<[^>]*>", " ", view.html())))
    _plain_to_read(view.text())


@pytest.mark.parametrize("name", ["compare", "compare of models", "few-shot", "microscope"])
def test_widgets_have_no_nothings_and_no_long_numbers(hard_to_write, page, name):
    mount(page, _views(hard_to_write)[name]())
    if name == "compare":
        page.get_by_role("button", name="tokens and time").click()
        page.get_by_label("group", exact=True).select_option("seconds")
        page.locator(".cmp-group").first.wait_for()
    _plain_to_read(page.locator(".tk").inner_text())
