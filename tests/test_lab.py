"""Widgets in JupyterLab itself, and in Notebook 7: a real kernel, Lab's own messages, keyboard and themes."""

import time

import pytest
from browser import FEW_SHOT_AXES, Lab, gated
from nbformat import v4, write as written

from toolkit.store.store import Store

HEAD = """
import numpy as np
import toolkit as tk
from toolkit.core.choice import Choice
from toolkit.core.completion import Completion, Usage
from toolkit.core.request import Request

names = ["The", " sea", " sky", " lamp", " was", " is", " dark", " deep", ".", "<script>window.PWNED = 1</script>"]
vocabulary = [name.encode() for name in names + [f" word{i}" for i in range(990)]]
token_ids = np.array([0, 1, 4, 6, 8], np.int32)
rows, draw = np.arange(5), np.random.default_rng(0)
logits = draw.normal(size=(5, 1000))
logits[:, :10] += 4
logits[rows, token_ids] += 2
logprobs = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)
top_ids = np.argsort(-logprobs)[:, :20].astype(np.int32)
choice = Choice(
    0, "The sea was dark.", "stop", None, token_ids, logprobs=logprobs[rows, token_ids],
    ranks=1 + (logprobs > logprobs[rows, token_ids][:, None]).sum(1).astype(np.int32), top_ids=top_ids,
    top_logprobs=np.take_along_axis(logprobs, top_ids, 1), logprobs_mode="raw_logprobs",
    vocabulary=lambda: vocabulary,
)
completion = Completion(
    request=Request.chat("Tell a story", temperature=0.9, top_logprobs=20).resolve({}), choices=(choice,),
    usage=Usage(7, 5), model="by-hand", system_fingerprint="fp_0000000000", id="0" * 16, created=1.7e9,
)
"""
"""A completion made by hand, for the widgets of all cells."""
RUN = """
from dataclasses import replace
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store

system = tk.Fingerprint({"model": "by-hand", "tokenizer": "t", "logprobs_mode": "raw_logprobs"})
with Store("run.db") as store:
    run = store.begin_run("s", system, vocabulary)
    cells = []
    for row, temperature, repeat in [(r, t, n) for r in range(3) for t in (0.5, 1.0) for n in range(2)]:
        asked = Request.chat(f"Question {row}", temperature=temperature, top_logprobs=20).resolve({})
        other = bool(repeat and temperature > 0.9)
        said = "".join(names[i] for i in (0, 1, 4, 7, 8)) if other else choice.text
        ids = np.array([0, 1, 4, 7, 8], np.int32) if other else token_ids
        one = replace(choice, text=said, token_ids=ids)
        made = replace(completion, request=asked, choices=(one,), system_fingerprint=system.id, seconds=0.5)
        store.add([StoredCompletion(made, repeat, run)])
        cells += [] if repeat else [Cell(asked.key, 2, {"row": row})]
    requests = [store.completion(cell.request, system.id, 0).request for cell in cells]
    store.define("s", {"prompts": ["Question"], "rows": [{"n": n} for n in range(3)]}, requests, cells)
    store.end_run(run, 2.0, None)
results = tk.results("run.db")
"""
"""A stored run made by hand: three rows, two temperatures, two repeats, which differ at the higher one."""
CELLS = {
    "microscope": """
from toolkit.widgets.microscope import MicroscopeView
view = MicroscopeView(tk.microscope(completion))
view
""",
    "completion": "results[0]",
    "logprobs": "tk.logprobs(completion)",
    "tokens": "tk.tokens('naïve tokens', 'gpt-4o')",
    "compare": "results.compare('repeat')",
    "determinism": "results.determinism()",
    "costs": "results.costs(at=['gpt-4o-mini'])",
    "few_shot": "tk.few_shot(tk.Prompt('{x}', examples=[{'x': 'one', 'answer': '1'}]), [{'x': 'two'}])",
    "playground": "tk.playground(messages='Hello')",
}
"""Of each widget the cell that shows it."""
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


