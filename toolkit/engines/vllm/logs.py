"""Process: what must be set up around vLLM in this process: environment, log file, a sign of life while it loads."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from toolkit import models
from toolkit.engines.spec import device

THREADS = {
    # Threads that wait spin for some microseconds: never spinning costs a fifth of the speed on idle cores, and
    # libgomp's own milliseconds make it ten times slower when another program wants a core.
    "GOMP_SPINCOUNT": "2000",
    # In processes of its own vLLM would bind threads, whatever number was asked for, and leave one core to its
    # scheduler: on two cores two thirds of the speed.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""How threads run on a CPU, unless the user has it otherwise."""
_LOGS_KEPT = 20
_written: dict[str, tuple[str | None, str | None]] = {}
"""Variables that were written here for an engine, or by vLLM: what each was before, and what it became."""


def prepare() -> Path:
    """Sets up this process before vLLM or torch is imported (either reads these only once); what the user has
    set stays. Returns the file that vLLM logs to."""
    log = _log_file()
    settings = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_CONFIG_PATH": str(_log_config(log)),
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    if device()["kind"] == "cpu":
        # In this process: loads in 8 s instead of 20, and no batch depends on timing.
        settings |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", **THREADS}
    if Path(os.environ.get("VLLM_LOGGING_CONFIG_PATH", "")).parent == log.parent:
        del os.environ[
            "VLLM_LOGGING_CONFIG_PATH"
        ]  # of a parent that has an engine: each process has its own log
    with written():
        for name, value in settings.items():
            os.environ.setdefault(name, value)
    # Without a handler the few lines that vLLM logs before it reads its configuration reach the screen.
    logging.getLogger("vllm").addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(vllm|torch|transformers)\b")
    return log


@contextlib.contextmanager
def written() -> Iterator[None]:
    """Remembers what of the environment is written meanwhile: by us, or by vLLM, which sets some thirty variables
    while it loads, LD_PRELOAD among them."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in before.keys() | os.environ.keys():
            was, now = before.get(name), os.environ.get(name)
            if was != now:
                first, last = _written.get(name, (was, was))
                # What an earlier engine's load had written is no value of the user's either.
                _written[name] = (first if last == was else was, now)


def untouched() -> dict[str, str]:
    """The environment of now, as it would be without what was `written`: a new process must not take that for the
    user's. What has been set since then is."""
    found: dict[str, str | None] = dict(os.environ)
    found |= {name: was for name, (was, now) in _written.items() if os.environ.get(name) == now}
    return {name: value for name, value in found.items() if value is not None}


def fresh(env: Mapping[str, str | None], **usual: str) -> dict[str, str]:
    """The environment of a new process of this package that loads an engine: the user's, with some variables changed
    (None: not set). usual: what holds where the user has nothing else."""
    # `python -m` finds this package where this process has it, whatever its folder.
    path = os.pathsep.join(p for p in sys.path if p)
    wanted = {**usual, **untouched(), "PYTHONPATH": path, **env}
    return {name: value for name, value in wanted.items() if value is not None}


def _log_file() -> Path:
    """vLLM's log of this process; the oldest ones of processes that have ended go."""
    folder = models.home() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    ended = [p for p in folder.glob("vllm-*") if not Path("/proc", p.stem.removeprefix("vllm-")).exists()]
    for old in models.oldest_first(ended)[: -2 * _LOGS_KEPT]:
        old.unlink(missing_ok=True)
    return folder / f"vllm-{os.getpid()}.log"


def _log_config(log: Path) -> Path:
    """A logging configuration that vLLM's processes read: everything into the file, nothing on the screen."""
    handler = {"class": "logging.FileHandler", "filename": str(log), "formatter": "plain"}
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"file": handler},
        "loggers": {"vllm": {"handlers": ["file"], "level": "INFO", "propagate": False}},
    }
    path = log.with_suffix(".json")
    path.write_text(json.dumps(config))
    return path


@contextlib.contextmanager
def status(text: str) -> Iterator[Callable[[], None]]:
    """A line with a running clock, gone when the work is done. Gives the function that moves the clock."""
    from tqdm.auto import tqdm

    with tqdm(bar_format="{desc} … {elapsed}", desc=text, leave=False, disable=None) as bar:
        yield lambda: bar.refresh()
