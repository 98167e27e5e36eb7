"""A Python that has imported vLLM, and forks for each program that is to be run.

To import vLLM takes 5 to 17 seconds of a core; to fork a process that has it, none. The server imports it once and
waits. `warm_python` stands for `python`: it asks for a process with its own arguments, environment, folder and
open files. Of all that vLLM does at run time nothing has happened in the server: no engine, no threads of
PyTorch. What libraries read when they are loaded cannot be changed afterwards: a program whose environment differs
there (`LOADED`) is started by Python itself, and so is anything else that the server is not made for.

The server ends with the last of the sessions that hold it (`Lease`).
"""

import array
import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import multiprocessing.spawn
import os
import random
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import types
from pathlib import Path

LOADED = (
    "ATEN_", "BLIS_", "CUDA_", "DNNL_", "GLIBC_", "GOMP_", "HF_", "KMP_", "LD_", "MALLOC_", "MKL_",
    "NUMBA_", "OMP_", "ONEDNN_", "OPENBLAS_", "PYTHON", "TORCH_", "TRANSFORMERS_",
)  # fmt: skip
"""Beginnings of the names of variables that Python, or a library that the server has imported, reads when loaded."""
SET_ANEW = ("OMP_NUM_THREADS", "PYTHONPATH")
"""Those of them that the server sets in a child."""
WRITTEN = {"GOMP_SPINCOUNT": "2000", "TORCH_CPP_LOG_LEVEL": "ERROR"}
"""Those that `toolkit.engines.vllm.logs` sets before vLLM is loaded: the server has them from its start."""
IMPORTED = (
    "toolkit", "toolkit.engines.vllm.engine", "vllm", "vllm.entrypoints.llm",
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.v1.engine.core", "vllm.v1.executor.multiproc_executor", "vllm.v1.executor.uniproc_executor",
    "vllm.v1.worker.cpu_worker", "vllm.v1.worker.cpu_model_runner", "vllm.model_executor.models.llama",
    "toolkit.serving.server_main", "numpy", "pandas", "torch",
)  # fmt: skip
"""All that an engine or a server needs, up to where it would begin to use it. Not IPython: whether it is there tells
others that they are in a notebook."""
LEASE = b"lease"


class Lease:
    """Keeps the server of a folder, which is started if it is the first one, until it is given back."""

    def __init__(self, folder):
        self.python = folder / "python"
        """Stands for Python."""
        if not self.python.exists():
            _start(folder)
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(folder / "socket"))
        send(self._connection, LEASE)

    def close(self):
        self._connection.close()


def _start(folder):
    env = {**os.environ, **WRITTEN, "VLLM_NO_USAGE_STATS": "1"}
    found = {name: env[name] for name in env if name.startswith(LOADED) and name not in SET_ANEW}
    told = {"names": LOADED, "set anew": SET_ANEW, "written": WRITTEN, "values": found}
    (folder / "environment.json").write_text(json.dumps(told))
    with socket.socket(socket.AF_UNIX) as listener, (folder / "log").open("w") as log:
        listener.bind(str(folder / "socket"))
        listener.listen(64)
        subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno())],
            pass_fds=[listener.fileno()], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    source = Path(__file__).with_name("warm_python.py").read_text()
    draft = folder / "python.draft"
    draft.write_text(f"#!{sys.executable} -IS\nREAL = {sys.executable!r}\n{source}")
    draft.chmod(0o755)
    draft.rename(folder / "python")


def kernel(python, folder):
    """Describes a Jupyter kernel that this Python starts, in a folder for Jupyter's data."""
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python 3", "language": "python", "metadata": {"debugger": True}}
    file = folder / "kernels" / "python3" / "kernel.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(spec))


def send(connection, data):
    connection.sendall(len(data).to_bytes(4, "big") + data)


def receive(connection):
    """A message, and the files that came with it; None when the connection is closed."""
    head, rights, *_ = connection.recvmsg(4, socket.CMSG_SPACE(4 * 250))
    files = array.array("i")
    for *_, part in rights:
        files.frombytes(part[: len(part) - len(part) % files.itemsize])
    if len(head) < 4:
        return None
    size = int.from_bytes(head, "big")
    return connection.recv(size, socket.MSG_WAITALL), list(files)


