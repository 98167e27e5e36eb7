"""Requests as bodies of OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.core.request import ResolvedRequest
from toolkit.core.sampling import DEFAULT_MAX_TOKENS, NEUTRAL
from toolkit.engines.openai_api.dialect import ALWAYS_SENT, OPENAI_FIELDS, VLLM_FIELDS, Dialect
from toolkit.prompts.messages import check_tool_calls
from toolkit.structured.response_format import ResponseFormat, check_enforceable
from toolkit.structured.tools import CHOICES

MAX_TOP_LOGPROBS = 20
"""The most top_logprobs that a server allows by default."""
_LEAST_RESPONSE_BYTES = 16 << 20
"""What a response to any request may have: texts, reasoning, tool calls."""
_BYTES_PER_LOGPROB = 1 << 10
_LARGEST_VOCABULARY = 1 << 19
"""Tokens, for top_logprobs=-1."""


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt that is sent as token IDs (vLLM only)."""

    prompt_ids: tuple[int, ...]
    prefix_ids: tuple[int, ...] = ()
    leading_text: str = ""
    """The text that the completion begins with: an echo, and the prefix."""
    prompt_text: str = ""


@dataclass(frozen=True)
class RequestBody:
    """The body that is sent for a request."""

    request: ResolvedRequest
    fields: dict[str, Any]
    tokenized: TokenizedPrompt | None = None
    unsent: tuple[str, ...] = ()
    """Fields of neutral value that the server does not accept."""

    @property
    def chat(self) -> bool:
        return "messages" in self.fields

    @property
    def notes(self) -> dict[str, Any]:
        """A note of the neutral values that were not sent."""
        return {"not_sent": list(self.unsent)} if self.unsent else {}


def max_response_bytes(fields: Mapping[str, Any]) -> int:
    """The most bytes that the response to a body can need, with room to spare."""
    generated = (fields.get("max_tokens") or fields.get("max_completion_tokens") or 0) * (
        fields.get("n") or 1
    )
    top = max(map(_list_width, (fields.get("logprobs"), fields.get("top_logprobs"))))
    prompt_top = fields.get("prompt_logprobs")
    prompt = 0 if prompt_top is None else len(fields.get("prompt") or ()) * _list_width(prompt_top)
    return _LEAST_RESPONSE_BYTES + _BYTES_PER_LOGPROB * (generated * top + prompt)


def _list_width(top: int | None) -> int:
    """Entries for each token: the chosen one, and the most likely ones."""
    return 2 + (_LARGEST_VOCABULARY if (top or 0) < 0 else top or 0)


def sends_token_ids(request: ResolvedRequest, dialect: Dialect) -> bool:
    """Whether the prompt must be sent as token IDs: OpenAI's API cannot begin a completion with a prefix, and vLLM's
    echo is hard to separate from the completion."""
    return dialect.vllm and (
        request.prefix is not None or request.echo or request.sampling.prompt_logprobs is not None
    )


def check_supported(request: ResolvedRequest, dialect: Dialect) -> None:
    """Raises ValueError for options that servers other than vLLM have no field for, and for what no server can do."""
    if request.constraint is not None:
        check_enforceable(request.constraint)
    check_tool_calls(request.messages or ())
    if request.prefix is not None and request.tools and request.tool_choice != "none":
        raise ValueError(
            "a server parses no tool calls in a completion with a prefix: leave out prefix, or tools"
        )
    unsupported = [
        n for n in sorted(dialect.unsupported) if getattr(request.sampling, n) not in (None, False)
    ]
    if unsupported:
        raise ValueError(
            f"{' and '.join(unsupported)}: this server refuses or ignores it, as it did when it was probed: leave it "
            "out"
        )
    if dialect.vllm:
        return
    vllm_only = [n for n in VLLM_FIELDS if getattr(request.sampling, n) not in (None, NEUTRAL.get(n))]
    vllm_only += ["prefix"] if request.prefix is not None else []
    vllm_only += ["echo with logprobs"] if request.echo and request.sampling.logprobs else []
    constraint = request.response_format
    vllm_only += (
        [f"response_format of type {constraint.kind}"]
        if constraint is not None and not constraint.is_json
        else []
    )
    if vllm_only:
        raise ValueError(
            f"{', '.join(vllm_only)}: only vLLM's own server takes this, and this one does not say that it is one: "
            "leave it out"
        )


