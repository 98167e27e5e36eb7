"""Sweep: requests as prompts × rows × settings × repeats, planned and run on an engine."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit._internal.field_docs import documented
from toolkit._internal.hashing import digest
from toolkit._internal.text import short_repr
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import ResolvedRequest
from toolkit.core.sampling import Sampling
from toolkit.engines.base import Engine
from toolkit.engines.subprocess import run_in_subprocess
from toolkit.engines.variant import Variant
from toolkit.experiments.grid import Cells
from toolkit.experiments.plan import STORE, Plan, plan
from toolkit.experiments.run import run
from toolkit.experiments.unsendable import render_row
from toolkit.experiments.workload import Workload, check_number
from toolkit.pricing.budget import Budget
from toolkit.pricing.prices import LocalPrice, ModelPrice, model_price
from toolkit.prompts.messages import messages, plain_text
from toolkit.prompts.named_prompts import NamedPrompt, Promptlike, named_prompts, unnamed
from toolkit.prompts.prompt import Prompt
from toolkit.prompts.rendered import Rendered
from toolkit.prompts.rows import as_data
from toolkit.prompts.selectors import FEW_SHOT_AXES
from toolkit.prompts.template import Template, single_brace_variables
from toolkit.results.results import Results
from toolkit.store.store import Store, open_store
from toolkit.structured.response_format import response_format

if TYPE_CHECKING:
    import pandas as pd

_logger = logging.getLogger(__name__)


FewShotAxes = tuple[tuple[str, Any], ...]
"""The few-shot axes of a setting: (axis, value), for axes that it has."""


@documented
@dataclass(frozen=True, eq=False)
class Sweep:
    """Every prompt with every row and every setting, each `repeats` times. Made by `sweep`."""

    prompts: tuple[Promptlike, ...]
    """The prompts, in the order of their numbers."""
    rows: tuple[Mapping[str, Any], ...]
    """The data that fills the prompt's variables; empty when the prompt has none."""
    cells: Cells
    """The settings."""
    repeats: int
    """Completions of each request."""

    def __post_init__(self) -> None:
        if isinstance(self.repeats, bool) or not isinstance(self.repeats, int) or self.repeats < 1:
            raise ValueError(f"repeats must be a whole number from 1 up, got {short_repr(self.repeats)}")
        check_number(self._number_of_requests, self.repeats)
        self._conversations  # noqa: B018  # a bad row or prompt fails here, before anything runs

    def __repr__(self) -> str:
        rows = f"{len(self.rows)} rows × " if self.rows else ""
        return f"Sweep({len(self.prompts)} prompt(s) × {rows}{self.cells!r} × {self.repeats} repeat(s))"

    @property
    def _number_of_requests(self) -> int:
        prompts = (1 if "prompt" in setting else len(self.prompts) for setting in self.cells)
        return sum(prompts) * max(1, len(self.rows))

    @cached_property
    def _settings(self) -> list[tuple[int | None, int, FewShotAxes, dict[str, Any]]]:
        """Each setting as (index of its own prompt, or None for all prompts; the number of its few-shot axes, and
        these; its other axes). Numbers, since the text of a selector with a function is another in each process."""
        identities = _identities(self.cells)
        indices = {_identity(prompt): p for p, prompt in enumerate(self.prompts)} if identities else {}
        settings = []
        numbers: dict[str, int] = {}
        for setting in self.cells:
            index = indices[identities[id(setting.pop("prompt"))]] if "prompt" in setting else None
            # Looked up by name here: another process that runs the sweep may lack the file of a user's selector.
            shots = tuple((name, _shot(name, setting.pop(name))) for name in FEW_SHOT_AXES if name in setting)
            settings.append((index, numbers.setdefault(repr(shots), len(numbers)), shots, setting))
        return settings

    @cached_property
    def _conversations(self) -> dict[tuple[int, int | None, int], Rendered]:
        """(prompt, row, number of the few-shot axes) → messages, and notes on how they were made."""
        conversations: dict[tuple[int, int | None, int], Rendered] = {}
        for (index, number), shots in {(index, n): shots for index, n, shots, _ in self._settings}.items():
            for p in range(len(self.prompts)) if index is None else [index]:
                prompt = _with_shots(self.prompts[p], dict(shots))
                for r, row in enumerate(self.rows):
                    conversations[p, r, number] = render_row(partial(_render_row, prompt), r, row)
                if not self.rows:
                    conversations[p, None, number] = _render(prompt)
        return conversations

    def requests(self, defaults: Mapping[str, Any]) -> Iterator[tuple[ResolvedRequest, dict[str, Any]]]:
        """Each request, and its labels (prompt, row, case, examples)."""
        resolved = []
        names = _DisplayNames()
        for index, number, shots, setting in self._settings:
            axes = {k: v for k, v in setting.items() if k not in ("case", "response_format")}
            format_ = response_format(setting.get("response_format"))
            base_labels = {"case": setting["case"]} if "case" in setting else {}
            base_labels |= (
                {"response_format": names(format_) if format_ else "text"}
                if "response_format" in setting
                else {}
            )
            sampling = Sampling(**axes).resolve(defaults)
            resolved.append((index, number, _shot_labels(shots, names), base_labels, sampling, format_))
        for p in range(len(self.prompts)):
            for r in range(len(self.rows)) if self.rows else [None]:
                for index, number, shot_labels, base_labels, sampling, format_ in resolved:
                    if index not in (None, p):
                        continue
                    prompt = self._conversations[p, r, number]
                    labels: dict[str, Any] = {"prompt": p} if len(self.prompts) > 1 else {}
                    labels |= {} if r is None else {"row": r}
                    labels |= base_labels | _effective_labels(shot_labels, prompt)
                    labels |= {name: note for name, note in prompt.notes.items() if name != "error"}
                    request = ResolvedRequest(
                        prompt.messages, None, sampling, response_format=format_, notes=prompt.notes
                    )
                    yield request, labels

    @property
    def workload(self) -> Workload:
        """The requests and their repeats, as `toolkit.experiments.run` takes them."""
        prompts = [_storable_prompt(prompt) for prompt in self.prompts]
        return Workload(self.requests, self.repeats, prompts, self.rows)

    def plan(self, engine: Engine, store: Store | str | Path = STORE) -> Plan:
        """What a run would do, without running it. Starts no engine whose fingerprint is known."""
        return plan(self.workload, engine, store)

    def run(
        self,
        engine: Engine,
        store: Store | str | Path = STORE,
        *,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        price: str | ModelPrice | LocalPrice | None = None,
    ) -> Results:
        """Runs what is missing, as one batch, and returns all results of this sweep.

        Each completion is on disk within a second of its end. After an interrupt, run it again: only what is
        missing is run. A request that cannot be answered is a row with an `error`, and is retried next time.

        max_tokens, max_cost: the most that this run may spend (see `Budget`): tokens of prompts and completions, and
        US dollars at a price. What is stored costs nothing; what did not fit is left to the next run.

        Raises StoreError when the store cannot be written, EngineError when the engine dies; what was
        finished until then is kept. Raises PriceError for an unknown model, before anything is run.
        """
        resolved_price = price if isinstance(price, LocalPrice) or price is None else model_price(price)
        limits = Budget(max_tokens, max_cost, resolved_price)
        return run(self.workload, engine, store, limits)

    def run_across(
        self, variants: Iterable[Variant | Engine | Fingerprint], store: Store | str | Path = STORE
    ) -> Results:
        """Runs this sweep on several engines, one after another, each in a process of its own (see
        `toolkit.variants`), into one store, and returns its results on all of them. An engine stands for its variant.
        What is stored is not asked again, as in `run`; after an interrupt, run it again to resume. Several models are
        compared in this way: the column `model` is then an axis of the results.

        Raises TypeError for anything that is not a variant, and what `run` raises.

        >>> sweep.run_across(tk.variants(dtype=["float32", "bfloat16"])).determinism()  # doctest: +SKIP
        """
        if isinstance(variants, (str, Path, Variant, Engine, Fingerprint)):
            raise TypeError(
                f"variants must be a list, as toolkit.variants(dtype=[…]) makes it, or of engines, got {variants!r}"
            )
        opened_store = open_store(store)
        runs = run_on_variants(self, [Variant.of(variant) for variant in variants], opened_store.path)
        return Results.of(opened_store).on(runs)


