"""vLLM's log, set up before vLLM is imported."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

from toolkit._internal.files import delete_unused, oldest_first, toolkit_home, write_atomically
from toolkit._internal.secrets import redact
from toolkit.engines.vllm.environment import THREADS, track_env_changes
from toolkit.engines.vllm.hardware import device
from toolkit.engines.vllm.plugin import MARK

_LOGS_KEPT = 20
_secrets: set[str] = set()
"""Kept out of the log, which begins with the engine's arguments."""


def prepare_process() -> Path:
    """Sets up this process before vLLM or torch is imported (either reads these only once); the user's settings
    stay. Returns the file that vLLM logs to."""
    log = _log_file()
    settings = {
        MARK: "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_CONFIG_PATH": str(_log_config(log)),
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    if device()["kind"] == "cpu":
        # In this process: loads in 8 s instead of 20, and no batch depends on timing.
        settings |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", **THREADS}
    if Path(os.environ.get("VLLM_LOGGING_CONFIG_PATH", "")).parent == log.parent:
        # Inherited from a parent that has an engine: each process has its own log.
        del os.environ["VLLM_LOGGING_CONFIG_PATH"]
    with track_env_changes():
        for name, value in settings.items():
            os.environ.setdefault(name, value)
    # Without a handler the few lines that vLLM logs before it reads its configuration reach the screen.
    logging.getLogger("vllm").addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(vllm|torch|transformers)\b")
    return log


def keep_out_of_log(secrets: Iterable[str]) -> None:
    """From now on vLLM's log has `***` in place of these."""
    _secrets.update(secrets)


class SecretFormatter(logging.Formatter):
    """A formatter of log lines and tracebacks that leaves out secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), _secrets)


def _log_file() -> Path:
    """vLLM's log of this process; deletes the oldest logs of processes that have ended."""
    folder = toolkit_home() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    ended = [p for p in folder.glob("vllm-*") if not Path("/proc", p.stem.removeprefix("vllm-")).exists()]
    for old in oldest_first(ended)[: -2 * _LOGS_KEPT]:
        delete_unused(old)
    return folder / f"vllm-{os.getpid()}.log"


def _log_config(log: Path) -> Path:
    """A logging configuration that vLLM's processes read: everything into the file, nothing on the screen."""
    handler = {"class": "logging.FileHandler", "filename": str(log), "formatter": "plain"}
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "plain": {
                "()": f"{__name__}.{SecretFormatter.__name__}",
                "fmt": "%(asctime)s %(levelname)s %(name)s: %(message)s",
            }
        },
        "handlers": {"file": handler},
        "loggers": {"vllm": {"handlers": ["file"], "level": "INFO", "propagate": False}},
    }
    path = log.with_suffix(".json")
    return write_atomically(path, json.dumps(config))  # a process of vLLM's may be reading it
