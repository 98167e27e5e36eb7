"""Builder: the few-shot examples of a prompt, edited and chosen beside the prompt that results."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from toolkit._internal.missing import is_missing
from toolkit._internal.validation import instance_of
from toolkit.analysis.token_counts import count_tokens
from toolkit.analysis.tokenizer_lookup import find_tokenizer
from toolkit.core.sampling import DEFAULT_MAX_TOKENS
from toolkit.display.markup import Markup, joined, markup
from toolkit.engines import loading
from toolkit.engines.base import Engine
from toolkit.errors import EngineError
from toolkit.prompts.context_window import STRATEGIES
from toolkit.prompts.prompt import Prompt
from toolkit.prompts.rows import as_data
from toolkit.prompts.selectors import FEW_SHOT_AXES, SELECTORS, Selector, selector
from toolkit.widgets.base import View, assets, command, escaped, plain, visible
from toolkit.widgets.engine_labels import window_of
from toolkit.widgets.few_shot_html import (
    HIDDEN,
    dropped_text,
    page_html,
    prompt_html,
    prompt_pieces,
    text_rows,
    window_note,
)
from toolkit.widgets.few_shot_inputs import as_number, as_type_of, positive_int
from toolkit.widgets.prompt_parts import split_by_example
from toolkit.widgets.python_source import call_source, literal

if TYPE_CHECKING:
    import pandas as pd


_FALLBACK_MODEL = "gpt-4o"
"""Its tokens are counted where no engine is loaded."""
_PAGE = 10
"""Examples on a page of the table."""
_MAX_CELL = 4000
"""Characters of one value that the table shows."""
_MAX_COUNTED = 64
"""More examples are not counted one by one: each costs a count of the full prompt."""
_WINDOW = 8192
"""The context window that is assumed where the model's is not known."""


@dataclass
class Example:
    """A row of the table."""

    row: dict[str, Any]
    included: bool = True


@dataclass(frozen=True)
class _Window:
    """A context window of the size that was typed, for `Prompt.fit`."""

    window: int
    model: str | Engine | None

    def count(self, request: Any) -> int:
        return int(count_tokens(request, self.model))


