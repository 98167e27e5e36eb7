"""Responses of OpenAI's API as choices with arrays."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit._internal.text import plural, shortened
from toolkit.core.choice import PROMPT, Choice, Vocabulary
from toolkit.core.completion import Usage
from toolkit.engines.openai_api.dialect import MalformedResponse, NoLogprobs
from toolkit.engines.openai_api.request_body import MAX_TOP_LOGPROBS, RequestBody, TokenizedPrompt
from toolkit.engines.openai_api.response_model import (
    Call,
    Message,
    ReportedUsage,
    Response,
    ResponseChoice,
    check_complete,
    read,
)
from toolkit.structured.tools import ToolCall, call_id

_TOKEN_ID = re.compile(r"token_id:([0-9]{1,10})")
"""A token's name where vLLM is asked for IDs."""
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_LARGEST_ID = (1 << 31) - 1
_CACHED = {"prompt_tokens_details", "cached_tokens", "prompt_cache_hit_tokens"}
"""Parts of the usage that count cached tokens."""
Step = tuple[int | None, float, int, list[tuple[int, float]]]
"""A token: its ID, log probability, rank (0: unknown), and the top k as (ID, log probability), best first."""
TokenLookup = Callable[[str, bytes | None], int | None]
"""The ID of a token, from its name and bytes; None where it is unknown."""


@dataclass(frozen=True)
class ParsedResponse:
    """A server's response, as choices."""

    choices: tuple[Choice, ...]
    prompt: Choice | None
    usage: Usage
    prompt_token_ids: tuple[int, ...]
    id: str
    """The server's ID of the completion; may be empty."""
    system_fingerprint: str | None
    notes: Mapping[str, Any] = field(default_factory=dict)
    """reasoning: the model's, of the first choice that has any; unreadable: optional parts of the response that could
    not be read, and are unknown."""


def parse_response(
    body: RequestBody, response: Any, lookup: TokenLookup, vocabulary: Callable[[], Vocabulary] | None
) -> ParsedResponse:
    """The choices and usage of a response, given as data. Raises MalformedResponse, with the usage that the response
    reports all the same."""
    try:
        return _parse(body, response, lookup, vocabulary)
    except MalformedResponse as error:
        if isinstance(response, Mapping):
            unreadable: list[str] = []
            reported = read(Response, {"usage": response.get("usage")}, unreadable).usage
            error.usage = _usage(reported, unreadable, (), ())
        raise


def _parse(
    body: RequestBody, response: Any, lookup: TokenLookup, vocabulary: Callable[[], Vocabulary] | None
) -> ParsedResponse:
    raw_choices = response.get("choices") if isinstance(response, Mapping) else None
    if not isinstance(raw_choices, list) or not raw_choices:
        raise MalformedResponse.of("has no choices", response)
    unreadable: list[str] = []
    parts = read(Response, response, unreadable)
    choices = parts.choices or []
    if parts.error:
        raise MalformedResponse.of("broke off", parts.error)
    _number(choices, body.request.sampling.n or 1)
    own_ids = parts.prompt_token_ids or choices[0].prompt_token_ids or ()
    prompt_ids = body.tokenized.prompt_ids if body.tokenized else tuple(own_ids)
    pairs = zip(choices, raw_choices, strict=True)
    parsed = [_choice(body, choice, raw, lookup, vocabulary) for choice, raw in pairs]
    reasoning = next((text for choice in choices if (text := _message(choice).thoughts)), None)
    notes: dict[str, Any] = {"reasoning": reasoning} if reasoning else {}
    notes |= {"unreadable": list(dict.fromkeys(unreadable))} if unreadable else {}
    return ParsedResponse(
        choices=tuple(sorted(parsed, key=lambda choice: choice.index)),
        prompt=_prompt_choice(body, choices[0], vocabulary),
        usage=_usage(parts.usage, unreadable, prompt_ids, parsed),
        prompt_token_ids=prompt_ids,
        id=(parts.id or "").removeprefix("chatcmpl-").removeprefix("cmpl-"),
        system_fingerprint=parts.system_fingerprint or None,
        notes=notes,
    )


