"""An engine, a selector, a grader and a widget from outside the package: a file and a line each, nothing else. Those
of CONTRIBUTING.md are run as they stand there."""

import importlib
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from browser import mount, unharmed
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from ngram_engine import NGramEngine

import toolkit as tk
from toolkit.engines.base import Engine
from toolkit.prompts.selectors import SELECTORS, Selector, register_selector
from toolkit.widgets.base import View
from toolkit.widgets.display_hook import _VIEWS, _bundle, register_view
from toolkit.widgets.engine_labels import labels
from toolkit.widgets.few_shot import Builder, prompt_code

ROOT = Path(__file__).parents[1]
TEXT = "\n\n".join(path.read_text("utf-8") for path in sorted((ROOT / "data" / "prompts").glob("*.yaml")))
BLOCK = re.compile(r"```(?:python|js|css)\n((?:#|//|/\*) (\w+\.\w+)\n?.*?)```", re.DOTALL)
POOL = [
    {"text": text, "label": label}
    for text, label in (("ab", "x"), ("abcdef", "y"), ("abcd", "x"), ("abc", "y"))
]
PROMPT = tk.Prompt("{text}", examples=POOL, answer="{label}", k=2)
ROWS = [{"text": "a text", "expected": "e"}, {"text": "a review", "expected": "@"}]


@pytest.fixture(autouse=True)
def _registered_for_one_test():
    before = [(table, dict(table)) for table in (SELECTORS, _VIEWS)]
    yield
    for table, content in before:
        table.clear()
        table.update(content)


