"""Runs inside each of vLLM's own processes (entry point `vllm.general_plugins`)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

MARK = "TOOLKIT_ENGINE"
"""Environment variable of processes with an engine or a server of this package: in other programs of the same
environment that use vLLM, the plugin does nothing."""


def ignore_interrupts() -> None:
    """Jupyter interrupts the whole process group; vLLM's engine processes would exit and lose every request.
    They end with their parent, or when it closes them."""
    child = multiprocessing.parent_process() is not None
    if MARK in os.environ and child and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