def _number(choices: Sequence[ResponseChoice], n: int) -> None:
    """Checks that there are n choices, with the indices 0 to n − 1. Those of a server that gives none, or 0 to each,
    are numbered in their order."""
    if len(choices) != n:
        raise MalformedResponse(
            f"the server's response has {plural(len(choices), 'choice')}, and n={n} was requested: where a server "
            "ignores n, leave it out, and sample repeats or several seeds instead"
        )
    indices = [choice.index for choice in choices]
    if set(indices) in ({None}, {0}):
        for position, choice in enumerate(choices):
            choice.index = position
    elif set(indices) != set(range(n)):
        numbers = ", ".join(shortened(str(i), 24) for i in indices)
        raise MalformedResponse(
            f"the server's choices have the indices {numbers}, where 0 to {n - 1} was expected"
        )


def _message(choice: ResponseChoice) -> Message:
    """The message of a choice of a chat, or its text as one."""
    message = choice.message or choice.delta
    return Message(content=choice.text) if message is None else message


def _choice(
    body: RequestBody,
    choice: ResponseChoice,
    raw: Mapping[str, Any],
    lookup: TokenLookup,
    vocabulary: Callable[[], Vocabulary] | None,
) -> Choice:
    check_complete(choice, raw)
    if "text" not in raw and choice.message is None and choice.delta is None:
        raise MalformedResponse.of("has a choice without message or text", raw)
    message = _message(choice)
    calls = _calls(message.calls, raw)
    text = message.content or message.refusal or ""
    tokenized, token_ids = body.tokenized or TokenizedPrompt(()), choice.token_ids or []
    steps = _steps(body, choice.logprobs, lookup) if body.request.sampling.logprobs else None
    if not steps and body.request.sampling.logprobs and not calls and (steps is None or text):
        raise NoLogprobs("the server's response lacks the requested log probabilities: leave logprobs out")
    arrays: dict[str, Any] = {"token_ids": np.array([*tokenized.prefix_ids, *token_ids], np.int32)}
    if steps is not None:
        prefix_steps = _prompt_steps(choice.prompt_logprobs, [*tokenized.prompt_ids, *tokenized.prefix_ids])[
            len(tokenized.prompt_ids) :
        ]
        arrays = _arrays([*prefix_steps, *steps], body.request.sampling.top_logprobs or 0)
    return Choice(
        index=choice.index or 0,
        text=tokenized.leading_text + text,
        finish_reason=choice.finish_reason or "",
        stop_reason=choice.stop_reason,
        prefix_tokens=len(tokenized.prefix_ids),
        tool_calls=calls,
        vocabulary=vocabulary,
        **arrays,
    )


def _calls(calls: Sequence[Call], raw: Any) -> tuple[ToolCall, ...]:
    """Tool calls, each with an ID of its own: results are assigned to calls by it."""
    by_id: dict[str, ToolCall] = {}
    for call in calls:
        if not call.function.name:
            raise MalformedResponse.of("has a tool call without the name of a function", raw)
        own_id = call.id if call.id and call.id not in by_id else call_id()
        by_id[own_id] = ToolCall(own_id, call.function.name, call.function.arguments)
    return tuple(by_id.values())


def _steps(body: RequestBody, logprobs: Any, lookup: TokenLookup) -> list[Step] | None:
    """The steps of a choice; None where the server gave no log probabilities."""
    entries = _entries(logprobs) if isinstance(logprobs, Mapping) else None
    if entries is None:
        return None
    top = body.request.sampling.top_logprobs or 0
    try:
        steps = [_step(entry, lookup, top) for entry in entries]
    except (AttributeError, TypeError):
        raise NoLogprobs.of("has log probabilities that cannot be read", logprobs) from None
    at_maximum = "return_token_ids" in body.fields and body.fields.get("top_logprobs") == top
    return [_without_surplus(step) for step in steps] if at_maximum else steps


