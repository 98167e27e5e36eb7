"""Serve: vLLM's own OpenAI server as a managed process on this machine, for any program that speaks OpenAI's API."""

from __future__ import annotations

import atexit
import http.client
import ipaddress
import json
import os
import re
import secrets
import shlex
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

from toolkit import models
from toolkit.engine import EngineError
from toolkit.engines.link import visible
from toolkit.engines.process import THREADS, fresh, status
from toolkit.engines.record import Record, folder
from toolkit.engines.spec import Spec, device
from toolkit.fingerprint import Fingerprint
from toolkit.models import DEFAULT
from toolkit.variant import Variant

if TYPE_CHECKING:
    import openai

OPENAI = (
    "gpt-4o", "gpt-4o-mini", "gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18", "gpt-4", "gpt-4-turbo",
    "gpt-4-turbo-preview", "gpt-4.5-preview-2025-02-27", "gpt-3.5-turbo", "gpt-3.5-turbo-0125",
    "gpt-3.5-turbo-0613", "gpt-3.5-turbo-instruct", "o1", "o1-2024-12-17", "o3-mini-2025-1-31", "babbage-002",
    "davinci-002",
)  # fmt: skip
"""The names by which OpenAI's guides call their models for text."""
_PATIENCE = 20.0
"""Seconds that an interrupted server has for its end; vLLM takes three."""
_SILENT = 30.0
"""Seconds after which a server that was ready once, and does not answer, is given up."""
_LOGS_KEPT = 20
_BEGIN = "--- started "
"""Begins each start in a log."""
_SHOWN = 15
"""Last lines of a log that an error shows."""
_NO_KEY = "EMPTY"
"""OpenAI's clients want a key even where the server wants none; vLLM's documentation calls it so."""
_ERROR = re.compile(r"^(?:\(.*?\] )?([\w.]*(?:Error|Exception): .+)")
"""A line of a traceback that says what went wrong, bare or behind vLLM's own prefix."""
_ONLY_ON = ("aggregate_engine_logging", "data_parallel_multi_port_external_lb", "disable_log_stats")
"""Flags that vLLM has no `--no-…` for."""
_NO_FLAG = ("enable_mm_processor_stats", "mamba_config", "model_weights")
"""Engine arguments that the command line of vLLM's server does not know."""
_children: dict[int, subprocess.Popen[bytes]] = {}
"""The servers that this process has started: asked now and then, so that none stays a zombie."""


