"""vLLM's outputs as completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from toolkit.core.choice import PROMPT, Choice, mode_of_prompt
from toolkit.core.completion import Completion, Usage
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request, ResolvedRequest
from toolkit.engines.vllm.engine_thread import PreparedRequest
from toolkit.engines.vllm.tool_calls import parse_calls
from toolkit.structured.time_limit import TIME_LIMIT, OutOfTime
from toolkit.structured.tools import required_calls
from toolkit.tokenizers.huggingface import Tokenizer

_NO_TOKEN_ALLOWED = (
    "vLLM gave up: at some step no token was allowed by both the response_format and the sampling options. "
    "Leave out bad_words, allowed_token_ids, logit_bias or min_tokens"
)
REPLACEMENT = "\ufffd"
"""Stands for bytes that are only part of a character."""


class OutputReader:
    """Converts vLLM's outputs to completions of one engine."""

    def __init__(self, model: str, fingerprint: Fingerprint, tokenizer: Tokenizer) -> None:
        self._model, self._fingerprint, self._tokenizer = model, fingerprint, tokenizer

    def completion(self, prepared: PreparedRequest, output: Any) -> Completion:
        if isinstance(output, Exception):
            return self.failure(prepared.request, output, prepared.position)
        request = prepared.request
        if any(part.finish_reason == "error" for part in output.outputs):
            tokens = sum(len(part.token_ids) for part in output.outputs)
            usage = Usage(len(prepared.token_ids), tokens, output.num_cached_tokens or 0)
            error = ValueError(_NO_TOKEN_ALLOWED)
            return self.failure(request, error, prepared.position, usage)
        prompt_choice, prefix = self._prompt_and_prefix(prepared, output)
        prompt_text = prompt_choice.text if prompt_choice and request.echo else ""
        parsed = (self._choice(part, prefix, prompt_text, prepared) for part in output.outputs)
        notes = {**request.notes, **self._tokenizer.notes(request)}
        choices = tuple(self._with_tool_calls(request, choice, notes) for choice in parsed)
        mode = request.logprobs_mode(self._logprobs_mode)
        tokens = sum(len(c.token_ids) - c.prefix_tokens for c in choices)
        return Completion(
            request=request,
            choices=tuple(replace(c, logprobs_mode=mode) for c in choices),
            usage=Usage(len(prepared.token_ids), tokens, output.num_cached_tokens or 0),
            model=self._model,
            system_fingerprint=self._fingerprint.id,
            fingerprint=self._fingerprint,
            id=uuid.uuid4().hex,
            created=time.time(),
            **_times(output.metrics),
            prompt_token_ids=np.array(
                prepared.token_ids[: len(prepared.token_ids) - prepared.prefix_length], np.int32
            ),
            position=prepared.position,
            prompt=prompt_choice,
            notes=notes,
        )

    @property
    def _logprobs_mode(self) -> str | None:
        return self._fingerprint.components.get("logprobs_mode")

    def _choice(self, part: Any, prefix: Choice, prompt_text: str, prepared: PreparedRequest) -> Choice:
        token_ids = np.array(part.token_ids, np.int32)
        arrays = {} if part.logprobs is None else _choice_arrays(part.logprobs, len(token_ids))
        text, stop, end = self.text_and_stop(prepared, part)
        arrays = {"token_ids": np.concatenate([prefix.token_ids, token_ids]), **_after_prefix(prefix, arrays)}
        return Choice(
            index=part.index,
            text=prompt_text + text,
            finish_reason="stop" if stop else part.finish_reason,
            stop_reason=stop or part.stop_reason,
            prefix_tokens=len(prefix.token_ids),
            vocabulary=lambda: self._tokenizer.vocabulary,
            **{name: array[:end] for name, array in arrays.items()},
        )

    def _with_tool_calls(self, request: Request, choice: Choice, notes: dict[str, Any]) -> Choice:
        """The choice with the tool calls parsed from its text; a note if they could not be."""
        if not request.tools or request.tool_choice == "none":
            return choice
        if request.tool_choice == "auto":
            tokenizer = self._tokenizer
            try:
                calls, text = parse_calls(tokenizer.hf, tokenizer.tool_format, choice.text, request.tools)
            except OutOfTime:
                notes["tool calls"] = (
                    f"not looked for: vLLM's parser took more than {TIME_LIMIT:g} s of computing"
                )
                return choice
        else:
            # Required calls are the whole text; a truncated one is none.
            required = (
                required_calls(choice.text, request.tool_choice) if choice.finish_reason == "stop" else ()
            )
            calls, text = required, "" if required else choice.text
        if not calls:
            return choice
        # As in OpenAI's API, a named function ends with "stop": calling it was not the model's decision.
        reason = "tool_calls" if request.tool_choice in ("auto", "required") else choice.finish_reason
        return replace(choice, text=text, tool_calls=calls, finish_reason=reason)

    def _prompt_and_prefix(self, prepared: PreparedRequest, output: Any) -> tuple[Choice | None, Choice]:
        """The prompt as a choice, if it was requested, and the prefix of the completion as one (often empty)."""
        request, token_ids = prepared.request, np.array(prepared.token_ids, np.int32)
        arrays: dict[str, Any] = {"token_ids": token_ids}
        if output.prompt_logprobs is not None:
            # vLLM has nothing for the first token: a row of unknown values keeps the arrays as long as the prompt.
            rest = _choice_arrays(output.prompt_logprobs, len(token_ids) - 1)
            arrays |= {name: _with_unknown_first(array) for name, array in rest.items()}
        end = len(token_ids) - prepared.prefix_length
        prompt_arrays, prefix_arrays = (
            {name: a[part] for name, a in arrays.items()} for part in (slice(end), slice(end, None))
        )
        prefix = Choice(PROMPT, "", "prefix", **prefix_arrays)
        if not request.echo and request.sampling.prompt_logprobs is None:
            return None, prefix
        prompt = request.prompt
        text = prompt if isinstance(prompt, str) else self._tokenizer.decode(prompt_arrays["token_ids"])
        mode = mode_of_prompt(self._logprobs_mode)
        prompt_choice = Choice(
            PROMPT,
            text,
            "prompt",
            logprobs_mode=mode,
            vocabulary=lambda: self._tokenizer.vocabulary,
            **prompt_arrays,
        )
        return prompt_choice, prefix

    def text_and_stop(self, prepared: PreparedRequest, part: Any) -> tuple[str, str | None, int | None]:
        """The text of a choice with its prefix; and the stop string that ends it unknown to vLLM, with the number
        of tokens up to its end: vLLM searches only what it generates itself, from the first character on."""
        request, sampling, ids = prepared.request, prepared.request.sampling, tuple(part.token_ids)
        prefix_ids, leading_text = prepared.token_ids[len(prepared.token_ids) - prepared.prefix_length :], ""
        mid_character = prepared.ends_mid_character
        if not mid_character:
            prefix_ids, leading_text = (), self._prefix_text(request)

        def decoded(tokens: int | None) -> str:
            return leading_text + self._decode((*prefix_ids, *ids[:tokens]), request)

        # Within a character vLLM would write the whole prompt. Of what it leaves out only the last token matters.
        drop_last = part.finish_reason == "stop" and not sampling.include_stop_str_in_output
        text = decoded(-1 if drop_last else None) if mid_character else leading_text + str(part.text)
        if not sampling.stop or not (leading_text or mid_character):
            return text, None, None
        start = len(decoded(sampling.min_tokens or 0).rstrip(REPLACEMENT))
        matches = []
        for stop in sampling.stop:
            limit = None if mid_character else len(leading_text) + len(stop) - 1
            if (position := text.find(stop, max(0, start - len(stop) + 1), limit)) >= 0:
                matches.append((position + len(stop), position, stop))
        if not matches:
            return text, None, None
        end, position, stop = min(matches)
        tokens = next((n for n in range(1, len(ids)) if decoded(n).startswith(text[:end])), len(ids))
        return (
            text[: end if sampling.include_stop_str_in_output else position],
            stop,
            prepared.prefix_length + tokens,
        )

    def _prefix_text(self, request: Request) -> str:
        """The text of the request's prefix."""
        prefix = request.prefix or ""
        return prefix if isinstance(prefix, str) else self._decode(prefix, request)

    def _decode(self, token_ids: Sequence[int], request: Request) -> str:
        """Decodes as vLLM does (see `sampling_params`: calls of some families are marked by special tokens)."""
        keep_special = request.sampling.skip_special_tokens is False or request.tool_choice == "auto"
        return self._tokenizer.decode(token_ids, special=keep_special)

    def ends_mid_character(self, request: Request) -> bool:
        """Whether what precedes the first generated token ends within a character, as far as can be seen."""
        source = request.prompt if request.prefix is None else request.prefix
        # A character has four bytes at most, and so as many tokens.
        text = self._decode(source[-4:], request) if isinstance(source, tuple) else source
        return text is not None and text.endswith(REPLACEMENT)

    def failure(
        self, request: ResolvedRequest, error: Exception, position: int | None, usage: Usage | None = None
    ) -> Completion:
        return Completion.failed(
            request,
            str(error),
            model=self._model,
            system_fingerprint=self._fingerprint.id,
            usage=usage,
            position=position,
        )


