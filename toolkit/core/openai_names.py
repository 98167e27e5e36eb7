"""The names of other APIs: options that are taken under OpenAI's name, and what to write in place of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit._internal.text import short_repr

ALIASES = {"max_completion_tokens": "max_tokens"}
"""OpenAI's newer name of an option → the name here. Requests hold the latter, whichever was given."""
_MESSAGES = (
    "the system message is one of the messages, [{'role': 'system', 'content': …}, {'role': 'user', 'content': …}], "
    "or give toolkit.Prompt(template, system=…)"
)
_MODEL = (
    "an engine has one model: toolkit.load('…') for one on this machine, toolkit.connect(url, model='…') for one on "
    "a server; Sweep.run_across(toolkit.variants(model=[…])) compares several"
)
_STREAM = "engine.stream(messages, …) gives the answer piece by piece, engine.chat whole"
_REASONING = (
    "no option sets it: say in the messages how much to reason (Qwen3 takes /think and /no_think), and limit all "
    "that is generated with max_tokens"
)
_LEAVE_OUT = "it concerns OpenAI's own servers: leave it out"
_CONNECTION = "it belongs to the connection: toolkit.connect(url, api_key=…, timeout=…)"
_CHAT = "it goes with a conversation, beside the sampling options: engine.chat(messages, {}=…)"
_COMPLETE = "it goes with a text to continue: engine.complete(prompt, {}=…)"
_FORMAT = "give response_format=…: a type, a JSON Schema, or OpenAI's dict"
_LIMIT = "max_tokens=… is the most tokens to generate"
HINTS = {
    **dict.fromkeys(("system", "instructions", "system_prompt"), _MESSAGES),
    **dict.fromkeys(("model", "deployment_id"), _MODEL),
    **dict.fromkeys(("stream", "stream_options"), _STREAM),
    **dict.fromkeys(("reasoning_effort", "reasoning", "thinking"), _REASONING),
    **dict.fromkeys(("timeout", "api_key", "base_url"), _CONNECTION),
    **dict.fromkeys(
        (
            "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
            "prompt_cache_retention", "parallel_tool_calls", "modalities", "audio", "prediction",
            "web_search_options", "extra_headers",
        ),
        _LEAVE_OUT,
    ),
    **dict.fromkeys(("text", "text_format", "guided_json", "guided_choice", "guided_regex"), _FORMAT),
    **dict.fromkeys(("max_output_tokens", "max_new_tokens", "max_tokens_to_sample", "max_length"), _LIMIT),
    **{name: _CHAT.format(name) for name in ("response_format", "tools", "tool_choice", "prefix")},
    **{name: _COMPLETE.format(name) for name in ("echo", "suffix", "prompt")},
    "functions": "give tools=[…]: typed Python functions, or OpenAI's dicts",
    "function_call": "give tool_choice=…: auto, none, required, or the name of a function",
    "messages": "the messages are the first argument: engine.chat(messages, …)",
    "input": "the messages are the first argument: engine.chat(messages, …)",
    "extra_body": "vLLM's options have their own names here, such as top_k=… or min_p=…",
    "best_of": "n=… gives several choices",
    "num_return_sequences": "n=… gives several choices",
    "stop_sequences": "stop=[…] has the texts that end an answer",
    "do_sample": "temperature=0 takes the likeliest token, above 0 tokens are drawn",
}  # fmt: skip
"""What to write in place of an option of another API."""


def standard_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options under the names of Sampling (see `ALIASES`). Raises ValueError where one is given under both."""
    renamed = dict(options)
    for alias, name in ALIASES.items():
        if alias not in renamed:
            continue
        value = renamed.pop(alias)
        if value is not None and renamed.get(name) is not None:
            raise ValueError(
                f"{alias}={short_repr(value)} and {name}={short_repr(renamed[name])} are the same option: give "
                "one of them"
            )
        if value is not None:
            renamed[name] = value
    return renamed