class Server:
    """vLLM's OpenAI server, running as a process of its own. Made by `toolkit.serve`.

    It outlives this process, so that a restarted kernel or another notebook finds it: `stop` ends it. In a `with`
    block it ends with the block, or with the interpreter, if it was this call of `toolkit.serve` that started it.
    """

    def __init__(self, record: Record, ours: bool = False) -> None:
        self._known = record
        self.ours = ours
        """This call of `toolkit.serve` has started it; it did not find one that runs."""

    def __repr__(self) -> str:
        state = "running" if self.alive else "not running"
        return f"Server({self.model!r}, {self.url!r}, {state}, log={str(self.log)!r})"

    @property
    def _record(self) -> Record:
        """As it is by now: another notebook may have started the server again, as another process."""
        return Record.read(self._known.file) or self._known

    @property
    def model(self) -> str:
        """The model's own name."""
        return self._record.model

    @property
    def names(self) -> tuple[str, ...]:
        """What requests may call the model: its own name, then the aliases."""
        return self._record.names

    @property
    def url(self) -> str:
        """What OpenAI's clients call the base URL, as seen from this machine."""
        return f"http://{_address(self._record)}/v1"

    @property
    def port(self) -> int:
        return self._record.port

    @property
    def api_key(self) -> str | None:
        """The key that requests need, None where they need none."""
        return self._record.api_key

    @property
    def log(self) -> Path:
        """The file that holds all that the server has said since it was first started."""
        return Path(self._record.log)

    @property
    def pid(self) -> int:
        """The number of its first process, which leads a session that holds the others."""
        return self._record.pid

    @property
    def alive(self) -> bool:
        """Its process runs. `healthy` asks it."""
        _reap()
        return self._record.alive

    @property
    def healthy(self) -> bool:
        """It answers, and its engine lives."""
        connection = http.client.HTTPConnection(*_reached(self._record), timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @property
    def fingerprint(self) -> Fingerprint:
        """The record of all that decides its outputs; its id is the `system_fingerprint` of every answer.

        The server itself finds it, of the configuration that vLLM has resolved there, before it opens; as for an
        engine of `toolkit.load`, and equal to that of one that runs with VLLM_ENABLE_V1_MULTIPROCESSING=1.

        Raises EngineError when the server does not run, or is still starting.
        """
        self._check()
        found = self._record.fingerprint
        if found is None:
            raise EngineError(
                f"the server of {self.model} is still starting, and finds its fingerprint last. {_told(self.log)}"
            )
        return found

    @property
    def client(self) -> openai.OpenAI:
        """OpenAI's own client, for this server. Raises EngineError when the server does not run."""
        self._check()
        return self._client

    @cached_property
    def _client(self) -> openai.OpenAI:
        """The same after a restart, which keeps the address."""
        import openai

        # Settings for proxies are not for a server on this machine.
        direct = openai.DefaultHttpxClient(trust_env=False)
        return openai.OpenAI(base_url=self.url, api_key=self.api_key or _NO_KEY, http_client=direct)

    @property
    def environment(self) -> Environment:
        """The variables by which any program that uses OpenAI's libraries finds this server."""
        return Environment(OPENAI_BASE_URL=self.url, OPENAI_API_KEY=self.api_key or _NO_KEY)

    def restart(self) -> Self:
        """Starts it again, with the same settings and on the same port, whether it runs or has died.

        Raises EngineError when it does not start.
        """
        with _alone():
            self._known = _start(self._ended())
        return self._wait()

    def stop(self) -> None:
        """Ends it and all of its processes: by an interrupt, and what is left after 20 s is killed.

        Raises EngineError when some go on nevertheless; then `toolkit.servers()` still knows it.
        """
        with _alone():
            self._ended().remove()
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

    def _ended(self) -> Record:
        """Its record, now that it has ended. Raises EngineError when it has not."""
        record = self._record
        left = record.end(_PATIENCE)
        _reap()
        if left:
            raise EngineError(
                f"processes of the server of {self.model} do not end: {left}. Its log: {self.log}"
            )
        return record

    def _check(self) -> None:
        if not self.alive:
            raise EngineError(
                f"the server of {self.model} is not running: server.restart() starts it again. {_told(self.log)}"
            )

    def _wait(self) -> Self:
        """Returns when it answers. Raises EngineError when it dies, or is silent although it was ready.

        Only with its fingerprint is it ready: until then another program may answer at its port.
        """
        known = time.monotonic() if self._record.fingerprint else None
        with status(f"starting the server of {self.model}") as refresh:
            while not (self._record.fingerprint and self.healthy):
                if not self.alive:
                    servers()  # which ends what it has left running, and forgets it
                    raise EngineError(f"the server of {self.model} did not start. {_told(self.log)}")
                if known and time.monotonic() - known > _SILENT:
                    raise EngineError(
                        f"{self!r} does not answer: it is among toolkit.servers(), and its restart() may help"
                    )
                time.sleep(0.2)
                refresh()
        return self


class Environment(dict[str, str]):
    """Environment variables, for `os.environ.update` or `subprocess.run(env=…)`; print gives lines for a shell. Its
    repr, which notebooks keep, hides keys."""

    def __str__(self) -> str:
        return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in self.items())

    def __repr__(self) -> str:
        return self.hiding("…")

    def hiding(self, word: str) -> str:
        """The lines with a word, as it is, in place of keys."""
        shown = {name: word if name.endswith("KEY") else shlex.quote(value) for name, value in self.items()}
        return "\n".join(f"export {name}={value}" for name, value in shown.items())


def serve(
    model: str = DEFAULT,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    api_key: str | None = None,
    aliases: Sequence[str] = (),
    threads: int | None = None,
    env: Mapping[str, str | None] | None = None,
    **arguments: Any,
) -> Server:
    """vLLM's own OpenAI server on this machine, ready to answer, made as `toolkit.load` would make the engine.

    >>> with tk.serve(aliases=["gpt-4o-mini"]) as server:                           # doctest: +SKIP
    ...     server.client.responses.create(model="gpt-4o-mini", input="Say hello.").output_text

    It is a process of its own that stays until `server.stop()` (or the end of the `with` block that started it), also
    when this one ends: the same call finds it again, from any notebook; `toolkit.servers()` lists those that run.
    Each holds a model and a KV cache in memory (`kv_cache_memory_bytes`).

    host: who may ask. 127.0.0.1 is for programs of this machine; with an address that others reach, a key is needed.
    port: None for a free one. api_key: what requests must bring (by default the variable VLLM_API_KEY, of env or of
    this process, if that is set); nothing but /health is open without it. So that their other notebooks find the
    server, it is kept under TOOLKIT_HOME in a file that only its owner may read. aliases: more names for the model in
    requests; those of OpenAI's guides are `from toolkit.serve import OPENAI`. threads and env: as for
    `toolkit.Variant`. arguments: any engine argument of vLLM, as plain data.

    Raises ModelError or TypeError as `toolkit.load` does, ValueError for a bad address or key, and EngineError when
    another server has its port, or, with the end of its log, when it does not start.
    """
    wanted = _record(Variant(model, arguments, threads, env or {}), host, port, api_key, aliases)
    with _alone():  # two notebooks that ask at once get one server
        found = next((record for record in Record.all() if _serves(record, wanted)), None)
        server = Server(found or _start(wanted), ours=found is None)
    try:
        return server._wait()
    except BaseException:
        if server.ours:
            server.stop()
        raise


