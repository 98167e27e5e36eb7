"""Launch: the process that `serve` starts. It is vLLM's own OpenAI server, run by vLLM's own `main` on vLLM's own
command line; before it opens, it finds our fingerprint of the configuration that vLLM has resolved, and makes it the
`system_fingerprint` of all answers.

    python -m toolkit.engines.launch RECORD --model …        (all but the first argument are vLLM's)
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from toolkit.engines.driver import fingerprint
from toolkit.engines.record import Record
from toolkit.engines.spec import Spec
from toolkit.engines.telling import telling
from toolkit.tokenizer import Tokenizer

_PLACES = ("vllm.entrypoints.launchers.api_server.entry", "vllm.entrypoints.openai.api_server")
"""Where vLLM has its server: now, and before 0.32."""

_GUESSED = (
    "The chat template shows no form of tool calls that is known here: {} is a guess. If the model's calls come as "
    "text, it was wrong"
)


def main() -> None:
    record = Record.read(Path(sys.argv.pop(1)))
    if record is None:
        raise SystemExit("no record of a server")
    spec = Spec(record.model, record.path, record.arguments)  # before vLLM adds to the environment
    # By default vLLM holds calls that must be made to a grammar of its tool parser, which only xgrammar takes; with
    # guidance, our default, such a request fails. This way it is a JSON Schema, as for an engine in this process.
    os.environ.setdefault("VLLM_ENFORCE_STRICT_TOOL_CALLING", "0")
    tokenizer = spec.tokenizer()
    sys.argv += _of_family(tokenizer)
    server = _server()
    _fingerprinted(server, spec, record, tokenizer.hashes)
    _run(server)


def _of_family(tokenizer: Tokenizer) -> list[str]:
    """The arguments that let a model call tools, in the form of its family, as an engine in this process does."""
    if not tokenizer.hf.chat_template:
        return []
    if tokenizer.guesses_calls:
        print(_GUESSED.format(tokenizer.tool_format))
    template = telling(tokenizer)
    told = ["--chat-template", template] if template else []
    return ["--enable-auto-tool-choice", "--tool-call-parser", tokenizer.tool_format, *told]


def _server() -> ModuleType:
    # By name: which of them is there depends on the version, and the other one must not be imported.
    return importlib.import_module(next(name for name in _PLACES if _there(name)))


def _there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _run(server: ModuleType) -> None:
    if hasattr(server, "main"):
        return server.main()  # type: ignore[no-any-return]
    # Before 0.32 the same lines stood at the end of the module, for `python -m` alone.
    server.cli_env_setup()
    arguments = server.make_arg_parser(server.FlexibleArgumentParser()).parse_args()
    server.validate_parsed_serve_args(arguments)
    server.uvloop.run(server.run_server(arguments))


def _fingerprinted(server: ModuleType, spec: Spec, record: Record, hashes: dict[str, str]) -> None:
    """Puts one step before vLLM's `build_and_serve`, which is given the running engine and opens the server. A vLLM
    that has no `--fingerprint-mode` gives no fingerprint, or its own."""
    opened = server.build_and_serve

    async def build_and_serve(
        engine: Any, address: str, sock: Any, args: Any, *rest: Any, **more: Any
    ) -> Any:
        found = fingerprint(spec, engine.vllm_config, hashes, inside=False)
        args.fingerprint_mode, args.fingerprint_value = "custom", found.id
        record.note(found)
        return await opened(engine, address, sock, args, *rest, **more)

    server.build_and_serve = build_and_serve  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
