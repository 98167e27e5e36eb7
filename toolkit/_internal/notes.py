"""Notes and warnings of the library, through `logging`: `logging.getLogger("toolkit")` sets their level."""

from __future__ import annotations

import logging
import sys

_PROGRESS = "toolkit.display.progress"


class _NoteHandler(logging.Handler):
    """Prints notes as plain lines to stdout; warnings, and progress as its bars, to stderr: a notebook shows both
    below the cell."""

    def emit(self, record: logging.LogRecord) -> None:
        is_note = record.levelno < logging.WARNING and record.name != _PROGRESS
        print(self.format(record), file=sys.stdout if is_note else sys.stderr)


def show_notes() -> None:
    """Prints what the library logs from level INFO on, unless the program has set that logger up already."""
    logger = logging.getLogger("toolkit")
    if not logger.handlers:
        logger.addHandler(_NoteHandler())
        logger.propagate = False  # a handler of the root would print every note a second time
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
