"""What long work says where there is no terminal."""

import logging
import re
import time

import pytest

from toolkit.display import progress
from toolkit.display.progress import Progress, status, waiting_for


@pytest.fixture
def lines(monkeypatch):
    """What is logged, and a clock that stands still until it is set."""
    records, clock = [], [100.0]
    handler = logging.Handler()
    handler.emit = lambda record: records.append((record.levelname, record.getMessage()))
    logger = logging.getLogger("toolkit.display.progress")
    logger.addHandler(handler)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    yield records, clock
    logger.removeHandler(handler)


def test_a_line_every_30_seconds(lines):
    records, clock = lines
    bar = Progress("m, one", 400, 100)
    for second in range(0, 121):
        clock[0] = 100.0 + second
        bar.show(100 + second, {"stored": 99 + second, "failed": 1, "tok/s": "50"})
    bar.close()
    assert records == [
        ("INFO", f"m, one: {100 + s} of 400, {99 + s} stored, 1 failed, 50 tok/s ({s} s)")
        for s in (30, 60, 90, 120)
    ]
    assert bar.n == 220


def test_work_of_a_moment_says_nothing(lines):
    records, clock = lines
    bar = Progress("m", 4, 0)
    clock[0] += 29.9
    bar.show(4, {"stored": 4})
    bar.close()
    assert records == []


def test_loading_says_how_long_it_takes(lines):
    records, clock = lines
    with status("loading m") as update:
        for _ in range(4):
            clock[0] += 20
            update()
    assert records == [("INFO", "loading m … (40 s)"), ("INFO", "loading m … (80 s)")]


def test_a_terminal_has_a_bar_and_no_lines(lines, monkeypatch, capsys):
    import sys

    records, clock = lines
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = Progress("m", 10, 2)
    clock[0] += 100
    bar.show(7, {"stored": 6, "failed": 1})
    bar.close()
    assert records == []
    assert re.search(r"m  70%\|.*\| 7/10 .*stored=6, failed=1", capsys.readouterr().err)


def test_lines_of_progress_are_printed_where_bars_are_and_notes_are_output(capsys):
    logging.getLogger(progress.__name__).info("3 of 9")
    logging.getLogger("toolkit.experiments.run").info("a note")
    logging.getLogger("toolkit.experiments.run").warning("a warning")
    assert tuple(capsys.readouterr()) == ("a note\n", "3 of 9\na warning\n")


@pytest.mark.parametrize(("limit", "lines"), [(30.0, 0), (0.01, 1)])
def test_what_takes_long_says_what_it_waits_for(monkeypatch, capsys, limit, lines):
    import sys

    monkeypatch.setattr(progress, "_UNEXPLAINED_SECONDS", limit)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with waiting_for("loading a library"):
        time.sleep(0.3)
    assert ("loading a library … 00:0" in capsys.readouterr().err) == bool(lines)


def test_an_error_of_what_is_waited_for_comes_through(monkeypatch):
    monkeypatch.setattr(progress, "_UNEXPLAINED_SECONDS", 0.0)
    with pytest.raises(ValueError, match="none"), waiting_for("x"):
        raise ValueError("none")


def test_a_bar_of_a_notebook_stays_on_one_line():
    """The numbers keep their width, the bar takes what is left, and a title that is too long is cut."""
    from tqdm.notebook import tqdm

    bar = tqdm(total=3, desc="a long title", display=False)
    progress._keep_on_one_line(bar)
    before, middle, after = bar.container.children
    assert (before.layout.flex, middle.layout.flex, after.layout.flex) == ("0 1 auto", "1 0 40px", "0 0 auto")
    bar.close()
