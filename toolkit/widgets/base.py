"""View: what all widgets share. Each has a half here, a half in the browser, and a form that needs neither."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from toolkit.report import is_missing

_STATIC = Path(__file__).parent / "static"
_CUT = 20_000
"""Characters of one text that a view shows; more make a browser slow."""
_ERROR = 2000
"""Characters of an error that a view shows."""


def assets(*parts: str) -> tuple[str, str]:
    """The JavaScript and the style of a widget: what all share, then its own parts. One module, since the page of a
    notebook has no address from which to import another."""
    js, css = (
        "\n".join((_STATIC / f"{part}.{kind}").read_text() for part in ("view", *parts))
        for kind in ("js", "css")
    )
    return js, css


class View(anywidget.AnyWidget):
    """A widget. A subclass is one file: its content as plain data, methods that answer its half in the browser, and
    the same content as HTML and as text, which notebooks keep and show where no kernel runs.

        _esm, _css = assets("name")             static/name.js and static/name.css
        def __init__(self, …): super().__init__(content={…})
        def do_page(self, number): …            what `await ask("page", {number})` gives in the browser
        def html(self) -> str: …                escaped HTML, styles inline, no script
        def text(self) -> str: …
    """

    content = traitlets.Dict().tag(sync=True)
    """All that the browser needs to begin."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(content=plain(content))
        self.on_msg(self._received)

    def html(self) -> str:
        raise NotImplementedError

    def text(self) -> str:
        raise NotImplementedError

    def tell(self, what: str, value: Any = None) -> None:
        """Calls what the browser's half has given to `on(what, …)`."""
        self.send({"what": what, "value": plain(value)})

    def _received(self, _: Any, asked: Any, __: Any) -> None:
        # Anything may come from a browser: only methods that are meant for it are called.
        try:
            answer = getattr(self, f"do_{asked['what']}")(**asked["given"])
            self.send({"to": asked["id"], "value": plain(answer)})
        except Exception as error:  # noqa: BLE001  # the browser shows it; here is nobody whom it could reach
            self.send({"to": asked["id"], "error": visible(str(error), _ERROR) or type(error).__name__})

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_() or ({}, {})
        # A notebook that is opened without a kernel, or not trusted, shows these.
        return {**data, "text/html": self.html(), "text/plain": self.text()}, metadata


def plain(value: Any) -> Any:
    """A value as JSON has it: NumPy's as Python's, what is no number as null, lone surrogates replaced."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [plain(one) for one in value]
    return None if is_missing(value) else plain(str(value))


def visible(text: str, most: int = _CUT) -> str:
    """A text as a view may show it: what would be invisible, or change how its neighbours are drawn (control
    characters, escapes of terminals, overrides of the direction, tags and selectors that can hide a text), is spelt;
    a very long one is cut, and says so. The joiners stay, which emoji and several scripts need."""
    shown = _UNSEEN.sub(_spelt, text[:most])
    return shown if len(text) <= most else f"{shown}… ({len(text) - most:,} more characters)"


_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)


def _spelt(found: re.Match[str]) -> str:
    return f"⟨U+{ord(found[0]):04X}⟩"


def escaped(text: Any, most: int = _CUT) -> str:
    """A value as HTML: visible, and nothing but text."""
    return html.escape(visible(str(text), most))


def said(text: Any, most: int = _CUT) -> str:
    """A text of a model as HTML that stays inside its box."""
    style = "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate"
    return f'<div style="{style}">{escaped(text, most)}</div>'