def _times(stats: Any) -> dict[str, Any]:
    """The times of a request, by vLLM's RequestStateStats, whose `_ts` are by the clock of the engine's process. A
    time that vLLM has not set is 0 there."""
    if stats is None or not stats.first_token_ts:
        return {}
    return {
        "seconds": stats.first_token_latency + stats.last_token_ts - stats.first_token_ts,
        "first_token_seconds": stats.first_token_latency,
        "queued_seconds": stats.scheduled_ts - stats.queued_ts if stats.scheduled_ts else None,
    }


def _choice_arrays(flat: Any, steps: int) -> dict[str, Any]:
    """The arrays of a choice from vLLM's flat lists, which have one stride: the chosen token first, then the top k
    (which may contain it again)."""
    shape = (steps, -1) if steps else (0, 1)
    ids = np.array(flat.token_ids, np.int32).reshape(shape)
    values = np.array(flat.logprobs, np.float32).reshape(shape)
    return {
        "logprobs": values[:, 0].copy(),
        "ranks": np.array(flat.ranks, np.int32).reshape(shape)[:, 0].copy(),
        "top_ids": ids[:, 1:].copy(),
        "top_logprobs": values[:, 1:].copy(),
    }


def _after_prefix(prefix: Choice, arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a generated text after those of its prefix; unknown values of the prefix are NaN, or 0."""
    if not len(prefix.token_ids):
        return arrays
    joined = {}
    for name, array in arrays.items():
        empty = np.nan if array.dtype == np.float32 else 0
        head = np.full((len(prefix.token_ids), *array.shape[1:]), empty, array.dtype)
        prefix_array = getattr(prefix, name)
        if prefix_array is not None and prefix_array.ndim == 1:
            head[:] = prefix_array
        elif prefix_array is not None:
            width = min(prefix_array.shape[1], head.shape[1])
            head[:, :width] = prefix_array[:, :width]
        joined[name] = np.concatenate([head, array])
    return joined


def _with_unknown_first(array: Any) -> Any:
    """The array after a row of unknown values (NaN, or 0 for integers)."""
    empty = np.nan if array.dtype == np.float32 else 0
    return np.concatenate([np.full_like(array[:1], empty, shape=(1, *array.shape[1:])), array])
