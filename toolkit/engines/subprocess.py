"""Apart: work with an engine in a process of its own, since much of a system cannot change in one that runs: threads,
environment, and what vLLM keeps once it is loaded.

The two talk over a pipe: the work and its result by cloudpickle (functions and classes of a notebook as well), and
what is printed there appears here. An interrupt here is passed on, so that what is finished is written there; a
parent that is gone interrupts its child (`engines.worker`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar, cast

import cloudpickle

from toolkit import engine as engines
from toolkit.engine import EngineError
from toolkit.engines.process import fresh
from toolkit.engines.spec import device
from toolkit.variant import Variant

T = TypeVar("T")

_PATIENCE = 60.0
"""Seconds that an interrupted process has to write what is finished."""


def apart(variant: Variant, function: Callable[..., T], *args: Any) -> T:
    """function(engine, *args) with the engine of a variant, in a process of its own that ends with it. Both must be
    such that cloudpickle takes them; a store is given by its path.

    On a GPU, which has no room for two engines, the one loaded here is closed first.

    Raises what the function raises, EngineError when the process dies, and KeyboardInterrupt once the process has
    ended after an interrupt.
    """
    work = cloudpickle.dumps((variant, function, args))
    if device()["kind"] == "cuda" and engines._loaded is not None:
        engines._loaded.close()
    here, there = os.pipe(), os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "toolkit.engines.worker", str(there[0]), str(here[1])],
        pass_fds=(there[0], here[1]),
        env=_environment(variant),
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # else a terminal's or a kernel's interrupt would reach it as well, a second time
    )
    os.close(there[0])
    os.close(here[1])
    with Connection(here[0], writable=False) as incoming, Connection(there[1], readable=False) as outgoing:
        try:
            outgoing.send_bytes(work)
            return cast("T", _listen(process, incoming, variant))
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            _drain(incoming)
            raise
        finally:
            _end(process)


def _environment(variant: Variant) -> dict[str, str]:
    threads = {} if variant.threads is None else {"OMP_NUM_THREADS": str(variant.threads)}
    return fresh({**threads, **variant.env})


def _listen(process: subprocess.Popen[bytes], incoming: Connection, variant: Variant) -> Any:
    bars: dict[int, Any] = {}
    try:
        while True:
            kind, value = _next(process, incoming, variant)
            if kind == "result":
                return value
            if kind == "error":
                error, where = value
                error.add_note(f"in the process of the variant {variant}:\n{where}")
                raise error
            _show(kind, value, bars)
    finally:
        for bar in bars.values():
            bar.close()


def _next(process: subprocess.Popen[bytes], incoming: Connection, variant: Variant) -> tuple[str, Any]:
    try:
        return cast("tuple[str, Any]", cloudpickle.loads(incoming.recv_bytes()))
    except (EOFError, ConnectionError):
        code = process.wait()
        cause = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        raise EngineError(f"the process of the variant {variant} died ({cause})") from None


def _show(kind: str, value: Any, bars: dict[int, Any]) -> None:
    """What the process prints, and its progress bars."""
    if kind in ("out", "err"):
        stream = sys.stdout if kind == "out" else sys.stderr
        stream.write(value)
        stream.flush()
    elif kind == "bar":
        from tqdm.auto import tqdm

        number, options = value
        bars[number] = tqdm(**options)
    elif kind == "tick":
        number, done, postfix = value
        bars[number].n, bars[number].postfix = done, postfix
        bars[number].refresh()
    elif kind == "close":
        bars.pop(value).close()


def _drain(incoming: Connection) -> None:
    """Shows what an interrupted process still says."""
    while incoming.poll(_PATIENCE):
        try:
            kind, value = cloudpickle.loads(incoming.recv_bytes())
        except (EOFError, ConnectionError):
            return
        if kind in ("out", "err"):
            _show(kind, value, {})


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