def build_body(
    request: ResolvedRequest, model: str, dialect: Dialect, tokenized: TokenizedPrompt | None = None
) -> RequestBody:
    """The body of a request. Raises ValueError (see `check_supported`)."""
    check_supported(request, dialect)
    body = {
        "model": model,
        **_prompt_fields(request, tokenized),
        **_sampling_fields(request, dialect),
        **_format_fields(request, dialect),
    }
    if dialect.vllm:
        body |= {"return_token_ids": True}
        body |= {"return_tokens_as_token_ids": True} if request.sampling.logprobs else {}
    body |= _logprob_fields(request, dialect, chat="messages" in body)
    # A chosen value is sent, and refused if need be: what is stored must be what was requested.
    unsent = tuple(n for n in body if n in dialect.refused_neutral and body[n] == NEUTRAL[n])
    return RequestBody(request, {n: v for n, v in body.items() if n not in unsent}, tokenized, unsent)


def _prompt_fields(request: ResolvedRequest, tokenized: TokenizedPrompt | None) -> dict[str, Any]:
    if tokenized is None and request.prompt is None:
        return {"messages": list(request.messages or ())}
    source = [*tokenized.prompt_ids, *tokenized.prefix_ids] if tokenized else request.prompt
    prompt = list(source) if isinstance(source, tuple) else source
    options = {"suffix": request.suffix, "echo": request.echo and tokenized is None}
    return {"prompt": prompt, **{name: value for name, value in options.items() if value}}


def _sampling_fields(request: ResolvedRequest, dialect: Dialect) -> dict[str, Any]:
    sampling = request.sampling
    names = (*OPENAI_FIELDS, *(VLLM_FIELDS if dialect.vllm else ()))
    values = {n: v for n in names if (v := getattr(sampling, n)) is not None}
    values = {n: v for n, v in values.items() if n in ALWAYS_SENT or v != NEUTRAL.get(n)}
    if sampling.logit_bias is not None:
        values["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    plain = {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}
    return {**plain, dialect.max_tokens_field: sampling.max_tokens or DEFAULT_MAX_TOKENS}


def _logprob_fields(request: ResolvedRequest, dialect: Dialect, chat: bool) -> dict[str, Any]:
    sampling = request.sampling
    fields: dict[str, Any] = {}
    if sampling.logprobs:
        top = sampling.top_logprobs or 0
        # vLLM's list begins with the chosen token, whatever its rank: one more keeps the last of the k.
        width = top + 1 if dialect.vllm and 0 < top < MAX_TOP_LOGPROBS else top
        fields = {"logprobs": True, "top_logprobs": width} if chat else {"logprobs": top}
    if request.echo and sampling.logprobs and sampling.prompt_logprobs is None:
        fields["prompt_logprobs"] = sampling.top_logprobs or 0
    return fields


def _format_fields(request: ResolvedRequest, dialect: Dialect) -> dict[str, Any]:
    response_format, fields = request.response_format, dict[str, Any]()
    if response_format is not None and response_format.is_json:
        fields["response_format"] = response_format.to_openai()
    elif response_format is not None and request.constraint is not None:
        fields["structured_outputs"] = _structured_outputs(request.constraint)
    if request.tools:
        choice = request.tool_choice
        function_choice = {"type": "function", "function": {"name": choice}}
        fields["tools"] = [tool.to_openai() for tool in request.tools]
        fields["tool_choice"] = choice if choice in CHOICES else function_choice
    return fields


def _structured_outputs(constraint: ResponseFormat) -> dict[str, Any]:
    """A response format that only vLLM has."""
    return {constraint.kind: list(constraint.choices) if constraint.kind == "choice" else constraint.value}
