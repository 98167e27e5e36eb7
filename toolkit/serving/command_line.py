"""The command line of vLLM's server, and what it is made of."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from toolkit._internal.secrets import secrets_of
from toolkit._internal.text import short_repr
from toolkit._internal.validation import validate_api_key
from toolkit.serving.address import is_loopback
from toolkit.serving.registry import ServerRecord

OPENAI = (
    "gpt-4o", "gpt-4o-mini", "gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18", "gpt-4", "gpt-4-turbo",
    "gpt-4-turbo-preview", "gpt-4.5-preview-2025-02-27", "gpt-3.5-turbo", "gpt-3.5-turbo-0125",
    "gpt-3.5-turbo-0613", "gpt-3.5-turbo-instruct", "o1", "o1-2024-12-17", "o3-mini-2025-1-31", "babbage-002",
    "davinci-002",
)  # fmt: skip
"""Names of the text models in OpenAI's guides."""
_NO_NEGATION = ("aggregate_engine_logging", "data_parallel_multi_port_external_lb", "disable_log_stats")
"""Flags without a `--no-…` form in vLLM."""
_NO_FLAG = ("enable_mm_processor_stats", "mamba_config", "model_weights")
"""Engine arguments that the command line of vLLM's server lacks."""


def command_line_flags(record: ServerRecord) -> list[str]:
    """The arguments of vLLM's command line: those of the record, without `secret_flags`, and those that all our
    servers get."""
    flags = [
        f"--model={record.path}",
        *_argument_flags(record, secret=False),
        "--served-model-name",
        *record.names,
        f"--host={record.host}",
        f"--port={record.port}",
        # No requests from web pages in a browser on this machine: by default vLLM allows any origin.
        "--allowed-origins=[]",
        "--disable-access-log-for-endpoints=/health",
        "--enable-prompt-tokens-details",  # usage reports cached prompt tokens, as OpenAI's does
    ]
    if "seed" not in record.arguments:
        # So that a request without a seed is sampled anew, not the same after every start.
        flags.append(f"--seed={secrets.randbits(31)}")
    return [*flags, *(f"--middleware=toolkit.serving.{name}" for name in _middleware(record))]


def secret_flags(record: ServerRecord) -> list[str]:
    """The engine arguments with secrets in them. Every user of the machine can read a command line: the process
    itself adds them, from the record."""
    return _argument_flags(record, secret=True)


def _argument_flags(record: ServerRecord, *, secret: bool) -> list[str]:
    arguments = {n: v for n, v in record.arguments.items() if any(secrets_of({n: v})) == secret}
    return [flag for name, value in arguments.items() for flag in _flag(name, value)]


def _middleware(record: ServerRecord) -> list[str]:
    """What a request passes, the last one first: who may not ask has no body read."""
    key = ["auth_middleware.ApiKeyMiddleware"] if record.api_key else []
    return ["body_middleware.BodyLimitMiddleware", *key, "host_middleware.HostMiddleware"]


def _flag(name: str, value: Any) -> list[str]:
    """An engine argument as vLLM's parser takes it: `--no-…` for False, JSON for dicts; None is vLLM's default."""
    flag = "--" + name.replace("_", "-")
    if value is None or name in _NO_FLAG or (value is False and name in _NO_NEGATION):
        return []
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, list | tuple):
        return [flag, *map(str, value)]
    return [f"{flag}={json.dumps(value) if isinstance(value, Mapping) else value}"]


def served_names(model: str, aliases: Sequence[str]) -> tuple[str, ...]:
    """The model's own name, then the aliases, each once. Raises TypeError for a single string."""
    if isinstance(aliases, str):
        raise TypeError(
            f"aliases must be a list of names, got {short_repr(aliases)}: write [{short_repr(aliases)}]"
        )
    return tuple(dict.fromkeys((model, *aliases)))


def plain_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The engine arguments of a server, which is another process. Raises TypeError for one that a server cannot be
    given, such as a value that is no plain data."""
    if "served_model_name" in arguments:
        raise TypeError("a server is served under its model's own name: aliases=[…] gives it more names")
    for name, value in arguments.items():
        if name in _NO_FLAG and value:
            raise TypeError(f"{name} cannot be given to a server: vLLM's command line has no option for it")
        try:
            json.dumps(value)
        except TypeError:
            raise TypeError(
                f"{name} of a server must be plain data (text, numbers, lists, dicts), got {short_repr(value)}"
            ) from None
    return dict(arguments)


def checked_key(api_key: str | None, host: str) -> str | None:
    """Raises what `validate_api_key` does, and ValueError for a server without a key that other machines reach."""
    if api_key is not None:
        return validate_api_key(api_key)
    if not is_loopback(host):
        raise ValueError(
            f"host={short_repr(host)} accepts requests from other machines: give an api_key, such as "
            "secrets.token_urlsafe(), or set it as VLLM_API_KEY; or leave host out, for programs of this machine only"
        )
    return None
