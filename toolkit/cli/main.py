"""The command line of `python -m toolkit`, also used by the Makefile."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit.cli.demo import demo
from toolkit.errors import EngineError, ModelError
from toolkit.models import DEFAULT
from toolkit.serving.command_line import OPENAI
from toolkit.serving.server import Server, serve

_SET_ELSEWHERE = {
    "api_key": "others can read a command line: set the environment variable VLLM_API_KEY to the key",
    "allowed_hosts": "write --allowed-host NAME, once for each",
    "aliases": "write --alias NAME, once for each",
    "served_model_name": "write --alias NAME, once for each",
    "env": "set the variables before the command",
}
"""Names that are not options of the command line → how to set them instead."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m toolkit", description="A research toolkit around vLLM.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo_parser = commands.add_parser("demo", help="run a small real sweep, save it and write a report")
    demo_parser.add_argument(
        "--folder", type=Path, default=Path("runs"), help="where results go (default: runs)"
    )
    serve_parser = commands.add_parser(
        "serve",
        help="OpenAI's API on a model of this machine, until Ctrl-C",
        epilog="All other options are vLLM's engine arguments, such as --max-model-len=4096. An API key that "
        "requests must send is read from the environment variable VLLM_API_KEY, where no other user can see it.",
    )
    serve_parser.add_argument("--model", default=DEFAULT, help=f"a folder or a hub id (default: {DEFAULT})")
    serve_parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    serve_parser.add_argument("--port", type=int, help="default: a free one")
    serve_parser.add_argument(
        "--alias", action="append", default=[], metavar="NAME", help="another name for the model"
    )
    serve_parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name of this machine, in URLs",
    )
    serve_parser.add_argument(
        "--openai", action="store_true", help="add the names of OpenAI's models as aliases"
    )
    serve_parser.add_argument("--threads", type=int, help="number of CPU threads")
    options, rest = parser.parse_known_args()
    if options.command == "demo":
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        return demo(options.folder)
    try:
        _serve(options, {"allowed_hosts": options.allowed_host, **_engine_arguments(rest)})
    except (EngineError, ModelError, TypeError, ValueError) as error:
        serve_parser.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        print("stopped")


def _serve(options: argparse.Namespace, arguments: dict[str, Any]) -> None:
    """Serves in the foreground, until interrupted or until the server dies."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # a service is stopped, or a terminal closed
        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored under nohup
            signal.signal(number, lambda *_: sys.exit(0))
    aliases = [*options.alias, *(OPENAI if options.openai else ())]
    server_options = {"host": options.host, "port": options.port, "threads": options.threads}
    with serve(options.model, aliases=aliases, **server_options, **arguments) as server:
        print(_startup_message(server), flush=True)
        while server.ours and server.alive:
            time.sleep(0.5)
        server.fingerprint  # noqa: B018  # raises, with the end of the log, when the server has died


def _startup_message(server: Server) -> str:
    environment = server.environment
    variables = environment.hiding('"$VLLM_API_KEY"') if server.api_key else str(environment)
    state = "Ctrl-C stops it" if server.ours else "it has been running, and goes on"
    return f"{server.model} at {server.url}; {state}. Its log: {server.log}\n{variables}"


def _engine_arguments(rest: Sequence[str]) -> dict[str, Any]:
    """Engine arguments in the syntax of vLLM's command line: --name=value, --name value, --name, --no-name. Raises
    ValueError for anything else."""
    arguments: dict[str, Any] = {}
    words = list(rest)
    while words:
        flag, has_value, text = words.pop(0).partition("=")
        if not flag.startswith("--"):
            raise ValueError(f"{flag!r} is no option: write --name=value")
        name = flag[2:].replace("-", "_")
        if not has_value and words and not words[0].startswith("--"):
            has_value, text = "=", words.pop(0)
        if has_value:
            arguments[name] = _parsed_value(text)
        else:
            arguments[name.removeprefix("no_")] = not name.startswith("no_")
    for name in arguments.keys() & _SET_ELSEWHERE.keys():
        raise ValueError(f"--{name.replace('_', '-')} is no option: {_SET_ELSEWHERE[name]}")
    return arguments


def _parsed_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
