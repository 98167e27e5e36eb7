"""Builder: the few-shot examples of a prompt, edited and chosen beside what becomes of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from toolkit import engine as engines
from toolkit.coder import coder
from toolkit.count import count_tokens
from toolkit.engine import Engine, EngineError
from toolkit.examples import SELECTORS, SHOTS, selector
from toolkit.messages import Messages, plain_text
from toolkit.prompt import Prompt, Rendered, dicts
from toolkit.sampling import DEFAULT_MAX_TOKENS
from toolkit.widgets.code import call, written
from toolkit.widgets.view import View, assets, escaped, plain, said, visible
from toolkit.window import STRATEGIES

if TYPE_CHECKING:
    import pandas as pd

_ESTIMATE = "gpt-4o"
"""Counts where no engine is loaded."""
_PAGE = 10
"""Examples on a page of the table."""
_CELL = 4000
"""Characters of one value that the table shows."""
_MANY = 64
"""More shown examples are not counted one by one: each costs a count of the whole prompt."""
_WINDOW = 8192
_HIDDEN = ("embed",)
"""Options of selectors that are no plain data: kept, not edited."""


@dataclass
class Example:
    """A row of the table."""

    row: dict[str, Any]
    included: bool = True


@dataclass(frozen=True)
class _Given:
    """A window of a given size, for `Prompt.fit`."""

    window: int
    model: str | Engine | None

    def count(self, request: Any) -> int:
        return int(count_tokens(request, self.model))


class Builder(View):
    """A prompt's few-shot examples as a table to edit, which of them a row is shown and in which order, the prompt
    that it gives, with the tokens of each example, and what would be left out of a window.

    rows: the data that fills the prompt's variables, as for `toolkit.sweep`; one is shown at a time. model: whose
    tokens are counted, as for `toolkit.count_tokens`; None for the engine loaded last, else an estimate by tiktoken.
    `prompt` is the prompt as it is edited.

    Raises TypeError for what is no Prompt or no row, ModelError for an unknown model.

    >>> tk.Builder(tk.Prompt("{text}", examples=pool, answer="{label}", k=4), rows)  # doctest: +SKIP
    """

    _esm, _css = assets("builder")

    def __init__(
        self,
        prompt: Prompt,
        rows: Iterable[Mapping[str, Any]] | pd.DataFrame | None = None,
        model: str | Engine | None = None,
    ) -> None:
        if not isinstance(prompt, Prompt):
            raise TypeError(f"prompt must be a toolkit.Prompt, got {prompt!r}: Prompt(template, examples=…)")
        self._begun = prompt
        self.examples = [Example(dict(row)) for row in prompt.examples]
        self.rows = dicts("rows", rows) or ({},)
        self._row = 0
        self._shots: dict[str, Any] = {name: getattr(prompt, name) for name in SHOTS}
        self._fit: dict[str, Any] = {"window": _WINDOW, "reserve": DEFAULT_MAX_TOKENS, "strategy": "examples"}
        self._model = _ESTIMATE if model is None and engines._loaded is None else model
        self._counter = coder(self._model).name
        self._errors: dict[str, str] = {}
        with contextlib.suppress(ValueError, AttributeError):
            self._fit["window"] = self._own_window()
        super().__init__({})
        self._refresh()

    def _own_window(self) -> int:
        """The engine's, where it is known without starting it. Raises ValueError or AttributeError elsewhere."""
        engine: Any = engines._loaded if self._model is None else self._model
        if not getattr(engine, "running", True) and not engine.spec.remembered():
            raise ValueError("not known before the engine is started")
        return int(engine.window)

    @property
    def prompt(self) -> Prompt:
        """The prompt as it is edited: the included examples, in the table's order, and how they are chosen.

        Raises ValueError for examples that lack a variable.
        """
        # A row that was added and not filled is no example yet.
        pool = [e.row for e in self._pool]
        k = self._shots["k"]
        return self._begun.with_(**{**self._shots, "examples": pool, "k": k and min(k, len(pool))})

    @property
    def _pool(self) -> list[Example]:
        return [e for e in self.examples if e.included and any(str(e.row.get(n, "")) for n in self._columns)]

    @property
    def _columns(self) -> list[str]:
        """The variables of an example: those that the prompt needs first."""
        return list(
            dict.fromkeys([*self._begun.example_variables, *(n for e in self.examples for n in e.row)])
        )

    # What the browser asks for: each change gives the whole of what is shown anew.

    def do_edit(self, place: int, name: str, text: str) -> Any:
        row = self.examples[place].row
        row[name] = _as_before(row.get(name), text)
        return self._refresh(place // _PAGE)

    def do_include(self, place: int, included: bool) -> Any:
        self.examples[place].included = included
        return self._refresh(place // _PAGE)

    def do_add(self) -> Any:
        self.examples.append(Example(dict.fromkeys(self._columns, "")))
        return self._refresh((len(self.examples) - 1) // _PAGE)

    def do_remove(self, place: int) -> Any:
        del self.examples[place]
        return self._refresh(max(0, min(place, len(self.examples) - 1)) // _PAGE)

    def do_move(self, place: int, by: int) -> Any:
        to = max(0, min(place + by, len(self.examples) - 1))
        self.examples.insert(to, self.examples.pop(place))
        return self._refresh(to // _PAGE)

    def do_page(self, page: int) -> Any:
        return self._refresh(page)

    def do_row(self, row: int) -> Any:
        self._row = max(0, min(row, len(self.rows) - 1))
        return self._refresh(self.content["page"])

    def do_set(self, shots: Mapping[str, Any], fit: Mapping[str, Any]) -> Any:
        """How examples are chosen, and the window: texts as they were typed."""
        self._errors = {}
        made: dict[str, Any] = {}
        for name, typed in shots.items():
            self._tried(name, made, lambda name=name, typed=typed: self._shot(name, typed))
        size = len(self._pool)
        if made.get("k") is not None and made["k"] > size:
            self._errors["k"] = (
                f"k is {made['k']}, but {size} examples are included: lower k, or include more"
            )
            del made["k"]
        self._shots |= made
        for name in ("window", "reserve"):
            self._tried(name, self._fit, lambda name=name: _whole(name, fit[name]))
        self._fit["strategy"] = fit["strategy"] if fit["strategy"] in STRATEGIES else "refuse"
        return self._refresh(self.content["page"])

    def do_code(self) -> str:
        """The Python that makes the prompt."""
        return code(self.prompt)

    def _tried(self, name: str, into: dict[str, Any], make: Any) -> None:
        try:
            into[name] = make()
        except (TypeError, ValueError) as error:
            self._errors[name] = visible(str(error), 400)

    def _shot(self, name: str, typed: Any) -> Any:
        if name != "selector":
            return None if typed == "" else SHOTS[name](name, _number(typed))
        options = {n: _number(v) for n, v in typed["options"].items() if v != ""}
        made = selector({"name": typed["name"], **options})
        kept = {n: v for n in _HIDDEN if hasattr(made, n) and (v := getattr(self._begun.selector, n, None))}
        return replace(made, **kept)

    # What is shown.

    def _refresh(self, page: int = 0) -> Any:
        self.content = plain({**self._state(page), **self._result()})
        return self.content

    def _state(self, page: int) -> dict[str, Any]:
        begin = page * _PAGE
        names = self._columns
        shown = self._order()
        return {
            "columns": [visible(name, 100) for name in names],
            "names": names,
            "page": page,
            "pages": max(1, -(-len(self.examples) // _PAGE)),
            "total": len(self.examples),
            "included": len(self._pool),
            "examples": [
                {
                    "place": place,
                    "included": example.included,
                    "shown": shown.get(id(example)),
                    "values": [_cell(example.row.get(name, "")) for name in names],
                }
                for place, example in enumerate(self.examples[begin : begin + _PAGE], begin)
            ],
            "shots": {
                "k": self._shots["k"],
                "order_seed": self._shots["order_seed"],
                "selector": {
                    "name": type(s := self._shots["selector"]).__name__.lower(),
                    "options": _options(s),
                },
            },
            "selectors": {name: list(_options(kind())) for name, kind in SELECTORS.items()},
            "strategies": STRATEGIES,
            "fit": self._fit,
            "row": self._row,
            "rows": len(self.rows),
            "values": [[visible(str(n), 100), visible(str(v), 400)] for n, v in self.rows[self._row].items()],
            "counter": self._counter,
        }

    def _order(self) -> dict[int, int]:
        """id() of an example → its place among those shown for the row, from 1."""
        try:
            chosen = self.prompt.chosen(self.rows[self._row])
        except ValueError:
            return {}
        return {id(self._pool[i]): n for n, i in enumerate(chosen, 1)}

    def _result(self) -> dict[str, Any]:
        """The rendered prompt with its tokens, and what would be left out; or what is wrong."""
        row = self.rows[self._row]
        try:
            prompt = self.prompt
            rendered = prompt.render(row)
            chosen = prompt.chosen(row)
            turns = [
                [role, [[visible(text), n] for text, n in parts]]
                for role, parts in parted(prompt, rendered, chosen)
            ]
        except (ValueError, TypeError) as error:
            errors = {"prompt": visible(str(error), 600), **self._errors}
            return {
                "turns": [],
                "sizes": None,
                "tokens": None,
                "estimate": False,
                "fits": "",
                "errors": errors,
            }
        found: dict[str, Any] = {
            "turns": turns,
            "sizes": None,
            "tokens": None,
            "estimate": False,
            "fits": "",
            "out": 0,
        }
        try:
            whole = count_tokens(rendered, self._model)
            few = len(chosen) <= _MANY
            sizes = prompt.sizes(row, lambda m: int(count_tokens(m, self._model))) if few else None
            found |= {"tokens": int(whole), "estimate": whole.estimate, "sizes": sizes}
            found |= self._fitted(prompt, row)
        except (ValueError, EngineError) as error:
            found["fits"] = visible(str(error), 600)
        return {**found, "errors": self._errors}

    def _fitted(self, prompt: Prompt, row: Mapping[str, Any]) -> dict[str, Any]:
        """What `Prompt.fit` leaves out, in words, and how many of the examples shown first."""
        try:
            made = prompt.fit(
                row, _Given(self._fit["window"], self._model), self._fit["reserve"], self._fit["strategy"]
            )
        except ValueError as error:
            return {"fits": visible(str(error), 600), "fitted": False, "out": 0}
        room = f"{made.prompt_tokens:,} + {self._fit['reserve']:,} of {self._fit['window']:,} tokens"
        left = ", ".join(
            f"{n:,} {'characters of ' if kind == 'documents' else ''}{kind}"
            for kind, n in made.dropped.items()
        )
        told = f"left out: {left}; then it fits, {room}" if left else f"all of it fits: {room}"
        return {"fits": told, "fitted": True, "out": made.dropped.get("examples", 0)}

    # Without a browser.

    def html(self) -> str:
        c = self.content
        wrong = "".join(f'<p style="color:#b3261e">{escaped(e, 2000)}</p>' for e in c["errors"].values())
        turns = "".join(_turn(role, parts) for role, parts in c["turns"])
        head = f"<b>{c['included']} of {c['total']} examples</b> {escaped(self._shots['selector'])}, row {c['row']}"
        return f"<div style='overflow-wrap:anywhere'>{head}{wrong}{turns}<small>{escaped(self._told())}</small></div>"

    def text(self) -> str:
        said = "\n".join(
            f"{role}: {''.join(text for text, _ in parts)}" for role, parts in self.content["turns"]
        )
        return "\n".join([*([said] if said else []), *self.content["errors"].values(), self._told()])

    def _told(self) -> str:
        c = self.content
        if c["tokens"] is None:
            return c["fits"] or "no prompt"
        each = f", examples {' + '.join(map(str, c['sizes'][1:]))}" if c["sizes"] and c["sizes"][1:] else ""
        about = "about " if c["estimate"] else ""
        return f"{about}{c['tokens']:,} tokens{each} ({c['counter']}); {c['fits']}"


def parted(
    prompt: Prompt, rendered: Rendered, chosen: Sequence[int]
) -> list[tuple[str, list[tuple[str, int | None]]]]:
    """Messages in pieces: (text, the number of the example that it is, from 0, or None)."""
    turns: Messages = rendered.messages
    found = [(str(m["role"]), [(plain_text(m), None)]) for m in turns]
    made: list[tuple[str, list[tuple[str, int | None]]]] = [(role, list(parts)) for role, parts in found]
    if prompt.layout == "flat":
        role, ((text, _),) = made[-1]
        made[-1] = (role, _blocks(text, [str(prompt.example(i)) for i in chosen]))
        return made
    gone = ("system", "developer") if prompt.fold_system else ()
    history = sum(m["role"] not in gone for m in prompt.history)
    begin = len(turns) - 1 - history - 2 * len(chosen)
    for n in range(2 * len(chosen)):
        role, ((text, _),) = made[begin + n]
        made[begin + n] = (role, [(text, n // 2)])
    return made


def _blocks(text: str, blocks: Sequence[str]) -> list[tuple[str, int | None]]:
    """A text in which blocks stand one after another, in pieces."""
    begin = text.find("\n\n".join(blocks))
    parts: list[tuple[str, int | None]] = [(text[:begin], None)]
    for n, block in enumerate(blocks):
        parts.append((block, n))
        begin += len(block)
        parts.append((text[begin : begin + 2] if n + 1 < len(blocks) else text[begin:], None))
        begin += 2
    return [(piece, n) for piece, n in parts if piece] if blocks else [(text, None)]


def code(prompt: Prompt) -> str:
    """The Python that makes a prompt."""
    try:
        given, lost = prompt.to_dict(), ""
    except ValueError:  # a function has no text
        given = replace(prompt, selector="first").to_dict()
        lost = f"# prompt = prompt.with_(selector=…): {prompt.selector} holds a function\n"
    template, *named = ((name, written(plain(value))) for name, value in given.items())
    return f"import toolkit as tk\n\nprompt = {call('tk.Prompt', template[1], **dict(named))}\n{lost}"


def _turn(role: str, parts: Sequence[tuple[str, int | None]]) -> str:
    colour = "#e69f00" if any(n is not None for _, n in parts) else "#0072b2"
    rows = "".join(
        f"{'' if n is None else f'<small>example {n + 1}</small>'}{said(text)}" for text, n in parts
    )
    style = f"margin:4px 0;padding:2px 8px;border-left:3px solid {colour}"
    return f'<div style="{style}"><small>{escaped(role)}</small>{rows}</div>'


def _cell(value: Any) -> dict[str, Any]:
    text = value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)
    return {"text": visible(text, _CELL), "cut": len(text) > _CELL}


def _as_before(value: Any, text: str) -> Any:
    """What was typed, as the kind of value that stood there."""
    if value is None or isinstance(value, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _options(made: Any) -> dict[str, Any]:
    return {f.name: getattr(made, f.name) for f in fields(made) if f.name not in _HIDDEN}


def _number(typed: Any) -> Any:
    """A number where it is one; else the text, which the rule refuses."""
    for kind in (int, float):
        with contextlib.suppress(TypeError, ValueError):
            return kind(typed)
    return typed


def _whole(name: str, typed: Any) -> int:
    number = _number(typed)
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} must be a whole number of tokens from 1 up, got {typed!r}")
    return number