SweepRun = tuple[str, str]
"""The id of a sweep, and that of the fingerprint it ran on."""


def run_on_variants(sweep: Sweep, variants: Sequence[Variant], store: str) -> list[SweepRun]:
    """Runs a sweep on each variant in turn, each in a process of its own; see `Sweep.run_across`."""
    if not variants:
        raise ValueError("variants is empty: give at least one, as toolkit.variants(dtype=[…]) makes them")
    if store == ":memory:":
        raise ValueError("other processes cannot write into a store in memory: give the path of a file")
    runs = []
    for number, variant in enumerate(variants, 1):
        _logger.info("%d of %d: %s", number, len(variants), variant)
        runs.append(run_in_subprocess(variant, _run_sweep, sweep, store))
    return runs


def _run_sweep(engine: Engine, sweep: Sweep, store: str) -> SweepRun:
    """Runs a sweep on the engine of this process, for `run_on_variants`."""
    row = sweep.run(engine, store).frame().iloc[0]  # a failed request is a row, too
    return str(row["sweep"]), str(row["system_fingerprint"])


def sweep(
    prompt: Promptlike | Mapping[str, Promptlike] | None,
    rows: Iterable[Mapping[str, Any]] | pd.DataFrame | Cells | None = None,
    cells: Cells | None = None,
    repeats: int = 1,
) -> Sweep:
    """A sweep of a prompt over rows of data and settings; `rows` may be left out: `sweep(prompt, cells)`.

    prompt: text, messages, a `Prompt`, or a rendered one; with rows, `{name}` in text is a variable. Several go by
    name, {"short": …, "long": …}, which tables show in their place, and which changes no request; or they are an axis
    of `cells`, and prompt is None. rows: dicts, or a DataFrame. repeats: completions of each request.
    The examples of a `Prompt` may vary too: axes `k`, `selector` and `order_seed`.

    Raises ValueError, which names row and column, for a variable that is not there or whose value is missing, for a
    value that is no data, and for a variable in a text without rows. A value that the prompt cannot write (half of a
    surrogate pair, a text as `{n:.2f}`) is an error of its row, and the other rows are run.

    >>> sweep("Write a haiku.", grid(temperature=[0, 0.7], seed=range(3)))  # doctest: +SKIP
    """
    if isinstance(rows, Cells):
        if cells is not None:
            raise TypeError("both rows and cells are settings: join them with + or *")
        rows, cells = None, rows
    cells = Cells([{}]) if cells is None else cells
    if not isinstance(cells, Cells):
        raise TypeError(f"cells must come from grid, zipped or cases, got {short_repr(cells)}")
    identities = _identities(cells)
    cell_prompts = {identities[id(c["prompt"])]: c["prompt"] for c in cells if "prompt" in c}
    if (prompt is None) == (not cell_prompts):
        raise ValueError("give the prompt either as the first argument or as an axis `prompt` of the cells")
    prompts = cell_prompts.values() if prompt is None else _prompts(prompt)
    return Sweep(tuple(prompts), as_rows(rows), cells, repeats)


