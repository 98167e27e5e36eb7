"""Python source code that reproduces what a widget shows."""

from __future__ import annotations

import pprint
from collections.abc import Sequence
from typing import Any

from toolkit import models
from toolkit.core.request import Request
from toolkit.core.sampling import NEUTRAL
from toolkit.engines.base import Engine
from toolkit.engines.vllm.config import Spec
from toolkit.engines.vllm.engine import VLLMEngine
from toolkit.prompts.messages import Message, plain_text
from toolkit.prompts.template import single_brace_variables

_WIDTH = 96
_MAX_FIRST_SEED = 2**63 - 4
"""The largest seed that three more valid seeds follow."""


def literal(value: Any) -> str:
    """Plain data as a Python literal, on several lines where it is long. Invisible characters are escaped."""
    return pprint.pformat(value, width=_WIDTH, sort_dicts=False)


def call_source(name: str, /, *positional: str, **named: str) -> str:
    """The source of a call; the arguments are source already."""
    parts = [*positional, *(f"{argument}={value}" for argument, value in named.items())]
    line = f"{name}({', '.join(parts)})"
    if len(line) <= _WIDTH and "\n" not in line:
        return line
    # No string literal has a line feed: they are escaped.
    return f"{name}(\n" + "".join(f"    {part},\n".replace("\n", "\n    ")[:-4] for part in parts) + ")"


def engine_source(engine: Engine | None) -> str:
    """The source that makes an engine like this one; that of `toolkit.load` returns the same one while it is the last
    one loaded. An engine of another class has to be filled in."""
    if engine is None:
        return "tk.load()"
    if isinstance(engine, VLLMEngine):
        return _load_source(engine.spec)
    from toolkit.engines.openai_api.engine import ServerEngine  # late, since it imports OpenAI's client

    if isinstance(engine, ServerEngine):
        return call_source("tk.connect", repr(engine.url), repr(engine.model))
    return f"...  # the {type(engine).__name__} of the playground"


def _load_source(spec: Spec) -> str:
    path = () if spec.path == models.path(models.DEFAULT) else (repr(spec.path),)
    defaults = Spec.of(spec.path, {}).arguments_without_secrets
    changed = {
        name: value for name, value in spec.arguments_without_secrets.items() if defaults.get(name) != value
    }
    return call_source("tk.load", *path, **{name: literal(value) for name, value in changed.items()})


def sweep_code(request: Request, engine: Engine | None) -> str:
    """Complete Python that sweeps the request over several temperatures and seeds."""
    settings = request.sampling.given()
    seed = min(settings.pop("seed", None) or 0, _MAX_FIRST_SEED)
    temperature = settings.pop("temperature", NEUTRAL["temperature"])
    settings.pop("n", None)  # seeds take its place, and one of the temperatures is 0
    axes = {"temperature": literal(sorted({0.0, 0.7, temperature})), "seed": f"range({seed}, {seed + 4})"}
    # A list is an axis: a list that is a single value is nested in another.
    axes |= {name: literal([list(v)] if isinstance(v, tuple) else v) for name, v in settings.items()}
    if request.response_format:
        axes["response_format"] = literal(request.response_format.to_openai())
    prompt = _prompt_source(request.messages or ())
    return "\n".join(
        [
            "import toolkit as tk",
            "",
            f"engine = {engine_source(engine)}",
            f"sweep = {call_source('tk.sweep', *prompt, call_source('tk.grid', **axes))}",
            'results = sweep.run(engine, store="runs/playground.db")',
            "results.summary()",
            "",
        ]
    )


def _prompt_source(turns: Sequence[Message]) -> tuple[str, ...]:
    """The arguments of a sweep that sends these messages as they are. A sweep without rows refuses what looks like a
    variable; with rows the texts are templates, which write doubled braces as braces."""
    if not single_brace_variables("\n".join(map(plain_text, turns))):
        return (literal(list(map(dict, turns))),)
    return literal([{**turn, "content": _escaped(turn["content"])} for turn in turns]), "[{}]"


def _escaped(content: Any) -> Any:
    if isinstance(content, str):
        return content.replace("{", "{{").replace("}", "}}")
    return [{**part, "text": _escaped(part["text"])} if part["type"] == "text" else part for part in content]
