"""All displays of a stored run: no missing value of pandas, no number of more than four digits, no id that has a
name."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.text import Text
from shown_objects import page_of
from stored_study import labelling_engine, run_study

import toolkit as tk
from toolkit.widgets.comparison import CompareView
from toolkit.widgets.completion import CompletionView
from toolkit.widgets.costs import CostsView
from toolkit.widgets.determinism import DeterminismView
from toolkit.widgets.logprobs import LogprobsView

SAVED = Path(__file__).parent / "saved"


class VisibleText(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.parts, self._hidden = [], 0
        self.feed(str(page))

    def handle_starttag(self, tag, attributes):
        self._hidden += tag in ("style", "script")
        self.parts += [value for name, value in attributes if name in ("title", "alt")]

    def handle_endtag(self, tag):
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data):
        if not self._hidden:
            self.parts.append(data)


def visible_text(display):
    """What a reader sees of a display: a text, HTML, a widget without its kernel, or a figure."""
    if isinstance(display, Figure):
        display.draw_without_rendering()
        return "\n".join(text.get_text() for text in display.findobj(Text))
    if isinstance(display, str) and not hasattr(display, "__html__"):
        return display
    page = display if hasattr(display, "__html__") else page_of(display)
    return "\n".join(VisibleText(page).parts)


NUMBER = re.compile(r"(?<![\w.])\d[\d,]*\.\d+(?![\w.]*\.)")
MISSING = re.compile(r"(?<!\w)(?:nan|NaN|NaT|<NA>|None(?! of))(?!\w)", re.ASCII)
ID = re.compile(r"(?<!fingerprint )fp_[0-9a-f]{10}(?! \(\w)")


def significant_digits(number):
    return len(re.sub(r"\D", "", number).lstrip("0"))


def faults(text):
    """What no display may have, with what stands around it."""
    text = " ".join(text.split())
    long = [match for match in NUMBER.finditer(text) if significant_digits(match[0]) > 4]
    found = [*MISSING.finditer(text), *ID.finditer(text), *long]
    return [text[max(0, m.start() - 40) : m.end() + 20] for m in found]


def without_fingerprints(page):
    """A page without its last section, which has the records behind the ids."""
    return Markup(page.partition("<h2>Fingerprints</h2>")[0])


DISPLAYS = {
    "results": lambda r: repr(r),
    "results in a notebook": lambda r: r._repr_html_(),
    "some results": lambda r: r.filter(temperature=0)._repr_html_(),
    "a page": lambda r: without_fingerprints(r.to_html(r.folder / "page.html").read_text()),
    "plot": lambda r: r.plot(),
    "dark plot": lambda r: r.plot().dark(),
    "summary": lambda r: repr(r.summary()),
    "summary in a notebook": lambda r: r.summary()._repr_html_(),
    "summary by row": lambda r: r.summary([n for n in r.axes if n.startswith("row.")])._repr_html_(),
    "summary of all": lambda r: r.summary([])._repr_html_(),
    "pivot": lambda r: repr(r.pivot(r.axes[1], "temperature", "completion_tokens", "mean")),
    "pivot in a notebook": lambda r: r.pivot(r.axes[1], "temperature")._repr_html_(),
    "summary by system": lambda r: r.summary("system_fingerprint")._repr_html_(),
    "pivot by system": lambda r: repr(r.pivot("temperature", "system_fingerprint", "text", "nunique")),
    "comparison by system": lambda r: repr(r.compare("system_fingerprint")),
    "comparison by system in a notebook": lambda r: r.compare("system_fingerprint")._repr_html_(),
    "numbers by system": lambda r: r.compare("system_fingerprint", "seconds")._repr_html_(),
    "sensitivity": lambda r: repr(r.sensitivity("temperature", score=lambda row: 1 / 3)),
    "sensitivity in a notebook": lambda r: r.sensitivity("temperature")._repr_html_(),
    "comparison": lambda r: repr(r.compare("temperature")),
    "comparison in a notebook": lambda r: r.compare("temperature")._repr_html_(),
    "comparison of numbers": lambda r: repr(r.compare("temperature", "completion_tokens")),
    "comparison of numbers in a notebook": lambda r: r.compare("temperature", "seconds")._repr_html_(),
    "comparison as a table": lambda r: repr(r.compare("temperature").frame()),
    "completion": lambda r: repr(r[0]),
    "completion in a notebook": lambda r: r[0]._repr_html_(),
    "log probabilities": lambda r: repr(tk.logprobs(r.filter(logprobs=True))),
    "log probabilities in a notebook": lambda r: tk.logprobs(r.filter(logprobs=True))._repr_html_(),
    "summary of log probabilities": lambda r: tk.logprobs(r.filter(logprobs=True)).summary()._repr_html_(),
    "costs": lambda r: repr(r.costs()),
    "costs in a notebook": lambda r: r.costs(price=tk.ModelPrice("m", 0.15, 0.6))._repr_html_(),
    "plot of costs": lambda r: r.costs(price=tk.ModelPrice("m", 0.15, 0.6)).plot(),
    "dark plot of costs": lambda r: r.costs(price=tk.ModelPrice("m", 0.15, 0.6)).plot().dark(),
    "dark plot of costs and scores": lambda r: (
        r.costs(price=tk.ModelPrice("m", 0.15, 0.6), score=lambda row: len(row["text"]) % 2).plot().dark()
    ),
    "widget of costs": lambda r: CostsView(r.costs(price=tk.ModelPrice("m", 0.15, 0.6))),
    "determinism": lambda r: repr(r.determinism()),
    "determinism in a notebook": lambda r: r.determinism()._repr_html_(),
    "plot of determinism": lambda r: r.determinism().plot(),
    "dark plot of determinism": lambda r: r.determinism().plot().dark(),
    "widget of determinism": lambda r: DeterminismView(r.determinism()),
    "widget of a comparison": lambda r: CompareView(r.compare("temperature")),
    "widget of a completion": lambda r: CompletionView(r[0]),
    "widget of log probabilities": lambda r: LogprobsView(tk.logprobs(r.filter(logprobs=True))),
}
"""Name → from results to a display."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    results = run_study(tmp_path_factory.mktemp("study") / "run.db")
    results.folder = tmp_path_factory.mktemp("pages")
    return results


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A run that an earlier version stored."""
    path = tmp_path_factory.mktemp("earlier") / "run.db"
    shutil.copy(SAVED / "format-7.db", path)
    results = tk.results(path)
    results.folder = path.parent
    return results


@pytest.mark.parametrize("name", DISPLAYS)
def test_a_display_of_a_study_reads_well(study, name):
    assert faults(visible_text(DISPLAYS[name](study))) == []


@pytest.fixture(scope="module")
def across(tmp_path_factory):
    """The study on two systems of one model."""
    path = tmp_path_factory.mktemp("across") / "run.db"
    for order in (12, 11):
        run_study(path, labelling_engine(order))
    results = tk.results(path)
    results.folder = path.parent
    return results


# In words a determinism report says what tells two fingerprints apart.
@pytest.mark.parametrize("name", [n for n in DISPLAYS if "determinism" not in n or n.startswith("plot")])
def test_a_display_of_several_systems_reads_well(across, name):
    assert faults(visible_text(DISPLAYS[name](across))) == []


@pytest.mark.parametrize("name", DISPLAYS)
def test_a_display_of_an_earlier_run_reads_well(earlier, name):
    assert faults(visible_text(DISPLAYS[name](earlier))) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("seed <NA>, temperature nan, NaT", 3),
        (
            "None of these, None: 1,234 tokens, 0.0001234, 14.08, 123456, version 0.11.2, banana, 2024-01-02",
            1,
        ),
        ("0.12345 and 123.45, fp_0123456789", 3),
        ("14.080", 1),
    ],
)
def test_faults_are_seen(text, number):
    assert len(faults(text)) == number
