"""vLLM's own OpenAI server as a managed process on this machine, for any client of OpenAI's API."""

from __future__ import annotations

import atexit
import http.client
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock

from toolkit._internal.files import create_private, toolkit_home
from toolkit.core.fingerprint import Fingerprint
from toolkit.display.progress import status
from toolkit.engines.variant import Variant
from toolkit.engines.vllm.config import Spec
from toolkit.engines.vllm.environment import THREADS, subprocess_env
from toolkit.engines.vllm.hardware import device
from toolkit.engines.vllm.plugin import MARK
from toolkit.errors import EngineError
from toolkit.models import DEFAULT
from toolkit.serving.address import bound_socket, checked_hosts, reachable_address, url_host
from toolkit.serving.client_environment import Environment
from toolkit.serving.command_line import checked_key, command_line_flags, plain_arguments, served_names
from toolkit.serving.host_middleware import HOSTS_VARIABLE
from toolkit.serving.logs import START_MARK, delete_old_logs, log_excerpt
from toolkit.serving.registry import ServerRecord, registry_folder

if TYPE_CHECKING:
    import openai


_PATIENCE = 20.0
"""Seconds within which an interrupted server must end; vLLM takes three."""
_SILENT = 30.0
"""Seconds that `_wait` gives a server that was ready before, and does not answer."""
_NO_KEY = "EMPTY"
"""OpenAI's clients need a key even where the server does not; this one is that of vLLM's documentation."""
_children: dict[int, subprocess.Popen[bytes]] = {}
"""The servers that this process has started, by process number: `_reap` polls them, so that none stays a zombie."""