def _entries(logprobs: Mapping[str, Any]) -> list[Any] | None:
    """An entry for each token: those of a chat, or made of the lists of a text completion; some servers give either
    for both."""
    if isinstance(content := logprobs.get("content"), list):
        return content
    values = logprobs.get("token_logprobs")
    if not isinstance(values, list):
        return None
    tokens, tops = (
        logprobs.get("tokens") or [None] * len(values),
        logprobs.get("top_logprobs") or [None] * len(values),
    )
    if not all(isinstance(column, list) and len(column) == len(values) for column in (tokens, tops)):
        raise NoLogprobs.of("has log probabilities and tokens of different numbers", logprobs)
    return [
        {"token": token, "logprob": logprob, "top_logprobs": top}
        for token, logprob, top in zip(tokens, values, tops, strict=True)
    ]


def _without_surplus(step: Step) -> Step:
    """A step of the longest list that vLLM gives: it begins with the chosen token, which may have displaced the last
    of the top k. Where the chosen one is the least likely of the list, its rank is unknown."""
    token_id, logprob, rank, likely = step
    return (token_id, logprob, 0, likely[:-1]) if rank == len(likely) == MAX_TOP_LOGPROBS else step


def _step(entry: Mapping[str, Any], lookup: TokenLookup, top: int) -> Step:
    token_id = _token_id(entry, lookup)
    pairs = [(_token_id(item, lookup), _logprob(item.get("logprob"))) for item in _top_entries(entry)]
    likely = [(i, p) for i, p in pairs if i is not None and not math.isnan(p)]
    token_id = token_id if all(i is not None for i, _ in pairs) else None
    likely.sort(key=lambda pair: -pair[1])
    ranks = [place for place, (i, _) in enumerate(likely, 1) if i == token_id]
    # Beyond the requested k the list holds the chosen token only because it was chosen.
    rank = ranks[0] if ranks and (top < 0 or ranks[0] <= top) else 0
    return token_id, _logprob(entry.get("logprob")), rank, likely


def _top_entries(entry: Mapping[str, Any]) -> Sequence[Any]:
    """The most likely tokens: a text completion has a table, token → log probability."""
    top = entry.get("top_logprobs") or ()
    return [{"token": name, "logprob": p} for name, p in top.items()] if isinstance(top, Mapping) else top


def _logprob(value: Any) -> float:
    """A log probability; NaN where it is unknown, or beyond what its array holds."""
    try:
        number = math.nan if value is None or isinstance(value, bool) else float(value)
    except (ValueError, OverflowError):
        return math.nan
    return number if math.isinf(number) or abs(number) <= _LARGEST_FLOAT32 else math.nan


def _token_id(entry: Mapping[str, Any], lookup: TokenLookup) -> int | None:
    name, raw = entry.get("token"), _bytes(entry.get("bytes"))
    if not isinstance(name, str):
        return None if raw is None else lookup("", raw)
    if match := _TOKEN_ID.fullmatch(name):
        return number if (number := int(match[1])) <= _LARGEST_ID else None
    return lookup(name, raw)


def _bytes(values: Any) -> bytes | None:
    try:
        return bytes(values) if isinstance(values, list) else None
    except (TypeError, ValueError):  # not numbers from 0 to 255
        return None


