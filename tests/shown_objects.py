"""Every object of the package that shows itself as HTML, with a text in each of its fields."""

import dataclasses
from types import SimpleNamespace

import numpy as np
from ngram_engine import NGramEngine

import toolkit as tk
from toolkit.analysis.determinism.report import determinism
from toolkit.chat.conversation import Exchange
from toolkit.chat.tool_loop import ToolRun, ToolStep
from toolkit.core.choice import Choice
from toolkit.core.completion import Completion, Usage
from toolkit.core.fingerprint import Difference
from toolkit.core.request import Request
from toolkit.experiments.classify import Classification
from toolkit.experiments.explain_difference import Explanation
from toolkit.experiments.ladder_report import Ladder, Rung
from toolkit.experiments.schema_cost import Price
from toolkit.prompts.gallery import Entry, Gallery
from toolkit.prompts.rendered import Rendered
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store
from toolkit.structured.json_schema_check import Violation
from toolkit.structured.tools import ToolCall
from toolkit.structured.verdict import Verdict
from toolkit.widgets.base import View
from toolkit.widgets.comparison import CompareView
from toolkit.widgets.completion import CompletionView
from toolkit.widgets.costs import CostsView
from toolkit.widgets.determinism import DeterminismView
from toolkit.widgets.few_shot import Builder
from toolkit.widgets.logprobs import LogprobsView
from toolkit.widgets.microscope import MicroscopeView
from toolkit.widgets.playground import Playground
from toolkit.widgets.playground_reply import Reply
from toolkit.widgets.tokens import TokensView

TOKENS = 4
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def shown_objects(text, folder):
    """Name → a function that makes the object. folder: for stores."""
    results = _results(text, folder / "run.db")
    scored = _completion(text, logprobs=True)
    branch = dataclasses.replace(scored, choices=(_choice(text, [0, 2, 1, 3]),))
    raw, raw_branch = (_raw(completion) for completion in (scored, branch))
    return {
        "Verdict": lambda: Verdict(text, text, (Violation(text, text, text, text, text),), text, text),
        "Rendered": lambda: Rendered(_messages(text), (text,), {text: 2}),
        "Prompt": lambda: tk.Prompt(
            text + " {x}", system=text, examples=[{"x": text, "y": text}], answer="{y}"
        ),
        "Prompt of code": lambda: tk.Prompt(text + " {x:d}", system=text),
        "Entry": lambda: _entry(text),
        "Gallery": lambda: Gallery([_entry(text)] * 2),
        "Completion": lambda: _completion(text),
        "Completion with an error": lambda: _completion(text, error=text),
        "Fingerprint": lambda: _fingerprint(text),
        "Difference": lambda: Difference({text: (text, text * 2), "device.name": ([text, 1], [2])}),
        "Difference of nothing": lambda: Difference(),
        "ToolRun": lambda: ToolRun(
            _messages(text), (ToolStep(_completion(text), ((_call(text), text, True),)),), False, text
        ),
        "Conversation": lambda: _conversation(text),
        "Plan": lambda: _plan(text),
        "Results": lambda: results,
        "Table": lambda: results.summary(["case", "text"]),
        "Comparison": lambda: results.compare("case"),
        "Comparison of numbers": lambda: results.compare("case", "completion_tokens"),
        "Costs": lambda: results.costs("case", tk.ModelPrice(text, 1, 2), at=[tk.ModelPrice(text, 1, 2)]),
        "Determinism": lambda: results.determinism(by="case"),
        "Determinism of rungs": lambda: determinism(
            results._table.assign(rung=text + results._table["system_fingerprint"]),
            results._store,
            (),
            "rung",
        ),
        "Classification": lambda: _classification(text),
        "Explanation": lambda: _explanation(text, results),
        "Price": lambda: _price(text),
        "Ladder": lambda: _ladder(text, results),
        "Calibration": lambda: tk.calibration([0.1, 0.9, 0.8], [False, True, True]),
        "Fork": lambda: tk.fork(scored, branch),
        "Tree": lambda: tk.tree([scored, branch]),
        "Logprobs": lambda: tk.logprobs(scored),
        "Tokens": lambda: tk.tokens(text, "gpt-4"),
        "Step": lambda: tk.microscope(raw).at(1),
        "CompletionView": lambda: CompletionView(scored),
        "CompletionView of an error": lambda: CompletionView(_completion(text, error=text)),
        "LogprobsView": lambda: LogprobsView(tk.logprobs(scored)),
        "TokensView": lambda: TokensView(tk.tokens(text, "gpt-4"), tk.tokens(text, "gpt-4o")),
        "MicroscopeView": lambda: _microscope_view(raw, raw_branch),
        "CompareView": lambda: CompareView(results.compare("case")),
        "CostsView": lambda: CostsView(results.costs("case", tk.ModelPrice(text, 1, 2))),
        "DeterminismView": lambda: DeterminismView(results.determinism(by="case")),
        "Playground": lambda: _playground(text, scored),
        "Builder": lambda: Builder(
            tk.Prompt(text + " {x}", system=text, examples=[{"x": text, "y": text}] * 3, answer="{y}", k=2),
            [{"x": text}],
            "gpt-4o",
        ),
    }


