"""Rows that a prompt cannot be filled with: each is a completion with an error, and the other rows are run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from toolkit.core.completion import Completion
from toolkit.core.request import Request, ResolvedRequest
from toolkit.engines.base import Engine
from toolkit.prompts.rendered import Rendered
from toolkit.prompts.template import RowError

Generate = Callable[[Sequence[ResolvedRequest]], Iterator[Completion]]
"""A generator of the completions of requests, in any order; a request occurs once for each of its repeats."""


def render_row(render: Callable[[Any], Rendered], number: int, row: Mapping[str, Any]) -> Rendered:
    """The prompt of a row; for a row with a value that cannot be written, a text that says so in its place.

    Raises ValueError, which names the row, where the prompt and the rows do not fit each other: a variable or a value
    is missing.
    """
    try:
        return render(row)
    except RowError as error:
        reason = f"row {number}: {error}"
        # Not sent: it stands in for the prompt in the store, where equal requests share a completion.
        return Rendered(({"role": "user", "content": f"(no prompt: {reason})"},), error=reason)
    except ValueError as error:
        raise ValueError(f"row {number}: {error}") from None


def sendable_only(engine: Engine, generate: Generate | None) -> Callable[..., Iterator[Completion]]:
    """Like `Engine.generate`, or a caller's own function in its place; but requests whose rows could not be filled in
    are not sent: they fail, after the others."""

    def generate_sendable(requests: Iterable[ResolvedRequest]) -> Iterator[Completion]:
        unsendable: list[ResolvedRequest] = []

        def sendable() -> Iterator[ResolvedRequest]:
            for request in requests:
                if "error" in request.notes:
                    unsendable.append(request)
                else:
                    yield request

        yield from engine.generate(sendable()) if generate is None else generate(list(sendable()))
        for request in unsendable:
            system = engine.fingerprint.id
            yield Completion.failed(
                request, request.notes["error"], model=engine.model, system_fingerprint=system
            )

    return generate_sendable


def prompt_counter(engine: Engine) -> Callable[[Request], int]:
    """Counts the prompt tokens of a request. Raises ValueError for one that is not sent, and what the engine does."""

    def count(request: Request) -> int:
        if "error" in request.notes:
            raise ValueError(request.notes["error"])
        return engine.count(request)

    return count
