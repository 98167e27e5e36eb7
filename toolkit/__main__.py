"""`python -m toolkit`: the commands that the Makefile and people call."""

from __future__ import annotations

import argparse
from pathlib import Path

from toolkit.demo import demo


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m toolkit", description="A research toolkit around vLLM.")
    commands = parser.add_subparsers(dest="command", required=True)
    shown = commands.add_parser("demo", help="run a small real sweep, save it and write a report")
    shown.add_argument("--folder", type=Path, default=Path("runs"), help="where results go (default: runs)")
    demo(parser.parse_args().folder)


if __name__ == "__main__":
    main()
