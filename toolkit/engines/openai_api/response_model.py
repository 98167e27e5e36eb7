"""A server's response as typed parts, checked once where it enters.

What a completion is made of (choices, texts, tool calls) must be readable, else the response is malformed. Any other
part that cannot be read is unknown, as if it had not been sent, and its name is recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from toolkit.engines.openai_api.dialect import MalformedResponse

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
_FINISH_REASONS = {
    "stop": ("complete", "end", "end_turn", "eos", "eos_found", "eos_token", "finish", "finished", "stop_sequence"),
    "length": ("limit", "max_length", "max_new_tokens", "max_output_tokens", "max_tokens", "model_length"),
    "tool_calls": ("function_call", "tool_call", "tool_use"),
    "content_filter": ("blocklist", "prohibited_content", "recitation", "safety"),
    "error": ("abort", "aborted", "cancelled", "canceled", "insufficient_system_resource", "network_error"),
}  # fmt: skip
"""OpenAI's finish reason → the words of other servers for it: Hugging Face's TGI, Mistral, Gemini, Cohere, vLLM, …"""
_CANONICAL = {word: reason for reason, words in _FINISH_REASONS.items() for word in words}
_PART_NAMES = {"text": "content", "output_text": "content", "refusal": "refusal"}
"""Type of a part of a message's content → the field of the message that it belongs to."""


