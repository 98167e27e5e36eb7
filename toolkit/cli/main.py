"""`python -m toolkit`: the commands that the Makefile and people call."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit.demo import demo
from toolkit.engine import EngineError
from toolkit.models import DEFAULT, ModelError
from toolkit.serve import OPENAI, Server, serve

_ELSEWHERE = {
    "api_key": "others can read a command line: set the environment variable VLLM_API_KEY to the key",
    "aliases": "write --alias NAME, once for each",
    "served_model_name": "write --alias NAME, once for each",
    "env": "set the variables before the command",
}
"""What is no engine argument here, and how it is said instead."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m toolkit", description="A research toolkit around vLLM.")
    commands = parser.add_subparsers(dest="command", required=True)
    shown = commands.add_parser("demo", help="run a small real sweep, save it and write a report")
    shown.add_argument("--folder", type=Path, default=Path("runs"), help="where results go (default: runs)")
    served = commands.add_parser(
        "serve",
        help="OpenAI's API on a model of this machine, until Ctrl-C",
        epilog="All other options are vLLM's engine arguments, such as --max-model-len=4096. A key, which requests "
        "must bring then, is read from the environment variable VLLM_API_KEY, where no other user can see it.",
    )
    served.add_argument("--model", default=DEFAULT, help=f"a folder or a hub id (default: {DEFAULT})")
    served.add_argument("--host", default="127.0.0.1", help="who may ask (default: this machine only)")
    served.add_argument("--port", type=int, help="default: a free one")
    served.add_argument("--alias", action="append", default=[], metavar="NAME", help="one more model name")
    served.add_argument("--openai", action="store_true", help="the names of OpenAI's models as aliases")
    served.add_argument("--threads", type=int, help="of a CPU")
    given, rest = parser.parse_known_args()
    if given.command == "demo":
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        return demo(given.folder)
    try:
        _serve(given, _arguments(rest))
    except (EngineError, ModelError, TypeError, ValueError) as error:
        served.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        print("stopped")


def _serve(given: argparse.Namespace, arguments: dict[str, Any]) -> None:
    """In the foreground, until it is interrupted or the server dies."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # the end of a service, or of the terminal
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda *_: sys.exit(0))
    aliases = [*given.alias, *(OPENAI if given.openai else ())]
    own = {"host": given.host, "port": given.port, "threads": given.threads}
    with serve(given.model, aliases=aliases, **own, **arguments) as server:
        print(_introduced(server), flush=True)
        while server.ours and server.alive:
            time.sleep(0.5)
        server.fingerprint  # noqa: B018  # raises, with the end of the log, when it has died


def _introduced(server: Server) -> str:
    found = server.environment
    variables = found.hiding('"$VLLM_API_KEY"') if server.api_key else str(found)
    state = "Ctrl-C stops it" if server.ours else "it has been running, and goes on"
    return f"{server.model} at {server.url}; {state}. Its log: {server.log}\n{variables}"


def _arguments(rest: Sequence[str]) -> dict[str, Any]:
    """Engine arguments as vLLM's own command line has them: --name=value, --name value, --name, --no-name. Raises
    ValueError."""
    found: dict[str, Any] = {}
    words = list(rest)
    while words:
        flag, has_value, text = words.pop(0).partition("=")
        if not flag.startswith("--"):
            raise ValueError(f"{flag!r} is no option: write --name=value")
        name = flag[2:].replace("-", "_")
        if not has_value and words and not words[0].startswith("--"):
            has_value, text = "=", words.pop(0)
        if has_value:
            found[name] = _value(text)
        else:
            found[name.removeprefix("no_")] = not name.startswith("no_")
    for name in found.keys() & _ELSEWHERE.keys():
        raise ValueError(f"--{name.replace('_', '-')} is no option: {_ELSEWHERE[name]}")
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    main()
