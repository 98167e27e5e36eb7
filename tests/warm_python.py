"""Stands for `python`: runs its arguments in a fork of the server beside it (`fork_server`), and is to whoever began
it the process that runs them: it passes signals on, dies with it, and ends as it ends. What the server is not made
for, and what needs another environment when libraries are loaded, is given to Python itself."""

import array
import json
import os
import signal
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = ("ipykernel_launcher", "toolkit.serving.server_main", "toolkit.engines.subprocess_main")
PASSED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# multiprocessing passes -B on, where the environment says the same.
ARGUMENTS = sys.argv[2:] if sys.argv[1:2] == ["-B"] else sys.argv[1:]


def reached():
    """A connection to the server; None where it is not there, or could not have been started for this."""
    if ARGUMENTS[:1] != ["-c"] and not (ARGUMENTS[:1] == ["-m"] and ARGUMENTS[1] in MODULES):
        return None
    with open(f"{HERE}/environment.json") as file:
        told = json.load(file)
    if {**told["written"], **read_when_loading(tuple(told["names"]), told["set anew"])} != told["values"]:
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(f"{HERE}/socket")
    except OSError:
        return None
    return connection


def read_when_loading(names, set_anew):
    """Variables that must be as the server has them. What vLLM puts before the libraries of its own processes is for
    the sake of threads that are bound to cores, which there are none of here."""
    found = {name: os.environ[name] for name in os.environ if name.startswith(names) and name not in set_anew}
    before = found.get("LD_PRELOAD", "-").split(":")
    if all("libgomp" in path or "libtcmalloc" in path for path in before):
        del found["LD_PRELOAD"]
    return found


def ask(connection):
    """Asks for the process, with the files that are open here."""
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    files = sorted(number for number in numbers if number != connection.fileno() and is_open(number))
    asked = {
        "arguments": ARGUMENTS, "env": dict(os.environ), "cwd": os.getcwd(), "files": files,
        "executable": os.path.abspath(__file__),
    }  # fmt: skip
    data = json.dumps(asked).encode()
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))
    connection.sendmsg([len(data).to_bytes(4, "big")], [rights])
    connection.sendall(data)
    for number in files[3:]:
        os.close(number)


def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def told(connection):
    """A number that the server says; None when it is gone."""
    size = connection.recv(4, socket.MSG_WAITALL)
    return int(connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)) if len(size) == 4 else None


def main():
    connection = reached()
    if connection is None:
        os.execv(REAL, [REAL, *sys.argv[1:]])  # noqa: F821  # a line above, in the file that is made of this one
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED)  # until it is known whom to pass them to
    ask(connection)
    pid = told(connection)
    for number in PASSED:
        signal.signal(number, lambda which, _: os.kill(pid, which))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED)
    status = told(connection)
    if status is None:
        os._exit(1)
    if status >= 0:
        os._exit(status)
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)


main()
