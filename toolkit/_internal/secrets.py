"""Secrets among settings, by the names of the settings: tokens, passwords and keys are shown and kept nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

HIDDEN = "***"
_LONG = 8
"""The least characters of a secret that is in no other word by chance."""
_SECRET_NAME = re.compile(
    r"(?:^|[_.-])(?:(?<!bos_)(?<!eos_)(?<!pad_)(?<!unk_)(?<!sep_)(?<!cls_)(?<!mask_)(?<!image_)(?<!video_)(?<!audio_)"
    r"token|secret|password|passwd|passphrase|credentials?|(?:api|access|secret|private|auth)[_-]?key)(?:[_-]id)?$",
    re.IGNORECASE,
)
"""A name that ends so is that of a secret, unless it is that of a special token of a model."""
_URL_PASSWORD = re.compile(r"(?<=://)[^/\s@]+(?=@)")
"""Name and password in a URL."""


def is_secret(name: object) -> bool:
    """Whether a setting of this name is a secret."""
    return isinstance(name, str) and _SECRET_NAME.search(name) is not None


def hide_secrets(settings: Any) -> Any:
    """Settings (mappings and lists, nested) to show: with `HIDDEN` in place of the secrets in them; of those that are
    nested too deeply nothing is shown."""
    try:
        return _hidden(settings)
    except RecursionError:
        return HIDDEN


def _hidden(settings: Any) -> Any:
    if isinstance(settings, Mapping):
        return {k: HIDDEN if _holds_secret(k, v) else _hidden(v) for k, v in settings.items()}
    if isinstance(settings, (list, tuple)):
        return _same_sequence(settings, map(_hidden, settings))
    return _without_password(settings)


def without_secrets(settings: Any) -> Any:
    """Settings to keep and to use again: those that are secrets are left out."""
    if isinstance(settings, Mapping):
        return {k: without_secrets(v) for k, v in settings.items() if not _holds_secret(k, v)}
    if isinstance(settings, (list, tuple)):
        return _same_sequence(settings, map(without_secrets, settings))
    return _without_password(settings)


def _same_sequence(original: list[Any] | tuple[Any, ...], items: Iterable[Any]) -> Any:
    return list(items) if isinstance(original, list) else tuple(items)


def _without_password(value: Any) -> Any:
    return _URL_PASSWORD.sub(HIDDEN, value) if isinstance(value, str) else value


def secrets_of(settings: Any) -> Iterator[str]:
    """The secrets in settings."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            if _holds_secret(name, value):
                yield str(value)
            else:
                yield from secrets_of(value)
    elif isinstance(settings, (list, tuple)):
        for value in settings:
            yield from secrets_of(value)
    elif isinstance(settings, str):
        yield from _URL_PASSWORD.findall(settings)


def redact(text: str, secrets: Iterable[str]) -> str:
    """A text with `HIDDEN` in place of some secrets; of a short one only where it stands alone, since its letters
    occur in other words."""
    for secret in filter(None, secrets):
        if len(secret) >= _LONG:
            text = text.replace(secret, HIDDEN)
        else:
            text = re.sub(rf"(?<![\w-]){re.escape(secret)}(?![\w-])", HIDDEN, text)
    return text


def _holds_secret(name: object, value: object) -> bool:
    """True, False and None, which say whether to use a secret, are none themselves."""
    return is_secret(name) and not isinstance(value, bool | None | Mapping)