class Server:
    """vLLM's OpenAI server, running as a process of its own. Made by `toolkit.serve`.

    It outlives this process, so that a restarted kernel or another notebook finds it: `stop` ends it. In a `with`
    block it ends with the block, or with the interpreter, if this call of `toolkit.serve` started it.
    """

    def __init__(self, record: ServerRecord, ours: bool = False) -> None:
        self._last_record = record
        self.ours = ours
        """Whether this call of `toolkit.serve` started it, rather than found it running."""

    def __repr__(self) -> str:
        state = "running" if self.alive else "not running"
        return f"Server({self.model!r}, {self.url!r}, {state}, log={str(self.log)!r})"

    @property
    def _record(self) -> ServerRecord:
        """The current record: another notebook may have restarted the server, as another process."""
        return ServerRecord.read(self._last_record.file) or self._last_record

    @property
    def model(self) -> str:
        """The model's own name."""
        return self._record.model

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the model in requests: its own, then the aliases."""
        return self._record.names

    @property
    def url(self) -> str:
        """The base URL for OpenAI's clients on this machine."""
        return f"http://{url_host(self._record)}/v1"

    @property
    def port(self) -> int:
        return self._record.port

    @property
    def api_key(self) -> str | None:
        """The API key that requests need; None where they need none."""
        return self._record.api_key

    @property
    def log(self) -> Path:
        """The log file: all output of the server since its first start."""
        return Path(self._record.log)

    @property
    def pid(self) -> int:
        """Process number of the session's leader; the other processes are in its session."""
        return self._record.pid

    @property
    def alive(self) -> bool:
        """Whether its process runs; `healthy` sends it a request."""
        _reap()
        return self._record.alive

    @property
    def healthy(self) -> bool:
        """Whether it answers, and its engine runs."""
        connection = http.client.HTTPConnection(*reachable_address(self._record), timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @property
    def fingerprint(self) -> Fingerprint:
        """The record of all that decides its outputs; its id is the `system_fingerprint` of every response.

        The server computes it from the configuration that vLLM has resolved, before it accepts requests, as for an
        engine of `toolkit.load`; it equals that of an engine with VLLM_ENABLE_V1_MULTIPROCESSING=1.

        Raises EngineError when the server does not run, or is still starting.
        """
        self._check_alive()
        fingerprint = self._record.fingerprint
        if fingerprint is None:
            raise EngineError(
                f"the server of {self.model} is still starting, and finds its fingerprint last. "
                f"{log_excerpt(self.log, self._record.arguments)}"
            )
        return fingerprint

    @property
    def client(self) -> openai.OpenAI:
        """OpenAI's own client, for this server. Raises EngineError when the server does not run."""
        self._check_alive()
        return self._client

    @cached_property
    def _client(self) -> openai.OpenAI:
        """Stays valid after a restart, which keeps the address."""
        import openai

        # A proxy that the environment sets is not for a server on this machine.
        direct = openai.DefaultHttpxClient(trust_env=False)
        return openai.OpenAI(base_url=self.url, api_key=self.api_key or _NO_KEY, http_client=direct)

    @property
    def environment(self) -> Environment:
        """The variables that point OpenAI's libraries to this server."""
        return Environment(OPENAI_BASE_URL=self.url, OPENAI_API_KEY=self.api_key or _NO_KEY)

    def restart(self) -> Self:
        """Starts it again with the same settings on the same port, whether it runs or not.

        Raises EngineError when it does not start.
        """
        with _registry_lock():
            self._last_record = _start(self._end())
        return self._wait()

    def stop(self) -> None:
        """Ends all of its processes: by an interrupt, and kills those that run after 20 s.

        Raises EngineError when some still run; then `toolkit.servers()` still lists it.
        """
        with _registry_lock():
            self._end().remove()
        atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        if self.ours:
            atexit.register(self.stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.ours:
            self.stop()

    def _end(self) -> ServerRecord:
        """Ends its processes; returns its record. Raises EngineError when some still run."""
        record = self._record
        pids = record.end(_PATIENCE)
        _reap()
        if pids:
            raise EngineError(
                f"processes of the server of {self.model} do not end: {pids}. Its log: {self.log}"
            )
        return record

    def _check_alive(self) -> None:
        if not self.alive:
            raise EngineError(
                f"the server of {self.model} is not running: server.restart() starts it again. "
                f"{log_excerpt(self.log, self._record.arguments)}"
            )

    def _wait(self) -> Self:
        """Returns when it is ready. Raises EngineError when it dies, or was ready before and does not answer.

        It is ready when it has written its fingerprint: until then another program may answer at its port.
        """
        fingerprint_seen = time.monotonic() if self._record.fingerprint else None
        with status(f"starting the server of {self.model}") as refresh:
            while not (self._record.fingerprint and self.healthy):
                if not self.alive:
                    servers()  # ends the processes that still run, and removes the record
                    raise EngineError(
                        f"the server of {self.model} did not start. {log_excerpt(self.log, self._record.arguments)}"
                    )
                if fingerprint_seen and time.monotonic() - fingerprint_seen > _SILENT:
                    raise EngineError(
                        f"{self!r} does not answer: it is among toolkit.servers(), and its restart() may help"
                    )
                time.sleep(0.2)
                refresh()
        return self


def serve(
    model: str = DEFAULT,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    api_key: str | None = None,
    aliases: Sequence[str] = (),
    allowed_hosts: Sequence[str] = (),
    threads: int | None = None,
    env: Mapping[str, str | None] | None = None,
    **arguments: Any,
) -> Server:
    """vLLM's own OpenAI server on this machine, ready to answer, made as `toolkit.load` would make the engine.

    >>> with tk.serve(aliases=["gpt-4o-mini"]) as server:                           # doctest: +SKIP
    ...     server.client.responses.create(model="gpt-4o-mini", input="Say hello.").output_text

    It is a process of its own that runs until `server.stop()` (or the end of the `with` block that started it), also
    when this process ends: the same call finds it again, from any notebook; `toolkit.servers()` lists those that run.
    Each holds a model and a KV cache in memory (`kv_cache_memory_bytes`).

    host: the address to listen on. 127.0.0.1 is for programs on this machine; one that others reach needs a key.
    port: None for a free one. api_key: the key that requests must send, for every path but /health (by default the
    variable VLLM_API_KEY, of env or of this process, if it is set). It is kept under TOOLKIT_HOME in a file that only
    the owner may read, so that other notebooks find the server. aliases: more names for the model in requests; those
    of OpenAI's guides are `from toolkit.serve import OPENAI`. allowed_hosts: further names by which others reach it,
    through a proxy for example. It answers to localhost, to the address that it listens on and, where others reach
    that, to the names of this machine: a web page could read it under a name of its own (DNS rebinding). threads and
    env: as for `toolkit.Variant`. arguments: any engine argument of vLLM, as plain data.

    A request has at most 64 MB and n=128 (more with the variable VLLM_MAX_N_SEQUENCES of env). Images that it names
    are downloaded from public addresses only, or from the hosts that allowed_media_domains lists.

    Raises ModelError or TypeError as `toolkit.load` does, ValueError for a bad address, host or key, and EngineError
    when another server has its port, or, with the end of its log, when it does not start.
    """
    variant = Variant(model, arguments, threads, env or {})
    requested = _record(variant, host, port, api_key, aliases, allowed_hosts)
    with _registry_lock():  # two notebooks that call this at once get one server
        running = next((r for r in ServerRecord.on_this_machine() if _serves(r, requested)), None)
        server = Server(running or _start(requested), ours=running is None)
    try:
        return server._wait()
    except BaseException:
        if server.ours:
            server.stop()
        raise


def servers() -> list[Server]:
    """The servers of `toolkit.serve` that run on this machine, the oldest first."""
    _reap()
    with _registry_lock():
        return [Server(record) for record in ServerRecord.on_this_machine()]


def _registry_lock() -> FileLock:
    """Held while records are read, and while a server is started: until its process is recorded it looks dead."""
    return FileLock(registry_folder() / ".lock")


def _record(
    variant: Variant,
    host: str,
    port: int | None,
    api_key: str | None,
    aliases: Sequence[str],
    allowed_hosts: Sequence[str] = (),
) -> ServerRecord:
    """The record of a server to start, without a process. Raises what `serve` raises for bad arguments."""
    env = dict(variant.env)
    default_key = env.pop("VLLM_API_KEY", os.environ.get("VLLM_API_KEY"))
    key = checked_key(default_key or None if api_key is None else api_key, host)
    spec = Spec.of(variant.model, variant.arguments)
    engine_arguments = dict(spec.arguments)
    # Every user of the machine can read a command line: the hub's token goes into the environment.
    token = engine_arguments.pop("hf_token", None)
    if isinstance(token, str):
        env["HF_TOKEN"] = token
    elif token is False:  # vLLM has no flag for it
        env["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
    if variant.threads is not None:
        env["OMP_NUM_THREADS"] = str(variant.threads)
    id = secrets.token_hex(4)
    return ServerRecord(
        id=id,
        model=spec.model,
        path=spec.path,
        arguments=plain_arguments(engine_arguments),
        spec=spec.key,
        host=host,
        port=port or 0,
        names=served_names(spec.model, aliases),
        api_key=key,
        env=env,
        allowed_hosts=checked_hosts(allowed_hosts),
        log=str(toolkit_home() / "logs" / f"serve-{id}.log"),
    )


def _serves(record: ServerRecord, requested: ServerRecord) -> bool:
    """Whether a running server is the one requested: equal settings, and its port unless 0 was requested."""
    fields = ("spec", "host", "names", "api_key", "env", "allowed_hosts")
    same = all(getattr(record, name) == getattr(requested, name) for name in fields)
    return same and requested.port in (0, record.port)


def _start(record: ServerRecord) -> ServerRecord:
    """Starts the process of a server, which loads for a while; returns its record. Raises EngineError when its
    port is in use."""
    log = Path(record.log)
    log.parent.mkdir(parents=True, exist_ok=True)
    create_private(log).touch()  # so that no other start takes it for an old one
    delete_old_logs(log)
    with _reserved_port(record) as bound, log.open("ab") as output:
        record = replace(record, port=bound.getsockname()[1])
        record.remove()  # with the fingerprint of an earlier start, which marks it as ready
        record.write()  # the process reads it
        output.write(f"{START_MARK}{time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        output.flush()
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "toolkit.serving.server_main",
                str(record.file),
                *command_line_flags(record),
            ],
            env=_environment(record),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[bound.fileno()],  # keeps the port while vLLM loads, when others look for a free one
            start_new_session=True,  # no interrupt of the notebook; `process_group.end` needs it
        )
        started = record.with_process(process.pid, output.fileno())
    _children[process.pid] = process
    started.write()
    return started


def _environment(record: ServerRecord) -> dict[str, str]:
    ours = {MARK: "1", "VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1"}
    if device()["kind"] == "cpu":
        ours |= THREADS
    hosts = ",".join((record.host, *record.allowed_hosts))
    return subprocess_env({**record.env, "VLLM_API_KEY": record.api_key, HOSTS_VARIABLE: hosts}, **ours)


def _reserved_port(record: ServerRecord) -> socket.socket:
    """A socket bound to the record's port, or to a free one for 0. Raises EngineError for a port in use, ValueError
    for a bad address.

    The port of another of our servers counts as in use while that one loads, although the two sockets would share it.
    """
    others = {other.port: other for other in ServerRecord.on_this_machine() if other.id != record.id}
    while (port := (bound := bound_socket(record.host, record.port)).getsockname()[1]) in others:
        bound.close()
        if record.port:
            raise EngineError(
                f"port {port} is that of {Server(others[port])!r}: give another, or leave it out"
            )
    return bound


def _reap() -> None:
    for pid in [pid for pid, process in _children.items() if process.poll() is not None]:
        del _children[pid]
