"""HTML as a type: whatever stands in the fields of an object, its page has the program's own tags and attributes."""

import ast
import html
import importlib
import pkgutil
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, strategies as st
from markupsafe import Markup
from shown_objects import page_of, shown_objects

import toolkit
from toolkit.display.html import html_table
from toolkit.display.markup import escape, joined, markup
from toolkit.widgets.base import View

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>\" onmouseover=\"alert(1)' x='</td></table></div>"
    "</style></title><svg/onload=1>&lt;b&gt;&amp;lt;<a href=javascript:alert(1)>]]><!--"
)
HARMLESS = ("the quick brown fox " * 20)[: len(HOSTILE)]
VOID = {"source", "br", "hr", "img", "meta"}


class Page(HTMLParser):
    """The tags of a page with the names of their attributes, and what is in its styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.styles, self.comments, self._open = set(), set(), [], []
        self.feed(str(page))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add((tag, tuple(name for name, _ in attributes)))
        self.styles.update(re.sub(r"[\d.]+", "0", value) for name, value in attributes if name == "style")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_comment(self, data):
        self.comments.append(data)


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    return shown_objects(HARMLESS, tmp_path_factory.mktemp("harmless"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return shown_objects(HOSTILE, tmp_path_factory.mktemp("hostile"))


NAMES = tuple(
    re.findall(
        r'^        "([^"]+)": lambda', (Path(__file__).parent / "shown_objects.py").read_text(), re.MULTILINE
    )
)


@pytest.mark.parametrize("name", NAMES)
def test_no_text_of_an_object_becomes_markup(name, harmless, hostile):
    page = page_of(hostile[name]())
    assert isinstance(page, Markup)
    found, expected = Page(page), Page(page_of(harmless[name]()))
    assert found.tags <= expected.tags
    assert found.styles <= expected.styles
    assert found.comments == []
    assert not any(part in page for part in ("<script", "<img src=x", "<svg", "<a "))


def test_a_page_in_a_file_has_no_markup_of_the_texts_in_it(harmless, hostile, tmp_path):
    pages = [
        Page(made["Results"]().to_html(tmp_path / f"{number}.html", text).read_text())
        for number, (made, text) in enumerate(((harmless, HARMLESS), (hostile, HOSTILE)))
    ]
    assert pages[1].tags <= pages[0].tags
    assert pages[1].styles <= pages[0].styles


def classes():
    """Every class of the package that shows itself."""
    names = [module.name for module in pkgutil.walk_packages(toolkit.__path__, "toolkit.")]
    modules = [importlib.import_module(n) for n in names if not n.endswith(("__main__", "_main"))]
    found = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    own = {c for c in found if c.__module__.startswith("toolkit.")}
    return {c for c in own if "_repr_html_" in vars(c) or (issubclass(c, View) and c is not View)}


def test_every_class_that_shows_itself_is_tried(harmless):
    assert {c.__name__ for c in classes()} == {type(make()).__name__ for make in harmless.values()}


TAG = re.compile(
    r"</?(a|b|br|code|del|details|div|figure|h\d|hr|i|img|ins|li|mark|p|pre|small|span|style|summary|t(able|body|d|h"
    r"|head|itle|r)|ul)\b[^>]*>"
)


@pytest.mark.parametrize("path", sorted(Path(toolkit.__path__[0]).rglob("*.py")), ids=lambda path: path.name)
def test_no_html_is_made_of_plain_strings(path):
    """Only `markup` fills templates, since it escapes."""
    for node in ast.walk(ast.parse(path.read_text())):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            parts = [node.func.value]
        texts = [
            part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)
        ]
        assert not TAG.search("".join(texts)), f"line {node.lineno} makes HTML without markup()"


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"))


@given(TEXTS, TEXTS)
def test_a_template_is_filled_with_escaped_values(first, second):
    page = markup('<td title="{}">{}{}</td>', first, second, markup("<b>{}</b>", 1))
    assert page == f'<td title="{html.escape(first)}">{html.escape(second)}<b>1</b></td>'
    assert isinstance(page, Markup)


@given(st.lists(TEXTS), TEXTS)
def test_parts_and_what_separates_them_are_escaped(parts, separator):
    assert joined(parts, separator) == html.escape(separator).join(map(html.escape, parts))
    assert joined(map(escape, parts), escape(separator)) == joined(parts, separator)


def test_markup_is_not_escaped_again():
    assert escape(escape("<")) == "&lt;"
    assert escape(None) == "None"
    assert escape(1.5) == "1.5"
    assert markup("{}", Markup("<br>")) == "<br>"


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_a_table_shows_any_text(texts):
    page = Page(table := html_table(pd.DataFrame({name: [name] for name in texts})))
    assert {tag for tag, _ in page.tags} == {"div", "table", "thead", "tbody", "tr", "th", "td"}
    for text in texts:
        assert html.escape(text) in table