class Builder(View):
    """A prompt's few-shot examples as an editable table, the examples selected for a row and their order, the
    rendered prompt with the tokens of each example, and what is left out to fit a context window.

    rows: the data that fills the prompt's variables, as for `toolkit.sweep`; one is shown at a time. model: whose
    tokens are counted, as for `toolkit.count_tokens`; None for the engine loaded last, else an estimate by tiktoken.
    `prompt` is the edited prompt.

    Raises TypeError if `prompt` is no Prompt or a row no mapping, ModelError for an unknown model.

    >>> tk.few_shot(tk.Prompt("{text}", examples=pool, answer="{label}", k=4), rows)  # doctest: +SKIP
    """

    live_only = "editing"
    _esm, _css = assets("few_shot")

    def __init__(
        self,
        prompt: Prompt,
        rows: Iterable[Mapping[str, Any]] | pd.DataFrame | None = None,
        model: str | Engine | None = None,
    ) -> None:
        instance_of(Prompt, "prompt", prompt, "toolkit.Prompt(template, examples=…)")
        self._original = prompt
        self.examples = [Example(dict(row)) for row in prompt.examples]
        self.rows = as_data("rows", rows) or ({},)
        self._row = self._page = 0
        self._model = _FALLBACK_MODEL if model is None and loading._loaded is None else model
        self._counter = find_tokenizer(self._model).name
        self._shots: dict[str, Any] = {name: getattr(prompt, name) for name in FEW_SHOT_AXES}
        self._fit: dict[str, Any] = {"window": _WINDOW, "reserve": DEFAULT_MAX_TOKENS, "strategy": "examples"}
        counted = loading._loaded if self._model is None else self._model
        name = str(counted.model if isinstance(counted, Engine) else counted)
        self._tokenizer_name = os.path.basename(name) if os.path.isdir(name) else name
        self._model_window = window_of(counted)
        self._fit["window"] = self._model_window or _WINDOW
        self._inputs = {"shots": _shots_text(self._shots), "fit": {n: str(v) for n, v in self._fit.items()}}
        super().__init__({})
        self._refresh()

    @property
    def prompt(self) -> Prompt:
        """The edited prompt: the included examples, in the table's order, and how they are chosen.

        Raises ValueError for examples that lack a variable.
        """
        return self._prompt(self._pool)

    def _prompt(self, pool: Sequence[Example]) -> Prompt:
        k = self._shots["k"]
        k = k and min(k, len(pool))
        return self._original.with_(**{**self._shots, "examples": [e.row for e in pool], "k": k})

    @property
    def _pool(self) -> list[Example]:
        """The included examples, without rows that are still empty."""
        names = self._columns
        return [e for e in self.examples if e.included and any(str(e.row.get(n, "")) for n in names)]

    @property
    def _columns(self) -> list[str]:
        """The variables of an example: those that the prompt needs first."""
        return list(
            dict.fromkeys([*self._original.example_variables, *(n for e in self.examples for n in e.row)])
        )

    # Commands of the frontend. Each change rebuilds the content for all views.

    @command
    def edit(self, place: int, name: str, text: str) -> None:
        row = self.examples[place].row
        row[name] = as_type_of(row.get(name), text)
        self._refresh()

    @command
    def include(self, place: int, included: bool) -> None:
        self.examples[place].included = included
        self._refresh()

    @command
    def add(self) -> None:
        self.examples.append(Example(dict.fromkeys(self._columns, "")))
        self._refresh(len(self.examples) - 1)

    @command
    def remove(self, place: int) -> None:
        del self.examples[place]
        self._refresh(place)

    @command
    def move(self, place: int, by: int) -> None:
        to = max(0, min(place + by, len(self.examples) - 1))
        self.examples.insert(to, self.examples.pop(place))
        self._refresh(to)

    @command
    def show_page(self, page: int) -> None:
        self._refresh(page * _PAGE)

    @command
    def show_row(self, row: float) -> None:
        self._row = max(0, min(int(row), len(self.rows) - 1))
        self._refresh()

    @command
    def configure(self, shots: Mapping[str, Any], fit: Mapping[str, Any]) -> None:
        """How examples are chosen, and the context window: texts as typed."""
        self._inputs = {"shots": dict(shots), "fit": dict(fit)}
        self._refresh()

    @command
    def code(self) -> str:
        """The Python that makes the prompt."""
        return prompt_code(self.prompt)

    def _parse_inputs(self, included: int) -> dict[str, str]:
        """Applies the valid inputs. Returns the errors of the others, by name."""
        errors: dict[str, str] = {}

        def apply(settings: dict[str, Any], name: str, typed: Any, parse: Callable[[str, Any], Any]) -> None:
            try:
                settings[name] = parse(name, typed)
            except (TypeError, ValueError) as error:
                errors[name] = visible(str(error), 400)

        for name, typed in self._inputs["shots"].items():
            apply(self._shots, name, typed, lambda name, typed: self._parse_shot(name, typed, included))
        for name in ("window", "reserve"):
            apply(self._fit, name, self._inputs["fit"][name], positive_int)
        strategy = self._inputs["fit"]["strategy"]
        self._fit["strategy"] = strategy if strategy in STRATEGIES else "refuse"
        return errors

    def _parse_shot(self, name: str, typed: Any, included: int) -> Any:
        if name != "selector":
            value = None if typed == "" else FEW_SHOT_AXES[name](name, as_number(typed))
            if name == "k" and value is not None and value > included:
                raise ValueError(
                    f"k is {value}, but {included} examples are included: lower k, or include more"
                )
            return value
        original = self._original.selector
        if typed["name"] == original.name and not original.registered:
            return original
        options = {n: as_number(v) for n, v in typed["options"].items() if v != ""}
        parsed = selector({"name": typed["name"], **options})
        hidden = {n: v for n in HIDDEN if hasattr(parsed, n) and (v := getattr(original, n, None))}
        return replace(parsed, **hidden)

    # The content

    def _refresh(self, place: int | None = None) -> None:
        """Rebuilds the content, with the page of an example (default: the current page)."""
        begin = self._page * _PAGE if place is None else place
        self._page = max(0, min(begin, len(self.examples) - 1)) // _PAGE
        pool = self._pool
        errors = self._parse_inputs(len(pool))
        chosen, result = self._result(pool)
        positions = {id(pool[i]): n for n, i in enumerate(chosen, 1)}
        errors = {**({"prompt": message} if (message := result.pop("error", "")) else {}), **errors}
        self.content = plain(
            {**self._table(positions), "included": len(pool), **self._settings(), **result, "errors": errors}
        )

    def _table(self, positions: Mapping[int, int]) -> dict[str, Any]:
        """The page of examples. positions: id() of an example → its position in the prompt for the row, from 1."""
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
                    "position": positions.get(id(example)),
                    "values": [_cell(example.row.get(name, "")) for name in names],
                }
                for place, example in enumerate(self.examples[begin : begin + _PAGE], begin)
            ],
        }

    def _settings(self) -> dict[str, Any]:
        original = self._original.selector.name
        options = {name: _default_options(kind) for name, kind in SELECTORS.items()}
        return {
            "shots": self._inputs["shots"],
            "selectors": {**options, **({} if original in options else {original: {}})},
            "strategies": STRATEGIES,
            "fit": self._inputs["fit"],
            "row": self._row,
            "rows": len(self.rows),
            "values": [[visible(str(n), 100), visible(str(v), 400)] for n, v in self.rows[self._row].items()],
            "counter": self._counter,
            "window_note": window_note(self._tokenizer_name, self._model_window, self._fit["window"]),
        }

    def _result(self, pool: Sequence[Example]) -> tuple[list[int], dict[str, Any]]:
        """Indices in the pool of the chosen examples; the rendered prompt with its tokens and what is left out to fit
        the window, or the error as "error"."""
        row = self.rows[self._row]
        result: dict[str, Any] = {"turns": [], "sizes": None, "tokens": None, "estimate": False}
        result |= {"fits": "", "fitted": False, "out": 0}
        try:
            prompt = self._prompt(pool)
            rendered, chosen = prompt.render(row), prompt.chosen(row)
            result["turns"] = [
                [role, [[visible(text), n] for text, n in parts]]
                for role, parts in split_by_example(prompt, rendered, chosen)
            ]
        except (ValueError, TypeError) as error:
            return [], {**result, "error": visible(str(error), 600)}
        try:
            total = count_tokens(rendered, self._model)
            few = len(chosen) <= _MAX_COUNTED
            sizes = prompt.sizes(row, lambda m: int(count_tokens(m, self._model))) if few else None
            result |= {"tokens": int(total), "estimate": total.estimate, "sizes": sizes}
            result |= self._fitted(prompt, row)
        except (ValueError, EngineError) as error:
            result["fits"] = visible(str(error), 600)
        return chosen, result

    def _fitted(self, prompt: Prompt, row: Mapping[str, Any]) -> dict[str, Any]:
        """What `Prompt.fit` leaves out, in words, and how many examples, counted from the first."""
        try:
            rendered = prompt.fit(
                row, _Window(self._fit["window"], self._model), self._fit["reserve"], self._fit["strategy"]
            )
        except ValueError as error:
            return {"fits": visible(str(error), 600), "fitted": False, "out": 0}
        sizes = f"{rendered.prompt_tokens:,} + {self._fit['reserve']:,} of {self._fit['window']:,} tokens"
        dropped = ", ".join(dropped_text(n, kind) for kind, n in rendered.dropped.items())
        summary = f"left out: {dropped}; then it fits, {sizes}" if dropped else f"all of it fits: {sizes}"
        return {"fits": summary, "fitted": True, "out": rendered.dropped.get("examples", 0)}

    # Static output

    def html(self) -> Markup:
        c = self.content
        errors = [markup('<p style="color:#b3261e">{}</p>', escaped(e, 2000)) for e in c["errors"].values()]
        included, choice = f"{c['included']} of {c['total']} examples", escaped(self._choice_text())
        row, tokens = escaped(self._row_text()), escaped(self._tokens_text())
        head = markup("<b>{}</b> {}{}<div>{}</div>", included, choice, page_html(c), row)
        page = joined([head, *errors, prompt_html(c), markup("<small>{}</small>", tokens)])
        return markup("<div style='overflow-wrap:anywhere;text-align:left'>{}</div>", page)

    def text(self) -> str:
        c = self.content
        head = f"{c['included']} of {c['total']} examples, {self._choice_text()}"
        turns = [f"{label}: {text}" for label, text, _ in prompt_pieces(c)]
        lines = [head, *text_rows(c), self._row_text(), *c["errors"].values(), *turns, self._tokens_text()]
        return "\n".join(lines)

    def _choice_text(self) -> str:
        k, seed = self._shots["k"], self._shots["order_seed"]
        order = "" if seed is None else f", order_seed {seed}"
        return visible(f"chosen by {self._shots['selector']}, k {'all' if k is None else k}{order}", 400)

    def _row_text(self) -> str:
        c = self.content
        return f"row {c['row']} of {c['rows']}: {', '.join(f'{name} {value}' for name, value in c['values'])}"

    def _tokens_text(self) -> str:
        c = self.content
        if c["tokens"] is None:
            return c["fits"] or "no prompt"
        each = f", examples {' + '.join(map(str, c['sizes'][1:]))}" if c["sizes"] and c["sizes"][1:] else ""
        about = "about " if c["estimate"] else ""
        return f"{about}{c['tokens']:,} tokens{each} ({c['counter']}); {c['fits']} ({c['window_note']})"