@pytest.fixture
def documented(tmp_path, monkeypatch):
    """Imports a module of CONTRIBUTING.md: its code blocks are files of a folder outside the package."""
    blocks = {name: code for code, name in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8"))}
    assert blocks.keys() == {"dice.py", "longest.py", "graders.py", "share.py", "share.js", "share.css"}
    for name, code in blocks.items():
        (tmp_path / name).write_text(code, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module
    for name in blocks:
        sys.modules.pop(name.removesuffix(".py"), None)


@pytest.fixture(scope="module")
def ngram():
    return NGramEngine(TEXT)


# Engines


def test_a_sweep_on_it_is_stored_and_resumed(db):
    sweep = tk.sweep("{text}", ROWS, tk.grid(temperature=[0, 0.7], seed=[1, 2], max_tokens=30), repeats=2)
    first = NGramEngine(TEXT)
    part = sweep.run(first, db, max_tokens=200)
    assert 0 < len(part) < 12
    full = sweep.run(first, db)
    assert len(full) == 2 * (1 + 2) * 2  # at temperature 0 a seed changes nothing
    again = NGramEngine(TEXT)
    assert len(sweep.plan(again, db).missing) == 0
    stored = sweep.run(again, db)
    assert (first.generated_tokens > 0, again.generated_tokens) == (True, 0)
    assert stored.frame()["text"].tolist() == full.frame()["text"].tolist()
    assert set(stored.frame()["model"]) == {"ngram"}
    generated = [token.text for token in stored[0].tokens]
    assert "".join(generated) == stored[0].text  # by the vocabulary in the store
    assert tk.results(db).fingerprints == {again.fingerprint.id: again.fingerprint}


def test_its_results_are_compared_counted_and_measured_as_any(ngram):
    cells = tk.cases(greedy={"temperature": 0}, seeded={"seed": 3}, drawn={})
    results = tk.sweep("a text", cells, repeats=4).run(ngram, ":memory:")
    compared = results.compare("case", rows="repeat").frame()
    assert compared.shape == (4, 3)
    assert compared.nunique().to_dict() == {"greedy": 1, "seeded": 1, "drawn": 4}
    report = results.determinism()
    assert "1 of 3 requests gave different outputs over 12 runs" in str(report)
    assert "Sampled without a seed, so that runs differ by design: 1 of 3" in str(report)
    costs = results.costs(by=[], price=tk.LocalPrice(per_hour=3.6))
    tokens = results.frame()["completion_tokens"].sum()
    assert costs.total["completion_tokens"] == tokens == ngram_tokens(results)
    assert costs.total["cost"] == pytest.approx(0.001 * costs.total["machine_seconds"])


def ngram_tokens(results):
    return sum(len(completion.token_ids) for completion in results)


def counted(before):
    """(V,) the probability of each character after some others, by looking for them in the text."""
    characters = sorted(set(TEXT))
    followers = [
        paragraph[i + len(before) : i + len(before) + 1]
        for paragraph in TEXT.split("\n\n")
        for i in range(len(paragraph))
        if paragraph.startswith(before, i)
    ]
    numbers = np.array([followers.count("") + 1, *(followers.count(c) + 1 for c in characters)])
    return numbers / numbers.sum()


def test_its_log_probabilities_are_those_it_draws_by(ngram):
    completion = ngram.chat("Write a ", temperature=1, seed=5, max_tokens=8, top_logprobs=-1)
    assert np.exp(completion.top_logprobs).sum(axis=1) == pytest.approx(
        np.ones(len(completion.token_ids)), 1e-5
    )
    answers = [ngram.complete("Classify the", seed=seed, max_tokens=1) for seed in range(600)]
    drawn = np.bincount([int(answer.token_ids[0]) for answer in answers], minlength=len(ngram.vocabulary))
    expected = counted("the")
    assert abs(drawn[int(expected.argmax())] / 600 - expected.max()) < 4 * np.sqrt(0.25 / 600)
    (scored,) = ngram.score("Classify the", [" "], top_logprobs=3)
    assert float(scored.logprobs[0]) == pytest.approx(float(np.log(expected[ngram.encode(" \n")[0]])), 1e-5)
    (same,) = ngram.score("Write a \n", [completion.token_ids])
    assert same.logprobs == pytest.approx(completion.logprobs)
    assert tk.logprobs(completion).summary()["tokens"][0] == len(completion.token_ids)


def test_it_is_asked_in_every_way(ngram):
    settings = {"temperature": 0, "max_tokens": 12, "top_logprobs": 2}
    completion = ngram.chat("a text", **settings)
    assert completion.text == ngram.complete("a text\n", **settings).text
    *_, last = ngram.stream("a text", **settings)
    assert last.completion.text == completion.text
    branched = ngram.branch(completion, at=4, token="z")
    assert branched.text.startswith(completion.text[:4] + "z")
    documents = ngram.score(None, ["a text of its own"])
    assert len(documents[0].token_ids) == 17
    assert ngram.count("a text") == 7
    assert ngram.window == 2000
    labelled = tk.classify(ngram, "{text} is ", ROWS, ["a list", "positive"], store=":memory:")
    assert labelled.probabilities.sum(axis=1) == pytest.approx([1, 1])


def test_its_tokens_are_counted_and_cut_by_itself(ngram):
    assert repr(tk.tokens("a ü", ngram)) == "a| |ü"
    count = tk.count_tokens([{"role": "user", "content": "a text"}], ngram)
    assert (int(count), count.estimate, count.how) == (7, False, "the tokenizer of ngram")
    assert tk.count_many(["", "a", "a text"], ngram).tolist() == [0, 1, 6]


def test_the_playground_runs_it(ngram):
    other = NGramEngine("another text")
    assert labels([ngram, other]) == tuple(f"ngram ({e.fingerprint.id})" for e in (ngram, other))
    playground = tk.playground(ngram, "a text", temperature=0.5, max_tokens=20)
    draft = playground.content["draft"]
    sent = exchanged(playground, "prompt_size", draft=draft)
    assert (sent["tokens"], sent["window"], sent["how"]) == (7, 2000, "exact, by the tokenizer of ngram")
    assert (
        "engine = ...  # the NGramEngine of the playground"
        in exchanged(playground, "code", draft=draft)["code"]
    )
    assert exchanged(playground, "run", draft=draft) == {"errors": {}}
    deadline = time.monotonic() + 30
    while playground.running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert playground.history[0].text == playground.replies[0].texts[0]
    assert "Playground on ngram, 1 answer" in playground.text()


def exchanged(widget, command, **arguments):
    """What a widget answers to its frontend's message, as Jupyter delivers it."""
    sent = []
    widget.send = lambda content, buffers=None: sent.append(content)
    widget._handle_custom_msg({"id": 1, "command": command, "arguments": arguments}, [])
    (reply,) = (content for content in sent if content.get("reply_to") == 1)
    return reply.get("value", reply.get("error"))


@pytest.mark.parametrize("name", sorted(Engine.__abstractmethods__))
def test_an_engine_that_lacks_a_member_cannot_be_made(name):
    lacking = type("Lacking", (NGramEngine,), {name: vars(Engine)[name]})
    with pytest.raises(TypeError, match=f"abstract class Lacking .*{name}"):
        lacking(TEXT)


def test_what_it_lacks_is_an_error_and_not_ignored(ngram):
    with pytest.raises(tk.RequestError, match="the n-gram model has no min_p, top_p"):
        ngram.chat("a text", top_p=0.5, min_p=0.1)
    results = tk.sweep("a ☃", tk.grid(top_k=[0, 5])).run(ngram, ":memory:")
    assert results.frame()["error"].tolist() == [
        "the n-gram model has no character '☃'",
        "the n-gram model has no top_k",
    ]
    with pytest.raises(ValueError, match="does not say how its engine was made"):
        tk.sweep("a text").run_across([ngram])


def test_a_window_that_no_fingerprint_has_is_not_told():
    class Windowless(NGramEngine):
        fingerprint = tk.Fingerprint({"engine": "ngram", "model": "ngram"})

    engine = Windowless(TEXT)
    with pytest.raises(tk.NotTold, match="fingerprint of ngram has no max_model_len"):
        _ = engine.window
    assert tk.sweep("a text").plan(engine, ":memory:").window is None


def test_the_documented_engine(documented):
    engine = documented("dice").Dice()
    assert isinstance(engine, tk.Engine)
    results = tk.sweep("Throw.", tk.grid(seed=[1, 2, None], max_tokens=20), repeats=3).run(engine, ":memory:")
    assert results.frame()["text"].str.fullmatch("[1-6]{20}").all()
    assert results.frame()["text"].nunique() == 2 + 3
    assert "1 of 3 requests gave different outputs" in str(results.determinism())
    with pytest.raises(tk.RequestError, match="dice have no temperature, top_p"):
        engine.chat("Throw.", temperature=0.5, top_p=0.5)
    with pytest.raises(tk.RequestError, match="dice have no response_format"):
        engine.chat("Throw JSON.", response_format={"type": "json_object"})
    *_, last = engine.stream("Throw.", seed=1, max_tokens=20)
    assert last.completion.text == results[0].text


# Selectors


def test_the_documented_selector_is_named_in_a_file_and_in_a_sweep(documented, ngram, tmp_path):
    documented("longest")
    prompt = PROMPT.with_(selector={"name": "longest", "at_least": 3})
    file = prompt.save(tmp_path / "prompt.yaml")
    assert "name: longest" in file.read_text()
    assert tk.Prompt.load(file) == prompt
    assert prompt.chosen(ROWS[0]) == [1, 2]
    axis = tk.grid(selector=["first", "longest", {"name": "longest", "at_least": 5}], temperature=0)
    results = tk.sweep(PROMPT, ROWS[:1], axis).run(ngram, ":memory:")
    examples = {row["selector"]: row["examples"] for row in results.frame().to_dict("records")}
    assert examples == {"first": (0, 1), "longest": (1, 2), "longest(at_least=5)": (1,)}
    assert "'name': 'longest'" in prompt_code(PROMPT.with_(selector="longest"))


def test_a_sweep_that_names_one_runs_where_its_file_is_not_imported(documented, tmp_path):
    module = documented("longest")
    cloudpickle.register_pickle_by_value(module)  # as it is with a class of a notebook
    sweep = tk.sweep(PROMPT, ROWS[:1], tk.grid(selector=["longest"]))
    pickled = cloudpickle.dumps(sweep)
    cloudpickle.unregister_pickle_by_value(module)
    code = (
        "import sys, cloudpickle; sweep = cloudpickle.load(sys.stdin.buffer)\n"
        "((request, labels),) = sweep.requests({}); print(request.key, labels)"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, input=pickled, capture_output=True, check=True).stdout
    ((request, made_of),) = sweep.requests({})
    assert printed.decode() == f"{request.key} {made_of}\n"
    assert made_of["selector"] == "longest"


def test_an_unknown_name_lists_what_is_registered(tmp_path):
    (tmp_path / "prompt.yaml").write_text("template: '{text}'\nselector: longst\n")
    registered = (
        r"unknown selector 'longst': Registered: first, random, balanced, similar, mmr, and your own once"
    )
    with pytest.raises(ValueError, match=registered):
        tk.Prompt.load(tmp_path / "prompt.yaml")

    @register_selector("longest")
    class Longest(Selector):
        def select(self, pool, item, k):
            return [0]

    with pytest.raises(ValueError, match=r"'longst': did you mean 'longest'\? Registered: .*, mmr, longest"):
        tk.grid(selector=["longst"])
    assert list(Builder(PROMPT, ROWS, "gpt-4o").content["selectors"])[-1] == "longest"


def test_a_selector_needs_a_name_of_its_own():
    class Nameless(Selector):
        def select(self, pool, item, k):
            return [0]

    prompt = PROMPT.with_(selector=Nameless())
    assert prompt.chosen(ROWS[0]) == [0]
    with pytest.raises(
        ValueError, match=r'Nameless has no name .* put @register_selector\("nameless"\) above'
    ):
        prompt.save("prompt.yaml")
    with pytest.raises(TypeError, match=r'registered by name, @register_selector\("longest"\), got <class'):
        register_selector(Nameless)
    with pytest.raises(TypeError, match=r"registered by name, .* got ''"):
        register_selector("")
    with pytest.raises(
        ValueError, match=r"'random' is taken by toolkit\.prompts\.selectors\.Random: choose another"
    ):
        register_selector("random")(Nameless)
    with pytest.raises(TypeError, match=r"abstract class Selecting .*select"):
        register_selector("none")(type("Selecting", (Selector,), {}))()


def test_a_selector_is_not_named_by_what_it_extends():
    class Later(SELECTORS["random"]):
        pass

    assert str(Later(seed=3)) == "later(seed=3)"
    with pytest.raises(ValueError, match="Later has no name"):
        Later().to_dict()


def test_a_class_that_is_defined_again_takes_its_own_place():
    def define(first):
        @register_selector("own")
        @dataclass(frozen=True)
        class Own(Selector):
            must: int

            def select(self, pool, item, k):
                return [first]

        return Own

    old, new = define(0), define(1)
    assert SELECTORS["own"] is new
    assert PROMPT.with_(selector={"name": "own", "must": 1}).chosen(ROWS[0]) == [1]
    assert old(2).to_dict() == {"name": "own", "must": 2}
    widget = Builder(PROMPT, ROWS, "gpt-4o")  # shows the options of all, also of one that must be set
    assert widget.content["selectors"]["own"] == {"must": None}


# Graders


def test_the_documented_grader(documented, ngram, db):
    grader = documented("graders").mentions_expected
    cells = tk.grid(temperature=[0, 1], order_seed=[1, 2], max_tokens=40)
    results = tk.sweep(PROMPT, ROWS, cells).run(ngram, db)
    table = results.frame()
    right = np.array([e in t.lower() for e, t in zip(table["row.expected"], table["text"], strict=True)])
    assert 0 < right.sum() < len(right)
    assert results.costs(by=[], score=grader).total["correct"] == pytest.approx(right.mean())
    by_setting = results.sensitivity(score=grader)
    assert by_setting["mean"].tolist() == pytest.approx(
        [right[table["temperature"] == t].mean() for t in (0, 1)], abs=1e-4
    )
    comparison = results.compare("temperature")
    for i, row in enumerate(table.to_dict("records")):
        comparison.grade(i, score=float(grader(row)))
    assert results.frame()["grade.score"].tolist() == right.astype(float).tolist()


@pytest.mark.parametrize("value", [True, np.True_, 1, 0.25, np.float32(0.5), np.int64(0)])
def test_a_grader_gives_a_number_or_yes_or_no(ngram, value):
    results = tk.sweep("a text", tk.grid(temperature=0)).run(ngram, ":memory:")
    assert results.costs(score=lambda row: value).total["correct"] == float(value)


@pytest.mark.parametrize("value", ["0.5", "yes", None, float("nan"), float("inf"), [1], tk.Grade(score=1)])
def test_a_grader_that_gives_something_else_is_refused(ngram, value):
    results = tk.sweep("a text", tk.grid(temperature=0)).run(ngram, ":memory:")
    message = f"score must give a number from 0 to 1, got {re.escape(repr(value))} for "
    for measure in (results.costs, results.determinism):
        with pytest.raises(TypeError, match=message):
            measure(score=lambda row: value)


# Widgets


def test_the_documented_widget(documented):
    share = documented("share").Share("<b>valid</b>", 0.4567)
    data, _ = _bundle(_VIEWS["share:Share"], share)
    assert data["text/html"] == "<b>&lt;b&gt;valid&lt;/b&gt;</b> 46 %"
    assert data["text/plain"] == "<b>valid</b>: 46 %"
    assert "application/vnd.jupyter.widget-view+json" in data
    widget = documented("share").ShareView(share)
    assert exchanged(widget, "percent", digits=2) == "45.67 %"
    assert "unexpected keyword argument 'numbers'" in exchanged(widget, "percent", numbers=2)


def test_a_notebook_opens_it_for_its_class(documented, tmp_path):
    documented("share")
    cells = [
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport toolkit\nfrom share import Share, ShareView",
        "Share('valid', 0.4567)",
        "from toolkit.widgets.display_hook import register_view\n"
        "class Part(Share): pass\nclass PartView(ShareView): pass\n"
        "register_view('__main__:Part', '__main__:PartView')",
        "Part('part', 0.1)",
    ]
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    for cell, text in ((notebook.cells[1], "valid: 46 %"), (notebook.cells[3], "part: 10 %")):
        (output,) = cell.outputs
        assert output.data["text/plain"] == text
        assert "application/vnd.jupyter.widget-view+json" in output.data


def test_the_documented_widget_in_a_browser(documented, page):
    module = documented("share")
    mount(page, module.ShareView(module.Share("valid", 0.4567)))
    page.get_by_role("button", name="valid").click()
    page.get_by_text("45.7 %").wait_for()
    assert page.locator("output").evaluate("e => getComputedStyle(e).marginLeft") != "0px"
    unharmed(page)


@pytest.mark.parametrize("name", ["share.Share", "share:", ":Share", "a:b:c", "", View])
def test_a_class_is_named_by_module_and_name(name):
    with pytest.raises(ValueError, match=f'a class is named "module:Class", .* got {re.escape(repr(name))}'):
        register_view(name, "share:ShareView")


def test_a_widget_says_what_it_lacks(documented):
    class Bare(View):
        pass

    with pytest.raises(NotImplementedError, match=r"Bare has no html\(\)"):
        Bare({}).html()
    with pytest.raises(NotImplementedError, match=r"Bare has no text\(\)"):
        Bare({}).text()
