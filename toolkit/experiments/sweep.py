"""Sweep: what to ask (prompts × rows × settings × repeats), what is known already, and asking the rest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.apart import apart
from toolkit.cells import Cells
from toolkit.engine import Engine
from toolkit.examples import SHOTS
from toolkit.fingerprint import Fingerprint
from toolkit.limits import Limits
from toolkit.messages import Message, messages
from toolkit.plan import STORE, Plan, plan, run
from toolkit.prices import LocalPrice, ModelPrice, model_price
from toolkit.prompt import Prompt, Rendered, dicts
from toolkit.request import Request, digest
from toolkit.results import Results
from toolkit.sampling import Sampling
from toolkit.schema import response_format
from toolkit.store import Store, opened
from toolkit.template import Template
from toolkit.variant import Variant

if TYPE_CHECKING:
    import pandas as pd

Promptlike = str | Prompt | Rendered | Sequence[Message]
Shots = tuple[tuple[str, Any], ...]
"""What a setting says about a prompt's examples: (axis, value), for axes that it has."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """Every prompt with every row and every setting, each `repeats` times. Made by `sweep`."""

    prompts: tuple[Promptlike, ...]
    rows: tuple[Mapping[str, Any], ...]
    """The data that fills the prompt's variables; empty when the prompt has none."""
    cells: Cells
    repeats: int

    def __post_init__(self) -> None:
        if isinstance(self.repeats, bool) or not isinstance(self.repeats, int) or self.repeats < 1:
            raise ValueError(f"repeats must be a whole number from 1 up, got {self.repeats!r}")
        self._conversations  # noqa: B018  # a bad row or prompt fails here, before anything runs

    def __repr__(self) -> str:
        rows = f"{len(self.rows)} rows × " if self.rows else ""
        return f"Sweep({len(self.prompts)} prompt(s) × {rows}{self.cells!r} × {self.repeats} repeat(s))"

    @cached_property
    def _settings(self) -> list[tuple[int | None, Shots, dict[str, Any]]]:
        """Each setting as (its prompt, or None for every one; its shots; what is left)."""
        named = _identities(self.cells)
        places = {_identity(prompt): p for p, prompt in enumerate(self.prompts)} if named else {}
        found = []
        for setting in self.cells:
            own = places[named[id(setting.pop("prompt"))]] if "prompt" in setting else None
            shots = tuple((name, setting.pop(name)) for name in SHOTS if name in setting)
            found.append((own, shots, setting))
        return found

    @cached_property
    def _conversations(self) -> dict[tuple[int, int | None, str], Rendered]:
        """(prompt, row, shots) → messages, and what they were made of."""
        found: dict[tuple[int, int | None, str], Rendered] = {}
        for own, shots in {(own, repr(s)): (own, s) for own, s, _ in self._settings}.values():
            for p in range(len(self.prompts)) if own is None else [own]:
                shown = _with_shots(self.prompts[p], dict(shots))
                for r, row in enumerate(self.rows) if self.rows else [(None, {})]:
                    try:
                        found[p, r, repr(shots)] = _render(shown, row, bool(self.rows))
                    except ValueError as error:
                        where = "" if r is None else f"row {r}: "
                        raise ValueError(f"{where}{error}") from None
        return found

    def requests(self, defaults: Mapping[str, Any]) -> Iterator[tuple[Request, dict[str, Any]]]:
        """Each request with every parameter resolved, and its labels (prompt, row, case, examples)."""
        resolved = []
        called = _Names()
        for own, shots, setting in self._settings:
            axes = {k: v for k, v in setting.items() if k not in ("case", "response_format")}
            form = response_format(setting.get("response_format"))
            named = {"case": setting["case"]} if "case" in setting else {}
            named |= (
                {"response_format": called(form) if form else "text"} if "response_format" in setting else {}
            )
            sampling = Sampling(**axes).resolve(defaults)
            resolved.append((own, repr(shots), _shot_labels(shots, called), named, sampling, form))
        for p in range(len(self.prompts)):
            for r in range(len(self.rows)) if self.rows else [None]:
                for own, shots_, shown, named, sampling, form in resolved:
                    if own not in (None, p):
                        continue
                    made = self._conversations[p, r, shots_]
                    labels: dict[str, Any] = {"prompt": p} if len(self.prompts) > 1 else {}
                    labels |= {} if r is None else {"row": r}
                    labels |= named | _that_matter(shown, made) | made.notes
                    yield (
                        Request(made.messages, None, sampling, response_format=form, notes=made.notes),
                        labels,
                    )

    def plan(self, engine: Engine, store: Store | str | Path = STORE) -> Plan:
        """What a run would ask, without asking it. Starts no engine whose fingerprint is known."""
        return plan(self.requests(engine.defaults), self.repeats, self._body, engine, store)

    def run(
        self,
        engine: Engine,
        store: Store | str | Path = STORE,
        *,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        price: str | ModelPrice | LocalPrice | None = None,
    ) -> Results:
        """Asks what is missing, as one batch, and returns everything that belongs to this sweep.

        Each completion is on disk within a second of its end. Interrupt it and run it again: only what is
        missing is asked. A request that cannot be answered is a row with an `error`, asked again next time.

        max_tokens, max_cost: the most that this run may spend (see `Limits`): tokens of prompts and completions, and
        US dollars at a price. What is stored costs nothing; what did not fit is asked by the next run.

        Raises StoreError when the store cannot be written, EngineError when the engine dies; what was
        finished until then is kept. PriceError for an unknown model, before anything is asked.
        """
        paid = price if isinstance(price, LocalPrice) or price is None else model_price(price)
        limits = Limits(max_tokens, max_cost, paid)
        return run(lambda: self.requests(engine.defaults), self.repeats, self._body, engine, store, limits)

    def run_across(
        self, variants: Iterable[Variant | Engine | Fingerprint], store: Store | str | Path = STORE
    ) -> Results:
        """Asks the same of several engines, one after another, each in a process of its own (see `toolkit.variants`),
        into one store, and returns everything that belongs to this sweep on them. An engine stands for the variant
        that it is. What is stored is not asked again, as in `run`; interrupt it and run it again to go on.

        Raises TypeError for what is no variant, and what `run` raises.

        >>> sweep.run_across(tk.variants(dtype=["float32", "bfloat16"])).determinism()  # doctest: +SKIP
        """
        kept = opened(store)
        asked = across(self, [Variant.of(variant) for variant in variants], kept.path)
        return Results.of(kept).on(asked)

    @property
    def _body(self) -> dict[str, Any]:
        """Prompts and rows, as the store keeps them."""
        return {
            "prompts": [_plain(p) for p in self.prompts],
            "rows": [dict(row) for row in self.rows],
            "repeats": self.repeats,
        }


