"""Code: the Python that makes what a widget shows."""

from __future__ import annotations

import pprint
from typing import Any

from toolkit import models
from toolkit.engine import Engine
from toolkit.engines.spec import Spec
from toolkit.request import Request
from toolkit.sampling import NEUTRAL

_WIDTH = 96
_LAST = 2**63 - 4
"""The last seed after which three more are seeds."""


def written(value: Any) -> str:
    """Plain data as Python, on several lines where it is long. What cannot be seen in a text is escaped."""
    return pprint.pformat(value, width=_WIDTH, sort_dicts=False)


def call(name: str, /, *given: str, **named: str) -> str:
    """A call of arguments that are written already."""
    parts = [*given, *(f"{argument}={value}" for argument, value in named.items())]
    line = f"{name}({', '.join(parts)})"
    if len(line) <= _WIDTH and "\n" not in line:
        return line
    # Within a text no line ends: they are escaped.
    return f"{name}(\n" + "".join(f"    {part},\n".replace("\n", "\n    ")[:-4] for part in parts) + ")"


def loading(engine: Engine | None) -> str:
    """What gives an engine like this one: the same one, while it is the one that was loaded last."""
    made: Any = engine
    if hasattr(made, "url"):
        return call("tk.connect", repr(made.url), repr(made.model))
    if not isinstance(getattr(made, "spec", None), Spec):
        return "tk.load()"
    default = made.spec.path == models.path(models.DEFAULT)
    usual = Spec.of(made.spec.path, {}).stated
    own = {name: value for name, value in made.spec.stated.items() if usual.get(name) != value}
    given = () if default else (repr(made.spec.path),)
    return call("tk.load", *given, **{name: written(value) for name, value in own.items()})


def sweep_code(request: Request, engine: Engine | None) -> str:
    """Python that asks the same at several temperatures and with several seeds, as it stands."""
    given = request.sampling.given()
    seed, own = min(given.pop("seed", None) or 0, _LAST), given.pop("temperature", NEUTRAL["temperature"])
    given.pop("n", None)  # seeds take its place, and one of the temperatures is 0
    axes = {"temperature": written(sorted({0.0, 0.7, own})), "seed": f"range({seed}, {seed + 4})"}
    # A list is an axis: one that is a single value stands in another.
    axes |= {name: written([list(v)] if isinstance(v, tuple) else v) for name, v in given.items()}
    if request.response_format:
        axes["response_format"] = written(request.response_format.to_openai())
    turns = written([dict(turn) for turn in request.messages or ()])
    return "\n".join(
        [
            "import toolkit as tk",
            "",
            f"engine = {loading(engine)}",
            f"sweep = {call('tk.sweep', turns, call('tk.grid', **axes))}",
            'results = sweep.run(engine, store="runs/playground.db")',
            "results.summary()",
            "",
        ]
    )
