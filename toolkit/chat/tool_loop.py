"""Tool run: a model and its tools in turn, until it answers in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit.completion import Completion, Usage
from toolkit.engine import Engine, RequestError
from toolkit.messages import Message, Messages, messages, view
from toolkit.prompt import Rendered
from toolkit.tools import ToolCall, run, tools

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ToolStep:
    """What the model said, and what its calls gave."""

    completion: Completion
    results: tuple[tuple[ToolCall, str, bool], ...]
    """(call, what it gave as text, whether it went well), in the order of the calls."""


@dataclass(frozen=True)
class ToolRun:
    """All steps of a run. Made by `run_tools`."""

    before: Messages
    steps: tuple[ToolStep, ...]
    finished: bool
    """The model ended with an answer in words; False when the limit of turns, or of tokens, came first."""
    error: str | None = None
    """Why a later turn could not be asked."""

    @property
    def completion(self) -> Completion:
        """The last one."""
        return self.steps[-1].completion

    @property
    def text(self) -> str:
        return self.completion.text

    @property
    def usage(self) -> Usage:
        """The tokens of all steps together."""
        return sum((step.completion.usage for step in self.steps), Usage())

    @property
    def messages(self) -> Messages:
        """The whole conversation, calls and results included."""
        return (*self.before, *(m for step in self.steps for m in _said(step)))

    def frame(self) -> pd.DataFrame:
        """A row for each call: step, name, arguments, result, whether it went well."""
        import pandas as pd

        columns = ["step", "name", "arguments", "result", "ok"]
        rows = [
            (i, call.name, call.arguments, result, ok)
            for i, step in enumerate(self.steps)
            for call, result, ok in step.results
        ]
        return pd.DataFrame(rows, columns=columns)

    def _repr_html_(self) -> str:
        end = "" if self.finished else f"; not finished{': ' + self.error if self.error else ''}"
        tokens = f"{self.usage.prompt_tokens:,} + {self.usage.completion_tokens:,} tokens"
        return view(self.messages, f"{len(self.steps)} steps, {tokens}{end}")


def run_tools(
    engine: Engine,
    given: str | Rendered | Sequence[Message],
    functions: Sequence[Any],
    turns: int = 8,
    tool_choice: Any = "auto",
    **options: Any,
) -> ToolRun:
    """Asks the model, runs the functions that it calls, tells it what they gave, and so on until it answers in words.

    functions: typed Python functions. turns: the most completions asked for. tool_choice: of the first turn; the
    others are free to answer in words ("auto"), or a call that must be made would be made for ever. What goes wrong
    in a call (no such function, arguments that do not fit, an exception) is told to the model as text.

    Raises ValueError or TypeError for bad arguments, RequestError when the first turn cannot be answered. When a
    later one cannot (a result may fill the window), the run ends there: `finished` is False, `error` says why.
    """
    if isinstance(turns, bool) or not isinstance(turns, int) or turns < 1:
        raise ValueError(f"turns must be a whole number from 1 up, got {turns!r}")
    known = tools(functions)
    before = given.messages if isinstance(given, Rendered) else messages(given)
    steps: list[ToolStep] = []
    for turn in range(turns):
        so_far = (*before, *(m for step in steps for m in _said(step)))
        choice = tool_choice if turn == 0 else "auto"
        try:
            completion = engine.chat(so_far, tools=known, tool_choice=choice, **options)
        except RequestError as problem:
            if not steps:
                raise
            return ToolRun(before, tuple(steps), finished=False, error=str(problem))
        steps.append(ToolStep(completion, tuple((c, *run(c, known)) for c in completion.tool_calls)))
        if not completion.tool_calls:
            break
    return ToolRun(
        before, tuple(steps), finished=steps[-1].completion.finish_reason == "stop" and not steps[-1].results
    )


def _said(step: ToolStep) -> Messages:
    calls = [call.to_openai() for call in step.completion.tool_calls]
    own = {"role": "assistant", "content": step.completion.text, **({"tool_calls": calls} if calls else {})}
    results = ({"role": "tool", "tool_call_id": call.id, "content": text} for call, text, _ in step.results)
    return (own, *results)
