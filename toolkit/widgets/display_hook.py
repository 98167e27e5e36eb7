"""What people see in a notebook: one widget a file, over the analysis modules. What they show opens by itself as soon
as a cell ends with it; the playground and the few-shot builder are made."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from toolkit.engine import Engine, running

if TYPE_CHECKING:
    from toolkit.prices import LocalPrice, ModelPrice
    from toolkit.prompt import Prompt
    from toolkit.widgets.builder import Builder
    from toolkit.widgets.playground import Playground

_VIEWS = {
    ("toolkit.completion", "Completion"): ("completion", "CompletionView"),
    ("toolkit.logprobs", "Logprobs"): ("logprobs", "LogprobsView"),
    ("toolkit.tokens", "Tokens"): ("tokens", "TokensView"),
    ("toolkit.microscope", "Microscope"): ("microscope", "MicroscopeView"),
    ("toolkit.comparison", "Comparison"): ("compare", "CompareView"),
    ("toolkit.cost", "Costs"): ("costs", "CostsView"),
    ("toolkit.determinism", "Determinism"): ("determinism", "DeterminismView"),
}
"""What is shown, by module and name, and the widget that shows it: none is imported before it is needed."""


def open_in_notebooks() -> None:
    """From now on a notebook shows these objects as their widgets. Elsewhere nothing changes."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return
    formatter = shell.display_formatter.mimebundle_formatter
    for (module, name), view in _VIEWS.items():
        formatter.for_type_by_name(module, name, partial(_bundle, view))


def _bundle(view: tuple[str, str], what: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The widget and its static forms; None, and so the object's own form, where there is nothing to look into."""
    file, name = view
    made = getattr(importlib.import_module(f"{__name__}.{file}"), name)
    try:
        found = made(what, _engine(what)) if file == "microscope" else made(what)
    except ValueError:
        return None
    bundle: tuple[dict[str, Any], dict[str, Any]] = found._repr_mimebundle_()
    return bundle


def _engine(microscope: Any) -> Engine | None:
    """The engine that answered, while it is loaded: then other tokens can be followed."""
    return running(microscope.completion.system_fingerprint) if microscope.completion else None


def playground(
    engine: Engine | Sequence[Engine] | None = None,
    messages: str | Sequence[Mapping[str, Any]] = (),
    *,
    price: LocalPrice | ModelPrice | str | None = None,
    **sampling: Any,
) -> Playground:
    """A place to try prompts, on one engine or on several: turns, settings, a form of the answer; answers as they are
    written, what they cost, and the sweep that would ask the same. See `toolkit.widgets.playground.Playground`.

    >>> tk.playground(engine, temperature=0.7)  # doctest: +SKIP
    """
    from toolkit.widgets.playground import Playground

    return Playground(engine, messages, price=price, **sampling)


def few_shot(
    prompt: Prompt, rows: Iterable[Mapping[str, Any]] | None = None, model: str | Engine | None = None
) -> Builder:
    """A few-shot prompt under construction: its examples, how they are chosen, what a row is shown, and what each
    costs in tokens. See `toolkit.widgets.builder.Builder`.

    >>> tk.few_shot(prompt, rows, engine).prompt  # doctest: +SKIP
    """
    from toolkit.widgets.builder import Builder

    return Builder(prompt, rows, model)