def servers() -> list[Server]:
    """The servers of `toolkit.serve` that run on this machine, the oldest first."""
    _reap()
    with _alone():
        return [Server(record) for record in Record.all()]


def _alone() -> FileLock:
    """Held while records are read, and written for a process that begins: between the two it looks dead."""
    return FileLock(folder() / ".lock")


def _record(
    variant: Variant, host: str, port: int | None, api_key: str | None, aliases: Sequence[str]
) -> Record:
    """All that a server is to be, before it has a process. Raises what `serve` raises for bad arguments."""
    env = dict(variant.env)
    of_env = env.pop("VLLM_API_KEY", os.environ.get("VLLM_API_KEY"))
    key = _key(api_key or of_env or None, host)
    spec = Spec.of(variant.model, variant.arguments)
    given = dict(spec.arguments)
    # A command line can be read by every user of the machine: the hub's token goes by the environment.
    token = given.pop("hf_token", None)
    if isinstance(token, str):
        env["HF_TOKEN"] = token
    elif token is False:  # vLLM has no flag for it
        env["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
    if variant.threads is not None:
        env["OMP_NUM_THREADS"] = str(variant.threads)
    id = secrets.token_hex(4)
    return Record(
        id=id,
        model=spec.model,
        path=spec.path,
        arguments=_plain(given),
        spec=spec.key,
        host=host,
        port=port or 0,
        names=_names(spec.model, aliases),
        api_key=key,
        env=env,
        log=str(models.home() / "logs" / f"serve-{id}.log"),
    )


def _serves(record: Record, wanted: Record) -> bool:
    """The server of a record is such a one; any port will do where none was asked for."""
    fields = ("spec", "host", "names", "api_key", "env")
    same = all(getattr(record, name) == getattr(wanted, name) for name in fields)
    return same and wanted.port in (0, record.port)


def _start(record: Record) -> Record:
    """The record of the server as a process, which begins to load. Raises EngineError when its port is taken."""
    log = Path(record.log)
    log.parent.mkdir(parents=True, exist_ok=True)
    _forget_logs(log)
    with _reserved(record) as held, open(log, "ab") as output:
        record = replace(record, port=held.getsockname()[1])
        record.remove()  # with the fingerprint of an earlier start, which would say that it is ready
        record.write()  # the process reads it
        output.write(f"{_BEGIN}{time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        output.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", "toolkit.engines.launch", str(record.file), *_flags(record)],
            env=_environment(record),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[held.fileno()],  # keeps the port while vLLM loads, when others look for a free one
            start_new_session=True,  # out of reach of a notebook's interrupt, and whole for `group.end`
        )
        started = record.with_process(process.pid, output.fileno())
    _children[process.pid] = process
    started.write()
    return started


def _flags(record: Record) -> list[str]:
    """vLLM's command line: what the record says, and what makes it a server of ours."""
    flags = [
        f"--model={record.path}",
        *(flag for name, value in record.arguments.items() for flag in _flag(name, value)),
        "--served-model-name",
        *record.names,
        f"--host={record.host}",
        f"--port={record.port}",
        # Web pages in a browser on this machine have no business here: by default vLLM admits any.
        "--allowed-origins=[]",
        "--disable-access-log-for-endpoints=/health",
        "--enable-prompt-tokens-details",  # usage tells what the prefix cache held, as OpenAI's does
    ]
    if "seed" not in record.arguments:
        # Without a seed of its own a request is a fresh draw, not the same one after every start.
        flags.append(f"--seed={secrets.randbits(31)}")
    if record.api_key:
        flags.append("--middleware=toolkit.engines.guard.Guard")
    return flags