def _arrays(steps: Sequence[Step], top: int) -> dict[str, Any]:
    """The arrays of a choice. Without the IDs of all its tokens there are only their log probabilities."""
    logprobs = np.array([step[1] for step in steps], np.float32)
    if any(step[0] is None for step in steps):
        return {"logprobs": logprobs}
    width = max((len(step[3]) for step in steps), default=0) if top < 0 else top
    top_ids = np.zeros((len(steps), width), np.int32)
    values = np.full((len(steps), width), np.nan, np.float32)
    for place, (_, _, _, likely) in enumerate(steps):
        for rank, (token, logprob) in enumerate(likely[:width]):
            top_ids[place, rank], values[place, rank] = token, logprob
    return {
        "token_ids": np.array([step[0] for step in steps], np.int32),
        "logprobs": logprobs,
        "ranks": np.array([step[2] for step in steps], np.int32),
        "top_ids": top_ids,
        "top_logprobs": values,
    }


def _prompt_steps(tables: Any, token_ids: Sequence[int]) -> list[Step]:
    """The steps of a prompt: vLLM gives a table by token ID for each, and nothing for the first."""
    tables = tables or [None] * len(token_ids)
    try:
        return [_prompt_step(token, table) for token, table in zip(token_ids, tables, strict=True)]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise NoLogprobs.of("has log probabilities of the prompt that cannot be read", tables) from None


def _prompt_step(token: int, table: Mapping[str, Any] | None) -> Step:
    if table is None:
        return token, float("nan"), 0, []
    entry = table[str(token)]
    likely = [(int(name), float(item["logprob"])) for name, item in table.items()]
    likely.sort(key=lambda pair: -pair[1])
    rank = int(entry["rank"])
    if any(not 0 <= number <= _LARGEST_ID for number in (rank, *(i for i, _ in likely))):
        raise ValueError("an ID or a rank out of range")
    return token, float(entry["logprob"]), rank, likely


def _prompt_choice(
    body: RequestBody, first: ResponseChoice, vocabulary: Callable[[], Vocabulary] | None
) -> Choice | None:
    """The prompt as a choice, where it was requested."""
    request, tokenized = body.request, body.tokenized
    wanted = request.echo or request.sampling.prompt_logprobs is not None
    if tokenized is None or not wanted:
        return None
    arrays: dict[str, Any] = {"token_ids": np.array(tokenized.prompt_ids, np.int32)}
    if first.prompt_logprobs is not None:
        steps = _prompt_steps(first.prompt_logprobs, [*tokenized.prompt_ids, *tokenized.prefix_ids])[
            : len(tokenized.prompt_ids)
        ]
        top = request.sampling.prompt_logprobs
        arrays = _arrays(steps, (request.sampling.top_logprobs if top is None else top) or 0)
    return Choice(PROMPT, tokenized.prompt_text, "prompt", vocabulary=vocabulary, **arrays)


def _usage(
    reported: ReportedUsage | None,
    unreadable: Sequence[str],
    prompt_ids: Sequence[int],
    choices: Sequence[Choice],
) -> Usage:
    """The server's counts; where it has none, or fills in zeros, the numbers of tokens that it gave; else unknown."""
    usage = reported or ReportedUsage()
    prompt_tokens = usage.prompt_tokens or len(prompt_ids) or None  # no prompt has 0 tokens
    completion_tokens = usage.completion_tokens
    if not completion_tokens and any(choice.text or choice.tool_calls for choice in choices):
        counts = [_generated_tokens(choice) for choice in choices]
        completion_tokens = sum(counts) if all(counts) else None
    details = usage.prompt_tokens_details
    cached_tokens = (details and details.cached_tokens) or usage.prompt_cache_hit_tokens
    if cached_tokens is None and usage.prompt_tokens and not _CACHED.intersection(unreadable):
        cached_tokens = 0  # counts are reported, and none is in a cache
    if cached_tokens is not None and (prompt_tokens is None or cached_tokens > prompt_tokens):
        cached_tokens = None
    return Usage(prompt_tokens, completion_tokens, cached_tokens)


def _generated_tokens(choice: Choice) -> int:
    """The tokens of a choice by its arrays; 0 where there are none."""
    logprobs = () if choice.logprobs is None else choice.logprobs
    return len(choice.token_ids) - choice.prefix_tokens or len(logprobs)