def _prompts(prompt: Promptlike | Mapping[str, Promptlike]) -> Sequence[Promptlike]:
    if isinstance(prompt, Mapping):
        return named_prompts(prompt)
    if isinstance(prompt, (list, tuple)) and prompt and isinstance(prompt[0], (str, Prompt, Rendered)):
        raise TypeError(
            "several prompts go by name, {'short': …, 'long': …}, or are an axis, sweep(None, rows, "
            "toolkit.grid(prompt=[…]))"
        )
    return [prompt]


def as_rows(data: Any) -> tuple[Mapping[str, Any], ...]:
    if data is None:
        return ()
    if isinstance(data, Mapping):
        raise TypeError(
            f"rows must be a list of dicts, or a DataFrame, got {dict(data)!r}: one row is [{{…}}], and settings are "
            "made by toolkit.grid(temperature=[…])"
        )
    rows = as_data("rows", data)
    if not rows:
        raise ValueError("rows is empty: give at least one row, or leave rows out")
    return rows


def _shot(name: str, value: Any) -> Any:
    return None if value is None else FEW_SHOT_AXES[name](name, value)


def _with_shots(prompt: Promptlike, shots: dict[str, Any]) -> Promptlike:
    if not shots:
        return prompt
    if not isinstance(prompt, Prompt) or not prompt.examples:
        raise ValueError(
            f"{', '.join(shots)}: such an axis varies the examples of a Prompt, and {str(unnamed(prompt))[:60]!r} "
            "has none: give toolkit.Prompt(template, examples=…)"
        )
    return prompt.with_(**{name: value for name, value in shots.items() if value is not None})