def page_of(shown):
    """The HTML of an object, or of a widget without its kernel."""
    return shown.html() if isinstance(shown, View) else shown._repr_html_()


def _vocabulary(text):
    return [text.encode(), b" a", b"\n" + text.encode(), b"b"]


def _choice(text, ids, index=0, **fields):
    steps = len(ids)
    top = np.tile(np.arange(TOKENS, dtype=np.int32), (steps, 1))
    return Choice(
        index, "".join(_vocabulary(text)[i].decode() for i in ids), text, text, np.array(ids, np.int32),
        np.full(steps, -1.4, np.float32), np.ones(steps, np.int32), top,
        np.full((steps, TOKENS), -1.4, np.float32), logprobs_mode=text, vocabulary=lambda: _vocabulary(text),
        **fields,
    )  # fmt: skip


def _call(text):
    return ToolCall(text, text, text)


def _messages(text):
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": PIXEL + text}},
             {"type": "image_url", "image_url": {"url": "https://x/" + text}}]  # fmt: skip
    return (
        {"role": text, "content": text},
        {"role": "user", "content": text},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": text, "tool_calls": [_call(text).to_openai()]},
        {"role": "tool", "content": text, "tool_call_id": text},
    )


def _request(text, number=0):
    schema = {"title": text, "type": "object", "properties": {text: {"enum": [text]}}}
    request = Request.chat(f"{text} {number}", response_format=schema, temperature=0.5, stop=[text]).resolve(
        {}
    )
    object.__setattr__(request, "notes", {text: text})
    return request


def _completion(text, error=None, logprobs=False, number=0, system=None, ids=(0, 1, 2, 3)):
    choice = _choice(text, list(ids))
    calls = () if logprobs else (_call(text),)
    choice = dataclasses.replace(choice, tool_calls=calls)
    return Completion(
        _request(text, number), (Choice(0, "", "error"),) if error else (choice,), Usage(7, len(ids), 2), text,
        system or text, text, 1_700_000_000.5, 0.5, 0.25, np.arange(3, dtype=np.int32), 0, error=error,
        notes={"branch": {"at": 1, "token": text, "counted anew": [text]}},
    )  # fmt: skip


def _fingerprint(text, number=0):
    return tk.Fingerprint(
        {"model": text, "tokenizer": text, "device": {"kind": text, "name": [text]}, text: number},
        {text: text},
    )


