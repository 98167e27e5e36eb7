"""The static output of the few-shot builder: HTML and text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit._internal.text import plural
from toolkit.display.markup import Markup, joined, markup
from toolkit.widgets.base import escaped, model_text_html, visible

MAX_VALUE = 200
"""Characters of one value in the static output."""
HIDDEN = ("embed",)
"""Options of selectors that are not plain data: kept, but not editable."""


def prompt_pieces(content: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """The prompt in pieces: label, text, whether it is part of an example. The tokens of an example are shown once,
    with its question."""
    pieces = []
    for role, parts in content["turns"]:
        for text, n in parts:
            sizes = content["sizes"] if role != "assistant" else None
            size = f": {sizes[n + 1]:,} tokens" if sizes and n is not None else ""
            out = ", left out" if n is not None and n < content["out"] else ""
            label = role if n is None else f"{role}, example {n + 1}{size}{out}"
            pieces.append((label, text, n is not None))
    return [piece for piece in pieces if piece[1].strip()]


def prompt_html(content: Mapping[str, Any]) -> Markup:
    return joined(_piece_html(*piece) for piece in prompt_pieces(content))


def _piece_html(label: str, text: str, of_example: bool) -> Markup:
    style = f"margin:4px 0;padding:2px 8px;border-left:3px solid {'#e69f00' if of_example else '#0072b2'}"
    content = escaped(label), model_text_html(text)
    return markup('<div style="{}"><small>{}</small>{}</div>', style, *content)


def example_marks(example: Mapping[str, Any]) -> list[str]:
    """For a row of the table: whether it is included, its number, its position in the prompt."""
    position = f"shown {example['position']}" if example["position"] else ""
    return ["✓" if example["included"] else "–", str(example["place"]), position]


def page_html(content: Mapping[str, Any]) -> Markup:
    """The examples as an HTML table."""
    if not content["examples"]:
        return Markup()
    # Set on each cell: notebooks and their pages align text to the right.
    style = "text-align:left;vertical-align:top"
    columns = ("", "#", "", *content["columns"])
    names = joined(markup('<th style="{}">{}</th>', style, escaped(name)) for name in columns)
    rows = joined(
        markup("<tr>{}</tr>", joined(markup('<td style="{}">{}</td>', style, cell) for cell in cells_html(e)))
        for e in content["examples"]
    )
    table = markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", names, rows)
    return joined([table, escaped(page_note(content))])


def cells_html(example: Mapping[str, Any]) -> list[str]:
    """The cells of an example's row."""
    values = [model_text_html(value["text"], MAX_VALUE) for value in example["values"]]
    return [*example_marks(example), *values]


def text_rows(content: Mapping[str, Any]) -> list[str]:
    """The examples as lines of text."""
    lines = []
    for example in content["examples"]:
        values = zip(content["columns"], example["values"], strict=True)
        texts = ", ".join(f"{name} {value['text'][:MAX_VALUE]}".replace("\n", "⏎") for name, value in values)
        lines.append(f"{' '.join(filter(None, example_marks(example)))}: {texts}")
    return [*lines, *filter(None, [page_note(content)])]


def page_note(content: Mapping[str, Any]) -> str:
    pages = content["pages"]
    return f"page {content['page'] + 1} of {pages}" if pages > 1 else ""


def window_note(model: str, model_window: int | None, window: int) -> str:
    """Whose a context window is. model_window: the model's own, None where it is not known."""
    name = visible(model, 80)
    if model_window is None:
        return f"assumed: the window of {name} is not known"
    return f"the window of {name}" if window == model_window else f"{name} has {model_window:,}"


def dropped_text(n: int, kind: str) -> str:
    """What was left out, in words: "1 example", "20 characters of documents"."""
    return (
        f"{plural(n, 'character')} of documents" if kind == "documents" else plural(n, kind.removesuffix("s"))
    )
