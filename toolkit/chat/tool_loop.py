"""Tool loop: calls a model and its tools in turn, until it answers in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit._internal.field_docs import documented
from toolkit._internal.text import short_repr
from toolkit.core.completion import Completion, Usage
from toolkit.core.options import SamplingOptions, spelled_out
from toolkit.display.markup import Markup
from toolkit.engines.base import Engine, as_engine
from toolkit.errors import RequestError
from toolkit.prompts.messages import Message, Messages, messages
from toolkit.prompts.messages_html import view
from toolkit.prompts.rendered import Rendered
from toolkit.structured.tools import ToolCall, run_call, tools

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ToolStep:
    """A completion, and the results of its tool calls."""

    completion: Completion
    results: tuple[tuple[ToolCall, str, bool], ...]
    """(call, its result as text, whether it succeeded), in the order of the calls."""


@documented
@dataclass(frozen=True)
class ToolRun:
    """All steps of a run. Made by `run_tools`."""

    before: Messages
    """The messages that the run began with."""
    steps: tuple[ToolStep, ...]
    """Each completion, with the results of its calls."""
    finished: bool
    """The model ended with an answer in words; False when the limit of turns or tokens was reached first."""
    error: str | None = None
    """The error of a later turn, if one failed."""

    @property
    def completion(self) -> Completion:
        """The last completion."""
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
        """The whole conversation, including calls and results."""
        return (*self.before, *(m for step in self.steps for m in _step_messages(step)))

    def frame(self) -> pd.DataFrame:
        """A row for each call: step, name, arguments, result, ok (whether it succeeded)."""
        import pandas as pd

        columns = ["step", "name", "arguments", "result", "ok"]
        rows = [
            (i, call.name, call.arguments, result, ok)
            for i, step in enumerate(self.steps)
            for call, result, ok in step.results
        ]
        return pd.DataFrame(rows, columns=columns)

    def _repr_html_(self) -> Markup:
        end = "" if self.finished else f"; not finished{': ' + self.error if self.error else ''}"
        return view(self.messages, f"{len(self.steps)} steps, {self.usage}{end}")


@spelled_out(SamplingOptions)
def run_tools(
    engine: Engine,
    given: str | Rendered | Sequence[Message],
    functions: Sequence[Any],
    turns: int = 8,
    tool_choice: Any = "auto",
    **options: Any,
) -> ToolRun:
    """Calls the model, runs the tools that it calls, sends it their results, and repeats until it answers in words.

    functions: typed Python functions. turns: the maximum number of completions. tool_choice: for the first turn;
    later turns use "auto", since a forced tool call would be repeated for ever. Errors in a call (no such function,
    invalid arguments, an exception) are sent to the model as text.

    Raises ValueError or TypeError for invalid arguments, RequestError when the first turn fails. When a later one
    fails (a result may fill the context window), the run ends there: `finished` is False, `error` says why.
    """
    if isinstance(turns, bool) or not isinstance(turns, int) or turns < 1:
        raise ValueError(f"turns must be a whole number from 1 up, got {short_repr(turns)}")
    engine, available = as_engine(engine), tools(functions)
    before = given.messages if isinstance(given, Rendered) else messages(given)
    steps: list[ToolStep] = []
    for turn in range(turns):
        conversation = (*before, *(m for step in steps for m in _step_messages(step)))
        choice = tool_choice if turn == 0 else "auto"
        try:
            completion = engine.chat(conversation, tools=available, tool_choice=choice, **options)
        except RequestError as error:
            if not steps:
                raise
            return ToolRun(before, tuple(steps), finished=False, error=str(error))
        steps.append(ToolStep(completion, tuple((c, *run_call(c, available)) for c in completion.tool_calls)))
        if not completion.tool_calls:
            break
    return ToolRun(
        before, tuple(steps), finished=steps[-1].completion.finish_reason == "stop" and not steps[-1].results
    )


def _step_messages(step: ToolStep) -> Messages:
    calls = [call.to_openai() for call in step.completion.tool_calls]
    reply = {"role": "assistant", "content": step.completion.text, **({"tool_calls": calls} if calls else {})}
    results = ({"role": "tool", "tool_call_id": call.id, "content": text} for call, text, _ in step.results)
    return (reply, *results)