Asked = tuple[str, str]
"""The id of a sweep, and that of the fingerprint that it ran on."""


def across(what: Sweep, variants: Sequence[Variant], store: str) -> list[Asked]:
    """Runs a sweep on each variant in turn, each in a process of its own; see `Sweep.run_across`."""
    if not variants:
        raise ValueError("variants is empty: give at least one, as toolkit.variants(dtype=[…]) makes them")
    if store == ":memory:":
        raise ValueError("other processes cannot write into a store in memory: give the path of a file")
    found = []
    for number, variant in enumerate(variants, 1):
        print(f"{number} of {len(variants)}: {variant}")
        found.append(apart(variant, _ask, what, store))
    return found


def _ask(engine: Engine, what: Sweep, store: str) -> Asked:
    """In a process of its own."""
    first = what.run(engine, store).frame().iloc[0]  # one that failed is a row too
    return str(first["sweep"]), str(first["system_fingerprint"])


def sweep(
    prompt: Promptlike | None,
    rows: Iterable[Mapping[str, Any]] | pd.DataFrame | Cells | None = None,
    cells: Cells | None = None,
    repeats: int = 1,
) -> Sweep:
    """A sweep of a prompt over rows of data and settings; `rows` may be left out: `sweep(prompt, cells)`.

    prompt: text, messages, a `Prompt`, or one rendered already; with rows, `{name}` in text is a variable. None
    when the prompts are an axis of `cells`. rows: dicts, or a DataFrame. repeats: completions of each request.
    The examples of a `Prompt` may vary too: axes `k`, `selector` and `order_seed`.

    >>> sweep("Write a haiku.", grid(temperature=[0, 0.7], seed=range(3)))  # doctest: +SKIP
    """
    if isinstance(rows, Cells):
        if cells is not None:
            raise TypeError("both rows and cells are settings: join them with + or *")
        rows, cells = None, rows
    cells = Cells([{}]) if cells is None else cells
    if not isinstance(cells, Cells):
        raise TypeError(f"cells must come from grid, zipped or cases, got {cells!r}")
    named = _identities(cells)
    own = {named[id(c["prompt"])]: c["prompt"] for c in cells if "prompt" in c}
    if (prompt is None) == (not own):
        raise ValueError("give the prompt either as the first argument or as an axis `prompt` of the cells")
    return Sweep(tuple(own.values()) if prompt is None else (prompt,), as_rows(rows), cells, repeats)