PLACES = {
    "lab-light": ("jupyterlab", "light"),
    "lab-dark": ("jupyterlab", "dark"),
    "notebook": ("notebook", "light"),
}


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The notebook with a cell for each widget, and an empty one."""
    path = tmp_path_factory.mktemp("notebook") / "widgets.ipynb"
    cells = [v4.new_code_cell(source.strip()) for source in (HEAD, RUN, *CELLS.values(), "")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}  # else Lab asks for one
    written(v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


@pytest.fixture(scope="module", params=PLACES)
def opened(notebook, chromium, warm_python, tmp_path_factory, request):
    """The notebook in a theme, every cell run."""
    app, theme = PLACES[request.param]
    lab = Lab(tmp_path_factory.mktemp(request.param), warm_python, app)
    context = chromium.new_context(viewport={"width": 1400, "height": 1000}, reduced_motion="reduce")
    page = gated(context.new_page())
    page.place, page.folder = request.param, lab.notebooks
    try:
        lab.run(page, notebook, THEMES[theme])
        page.locator(".tk").nth(len(CELLS) - 1).wait_for(timeout=90_000)
        if app == "notebook":
            page.errors.clear()  # it has one of its own, on an empty notebook too
        yield page
        page.evaluate("() => [...jupyterapp.shell.widgets('main')][0].sessionContext.shutdown()")
    finally:
        context.close()
        lab.close()


def shown(page, name):
    """The widget of that name."""
    return page.locator(".tk").nth(list(CELLS).index(name))


def asked(page, code):
    """What the notebook's kernel says to an expression, by running it in the notebook's last cell."""
    page.evaluate(
        """async (code) => {
        const book = [...jupyterapp.shell.widgets('main')][0].content;
        book.activeCellIndex = book.widgets.length - 1;
        book.activeCell.model.sharedModel.setSource(code);
        await jupyterapp.commands.execute('notebook:run-cell');
        }""",
        code,
    )
    return page.locator(".jp-Cell").last.locator(".jp-OutputArea-output").last.text_content().strip()


def cells(page):
    """What Lab's own shortcuts would change: the cells' texts and kinds, and the mode."""
    return page.evaluate(
        """() => [...jupyterapp.shell.widgets('main')][0].content.widgets
        .map(cell => [cell.model.type, cell.model.sharedModel.getSource()])"""
    )


def shortcuts_rest(page, button):
    """Keys that add, cut, delete and turn cells do nothing while a widget's button has the focus."""
    before = cells(page)
    button.focus()
    for key in ("a", "b", "d", "d", "x", "z", "m", "y", "0", "0", "Shift+M"):
        page.keyboard.press(key)
    assert cells(page) == before
    assert button.evaluate("e => e === document.activeElement")


def of_this_machine(page):
    assert page.refused == []
    assert page.errors == []
    assert page.evaluate("window.PWNED") is None


def pictured(page, name):
    widget = shown(page, name)
    widget.scroll_into_view_if_needed()
    page.wait_for_timeout(100)
    FEW_SHOT_AXES.mkdir(parents=True, exist_ok=True)
    widget.screenshot(path=FEW_SHOT_AXES / f"{page.place}-{name}.png")


def overlapping(widget):
    """Terms whose description lies over them."""
    return widget.evaluate(
        """root => [...root.querySelectorAll("dt")].filter(dt => {
            const place = (one) => {
                const range = document.createRange();
                range.selectNodeContents(one);
                return range.getBoundingClientRect();
            };
            const a = place(dt), b = place(dt.nextElementSibling);
            const beside = a.right <= b.left + 1 || b.right <= a.left + 1;
            const below = a.bottom <= b.top + 1 || b.bottom <= a.top + 1;
            return a.width && b.width && !beside && !below;
        }).map(dt => dt.textContent)"""
    )


def crowded(widget):
    """Parts of lists that follow each other on a line without a space."""
    return widget.evaluate(
        """root => [...root.querySelectorAll("dl > *, .tk-bar > *")].filter(one => {
            const next = one.nextElementSibling;
            if (!one.offsetWidth || !next?.offsetWidth) return false;
            const a = one.getBoundingClientRect(), b = next.getBoundingClientRect();
            return a.top < b.bottom && b.top < a.bottom && b.left - a.right < 3;
        }).map(one => one.textContent)"""
    )


def drawn(widget):
    return widget.locator(".tk-mic-table tbody").text_content()


def moved(page, widget, before):
    page.wait_for_function(
        "([body, was]) => body.textContent !== was",
        arg=[widget.locator(".tk-mic-table tbody").element_handle(), before],
    )
    return drawn(widget)


def test_the_microscope(opened):
    page = opened
    widget = shown(page, "microscope")
    widget.scroll_into_view_if_needed()
    was = drawn(widget)
    slider = widget.get_by_role("slider", name="temperature", exact=True)
    box = slider.bounding_box()
    assert widget.bounding_box()["width"] > 600
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.45, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, middle, steps=15)
    page.mouse.up()
    was = moved(page, widget, was)
    assert float(slider.input_value()) < 0.6
    slider.focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    was = moved(page, widget, was)
    widget.locator("[aria-selected]").focus()
    page.keyboard.press("Home")
    was = moved(page, widget, was)
    page.keyboard.press("ArrowRight")
    moved(page, widget, was)
    shortcuts_rest(page, widget.get_by_role("button", name="Creative"))
    shortcuts_rest(page, widget.locator(".tk-mic-pick").first)
    pictured(page, "microscope")
    expected = f"(1, {float(slider.input_value())})"
    assert asked(page, "view.displayed_step.step, view.displayed_step.settings.temperature") == expected
    of_this_machine(page)


@pytest.mark.parametrize("name", CELLS)
def test_each_is_drawn_within_its_cell_and_asks_nobody(opened, name):
    page = opened
    widget = shown(page, name)
    pictured(page, name)
    box, cell = widget.bounding_box(), page.locator(".jp-Cell:not(.jp-Notebook-footer)").first.bounding_box()
    assert box["height"] > 20
    assert box["x"] + box["width"] <= cell["x"] + cell["width"] + 1
    assert overlapping(widget) == []
    assert crowded(widget) == []
    of_this_machine(page)


