"""Worker: the process that `apart` starts: one engine, one piece of work, its result."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from toolkit import engine as engines


class _Stream(io.TextIOBase):
    """Standard output or error of the process: what is written goes to the parent."""

    def __init__(self, kind: str, send: Callable[[str, Any], None], terminal: bool) -> None:
        self._kind, self._send, self._terminal = kind, send, terminal

    def write(self, text: str) -> int:
        self._send(self._kind, text)
        return len(text)

    def isatty(self) -> bool:
        return self._terminal

    def writable(self) -> bool:
        return True


def main(incoming: Connection, outgoing: Connection, terminal: bool) -> None:
    """The process: does the work that it is sent, sends the result, and ends."""
    lock = threading.Lock()

    def send(kind: str, value: Any) -> None:
        with lock:
            outgoing.send_bytes(cloudpickle.dumps((kind, value)))

    sys.stdout, sys.stderr = (_Stream(kind, send, terminal) for kind in ("out", "err"))
    work = incoming.recv_bytes()
    threading.Thread(target=_watch, args=(incoming,), daemon=True).start()
    try:
        variant, function, args = cloudpickle.loads(work)
        with engines.load(variant.model, **variant.arguments) as engine:
            result = function(engine, *args)
        send("result", result)
    except KeyboardInterrupt:
        os._exit(130)  # all that was to be written is; vLLM's own end takes seconds
    except BaseException as error:  # noqa: BLE001  # whatever it is, the parent is to raise it
        where = traceback.format_exc()
        try:
            send("error", (error, where))
        except (TypeError, AttributeError, ValueError):  # an exception that cannot be pickled
            send("error", (RuntimeError(f"{type(error).__name__}: {error}"), where))


def _watch(incoming: Connection) -> None:
    """Interrupts the work when the parent is gone: the pipe closes, and nothing is ever sent after the work."""
    try:
        incoming.recv_bytes()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGINT)  # a real one: it ends a call that waits


if __name__ == "__main__":
    inward, outward, shown = map(int, sys.argv[1:])
    main(Connection(inward, writable=False), Connection(outward, readable=False), bool(shown))
