"""Runs inside each of vLLM's own processes (entry point `vllm.general_plugins`)."""

from __future__ import annotations

import multiprocessing
import signal
import threading


def ignore_interrupts() -> None:
    """Jupyter interrupts the whole process group; vLLM's engine processes would exit and lose every request.
    They end with their parent, or when it closes them."""
    child = multiprocessing.parent_process() is not None
    if child and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