def prompt_code(prompt: Prompt) -> str:
    """The Python that makes a prompt."""
    try:
        values, note = prompt.to_dict(), ""
    except ValueError:  # neither a function nor a class without a name can be written as source
        values = replace(prompt, selector="first").to_dict()
        note = (
            f"# prompt = prompt.with_(selector=…): {prompt.selector} holds a function, or is not registered\n"
        )
    template, *arguments = ((name, literal(plain(value))) for name, value in values.items())
    return (
        f"import toolkit as tk\n\nprompt = {call_source('tk.Prompt', template[1], **dict(arguments))}\n{note}"
    )


def _cell(value: Any) -> dict[str, Any]:
    text = value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)
    text = "" if is_missing(value) else text
    return {"text": visible(text, _MAX_CELL), "cut": len(text) > _MAX_CELL}


def _shots_text(shots: Mapping[str, Any]) -> dict[str, Any]:
    """How examples are chosen, as the texts of the inputs."""
    current = shots["selector"]
    options = _options(current) if current.registered else {}
    texts = {n: "" if v is None else str(v) for n, v in options.items()}
    numbers = {n: "" if shots[n] is None else str(shots[n]) for n in ("k", "order_seed")}
    return {**numbers, "selector": {"name": current.name, "options": texts}}


def _options(instance: Selector) -> dict[str, Any]:
    return {f.name: getattr(instance, f.name) for f in fields(instance) if f.name not in HIDDEN}


def _default_options(kind: type[Selector]) -> dict[str, Any]:
    """The options of a selector with their defaults; None for one that must be set."""
    return {f.name: None if f.default is MISSING else f.default for f in fields(kind) if f.name not in HIDDEN}
