"""Responses of OpenAI's API as choices with arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.core.choice import PROMPT, Choice, Vocabulary
from toolkit.core.completion import Usage
from toolkit.engines.openai_api.dialect import PARSE_ERRORS, MalformedResponse, NoLogprobs, malformed_response
from toolkit.engines.openai_api.request_body import MAX_TOP_LOGPROBS, RequestBody, TokenizedPrompt
from toolkit.structured.tools import ToolCall, call_id

_ID_PREFIX = "token_id:"
"""The prefix of a token's name where vLLM is asked for IDs: the number follows."""
REASONING_FIELDS = ("reasoning", "reasoning_content")
_TOKEN_LIMIT = 1 << 31
"""Counts of tokens are below this."""
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


def parse_response(
    body: RequestBody, response: Any, lookup: TokenLookup, vocabulary: Callable[[], Vocabulary] | None
) -> ParsedResponse:
    """The choices and usage of a response, given as data. Raises MalformedResponse."""
    raw_choices = response.get("choices") if isinstance(response, Mapping) else None
    if not isinstance(raw_choices, list) or not raw_choices:
        raise MalformedResponse(f"the server's response has no choices: {response!r}")
    system_fingerprint = response.get("system_fingerprint") or None
    if not isinstance(system_fingerprint, str | None):
        raise MalformedResponse(f"the server's system_fingerprint is no text: {system_fingerprint!r}")
    try:
        prompt_ids = (
            body.tokenized.prompt_ids if body.tokenized else _prompt_token_ids(response, raw_choices[0])
        )
        parsed = [_choice(body, raw, lookup, vocabulary) for raw in raw_choices]
        prompt = _prompt_choice(body, raw_choices[0], vocabulary)
        usage = _usage(response, prompt_ids, parsed)
    except PARSE_ERRORS as error:
        raise malformed_response(error, response) from None
    response_id = str(response.get("id") or "").removeprefix("chatcmpl-").removeprefix("cmpl-")
    notes = next(({"reasoning": text} for raw in raw_choices if (text := _reasoning(raw))), {})
    choices = tuple(sorted(parsed, key=lambda choice: choice.index))
    return ParsedResponse(choices, prompt, usage, prompt_ids, response_id, system_fingerprint, notes)


def _prompt_token_ids(response: Mapping[str, Any], first_choice: Mapping[str, Any]) -> tuple[int, ...]:
    """Token IDs of the prompt: vLLM gives those of a chat beside its choices, those of a text in each choice."""
    return tuple(response.get("prompt_token_ids") or first_choice.get("prompt_token_ids") or ())


def _reasoning(raw: Mapping[str, Any]) -> str | None:
    message = raw.get("message") or {}
    return next((str(message[name]) for name in REASONING_FIELDS if message.get(name)), None)


def _choice(
    body: RequestBody,
    raw: Mapping[str, Any],
    lookup: TokenLookup,
    vocabulary: Callable[[], Vocabulary] | None,
) -> Choice:
    if not raw["finish_reason"]:
        raise MalformedResponse(
            f"the server's response has no finish_reason, so it may be truncated: {raw!r}"
        )
    if raw.get("error") or raw["finish_reason"] == "error":
        raise MalformedResponse(f"the server's response broke off: {raw.get('error') or raw!r}")
    message = raw["message"] if body.chat else {"content": raw["text"]}
    calls = tuple(_call(call) for call in message.get("tool_calls") or ())
    text = message.get("content") or message.get("refusal") or ""
    tokenized, token_ids = body.tokenized or TokenizedPrompt(()), raw.get("token_ids") or []
    steps = _steps(body, raw, lookup) if body.request.sampling.logprobs else None
    if steps is None and body.request.sampling.logprobs and not calls:
        raise NoLogprobs("the server's response lacks the requested log probabilities: leave logprobs out")
    arrays: dict[str, Any] = {"token_ids": np.array([*tokenized.prefix_ids, *token_ids], np.int32)}
    if steps is not None:
        prefix_steps = _prompt_steps(raw, [*tokenized.prompt_ids, *tokenized.prefix_ids])[
            len(tokenized.prompt_ids) :
        ]
        arrays = _arrays([*prefix_steps, *steps], body.request.sampling.top_logprobs or 0)
    return Choice(
        index=int(raw["index"]),
        text=tokenized.leading_text + text,
        finish_reason=str(raw["finish_reason"]),
        stop_reason=raw.get("stop_reason"),
        prefix_tokens=len(tokenized.prefix_ids),
        tool_calls=calls,
        vocabulary=vocabulary,
        **arrays,
    )


def _call(call: Mapping[str, Any]) -> ToolCall:
    function = call["function"]
    return ToolCall(call.get("id") or call_id(), function["name"], function.get("arguments") or "")


