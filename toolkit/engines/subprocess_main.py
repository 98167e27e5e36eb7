"""The process that `run_in_subprocess` starts: one engine, one function call, its result."""

from __future__ import annotations

import io
import itertools
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
import tqdm.auto
import tqdm.std

from toolkit.engines import loading

Send = Callable[[str, Any], None]
"""Sends the parent a value of a kind: out, err, bar, tick, close, result, error."""


class _Stream(io.TextIOBase):
    """Standard output or error of the process: what is written goes to the parent."""

    def __init__(self, kind: str, send: Send) -> None:
        self._kind, self._send = kind, send

    def write(self, text: str) -> int:
        self._send(self._kind, text)
        return len(text)

    def writable(self) -> bool:
        return True


class _TerminalSink(io.StringIO):
    """The file of a bar: it discards what is written, and passes for a terminal, as bars are drawn only on these."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


def _forwarding_bar(send: Send) -> Any:
    """The class of a progress bar that the parent draws, which knows whether it is a notebook."""
    ids = itertools.count()

    class Bar(tqdm.std.tqdm):  # type: ignore[type-arg]  # at run time it takes none
        def __init__(self, *args: Any, **options: Any) -> None:
            self.id = next(ids)
            send("bar", (self.id, options))
            super().__init__(*args, **{**options, "file": _TerminalSink(), "disable": False})

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            send("tick", (self.id, self.n, self.postfix))

        def close(self) -> None:
            if not self.disable:
                super().close()
                send("close", self.id)

    return Bar


def main(incoming: Connection, outgoing: Connection) -> None:
    """The process: does the work that it is sent, sends the result, and ends."""
    # A parent in the background of a shell ignores interrupts, and so would we.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    lock = threading.Lock()

    def send(kind: str, value: Any) -> None:
        with lock:
            outgoing.send_bytes(cloudpickle.dumps((kind, value)))

    sys.stdout, sys.stderr = (_Stream(kind, send) for kind in ("out", "err"))
    tqdm.auto.tqdm = _forwarding_bar(send)  # in this process, which is ours alone
    work = incoming.recv_bytes()
    threading.Thread(target=_interrupt_when_parent_ends, args=(incoming,), daemon=True).start()
    try:
        variant, function, args = cloudpickle.loads(work)
        with loading.load(variant.model, **variant.arguments) as engine:
            result = function(engine, *args)
        send("result", result)
    except KeyboardInterrupt:
        os._exit(130)  # everything is written by now; vLLM's own shutdown takes seconds
    except BaseException as error:  # noqa: BLE001  # the parent raises it, whatever it is
        trace = traceback.format_exc()
        try:
            send("error", (error, trace))
        except (TypeError, AttributeError, ValueError):  # an exception that cannot be pickled
            send("error", (RuntimeError(f"{type(error).__name__}: {error}"), trace))


def _interrupt_when_parent_ends(incoming: Connection) -> None:
    """Interrupts the work when the parent has ended: the pipe closes; nothing else is sent after the work."""
    try:
        incoming.recv_bytes()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGINT)  # a real signal: it also ends a blocking call


if __name__ == "__main__":
    read_fd, write_fd = map(int, sys.argv[1:])
    main(Connection(read_fd, writable=False), Connection(write_fd, readable=False))
