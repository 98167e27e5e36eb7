"""View: the base class of all widgets. Each has Python code, a frontend, and a static output that needs neither."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import anywidget
import traitlets

from toolkit._internal.jsonable import library_value, to_plain
from toolkit._internal.text import short_repr
from toolkit.display.markup import Markup, escape, joined, markup

_STATIC = Path(__file__).parent / "static"
_SHARED = ("base", "dom", "channel", "chart")
"""The parts that every widget has, in this order."""
_MAX_TEXT = 20_000
"""Characters of one text that a view shows; more make a browser slow."""
_MAX_ERROR = 2000
"""Characters of an error that a view shows."""
_LARGEST_EXACT = 2**53
"""JavaScript's numbers hold every whole number up to here."""
_Method = TypeVar("_Method", bound=Callable[..., Any])


def assets(*parts: str | Path) -> tuple[str, str]:
    """The JavaScript and CSS of a widget: the shared parts, then its own; each part has a .js file, a .css file or
    both. The JavaScript is one module, since a notebook page has no URL from which to import another.

    parts: names of files in this package's static folder, or paths of files elsewhere, without .js and .css:
    `assets(Path(__file__).with_suffix(""))` reads the files beside a widget's own, under its name.

    Raises FileNotFoundError for a part that has neither file.
    """
    texts: dict[str, list[str]] = {"js": [], "css": []}
    for part in (*_SHARED, *parts):
        files = {kind: path for kind in texts if (path := _STATIC / f"{part}.{kind}").exists()}
        if not files:
            raise FileNotFoundError(
                f"a widget's part {short_repr(str(part))} is neither a .js nor a .css file"
            )
        for kind, path in files.items():
            texts[kind].append(path.read_text("utf-8"))
    return "\n".join(texts["js"]), "\n".join(texts["css"])


def command(method: _Method) -> _Method:
    """Marks a method of a View as one that the frontend may call, by its name. The result is sent back as JSON."""
    method.__dict__["is_command"] = True
    return method


class View(anywidget.AnyWidget):
    """A widget. A subclass is one file: its content as plain data, commands for the frontend, and the same content as
    HTML and as text, which notebooks save and show where no kernel runs. With a line of `display_hook.register_view`
    it opens for the objects of a class.

        _esm, _css = assets("name")             static/name.js and static/name.css
        def __init__(self, …): super().__init__(content={…})
        @command
        def page(self, number): …               the result of `await request("page", {number})` in the frontend
        def html(self) -> str: …                escaped HTML (`display.markup`), styles inline, no script
        def text(self) -> str: …

    Messages are JSON: the frontend sends {id, command, arguments} and receives {reply_to, value} or
    {reply_to, error}; a notification is {event, value}.
    """

    content = traitlets.Dict().tag(sync=True)
    """All that the frontend needs for its first render."""
    live_only: ClassVar[str] = ""
    """What the static output lacks, such as "search and grades"; it says so, and why."""
    _commands: ClassVar[frozenset[str]] = frozenset()
    """The names of the methods that the frontend may call, inherited ones included."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        marked = {name for name, value in vars(cls).items() if getattr(value, "is_command", False)}
        cls._commands = cls._commands | marked

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(content=plain(content))
        self.on_msg(self._on_message)

    @classmethod
    def opened(cls, target: Any) -> Self:
        """The widget of an object that a notebook shows. Raises ValueError for one that has nothing to show."""
        return cls(target)

    def html(self) -> str:
        raise NotImplementedError(
            f"{type(self).__name__} has no html(): what notebooks show without a kernel"
        )

    def text(self) -> str:
        raise NotImplementedError(f"{type(self).__name__} has no text(): what consoles show")

    def notify(self, event: str, value: Any = None) -> None:
        """Calls the handler that each view in the frontend registered with `on(event, …)`."""
        self.send({"event": event, "value": plain(value)})

    def _on_message(self, _: Any, message: Any, __: Any) -> None:
        """Runs a command of the frontend, and replies with its result or error."""
        try:
            outcome = {"value": plain(self._run_command(message["command"], message["arguments"]))}
        except Exception as error:  # noqa: BLE001  # the frontend shows it; no caller here could catch it
            outcome = {"error": visible(str(error), _MAX_ERROR) or type(error).__name__}
        self.send({"reply_to": message["id"], **outcome})

    def _run_command(self, name: str, arguments: Mapping[str, Any]) -> Any:
        # A browser may send anything: only methods marked as commands are called.
        if name not in self._commands:
            names = ", ".join(sorted(self._commands))
            raise ValueError(
                f"{type(self).__name__} has no command {short_repr(name)}; its commands: {names}"
            )
        return getattr(self, name)(**arguments)

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_() or ({}, {})
        # A notebook opened without a kernel, or not trusted, shows these.
        page = joined([static_note(self.live_only), self.html()]) if self.live_only else self.html()
        return {**data, "text/html": page, "text/plain": self.text()}, metadata


def static_note(live_only: str) -> Markup:
    """Why a reader sees the static output, and what to do."""
    return markup(
        '<p><small style="opacity:0.75">Saved output without {}: no kernel runs, or this notebook is not trusted. '
        "Run its cell again.</small></p>",
        live_only,
    )


def plain(value: Any) -> Any:
    """A value as JSON data for the browser: what is no data as text, as are whole numbers beyond 2**53, which
    JavaScript would round; NaN, infinities and missing as null; lone surrogates replaced."""
    return _valid_json(to_plain(value, _data_or_text))


def _data_or_text(value: Any) -> Any:
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [to_plain(item, _data_or_text) for item in value]
    try:
        data = library_value(value)
    except TypeError:
        return str(value)
    # A date as str() has it, which is easier to read than ISO 8601.
    return str(value) if isinstance(value, date) and data is not None else data


def _valid_json(data: Any) -> Any:
    """Plain data with only what JSON and UTF-8 allow."""
    if isinstance(data, str):
        return data if data.isascii() else data.encode(errors="replace").decode()
    if isinstance(data, int) and abs(data) > _LARGEST_EXACT:
        return str(data)
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {name: _valid_json(item) for name, item in data.items()}
    return [_valid_json(item) for item in data] if isinstance(data, list) else data


def visible(text: str, limit: int = _MAX_TEXT) -> str:
    """A text that is safe to show: characters that are invisible or change how others are drawn (control characters,
    terminal escapes, direction overrides, tags and variation selectors that can hide a text) become ⟨U+XXXX⟩; a text
    over the limit is truncated, and says so. Joiners stay: emoji and several scripts need them."""
    result = _INVISIBLE.sub(_code_point, text[:limit])
    return result if len(text) <= limit else f"{result}… ({len(text) - limit:,} more characters)"


_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)


def _code_point(match: re.Match[str]) -> str:
    return f"⟨U+{ord(match[0]):04X}⟩"


def visible_html(page: Markup) -> Markup:
    """HTML whose texts are safe to show (see `visible`); its markup has no such characters, and stays as it is."""
    return Markup(visible(page, len(page)))


def escaped(text: Any, limit: int = _MAX_TEXT) -> Markup:
    """A value as escaped HTML, made visible."""
    return escape(visible(str(text), limit))


def model_text_html(text: Any, limit: int = _MAX_TEXT) -> Markup:
    """A model's text as HTML that stays inside its box."""
    style = "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate"
    return markup('<div style="{}">{}</div>', style, escaped(text, limit))
