"""Widgets in JupyterLab itself: a real kernel, a real wire, Lab's own keyboard and themes."""

import pytest
from browser import SHOTS, Lab
from nbformat import v4
from nbformat import write as written

HEAD = """
import numpy as np
import toolkit as tk
from toolkit.choice import Choice
from toolkit.completion import Completion, Usage
from toolkit.request import Request

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
CELLS = {
    "microscope": """
from toolkit.widgets.microscope import MicroscopeView
view = MicroscopeView(tk.microscope(completion))
view
""",
}
"""Of each widget the cell that shows it."""
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    opened = Lab(tmp_path_factory.mktemp("lab"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The notebook with a cell for each widget."""
    path = tmp_path_factory.mktemp("notebook") / "widgets.ipynb"
    cells = [v4.new_code_cell(source.strip()) for source in (HEAD, *CELLS.values(), "")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}  # else Lab asks for one
    written(v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


@pytest.fixture(params=THEMES)
def opened(lab, notebook, page, request):
    """The notebook in Lab in a theme, every cell run."""
    page.theme = request.param
    page.set_viewport_size({"width": 1400, "height": 1000})
    lab.run(page, notebook, THEMES[page.theme])
    page.locator(".tk").nth(len(CELLS) - 1).wait_for(timeout=60_000)
    yield page
    page.evaluate("() => [...jupyterapp.shell.widgets('main')][0].sessionContext.shutdown()")


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
    page.wait_for_timeout(100)
    SHOTS.mkdir(parents=True, exist_ok=True)
    widget.screenshot(path=SHOTS / f"lab-microscope-{page.theme}.png")
    expected = f"(1, {float(slider.input_value())})"
    assert asked(page, "view.shown.step, view.shown.settings.temperature") == expected
    of_this_machine(page)
