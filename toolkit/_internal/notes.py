"""Notes and warnings of the library, through `logging`: `logging.getLogger("toolkit")` sets their level."""

from __future__ import annotations

import logging
import sys


class _NoteHandler(logging.Handler):
    """Prints notes as plain lines to stdout, and warnings to stderr: a notebook shows both below the cell."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout)


def show_notes() -> None:
    """Prints what the library logs from level INFO on, unless the program has set that logger up already."""
    logger = logging.getLogger("toolkit")
    if not logger.handlers:
        logger.addHandler(_NoteHandler())
        logger.propagate = False  # a handler of the root would print every note a second time
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
