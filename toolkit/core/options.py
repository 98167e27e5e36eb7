"""The options of a request as a caller writes them, typed: editors complete and check them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class SamplingOptions(TypedDict, total=False):
    """The fields of `Sampling`, which says what each does; max_completion_tokens is OpenAI's name of max_tokens."""

    temperature: float | None
    top_p: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    seed: int | None
    n: int | None
    max_tokens: int | None
    max_completion_tokens: int | None
    stop: str | Sequence[str] | None
    logprobs: bool | None
    top_logprobs: int | None
    prompt_logprobs: int | None
    logit_bias: Mapping[int, float] | Mapping[str, float] | Sequence[tuple[int, float]] | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    min_tokens: int | None
    stop_token_ids: Sequence[int] | None
    ignore_eos: bool | None
    bad_words: str | Sequence[str] | None
    allowed_token_ids: Sequence[int] | None
    include_stop_str_in_output: bool | None
    skip_special_tokens: bool | None


class ParseOptions(SamplingOptions, total=False):
    """The options of `Engine.parse`: those of sampling, tools, and a prefix of the answer."""

    tools: Sequence[Any] | None
    tool_choice: Any
    prefix: str | Sequence[int] | None


class ChatOptions(ParseOptions, total=False):
    """The options of `Engine.chat`: those of `Engine.parse`, and the format of the answer."""

    response_format: Any


def spelled_out(options: type | Mapping[str, str]) -> Callable[[F], F]:
    """Decorator: the signature of a function with **options lists them by name, as a TypedDict has them, or as name →
    annotation, so that notebooks complete and show them. Calling it is as before."""
    annotations = options if isinstance(options, Mapping) else options.__annotations__

    def decorate(function: F) -> F:
        parameters = list(inspect.signature(function).parameters.values())
        names = {parameter.name for parameter in parameters}
        named = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=getattr(annotation, "__forward_arg__", annotation),
            )
            for name, annotation in annotations.items()
            if name not in names
        ]
        function.__signature__ = inspect.Signature([*parameters[:-1], *named])  # type: ignore[attr-defined]
        return function

    return decorate
