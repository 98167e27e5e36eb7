"""Log files of servers: excerpts for error messages, and clean-up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit._internal.files import delete_unused, oldest_first
from toolkit._internal.secrets import redact, secrets_of
from toolkit.serving.registry import ServerRecord

_LOGS_KEPT = 20
START_MARK = "--- started "
"""Begins the log of each start."""
_EXCERPT_LINES = 15
"""Last lines of a log that an error message shows."""
_ERROR_LINE = re.compile(r"^(?:\(.*?\] )?([\w.]*(?:Error|Exception): .+)")
"""The line of a traceback that names the error, with or without vLLM's log prefix."""


def log_excerpt(log: Path, arguments: Mapping[str, Any] | None = None) -> str:
    """The first error since the last start, which is often far above the end, then the end of the log, without the
    secrets in the engine's arguments, which vLLM writes into it."""
    try:
        lines = log.read_text(errors="replace").rpartition(START_MARK)[2].splitlines()
    except FileNotFoundError:
        return f"It has left no log at {log}"
    tail = lines[-_EXCERPT_LINES:]
    cause = next((match[1] for line in lines if (match := _ERROR_LINE.match(line))), None)
    head = [cause] if cause and not any(cause in line for line in tail) else []
    return redact("\n".join([*head, f"Its log, {log}, ends:", *tail]), secrets_of(arguments))


def delete_old_logs(new: Path) -> None:
    """Deletes the oldest logs in the folder of a new one, but none of a server that may run, on any machine."""
    logs = oldest_first(new.parent.glob("serve-*.log"))
    used = {new.name, *(Path(record.log).name for record in ServerRecord.on_all_machines())}
    for old in [log for log in logs if log.name not in used][:-_LOGS_KEPT]:
        delete_unused(old)