def _none_if_unreadable(value: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    try:
        return read(value)
    except ValidationError:
        if info.context is not None:
            info.context.append(info.field_name)
        return None


def _text_of_number(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _finish_reason(value: Any) -> Any:
    """In OpenAI's words where the meaning is plain, else as it is; None where it is empty."""
    reason = (
        value.get("type") if isinstance(value, Mapping) else value
    )  # SGLang: {"type": "stop", "matched": 2}
    if not isinstance(reason, str):
        return reason
    plain = reason.strip().lower()
    return _CANONICAL.get(plain, plain) if plain not in ("", "null", "none") else None


def _json_text(value: Any) -> Any:
    """The arguments of a tool call, which some servers give as an object, as the text that OpenAI's API has."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _list_of_one(value: Any) -> Any:
    """Hugging Face's TGI gives a streamed call without the list around it."""
    return [value] if isinstance(value, Mapping) and value else value or []


def _text_of_part(part: Mapping[str, Any], kind: str) -> str | None:
    """The text of a part of a message's content, which may be a list of parts itself; None where there is none."""
    text = part.get(kind, part.get("text"))
    pieces = text if isinstance(text, list) else [text]
    values = [piece.get("text") if isinstance(piece, Mapping) else piece for piece in pieces]
    texts = [value for value in values if isinstance(value, str)]
    return "".join(texts) if len(texts) == len(values) else None


def _joined_parts(parts: Iterable[Any]) -> dict[str, str]:
    """Content that is a list of parts as the texts of a message: content, refusal and, as far as it has a text,
    reasoning."""
    texts: dict[str, str] = {"content": ""}
    for part in parts:
        fields = {"text": part} if isinstance(part, str) else part
        kind = str(fields.get("type") or "text") if isinstance(fields, Mapping) else type(part).__name__
        name = _PART_NAMES.get(kind, "reasoning" if "thinking" in kind or "reasoning" in kind else None)
        text = _text_of_part(fields, kind) if name else None
        if name is None or (text is None and name != "reasoning"):
            raise ValueError(f"a part of type {kind} has no text")
        texts[name] = texts.get(name, "") + (text or "")
    return texts


IfReadable = Annotated[T | None, WrapValidator(_none_if_unreadable)]
"""An optional part: None where it cannot be read; the context of the validation collects its name."""
TokenCount = Annotated[int, Field(ge=0, lt=1 << 31)]
TokenIds = list[TokenCount]
Identifier = Annotated[str, BeforeValidator(_text_of_number)]


class Function(BaseModel):
    """The function of a tool call, or a piece of it."""

    name: str | None = None
    arguments: Annotated[str, BeforeValidator(_json_text)] = ""


class Call(BaseModel):
    """A tool call, or a piece of it."""

    id: IfReadable[Identifier] = None
    index: IfReadable[int] = None
    function: Function


class Message(BaseModel):
    """A message, or a piece of it."""

    content: str | None = None
    refusal: IfReadable[str] = None
    reasoning: IfReadable[str] = None
    reasoning_content: IfReadable[str] = None
    tool_calls: Annotated[list[Call], BeforeValidator(_list_of_one)] = []
    function_call: Function | None = None

    @model_validator(mode="before")
    @classmethod
    def _join_parts(cls, data: Any) -> Any:
        content = data.get("content") if isinstance(data, Mapping) else None
        if isinstance(content, list):
            return {**data, **_joined_parts(content)}
        return {**data, **_joined_parts([content])} if isinstance(content, Mapping) else data

    @property
    def calls(self) -> list[Call]:
        """Its tool calls: the old API has one function_call in their place."""
        single = [] if self.function_call is None else [Call(function=self.function_call)]
        return self.tool_calls or single

    @property
    def thoughts(self) -> str:
        return self.reasoning or self.reasoning_content or ""


class ResponseChoice(BaseModel):
    """A choice of a response, or a piece of it."""

    index: int | None = None
    finish_reason: Annotated[str | None, BeforeValidator(_finish_reason)] = None
    stop_reason: IfReadable[str | TokenCount] = None
    message: Message | None = None
    delta: Message | None = None
    """A streamed piece of the message."""
    text: str | None = None
    logprobs: Any = None
    token_ids: IfReadable[TokenIds] = None
    prompt_token_ids: IfReadable[TokenIds] = None
    prompt_logprobs: Any = None
    error: Any = None


class PromptDetails(BaseModel):
    cached_tokens: IfReadable[TokenCount] = None


class ReportedUsage(BaseModel):
    """The server's counts of tokens, all choices together."""

    prompt_tokens: IfReadable[TokenCount] = None
    completion_tokens: IfReadable[TokenCount] = None
    prompt_tokens_details: IfReadable[PromptDetails] = None
    prompt_cache_hit_tokens: IfReadable[TokenCount] = None
    """DeepSeek's name for cached_tokens."""


class Response(BaseModel):
    """A response, or a chunk of a streamed one."""

    id: IfReadable[Identifier] = None
    choices: list[ResponseChoice] | None = None
    usage: IfReadable[ReportedUsage] = None
    system_fingerprint: IfReadable[Identifier] = None
    prompt_token_ids: IfReadable[TokenIds] = None
    error: Any = None


class ModelEntry(BaseModel):
    """A model in a server's list."""

    id: Identifier
    owned_by: IfReadable[str] = None
    root: IfReadable[str] = None
    parent: IfReadable[str] = None
    """The model that it is an adapter of."""
    max_model_len: IfReadable[Annotated[int, Field(gt=0, lt=1 << 31)]] = None


class Tokens(BaseModel):
    """What vLLM's /tokenize gives."""

    tokens: TokenIds


class Detokenized(BaseModel):
    """What vLLM's /detokenize gives."""

    prompt: str


def read(model: type[M], data: Any, unreadable: list[str] | None = None) -> M:
    """Data of a server as one of the models above. unreadable: collects the names of optional parts that cannot be
    read. Raises MalformedResponse, which names what is wrong."""
    try:
        return model.model_validate(data, context=unreadable)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise MalformedResponse.of(f"is malformed ({place}: {problem['msg']})", data) from None
    except RecursionError:
        raise MalformedResponse.of("is malformed (nested too deep)", data) from None


def check_complete(choice: ResponseChoice, raw: Any) -> None:
    """Raises MalformedResponse for a choice that may have been cut, or that the server gave up."""
    if choice.error or choice.finish_reason == "error":
        raise MalformedResponse.of("broke off", choice.error or raw)
    if choice.finish_reason is None:
        raise MalformedResponse.of("has no finish_reason, so it may be truncated", raw)