def _results(text, path):
    store = Store(path)
    cells, requests = [], []
    systems = [_fingerprint(text, number) for number in range(2)]
    for row in range(2):
        for number, system in enumerate(systems):
            store.begin_run("s", system, _vocabulary(text))
            for repeat in range(2):
                ids = (0, 1, 2, 3) if repeat == number else (0, 2, 1, 3)
                store.add(
                    [StoredCompletion(_completion(text, number=row, system=system.id, ids=ids), repeat)]
                )
        request = _request(text, row)
        requests.append(request)
        cells.append(Cell(request.key, 2, {"row": row, "case": f"{text}{row}", "prompt": text}))
    failed = dataclasses.replace(_completion(text, error=text, number=9), system_fingerprint=systems[0].id)
    store.add([StoredCompletion(failed, 0)])
    requests.append(failed.request)
    cells.append(Cell(failed.request.key, 1, {"row": 0, "case": f"{text}1", "prompt": text}))
    store.define(text, {"rows": [{text: text}, {text: 1}], "prompts": [text]}, requests, cells)
    results = tk.results(store)
    results.compare("case").grade(0, thumb=1, note=text)
    return results


def _entry(text):
    prompt = tk.Prompt(text + " {x}", system=text)
    return Entry(text, text, text, text, (text,), prompt, ({"x": text},))


def _conversation(text):
    talk = tk.Conversation(NGramEngine("ab", 1), text)
    talk._exchanges = (Exchange({"role": "user", "content": text}, text, text, Usage(1, 2), text),)
    return talk


def _engine(text):
    class Named(NGramEngine):
        model = text

    return Named(text + "\nuser system xy 0123456789", 2)


def _plan(text):
    sweep = tk.sweep(text + " {x}", [{"x": text}], tk.grid(seed=range(2), temperature=1))
    plan = sweep.plan(_engine(text), ":memory:")
    return dataclasses.replace(plan, window=None) if dataclasses.is_dataclass(plan) else plan


def _classification(text):
    logprobs = np.log([[0.6, 0.3], [0.2, 0.7]])
    rows = ({text: text, "expected": text}, {text: text})
    return Classification((text, "b"), rows, logprobs, np.log([[0.5, 0.5]]), (None, text))


def _explanation(text, results):
    report = results.determinism()
    a, b = report.systems[:2]
    return Explanation(a, b, {text: b, "VAR": a}, {text: {text: text}, "VAR": {"env": {"VAR": text}}}, report)


def _price(text):
    row = {
        "text": text, "verdict": text, "valid": True, "correct": True, "completion_tokens": 3, "prompt_tokens": 2,
        "seconds": 1.0, "row": 0, "thinking_tokens": 0, "thinking_seconds": 0.0, "removed_mass": 0.5,
    }  # fmt: skip
    return Price(text, ({**row, "arm": text}, {**row, "arm": "b"}), {}, {})


def _ladder(text, results):
    names = {fingerprint: f"{text}{fingerprint}" for fingerprint in results.fingerprints}
    table = results._table.assign(rung=results._table["system_fingerprint"].map(names))
    report = determinism(table, results._store, (), "rung")
    rungs = tuple(Rung(str(name), text) for name in report.systems)
    return Ladder(report, rungs, (text,))


def _raw(completion):
    """The same, as a request without a response format would have it."""
    choice = dataclasses.replace(completion.choices[0], logprobs_mode="raw_logprobs")
    request = Request.chat("Hi", temperature=0.5, stop=completion.request.sampling.stop).resolve({})
    return dataclasses.replace(completion, choices=(choice,), request=request)


def _microscope_view(completion, branch):
    view = MicroscopeView(tk.microscope(completion), SimpleNamespace(branch=lambda *_: branch))
    view._branch(1, 2, "card")
    return view


def _playground(text, completion):
    view = Playground([_engine(text), _engine(text + "b")], text, stop=[text])
    for state, error in (("done", ""), ("error", text)):
        reply = Reply(1, completion.request, view.engines[0], state, [text], completion, text, text, error)
        view._replies.append(reply)
    return view