def as_rows(given: Any) -> tuple[Mapping[str, Any], ...]:
    if given is None:
        return ()
    rows = dicts("rows", given)
    if not rows:
        raise ValueError("rows is empty: give at least one row, or leave rows out")
    return tuple(
        {str(n): _storable(f"rows[{i}]", n, v) for n, v in row.items()} for i, row in enumerate(rows)
    )


def _storable(where: str, name: Any, value: Any) -> Any:
    """A value as JSON has it: NumPy's numbers as Python's, dates and times as ISO 8601 text."""
    if hasattr(value, "item") and not hasattr(value, "__len__"):
        value = value.item()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"{where} has {name!r} of type {type(value).__name__}, which a store cannot keep: make it text, "
            "a number, a list or a dict"
        ) from None
    return value


def _with_shots(prompt: Promptlike, shots: dict[str, Any]) -> Promptlike:
    if not shots:
        return prompt
    if not isinstance(prompt, Prompt) or not prompt.examples:
        raise ValueError(
            f"{', '.join(shots)}: such an axis varies the examples of a Prompt, and {str(prompt)[:60]!r} has none: "
            "give toolkit.Prompt(template, examples=…)"
        )
    return prompt.with_(**{name: value for name, value in shots.items() if value is not None})


class _Names:
    """What tables call selectors and forms: different ones of one name are numbered."""

    def __init__(self) -> None:
        self._known: dict[str, list[Any]] = {}

    def __call__(self, thing: Any) -> str:
        known = self._known.setdefault(str(thing), [])
        if thing not in known:
            known.append(thing)
        number = known.index(thing)
        return f"{thing} [{number}]" if number else str(thing)


def _shot_labels(shots: Shots, called: _Names) -> dict[str, Any]:
    """As tables show them; a selector by its name and options."""
    return {
        name: called(SHOTS[name](name, v)) if name == "selector" else v for name, v in shots if v is not None
    }


def _that_matter(labels: dict[str, Any], made: Rendered) -> dict[str, Any]:
    """Without an example there is no selector and no order, with one there is no order: such cells are one."""
    number = len(made.examples or ())
    if labels and number == 0:
        return {"k": 0}
    return {name: v for name, v in labels.items() if name != "order_seed" or number > 1}


def _render(prompt: Promptlike, row: Mapping[str, Any], filled: bool) -> Rendered:
    if isinstance(prompt, Rendered):
        return prompt
    if isinstance(prompt, Prompt):
        return prompt.render(row)
    turns = messages(prompt)
    # Without rows nothing is filled in, so braces in the text are just braces.
    return Rendered(tuple(_filled(turn, row) for turn in turns) if filled else turns)


def _filled(turn: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    def fill(text: str) -> str:
        return Template(text).fill(row) if text else text

    content = turn["content"]
    if isinstance(content, str):
        return {**turn, "content": fill(content)}
    parts = [{**part, "text": fill(part["text"])} if part["type"] == "text" else part for part in content]
    return {**turn, "content": parts}


def _plain(prompt: Promptlike) -> Any:
    """A prompt as the store keeps it."""
    if isinstance(prompt, Prompt):
        # A selector that holds a function is kept by its name: the choice itself is in each cell.
        return {**replace(prompt, selector="first").to_dict(), "selector": str(prompt.selector)}
    return list(prompt.messages) if isinstance(prompt, Rendered) else prompt


def _identities(cells: Cells) -> dict[int, str]:
    """id() → identity of each prompt that cells hold: many cells hold the same one, and a pool is long to hash."""
    prompts = {id(c["prompt"]): c["prompt"] for c in cells if "prompt" in c}
    return {place: _identity(prompt) for place, prompt in prompts.items()}


def _identity(prompt: Promptlike) -> str:
    if isinstance(prompt, Rendered):
        return digest([prompt.messages, prompt.notes])
    # Two functions may have one name.
    embed = id(getattr(prompt.selector, "embed", None)) if isinstance(prompt, Prompt) else 0
    return digest([_plain(prompt), embed])