class Server:
    def __init__(self, listener):
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._leases = set()
        self._started = {}
        """The connection of each process that runs, by its number."""

    def serve(self):
        """Runs until the last lease is given back. In a child it returns: what the child was asked to be."""
        wake, awake = socket.socketpair()
        awake.setblocking(False)
        signal.set_wakeup_fd(awake.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(wake, selectors.EVENT_READ, lambda: self._reap(wake))
        while True:
            for key, _ in self._selector.select():
                asked = key.data()
                if asked is not None:
                    signal.set_wakeup_fd(-1)
                    self._selector.close()
                    for own in (self._listener, *self._leases, *self._started.values(), wake, awake):
                        own.close()
                    return asked

    def _accept(self):
        connection, _ = self._listener.accept()
        message = receive(connection)
        if message is None:
            return connection.close()
        data, files = message
        if data == LEASE:
            self._leases.add(connection)
            self._selector.register(connection, selectors.EVENT_READ, lambda: self._given_back(connection))
            return None
        pid = os.fork()
        if not pid:
            connection.close()
            return json.loads(data), files
        for file in files:
            os.close(file)
        send(connection, str(pid).encode())
        self._started[pid] = connection
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._left(pid))
        return None

    def _given_back(self, connection):
        self._selector.unregister(connection)
        self._leases.remove(connection)
        connection.close()
        if not self._leases:
            sys.exit()

    def _left(self, pid):
        """Who asked for a process is gone: so it goes, with all that it has asked for."""
        self._selector.unregister(self._started[pid])
        self._started.pop(pid).close()
        with contextlib.suppress(ProcessLookupError):  # it may not have come to lead its group
            os.killpg(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)

    def _reap(self, wake):
        """Tells of the processes that have ended how they did."""
        wake.recv(4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            connection = self._started.pop(pid, None)
            if connection is not None:
                self._selector.unregister(connection)
                with contextlib.suppress(OSError):
                    send(connection, str(os.waitstatus_to_exitcode(status)).encode())
                connection.close()


def become(asked, files, path):
    """Makes this process look like a new one. path: where a new one finds modules."""
    os.setsid()
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _open(files, asked["files"])
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.executable = asked["executable"]
    multiprocessing.spawn.set_executable(sys.executable)
    sys.path[:] = [*_folders(os.environ), *path]
    import numpy as np
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))
    random.seed()
    np.random.seed()


def _open(files, numbers):
    """The files under the numbers that they had; standard input and output anew."""
    # First away from the numbers that are to be filled, then to them.
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD, max(numbers) + 1) for file in files]
    for file, number in zip(moved, numbers, strict=True):
        os.dup2(file, number)
    for file in {*moved, *files} - set(numbers):
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False, buffering=1 if os.isatty(1) else -1)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1, errors="backslashreplace")  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr


def _folders(env):
    return [folder for folder in env.get("PYTHONPATH", "").split(os.pathsep) if folder]


def run(arguments):
    """Does what `python *arguments` does. Returns its exit status."""
    kind, what, *rest = arguments
    try:
        if kind == "-c":
            sys.argv, sys.path[:0] = ["-c", *rest], [""]
            sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), sys.modules["__main__"].__dict__)
        else:
            sys.argv, sys.path[:0] = [what, *rest], [os.getcwd()]
            sys.modules.pop(what, None)
            runpy.run_module(what, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException as error:  # noqa: BLE001  # whatever it is, Python would print it and end
        traceback.print_exc()
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def end(status):
    """Ends as Python ends."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def preload():
    for name in IMPORTED:
        importlib.import_module(name)
    toolkit = sys.modules["toolkit"]
    for name in toolkit.__all__:  # each is imported when it is first used
        getattr(toolkit, name)
    for name in ("tqdm.auto", "tqdm.autonotebook"):  # which find out whether this is a notebook
        sys.modules.pop(name, None)
    from vllm import logger

    from toolkit.engines.vllm import engine

    prepare = engine.prepare_process

    def prepared():
        log = prepare()
        logger._configure_vllm_root_logger()  # done at import, when it was not yet said where the log is
        return log

    engine.prepare_process = prepared
    gc.collect()
    gc.freeze()  # what all children share is not walked through by each


def main():
    listener = socket.socket(fileno=int(sys.argv[1]))
    path = [folder for folder in sys.path[1:] if folder not in _folders(os.environ)]
    began = time.monotonic()
    preload()
    print(f"{time.monotonic() - began:.1f} s of imports", flush=True)
    asked, files = Server(listener).serve()
    become(asked, files, path)
    end(run(asked["arguments"]))


if __name__ == "__main__":
    main()
