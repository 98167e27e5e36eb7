"""Builder: the few-shot examples of a prompt, edited and chosen beside what becomes of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from toolkit import engine as engines
from toolkit.coder import coder
from toolkit.count import count_tokens
from toolkit.engine import Engine, EngineError
from toolkit.examples import SELECTORS, SHOTS, selector
from toolkit.findings import many
from toolkit.messages import Messages, plain_text
from toolkit.prompt import Prompt, Rendered, dicts
from toolkit.sampling import DEFAULT_MAX_TOKENS
from toolkit.widgets.code import call, written
from toolkit.widgets.engines import window_of
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
_BRIEF = 200
"""Of one value, where no kernel runs."""
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

    >>> tk.few_shot(tk.Prompt("{text}", examples=pool, answer="{label}", k=4), rows)  # doctest: +SKIP
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
        self._row = self._page = 0
        self._model = _ESTIMATE if model is None and engines._loaded is None else model
        self._counter = coder(self._model).name
        self._shots: dict[str, Any] = {name: getattr(prompt, name) for name in SHOTS}
        self._fit: dict[str, Any] = {"window": _WINDOW, "reserve": DEFAULT_MAX_TOKENS, "strategy": "examples"}
        engine = engines._loaded if self._model is None else self._model
        if isinstance(engine, Engine) and (window := window_of(engine)):
            self._fit["window"] = window
        self._typed = {"shots": _typed(self._shots), "fit": {n: str(v) for n, v in self._fit.items()}}
        super().__init__({})
        self._refresh()

    @property
    def prompt(self) -> Prompt:
        """The prompt as it is edited: the included examples, in the table's order, and how they are chosen.

        Raises ValueError for examples that lack a variable.
        """
        return self._prompt(self._pool)

    def _prompt(self, pool: Sequence[Example]) -> Prompt:
        k = self._shots["k"]
        k = k and min(k, len(pool))
        return self._begun.with_(**{**self._shots, "examples": [e.row for e in pool], "k": k})

    @property
    def _pool(self) -> list[Example]:
        """The included examples. A row that was added and not filled is no example yet."""
        names = self._columns
        return [e for e in self.examples if e.included and any(str(e.row.get(n, "")) for n in names)]

    @property
    def _columns(self) -> list[str]:
        """The variables of an example: those that the prompt needs first."""
        return list(
            dict.fromkeys([*self._begun.example_variables, *(n for e in self.examples for n in e.row)])
        )

    # What the browser asks for. Each change makes what is shown anew, for all views.

    def do_edit(self, place: int, name: str, text: str) -> None:
        row = self.examples[place].row
        row[name] = _as_before(row.get(name), text)
        self._refresh()

    def do_include(self, place: int, included: bool) -> None:
        self.examples[place].included = included
        self._refresh()

    def do_add(self) -> None:
        self.examples.append(Example(dict.fromkeys(self._columns, "")))
        self._refresh(len(self.examples) - 1)

    def do_remove(self, place: int) -> None:
        del self.examples[place]
        self._refresh(place)

    def do_move(self, place: int, by: int) -> None:
        to = max(0, min(place + by, len(self.examples) - 1))
        self.examples.insert(to, self.examples.pop(place))
        self._refresh(to)

    def do_page(self, page: int) -> None:
        self._refresh(page * _PAGE)

    def do_row(self, row: float) -> None:
        self._row = max(0, min(int(row), len(self.rows) - 1))
        self._refresh()

    def do_set(self, shots: Mapping[str, Any], fit: Mapping[str, Any]) -> None:
        """How examples are chosen, and the window: texts as they were typed."""
        self._typed = {"shots": dict(shots), "fit": dict(fit)}
        self._refresh()

    def do_code(self) -> str:
        """The Python that makes the prompt."""
        return code(self.prompt)

    def _read(self, included: int) -> dict[str, str]:
        """Takes what was typed, where it is right. Gives what is wrong, by name."""
        errors: dict[str, str] = {}

        def tried(into: dict[str, Any], name: str, typed: Any, read: Callable[[str, Any], Any]) -> None:
            try:
                into[name] = read(name, typed)
            except (TypeError, ValueError) as error:
                errors[name] = visible(str(error), 400)

        for name, typed in self._typed["shots"].items():
            tried(self._shots, name, typed, lambda name, typed: self._shot(name, typed, included))
        for name in ("window", "reserve"):
            tried(self._fit, name, self._typed["fit"][name], _whole)
        strategy = self._typed["fit"]["strategy"]
        self._fit["strategy"] = strategy if strategy in STRATEGIES else "refuse"
        return errors

    def _shot(self, name: str, typed: Any, included: int) -> Any:
        if name != "selector":
            value = None if typed == "" else SHOTS[name](name, _number(typed))
            if name == "k" and value is not None and value > included:
                raise ValueError(
                    f"k is {value}, but {included} examples are included: lower k, or include more"
                )
            return value
        if typed["name"] == _name(self._begun.selector) not in SELECTORS:
            return self._begun.selector
        options = {n: _number(v) for n, v in typed["options"].items() if v != ""}
        made = selector({"name": typed["name"], **options})
        kept = {n: v for n in _HIDDEN if hasattr(made, n) and (v := getattr(self._begun.selector, n, None))}
        return replace(made, **kept)

    # What is shown.

    def _refresh(self, place: int | None = None) -> None:
        """Makes the content anew, with the page of an example (else the same one)."""
        begin = self._page * _PAGE if place is None else place
        self._page = max(0, min(begin, len(self.examples) - 1)) // _PAGE
        pool = self._pool
        errors = self._read(len(pool))
        chosen, result = self._result(pool)
        shown = {id(pool[i]): n for n, i in enumerate(chosen, 1)}
        errors = {**({"prompt": wrong} if (wrong := result.pop("wrong", "")) else {}), **errors}
        self.content = plain(
            {**self._table(shown), "included": len(pool), **self._settings(), **result, "errors": errors}
        )

    def _table(self, shown: Mapping[int, int]) -> dict[str, Any]:
        """The page of examples. shown: id() of one → its place among those shown for the row, from 1."""
        names = self._columns
        begin = self._page * _PAGE
        return {
            "columns": [visible(name, 100) for name in names],
            "names": names,
            "page": self._page,
            "pages": max(1, -(-len(self.examples) // _PAGE)),
            "total": len(self.examples),
            "examples": [
                {
                    "place": place,
                    "included": example.included,
                    "shown": shown.get(id(example)),
                    "values": [_cell(example.row.get(name, "")) for name in names],
                }
                for place, example in enumerate(self.examples[begin : begin + _PAGE], begin)
            ],
        }

    def _settings(self) -> dict[str, Any]:
        own = self._begun.selector
        kinds = {name: _options(kind()) for name, kind in SELECTORS.items()}
        return {
            "shots": self._typed["shots"],
            "selectors": {**kinds, **({} if _name(own) in kinds else {_name(own): {}})},
            "strategies": STRATEGIES,
            "fit": self._typed["fit"],
            "row": self._row,
            "rows": len(self.rows),
            "values": [[visible(str(n), 100), visible(str(v), 400)] for n, v in self.rows[self._row].items()],
            "counter": self._counter,
        }

    def _result(self, pool: Sequence[Example]) -> tuple[list[int], dict[str, Any]]:
        """Places in the pool of the examples shown; the rendered prompt with its tokens and what would be left out,
        or what is wrong."""
        row = self.rows[self._row]
        found: dict[str, Any] = {"turns": [], "sizes": None, "tokens": None, "estimate": False}
        found |= {"fits": "", "fitted": False, "out": 0}
        try:
            prompt = self._prompt(pool)
            rendered, chosen = prompt.render(row), prompt.chosen(row)
            found["turns"] = [
                [role, [[visible(text), n] for text, n in parts]]
                for role, parts in parted(prompt, rendered, chosen)
            ]
        except (ValueError, TypeError) as error:
            return [], {**found, "wrong": visible(str(error), 600)}
        try:
            whole = count_tokens(rendered, self._model)
            few = len(chosen) <= _MANY
            sizes = prompt.sizes(row, lambda m: int(count_tokens(m, self._model))) if few else None
            found |= {"tokens": int(whole), "estimate": whole.estimate, "sizes": sizes}
            found |= self._fitted(prompt, row)
        except (ValueError, EngineError) as error:
            found["fits"] = visible(str(error), 600)
        return chosen, found

    def _fitted(self, prompt: Prompt, row: Mapping[str, Any]) -> dict[str, Any]:
        """What `Prompt.fit` leaves out, in words, and how many of the examples shown first."""
        try:
            made = prompt.fit(
                row, _Given(self._fit["window"], self._model), self._fit["reserve"], self._fit["strategy"]
            )
        except ValueError as error:
            return {"fits": visible(str(error), 600), "fitted": False, "out": 0}
        room = f"{made.prompt_tokens:,} + {self._fit['reserve']:,} of {self._fit['window']:,} tokens"
        left = ", ".join(_left(n, kind) for kind, n in made.dropped.items())
        told = f"left out: {left}; then it fits, {room}" if left else f"all of it fits: {room}"
        return {"fits": told, "fitted": True, "out": made.dropped.get("examples", 0)}

    # Without a browser.

    def html(self) -> str:
        c = self.content
        wrong = "".join(f'<p style="color:#b3261e">{escaped(e, 2000)}</p>' for e in c["errors"].values())
        turns = "".join(_piece(*piece) for piece in _pieces(c))
        head = f"<b>{c['included']} of {c['total']} examples</b> {escaped(self._chosen())}{_page(c)}"
        below = f"<div>{escaped(self._asked())}</div>{wrong}{turns}<small>{escaped(self._told())}</small>"
        return f"<div style='overflow-wrap:anywhere;text-align:left'>{head}{below}</div>"

    def text(self) -> str:
        c = self.content
        head = f"{c['included']} of {c['total']} examples, {self._chosen()}"
        turns = [f"{label}: {text}" for label, text, _ in _pieces(c)]
        return "\n".join([head, *_rows(c), self._asked(), *c["errors"].values(), *turns, self._told()])

    def _chosen(self) -> str:
        k, seed = self._shots["k"], self._shots["order_seed"]
        order = "" if seed is None else f", order_seed {seed}"
        return visible(f"chosen by {self._shots['selector']}, k {'all' if k is None else k}{order}", 400)

    def _asked(self) -> str:
        c = self.content
        return f"row {c['row']} of {c['rows']}: {', '.join(f'{name} {value}' for name, value in c['values'])}"

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
        own = str(prompt.example(chosen[n // 2])[n % 2]["content"])  # type: ignore[index]
        folded = [(text.removesuffix(own), None)] if text != own else []  # the system text, before the first
        made[begin + n] = (role, [*folded, (own, n // 2)])
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
        if _name(prompt.selector) not in SELECTORS:
            raise ValueError("a class of the user's own")
        given, lost = prompt.to_dict(), ""
    except ValueError:  # neither that nor a function has a text
        given = replace(prompt, selector="first").to_dict()
        lost = f"# prompt = prompt.with_(selector=…): {prompt.selector} holds a function, or is a class of your own\n"
    template, *named = ((name, written(plain(value))) for name, value in given.items())
    return f"import toolkit as tk\n\nprompt = {call('tk.Prompt', template[1], **dict(named))}\n{lost}"


def _pieces(content: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """The prompt in pieces: whose it is, its text, whether it is of an example. What an example takes is told once,
    with its question."""
    found = []
    for role, parts in content["turns"]:
        for text, n in parts:
            sizes = content["sizes"] if role != "assistant" else None
            size = f": {sizes[n + 1]:,} tokens" if sizes and n is not None else ""
            out = ", left out" if n is not None and n < content["out"] else ""
            found.append((role if n is None else f"{role}, example {n + 1}{size}{out}", text, n is not None))
    return [piece for piece in found if piece[1].strip()]


def _piece(label: str, text: str, of_example: bool) -> str:
    style = f"margin:4px 0;padding:2px 8px;border-left:3px solid {'#e69f00' if of_example else '#0072b2'}"
    return f'<div style="{style}"><small>{escaped(label)}</small>{said(text)}</div>'


def _marks(example: Mapping[str, Any]) -> list[str]:
    """Of a row of the table: whether it is included, its number, its place among those shown."""
    place = f"shown {example['shown']}" if example["shown"] else ""
    return ["✓" if example["included"] else "–", str(example["place"]), place]


def _page(content: Mapping[str, Any]) -> str:
    """The examples as a table of HTML."""
    if not content["examples"]:
        return ""
    # Said of each cell: notebooks and their pages have texts at the right.
    side = 'style="text-align:left;vertical-align:top"'
    names = "".join(f"<th {side}>{escaped(name)}</th>" for name in ("", "#", "", *content["columns"]))
    rows = "".join(
        f"<tr>{''.join(f'<td {side}>{cell}</td>' for cell in [*_marks(one), *_cells(one)])}</tr>"
        for one in content["examples"]
    )
    return f"<table><thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table>{escaped(_others(content))}"


def _cells(example: Mapping[str, Any]) -> list[str]:
    return [said(value["text"], _BRIEF) for value in example["values"]]


def _rows(content: Mapping[str, Any]) -> list[str]:
    """The examples as lines of text."""
    lines = []
    for one in content["examples"]:
        values = zip(content["columns"], one["values"], strict=True)
        told = ", ".join(f"{name} {value['text'][:_BRIEF]}".replace("\n", "⏎") for name, value in values)
        lines.append(f"{' '.join(filter(None, _marks(one)))}: {told}")
    return [*lines, *filter(None, [_others(content)])]


def _others(content: Mapping[str, Any]) -> str:
    pages = content["pages"]
    return f"page {content['page'] + 1} of {pages}" if pages > 1 else ""


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


def _left(n: int, kind: str) -> str:
    """What was left out, in words: "1 example", "20 characters of documents"."""
    return f"{many(n, 'character')} of documents" if kind == "documents" else many(n, kind.removesuffix("s"))


def _name(made: Any) -> str:
    return type(made).__name__.lower()


def _typed(shots: Mapping[str, Any]) -> dict[str, Any]:
    """How examples are chosen, as it would be typed."""
    made = shots["selector"]
    options = {} if _name(made) not in SELECTORS else _options(made)
    given = {n: "" if v is None else str(v) for n, v in options.items()}
    numbers = {n: "" if shots[n] is None else str(shots[n]) for n in ("k", "order_seed")}
    return {**numbers, "selector": {"name": _name(made), "options": given}}


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
