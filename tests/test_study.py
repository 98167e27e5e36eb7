"""A researcher's own small study, run from top to bottom as a notebook: what it shows reads right, and pictures of it
in both themes and three widths are kept in runs/study/ for people to look at."""

from pathlib import Path

import nbformat
import pytest
from markupsafe import Markup
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from test_displays import faults, visible_text

pytestmark = [pytest.mark.slow, pytest.mark.engine]
ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "runs" / "study"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The notebook with its outputs, widgets in the form that needs no kernel."""
    notebook = nbformat.read(ROOT / "tests" / "study" / "study.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path_factory.mktemp("study"))}}
    NotebookClient(notebook, timeout=900, resources=resources, coalesce_streams=True).execute()
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return notebook


def displays(notebook):
    """Each display's cell and text, as it is read with and without HTML."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {"text/plain": output.get("text", "")})
            yield cell.id, data.get("text/plain", "")
            if "text/html" in data:
                yield cell.id, visible_text(Markup(data["text/html"]))


def test_every_display_reads_right(study):
    read = list(displays(study))
    assert len(read) > 15
    found = [f"{cell}: {fault}" for cell, text in read for fault in faults(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 840, 700])
def test_the_study_fits_its_page(study, page, theme, width):
    source, _ = HTMLExporter(template_name="lab", theme=theme).from_notebook_node(study)
    PICTURES.mkdir(parents=True, exist_ok=True)
    file = PICTURES / "study.html"
    file.write_text(source, encoding="utf-8")
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(file.as_uri())
    page.screenshot(path=PICTURES / f"{theme}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