class _DisplayNames:
    """Names of selectors and response formats in tables: different ones with the same name are numbered."""

    def __init__(self) -> None:
        self._by_text: dict[str, list[Any]] = {}

    def __call__(self, value: Any) -> str:
        values = self._by_text.setdefault(str(value), [])
        if value not in values:
            values.append(value)
        number = values.index(value)
        return f"{value} [{number}]" if number else str(value)


def _shot_labels(shots: FewShotAxes, display_name: _DisplayNames) -> dict[str, Any]:
    """Few-shot axes as tables show them; a selector by its name and options."""
    return {
        name: display_name(value) if name == "selector" else value
        for name, value in shots
        if value is not None
    }


def _effective_labels(labels: dict[str, Any], rendered: Rendered) -> dict[str, Any]:
    """Labels that make a difference: selector and order do not without examples, nor order with one example."""
    number = len(rendered.examples or ())
    if labels and number == 0:
        return {"k": 0}
    return {name: v for name, v in labels.items() if name != "order_seed" or number > 1}


def _render(prompt: Promptlike) -> Rendered:
    """The prompt of a sweep without rows. Nothing is filled in, so braces in a text are just braces; what looks like
    a variable is refused, since its rows may have been forgotten."""
    prompt = unnamed(prompt)
    if isinstance(prompt, Rendered):
        return prompt
    if isinstance(prompt, Prompt):
        return prompt.render()
    turns = messages(prompt)
    for variable in single_brace_variables("\n".join(map(plain_text, turns))):
        raise ValueError(
            f"the prompt has the variable {variable}, and there are no rows to fill it: give rows; or, to send the "
            f"braces as they are, rows=[{{}}] with each brace of the text doubled, {{{variable}}}"
        )
    return Rendered(turns)


def _render_row(prompt: Promptlike, row: Mapping[str, Any]) -> Rendered:
    prompt = unnamed(prompt)
    if isinstance(prompt, Rendered):
        return prompt
    if isinstance(prompt, Prompt):
        return prompt.render(row)
    return Rendered(tuple(_fill_message(turn, row) for turn in messages(prompt)))


def _fill_message(turn: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    content = turn["content"]
    if isinstance(content, str):
        return {**turn, "content": _fill(content, row)}
    parts = [
        {**part, "text": _fill(part["text"], row)} if part["type"] == "text" else part for part in content
    ]
    return {**turn, "content": parts}


def _fill(text: str, row: Mapping[str, Any]) -> str:
    return _template(text).fill(row) if text else text


@lru_cache
def _template(text: str) -> Template:
    return Template(text)


def _storable_prompt(prompt: Promptlike) -> Any:
    """A prompt as the store keeps it."""
    if isinstance(prompt, NamedPrompt):
        return {"name": prompt.name, "prompt": _storable_prompt(prompt.prompt)}
    if isinstance(prompt, Prompt):
        # A selector that holds a function is stored by its name: the examples it chose are in each cell.
        return {**replace(prompt, selector="first").to_dict(), "selector": str(prompt.selector)}
    if isinstance(prompt, Rendered):
        return list(prompt.messages)
    return prompt if isinstance(prompt, str) else list(messages(prompt))


def _identities(cells: Cells) -> dict[int, str]:
    """id() → identity of each prompt in the cells: many cells share one, and an example pool is slow to hash."""
    prompts = {id(c["prompt"]): c["prompt"] for c in cells if "prompt" in c}
    return {object_id: _identity(prompt) for object_id, prompt in prompts.items()}


def _identity(prompt: Promptlike) -> str:
    if isinstance(prompt, Rendered):
        return digest([prompt.messages, prompt.notes])
    if isinstance(prompt, NamedPrompt):
        return digest([prompt.name, _identity(prompt.prompt)])
    # Two functions may have the same name.
    embed = id(getattr(prompt.selector, "embed", None)) if isinstance(prompt, Prompt) else 0
    return digest([_storable_prompt(prompt), embed])
