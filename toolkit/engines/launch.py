"""Launch: the process that `serve` starts. It is vLLM's own OpenAI server, run by vLLM's own `main` on vLLM's own
command line; before it opens, it finds our fingerprint of the configuration that vLLM has resolved, and makes it the
`system_fingerprint` of all answers.

    python -m toolkit.engines.launch RECORD --model … (all further arguments are vLLM's)
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from toolkit.engines.driver import fingerprint
from toolkit.engines.record import Record
from toolkit.engines.spec import Spec

_PLACES = ("vllm.entrypoints.launchers.api_server.entry", "vllm.entrypoints.openai.api_server")
"""Where vLLM has its server: now, and before 0.32."""


def main() -> None:
    record = Record.read(Path(sys.argv.pop(1)))
    if record is None:
        raise SystemExit("no record of a server")
    spec = Spec(record.model, record.path, record.arguments)  # before vLLM adds to the environment
    server = _server()
    _fingerprinted(server, spec, record)
    server.main()


def _server() -> ModuleType:
    # By name: which of them is there depends on the version, and the other one must not be imported.
    return importlib.import_module(next(name for name in _PLACES if _there(name)))


def _there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _fingerprinted(server: ModuleType, spec: Spec, record: Record) -> None:
    """Puts one step before vLLM's `build_and_serve`, which is given the running engine and opens the server."""
    opened = server.build_and_serve

    async def build_and_serve(
        engine: Any, address: str, sock: Any, args: Any, *rest: Any, **more: Any
    ) -> Any:
        found = fingerprint(spec, engine.vllm_config, spec.tokenizer().hashes, inside=False)
        args.fingerprint_mode, args.fingerprint_value = "custom", found.id
        record.note(found)
        return await opened(engine, address, sock, args, *rest, **more)

    server.build_and_serve = build_and_serve  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
