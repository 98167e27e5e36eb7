"""The display hook: objects that a notebook shows as widgets when a cell ends with them."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.engines.base import Engine


_VIEWS = {
    ("toolkit.core.completion", "Completion"): ("completion", "CompletionView"),
    ("toolkit.analysis.logprobs", "Logprobs"): ("logprobs", "LogprobsView"),
    ("toolkit.analysis.tokens", "Tokens"): ("tokens", "TokensView"),
    ("toolkit.analysis.microscope", "Microscope"): ("microscope", "MicroscopeView"),
    ("toolkit.results.comparison", "Comparison"): ("comparison", "CompareView"),
    ("toolkit.pricing.costs", "Costs"): ("costs", "CostsView"),
    ("toolkit.analysis.determinism.report", "Determinism"): ("determinism", "DeterminismView"),
}
"""The class of an object, by module and name, and its widget: none is imported before it is needed."""


def open_in_notebooks() -> None:
    """Registers the widgets with the notebook's formatter. Outside a notebook nothing changes."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return
    formatter = shell.display_formatter.mimebundle_formatter
    for (module, name), view in _VIEWS.items():
        formatter.for_type_by_name(module, name, partial(_bundle, view))


def _bundle(view: tuple[str, str], target: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The widget and its static output; None, so that the object's own repr is shown, where the widget has nothing
    to show."""
    file, name = view
    widget_class = getattr(importlib.import_module(f"toolkit.widgets.{file}"), name)
    try:
        widget = widget_class(target, _engine(target)) if file == "microscope" else widget_class(target)
    except ValueError:
        return None
    bundle: tuple[dict[str, Any], dict[str, Any]] = widget._repr_mimebundle_()
    return bundle


def _engine(microscope: Any) -> Engine | None:
    """The engine that made the completion, while it is loaded: with it the microscope can branch."""
    from toolkit.engines.loading import loaded_engine

    return loaded_engine(microscope.completion.system_fingerprint) if microscope.completion else None