@pytest.mark.parametrize(
    "name", ["completion", "logprobs", "compare", "determinism", "costs", "few_shot", "playground"]
)
def test_lab_leaves_the_keys_to_a_button(opened, name):
    buttons = shown(opened, name).locator("button:visible:enabled")
    before = cells(opened)
    buttons.first.focus()
    for key in ("b", "z", "y"):
        opened.keyboard.press(key)
    assert cells(opened) == before


def test_a_tooltip_is_seen_whole(opened):
    from playwright.sync_api import expect

    shown(opened, "logprobs").locator(".tk-piece").nth(1).hover()
    expect(opened.locator(".tk-tip:popover-open")).to_be_in_viewport(ratio=0.99)
    opened.keyboard.press("Escape")


def test_outputs_are_found_and_graded_and_the_grade_is_in_the_store(opened):
    widget = shown(opened, "compare")
    widget.scroll_into_view_if_needed()
    widget.get_by_placeholder("search outputs (regex)").fill("deep")
    widget.locator("mark").first.wait_for()
    widget.locator(".cmp-cell").last.locator(".cmp-text").focus()
    widget.get_by_role("button", name="thumb up").last.click()
    # What is shown is what was clicked; the store has it a moment later.
    with Store(opened.folder / "run.db") as store:
        deadline = time.monotonic() + 20
        while not store.grades() and time.monotonic() < deadline:
            time.sleep(0.05)
        (grade,) = store.grades().values()
    assert grade.thumb == 1


def test_a_cell_of_the_matrix_opens_forks_and_a_fork_both_answers(opened):
    widget = shown(opened, "determinism")
    widget.scroll_into_view_if_needed()
    widget.locator(".tk-det-cell").first.click()
    widget.locator(".tk-det-prompt").first.click()
    widget.locator(".tk-det-fork table").wait_for()
    assert widget.locator(".tk-is-fork").all_inner_texts() == [" dark", " deep"]


STREAM = """
import toolkit as tk
engine = tk.load(kv_cache_memory_bytes=512 << 20)
engine.chat("Hi", max_tokens=1)
play = tk.playground(engine, "Tell a long story.", temperature=0, seed=1, max_tokens=1500, ignore_eos=True)
play
"""


@pytest.fixture(scope="module")
def streaming(chromium, warm_python, tmp_path_factory):
    """A notebook in JupyterLab with the playground on vLLM, in a kernel of its own."""
    folder = tmp_path_factory.mktemp("streaming")
    path = folder / "playground.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    written(
        v4.new_notebook(cells=[v4.new_code_cell(STREAM.strip()), v4.new_code_cell("")], metadata=kernel), path
    )
    lab = Lab(folder, warm_python)
    page = gated(chromium.new_page(viewport={"width": 1400, "height": 1000}, reduced_motion="reduce"))
    page.place, page.folder = "lab-light", lab.notebooks
    try:
        lab.run(page, path)
        page.locator(".tk").wait_for(timeout=180_000)
        yield page
        page.evaluate("() => [...jupyterapp.shell.widgets('main')][0].sessionContext.shutdown()")
    finally:
        page.close()
        lab.close()


def ended(page, number, state):
    """The answer's text, once the answer is in that state."""
    answer = page.locator(f".tk-play-answer:has(b:text-is('#{number}'))")
    answer.locator(f".tk-badge[data-state={state}]").wait_for(timeout=60_000)
    return answer.locator(".tk-said").first


def grows(page, text):
    was = len(text.text_content())
    page.wait_for_function("([e, was]) => e.textContent.length > was + 20", arg=[text.element_handle(), was])


def test_vllm_streams_into_a_notebook_and_stops(streaming):
    page = streaming
    page.locator(".tk").get_by_role("button", name="Run").click()
    text = ended(page, 1, "running")
    grows(page, text)
    # The kernel does other things meanwhile, and the answer goes on.
    assert asked(page, "6 * 7, play.replies[0].state") == "(42, 'running')"
    grows(page, text)
    page.locator(".tk").screenshot(path=FEW_SHOT_AXES / "lab-light-streaming.png")
    page.locator(".tk").get_by_role("button", name="Stop").click()
    assert ended(page, 1, "stopped").text_content() in asked(page, "print(play.replies[0].texts[0])")
    assert asked(page, "engine.chat('Hi', max_tokens=1).usage.completion_tokens") == "1"


def test_vllm_by_keyboard_in_a_notebook(streaming):
    page = streaming
    number = 1 + int(asked(page, "len(play.replies)"))
    page.locator(".tk textarea").first.focus()
    page.keyboard.press("Control+Enter")
    grows(page, ended(page, number, "running"))
    page.keyboard.press("Escape")
    ended(page, number, "stopped")
    assert (
        asked(page, "len(play.replies), play.running") == f"({number}, False)"
    )  # the cell was not run again
    of_this_machine(page)