def _flag(name: str, value: Any) -> list[str]:
    """An engine argument as vLLM's parser takes it: `--no-…` for False, JSON for dicts; None is vLLM's default."""
    flag = "--" + name.replace("_", "-")
    if value is None or name in _NO_FLAG or (value is False and name in _ONLY_ON):
        return []
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, list | tuple):
        return [flag, *map(str, value)]
    return [f"{flag}={json.dumps(value) if isinstance(value, Mapping) else value}"]


def _environment(record: Record) -> dict[str, str]:
    ours = {"VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1"}
    if device()["kind"] == "cpu":
        ours |= THREADS
    return fresh({**record.env, "VLLM_API_KEY": record.api_key}, **ours)


def _key(api_key: str | None, host: str) -> str | None:
    """Raises what `visible` does, and ValueError for an open server without a key."""
    if api_key is not None:
        return visible(api_key)
    if not _loopback(host):
        raise ValueError(
            f"host={host!r} lets other machines ask: give an api_key, such as secrets.token_urlsafe(), or set it as "
            "VLLM_API_KEY; or leave host out, for programs of this machine only"
        )
    return None


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names(model: str, aliases: Sequence[str]) -> tuple[str, ...]:
    """Each once, the model's own first. Raises TypeError for one string, which is a sequence of letters."""
    if isinstance(aliases, str):
        raise TypeError(f"aliases must be a list of names, got {aliases!r}: write [{aliases!r}]")
    return tuple(dict.fromkeys((model, *aliases)))


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Raises TypeError for what a server cannot be given, such as a value that is no plain data: it is another
    process."""
    if "served_model_name" in arguments:
        raise TypeError("a server is served under its model's own name: aliases=[…] gives it more names")
    for name, value in arguments.items():
        if name in _NO_FLAG and value:
            raise TypeError(f"{name} cannot be given to a server: vLLM's command line has no option for it")
        try:
            json.dumps(value)
        except TypeError:
            raise TypeError(
                f"{name} of a server must be plain data (text, numbers, lists, dicts), got {value!r}"
            ) from None
    return dict(arguments)


def _reserved(record: Record) -> socket.socket:
    """A socket at the record's port, or at a free one for 0 (see `_bound`). Raises EngineError when it is taken,
    ValueError for a bad address.

    That of a server of ours is taken while it loads, too, although the two sockets would share it.
    """
    others = {other.port: other for other in Record.all() if other.id != record.id}
    while (port := (held := _bound(record.host, record.port)).getsockname()[1]) in others:
        held.close()
        if record.port:
            raise EngineError(
                f"port {port} is that of {Server(others[port])!r}: give another, or leave it out"
            )
    return held


def _bound(host: str, port: int) -> socket.socket:
    """A socket at the port, or at a free one for 0, that does not listen: while it is open no other program gets the
    port, but one that may share it, as vLLM's server does (SO_REUSEADDR). Raises EngineError when it is taken,
    ValueError for a bad address."""
    if not isinstance(port, int) or not 0 <= port < 1 << 16:
        raise ValueError(f"port must be 1 to 65535, or None for a free one, got {port!r}")
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, port))
    except OSError as error:
        held.close()
        if isinstance(error, socket.gaierror):
            raise ValueError(f"host {host!r} is no address: {error.strerror}") from None
        raise EngineError(
            f"{host} port {port} cannot be had ({error.strerror}): give another port, or leave it out for a "
            "free one"
        ) from None
    return held


def _reached(record: Record) -> tuple[str, int]:
    """Where this machine reaches it: one that is bound to every address, by the loopback one."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(record.host, record.host), record.port


def _address(record: Record) -> str:
    host, port = _reached(record)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _told(log: Path) -> str:
    """The end of a log since the last start, and before it the first error, which is often far above."""
    try:
        lines = log.read_text(errors="replace").rpartition(_BEGIN)[2].splitlines()
    except FileNotFoundError:
        return f"It has left no log at {log}"
    end = lines[-_SHOWN:]
    cause = next((found[1] for line in lines if (found := _ERROR.match(line))), None)
    first = [cause] if cause and not any(cause in line for line in end) else []
    return "\n".join([*first, f"Its log, {log}, ends:", *end])


def _forget_logs(new: Path) -> None:
    """The oldest logs beside the new one go, but those of servers that may run, here or on another machine."""
    used = {new.name, *(Path(record.log).name for record in Record.every())}
    logs = models.oldest_first(new.parent.glob("serve-*.log"))
    for old in [log for log in logs if log.name not in used][:-_LOGS_KEPT]:
        old.unlink(missing_ok=True)


def _reap() -> None:
    for pid in [pid for pid, process in _children.items() if process.poll() is not None]:
        del _children[pid]
