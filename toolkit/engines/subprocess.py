"""Work with an engine in a process of its own, since much cannot change in a running process: threads, environment,
and what vLLM keeps once it is loaded.

Parent and child talk over pipes: the work and its result by cloudpickle (a notebook's functions and classes too), and
what the child prints appears in the parent. The parent passes an interrupt on, so that the child writes what is
finished; a child whose parent has ended interrupts itself (`engines.subprocess_main`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar, cast

import cloudpickle

from toolkit._internal.interrupts import DeferredInterrupts
from toolkit.engines import loading
from toolkit.engines.variant import Variant
from toolkit.engines.vllm.environment import subprocess_env
from toolkit.engines.vllm.hardware import device
from toolkit.errors import EngineError

T = TypeVar("T")
_EXIT_TIMEOUT = 60.0
"""Seconds that an interrupted process has to write what is finished."""


def run_in_subprocess(variant: Variant, function: Callable[..., T], *args: Any) -> T:
    """function(engine, *args) with the engine of a variant, in a process of its own that ends with the call. Function
    and arguments must be picklable by cloudpickle; pass a store by its path.

    On a GPU, which has no room for two engines, the engine loaded in this process is closed first.

    Raises what the function raises, EngineError when the process dies, and KeyboardInterrupt once the process has
    ended after an interrupt.
    """
    work = cloudpickle.dumps((variant, function, args))
    if device()["kind"] == "cuda" and loading._loaded is not None:
        loading._loaded.close()
    with DeferredInterrupts() as interrupts:
        process, incoming, outgoing = _start(variant)
        with incoming, outgoing:
            try:
                with contextlib.suppress(ConnectionError):  # it has died, which the next line reports
                    outgoing.send_bytes(work)
                with interrupts.allowed():
                    return cast("T", _receive_result(process, incoming, variant))
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
                _relay_remaining_output(incoming)
                raise
            finally:
                _wait_or_kill(process)


def _start(variant: Variant) -> tuple[subprocess.Popen[bytes], Connection, Connection]:
    """A process, the connection that comes from it, and the one that goes to it."""
    to_parent, to_child = os.pipe(), os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "toolkit.engines.subprocess_main", str(to_child[0]), str(to_parent[1])],
        pass_fds=(to_child[0], to_parent[1]),
        env=_environment(variant),
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # else a terminal's or a kernel's interrupt would reach it as well, a second time
    )
    os.close(to_child[0])
    os.close(to_parent[1])
    return process, Connection(to_parent[0], writable=False), Connection(to_child[1], readable=False)


def _environment(variant: Variant) -> dict[str, str]:
    threads = {} if variant.threads is None else {"OMP_NUM_THREADS": str(variant.threads)}
    return subprocess_env({**threads, **variant.env})


def _receive_result(process: subprocess.Popen[bytes], incoming: Connection, variant: Variant) -> Any:
    bars: dict[int, Any] = {}
    try:
        while True:
            kind, value = _receive(process, incoming, variant)
            if kind == "result":
                return value
            if kind == "error":
                error, trace = value
                error.add_note(f"in the process of the variant {variant}:\n{trace}")
                raise error
            _relay_output(kind, value, bars)
    finally:
        for bar in bars.values():
            bar.close()


def _receive(process: subprocess.Popen[bytes], incoming: Connection, variant: Variant) -> tuple[str, Any]:
    try:
        return cast("tuple[str, Any]", cloudpickle.loads(incoming.recv_bytes()))
    except (EOFError, ConnectionError):
        code = process.wait()
        cause = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        raise EngineError(f"the process of the variant {variant} died ({cause})") from None


def _relay_output(kind: str, value: Any, bars: dict[int, Any]) -> None:
    """Shows what the process prints, and its progress bars."""
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


def _relay_remaining_output(incoming: Connection) -> None:
    """Shows what an interrupted process still prints."""
    while incoming.poll(_EXIT_TIMEOUT):
        try:
            kind, value = cloudpickle.loads(incoming.recv_bytes())
        except (EOFError, ConnectionError):
            return
        if kind in ("out", "err"):
            _relay_output(kind, value, {})


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=_EXIT_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