def _steps(body: RequestBody, raw: Mapping[str, Any], lookup: TokenLookup) -> list[Step] | None:
    """The steps of a choice; None where the server gave no log probabilities."""
    logprobs = raw.get("logprobs")
    entries = (
        None if logprobs is None else logprobs.get("content") if body.chat else _legacy_entries(logprobs)
    )
    if entries is None:
        return None
    top = body.request.sampling.top_logprobs or 0
    steps = [_step(entry, lookup, top) for entry in entries]
    at_maximum = "return_token_ids" in body.fields and body.fields.get("top_logprobs") == top
    return [_without_surplus(step) for step in steps] if at_maximum else steps


def _without_surplus(step: Step) -> Step:
    """A step of the longest list that vLLM gives: it begins with the chosen token, which may have displaced the last
    of the top k. Where the chosen one is the least likely of the list, its rank is unknown."""
    token_id, logprob, rank, likely = step
    return (token_id, logprob, 0, likely[:-1]) if rank == len(likely) == MAX_TOP_LOGPROBS else step


def _legacy_entries(logprobs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lists of a text completion's log probabilities as the entries of a chat's."""
    tops = logprobs.get("top_logprobs") or [None] * len(logprobs["tokens"])
    return [
        {
            "token": token,
            "logprob": logprob,
            "top_logprobs": [{"token": name, "logprob": value} for name, value in (top or {}).items()],
        }
        for token, logprob, top in zip(logprobs["tokens"], logprobs["token_logprobs"], tops, strict=True)
    ]


def _step(entry: Mapping[str, Any], lookup: TokenLookup, top: int) -> Step:
    token_id = _token_id(entry, lookup)
    pairs = [(_token_id(item, lookup), float(item["logprob"])) for item in entry.get("top_logprobs") or ()]
    likely = [(i, p) for i, p in pairs if i is not None]
    token_id = token_id if len(likely) == len(pairs) else None
    likely.sort(key=lambda pair: -pair[1])
    logprob = float("nan") if entry["logprob"] is None else float(entry["logprob"])
    ranks = [place for place, (i, _) in enumerate(likely, 1) if i == token_id]
    # Beyond the requested k the list holds the chosen token only because it was chosen.
    rank = ranks[0] if ranks and (top < 0 or ranks[0] <= top) else 0
    return token_id, logprob, rank, likely


def _token_id(entry: Mapping[str, Any], lookup: TokenLookup) -> int | None:
    name, raw = str(entry["token"]), entry.get("bytes")
    if name.startswith(_ID_PREFIX) and name[len(_ID_PREFIX) :].isdigit():
        return int(name[len(_ID_PREFIX) :])
    return lookup(name, None if raw is None else bytes(raw))


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


def _prompt_steps(raw: Mapping[str, Any], token_ids: Sequence[int]) -> list[Step]:
    """The steps of a prompt: vLLM gives a table by token ID for each, and nothing for the first."""
    tables = raw.get("prompt_logprobs") or [None] * len(token_ids)
    return [_prompt_step(token, table) for token, table in zip(token_ids, tables, strict=True)]


def _prompt_step(token: int, table: Mapping[str, Any] | None) -> Step:
    if table is None:
        return token, float("nan"), 0, []
    entry = table[str(token)]
    likely = [(int(name), float(item["logprob"])) for name, item in table.items()]
    likely.sort(key=lambda pair: -pair[1])
    return token, float(entry["logprob"]), int(entry["rank"]), likely


def _prompt_choice(
    body: RequestBody, raw: Mapping[str, Any], vocabulary: Callable[[], Vocabulary] | None
) -> Choice | None:
    """The prompt as a choice, where it was requested."""
    request, tokenized = body.request, body.tokenized
    wanted = request.echo or request.sampling.prompt_logprobs is not None
    if tokenized is None or not wanted:
        return None
    arrays: dict[str, Any] = {"token_ids": np.array(tokenized.prompt_ids, np.int32)}
    if raw.get("prompt_logprobs") is not None:
        steps = _prompt_steps(raw, [*tokenized.prompt_ids, *tokenized.prefix_ids])[
            : len(tokenized.prompt_ids)
        ]
        top = request.sampling.prompt_logprobs
        arrays = _arrays(steps, (request.sampling.top_logprobs if top is None else top) or 0)
    return Choice(PROMPT, tokenized.prompt_text, "prompt", vocabulary=vocabulary, **arrays)


def _usage(response: Mapping[str, Any], prompt_ids: Sequence[int], choices: Iterable[Choice]) -> Usage:
    """The server's counts; where it has none, the number of IDs that it gave."""
    usage = response.get("usage") or {}
    generated = sum(len(choice.token_ids) - choice.prefix_tokens for choice in choices)
    details = usage.get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens") or usage.get("prompt_cache_hit_tokens")  # the latter is DeepSeek's
    counts = (
        usage.get("prompt_tokens") or len(prompt_ids),
        usage.get("completion_tokens") or generated,
        cached or 0,
    )
    if not all(0 <= n < _TOKEN_LIMIT for n in counts):
        raise OverflowError(f"usage of {counts} tokens")
    return Usage(*map(int, counts))
