"""The display hook: objects that a notebook shows as widgets when a cell ends with them."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from typing import Any

from toolkit._internal.text import short_repr
from toolkit.display.markup import markup
from toolkit.display.progress import waiting_for

_VIEWS: dict[str, str] = {}
"""The class of an object → that of its widget, each as "module:Class"."""


def register_view(target: str, view: str) -> None:
    """Objects of the class `target` open as the widget `view` in notebooks, from now on. Both are "module:Class", a
    notebook's own "__main__:Class": neither module is imported before it is needed.

    Raises ValueError for a name that is not of this form.
    """
    for name in (target, view):
        if not isinstance(name, str) or len([part for part in name.split(":") if part]) != 2:
            raise ValueError(
                f'a class is named "module:Class", such as "my_file:MyView", got {short_repr(name)}'
            )
    _VIEWS[target] = view
    open_in_notebooks()


def open_in_notebooks() -> None:
    """Registers the widgets with the notebook's formatter. Outside a notebook nothing changes."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return
    formatter = shell.display_formatter.mimebundle_formatter
    for target, view in _VIEWS.items():
        formatter.for_type_by_name(*target.split(":"), partial(_bundle, view))


def _bundle(view: str, target: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The widget and its static output; where it has nothing to show, the object's own output and the reason."""
    module, name = view.split(":")
    with waiting_for(f"preparing {type(target).__name__} for display"):
        widget_class = getattr(importlib.import_module(module), name)
        try:
            widget = widget_class.opened(target)
        except ValueError as error:
            return _own_output(target, f"Not opened as a widget: {error}."), {}
        bundle: tuple[dict[str, Any], dict[str, Any]] = widget._repr_mimebundle_()
        return bundle


def _own_output(target: Any, note: str) -> dict[str, Any]:
    """What an object shows of itself, with a note."""
    data = {"text/plain": f"{target!r}\n{note}"}
    if hasattr(target, "_repr_html_"):
        data["text/html"] = markup("{}<p><small>{}</small></p>", target._repr_html_(), note)
    return data


register_view("toolkit.core.completion:Completion", "toolkit.widgets.completion:CompletionView")
register_view("toolkit.analysis.logprobs:Logprobs", "toolkit.widgets.logprobs:LogprobsView")
register_view("toolkit.analysis.tokens:Tokens", "toolkit.widgets.tokens:TokensView")
register_view("toolkit.analysis.microscope:Microscope", "toolkit.widgets.microscope:MicroscopeView")
register_view("toolkit.results.comparison:Comparison", "toolkit.widgets.comparison:CompareView")
register_view("toolkit.pricing.costs:Costs", "toolkit.widgets.costs:CostsView")
register_view(
    "toolkit.analysis.determinism.report:Determinism", "toolkit.widgets.determinism:DeterminismView"
)
