"""The process that `serve` starts: vLLM's own OpenAI server, run by vLLM's own `main` on vLLM's own command line.
Before it accepts requests, it computes our fingerprint of the configuration that vLLM has resolved, which becomes the
`system_fingerprint` of all responses.

    python -m toolkit.serving.server_main RECORD --model …        (all but the first argument are vLLM's)
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from toolkit.engines.vllm.config import Spec
from toolkit.engines.vllm.fingerprint import fingerprint
from toolkit.serving.command_line import secret_flags
from toolkit.serving.registry import ServerRecord
from toolkit.serving.tool_chat_template import with_tool_instructions
from toolkit.tokenizers.huggingface import Tokenizer

_SERVER_MODULES = ("vllm.entrypoints.launchers.api_server.entry", "vllm.entrypoints.openai.api_server")
"""vLLM's module of the server: now, and before 0.32."""
_LIMITS = {
    "VLLM_MAX_N_SEQUENCES": "128",  # as in OpenAI's API
    "VLLM_MAX_IMAGE_PIXELS": "89478485",  # from which Pillow warns of images that are bombs
}
"""What a request may ask of the server, unless the user's environment says otherwise."""
_MEDIA_CONNECTOR = "toolkit.engines.vllm.media_connector"
_HTTP_PROTOCOL = "toolkit.serving.http_protocol:LimitedHttpProtocol"
_GUESSED_FORMAT = (
    "The chat template shows no known format of tool calls: {} is a guess. If the model's calls come as "
    "text, it was wrong"
)


def main() -> None:
    record = ServerRecord.read(Path(sys.argv.pop(1)))
    if record is None:
        raise SystemExit("no record of a server")
    spec = Spec(record.model, record.path, record.arguments)  # before vLLM adds to the environment
    # By default vLLM constrains required tool calls to a grammar of its tool parser, which only xgrammar supports:
    # with guidance, our default, such requests fail. Now it is a JSON Schema, as for an engine in this process.
    os.environ.setdefault("VLLM_ENFORCE_STRICT_TOOL_CALLING", "0")
    for name, value in _LIMITS.items():
        os.environ.setdefault(name, value)
    tokenizer = spec.tokenizer()
    sys.argv += [*secret_flags(record), *_tool_call_flags(tokenizer)]
    server = _server_module()
    os.environ.setdefault("VLLM_MEDIA_CONNECTOR", importlib.import_module(_MEDIA_CONNECTOR).NAME)
    _add_fingerprint_step(server, spec, record, tokenizer.hashes)
    _run(server)


def _tool_call_flags(tokenizer: Tokenizer) -> list[str]:
    """The arguments for tool calls, in the format of the model's family, as an engine in this process has it."""
    if not tokenizer.hf.chat_template:
        return []
    if tokenizer.guesses_calls:
        print(_GUESSED_FORMAT.format(tokenizer.tool_format))
    template = with_tool_instructions(tokenizer)
    template_flags = ["--chat-template", template] if template else []
    return ["--enable-auto-tool-choice", "--tool-call-parser", tokenizer.tool_format, *template_flags]


def _server_module() -> ModuleType:
    # By name: which of them exists depends on the version, and the other one must not be imported.
    return importlib.import_module(next(name for name in _SERVER_MODULES if _exists(name)))


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _run(server: ModuleType) -> None:
    if hasattr(server, "main"):
        return server.main()  # type: ignore[no-any-return]
    # Before 0.32 these lines were at the end of the module, for `python -m` only.
    server.cli_env_setup()
    arguments = server.make_arg_parser(server.FlexibleArgumentParser()).parse_args()
    server.validate_parsed_serve_args(arguments)
    server.uvloop.run(server.run_server(arguments))


def _add_fingerprint_step(
    server: ModuleType, spec: Spec, record: ServerRecord, hashes: dict[str, str]
) -> None:
    """Wraps vLLM's `build_and_serve`, which takes the running engine and opens the server, with uvicorn's options. A
    vLLM without `--fingerprint-mode` sends no fingerprint, or its own."""
    original = server.build_and_serve

    async def build_and_serve(
        engine: Any, address: str, sock: Any, args: Any, *rest: Any, **options: Any
    ) -> Any:
        resolved = fingerprint(spec, engine.vllm_config, hashes, in_process=False)
        args.fingerprint_mode, args.fingerprint_value = "custom", resolved.id
        record.write_fingerprint(resolved)
        return await original(engine, address, sock, args, *rest, **options, http=_HTTP_PROTOCOL)

    server.build_and_serve = build_and_serve  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
