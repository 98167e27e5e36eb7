"""Store: one SQLite file that keeps every completion of every sweep. Nothing in it is ever overwritten.

inputs        hash → messages or prompt                       (each text once, whatever is asked of it)
requests      key → input, sampling, form of the answer
fingerprints  id → record of the engine
vocabularies  tokenizer hash → bytes of each token id
prompts       hash → token ids that the model was given
runs          when, on which fingerprint, for how long, and what the device drew
took          the fingerprints that took part in a run: one, or those of a server that changes
completions   one row a choice, known by (request, fingerprint, repeat, choice); choice −1 is the prompt
failures      every attempt that gave no completion
sweeps, cells what was asked together, and the labels of each cell
grades        what people think of completions; the last of each choice counts
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import sqlite3
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from toolkit.choice import ARRAYS, PROMPT, Choice, Vocabulary, mode_of_prompt, shaped
from toolkit.completion import Completion, Usage
from toolkit.fingerprint import Fingerprint
from toolkit.messages import encodable
from toolkit.request import Request, digest
from toolkit.sampling import FIELDS, Real, named_fields_only
from toolkit.schema import ResponseFormat, response_format
from toolkit.tools import ToolCall

if TYPE_CHECKING:
    import pandas as pd

_APPLICATION = 0x746B6974
"""SQLite's application_id of our files: "tkit"."""
_VERSION = 6
"""SQLite's user_version: the format written here."""
_GRADES = (
    "CREATE TABLE grades (number INTEGER PRIMARY KEY, request TEXT NOT NULL, fingerprint TEXT NOT NULL, "
    "repeat INTEGER NOT NULL, choice INTEGER NOT NULL, thumb INTEGER, score REAL, note TEXT NOT NULL, "
    "created REAL NOT NULL)",
    "CREATE INDEX grades_by_choice ON grades (request, fingerprint, repeat, choice)",
)
_TOOK = """CREATE TABLE took (
    run INTEGER NOT NULL, fingerprint TEXT NOT NULL, PRIMARY KEY (run, fingerprint)) WITHOUT ROWID"""
_UPGRADES = {
    1: ("ALTER TABLE completions ADD COLUMN notes TEXT",),
    2: (
        "ALTER TABLE completions ADD COLUMN tool_calls TEXT",
        "ALTER TABLE requests ADD COLUMN response_format TEXT",
    ),
    3: tuple(
        f"ALTER TABLE {column}"
        for column in (
            "failures ADD COLUMN prompt_tokens INTEGER",
            "failures ADD COLUMN completion_tokens INTEGER",
            "failures ADD COLUMN seconds REAL",
            "runs ADD COLUMN seconds REAL",
            "runs ADD COLUMN joules REAL",
            "cells ADD COLUMN first INTEGER NOT NULL DEFAULT 0",
        )
    ),
    4: (
        _TOOK,
        "INSERT INTO took SELECT id, fingerprint FROM runs",
    ),
    5: _GRADES,
}
"""From each older format to the next."""
_PATIENCE = 60.0
"""Seconds to wait for another process that holds the file, before giving up."""

_SCHEMA = f"""
CREATE TABLE inputs (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE requests (
    key TEXT PRIMARY KEY, input TEXT NOT NULL, sampling TEXT NOT NULL, response_format TEXT) WITHOUT ROWID;
CREATE TABLE fingerprints (id TEXT PRIMARY KEY, model TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE vocabularies (tokenizer TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE prompts (id TEXT PRIMARY KEY, token_ids BLOB NOT NULL);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, created REAL NOT NULL, fingerprint TEXT NOT NULL, sweep TEXT NOT NULL,
    seconds REAL, joules REAL);
{_TOOK};
CREATE TABLE completions (
    number INTEGER PRIMARY KEY,
    request TEXT NOT NULL, fingerprint TEXT NOT NULL, repeat INTEGER NOT NULL, choice INTEGER NOT NULL,
    id TEXT NOT NULL, run INTEGER, position INTEGER, created REAL NOT NULL,
    seconds REAL, first_token_seconds REAL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    finish_reason TEXT NOT NULL, stop_reason TEXT, text TEXT NOT NULL, prompt TEXT, notes TEXT,
    tool_calls TEXT,
    UNIQUE (request, fingerprint, repeat, choice));
CREATE TABLE arrays (
    completion INTEGER PRIMARY KEY,
    token_ids BLOB NOT NULL, logprobs BLOB, ranks BLOB, top_ids BLOB, top_logprobs BLOB);
CREATE TABLE failures (
    request TEXT NOT NULL, fingerprint TEXT NOT NULL, repeat INTEGER NOT NULL,
    run INTEGER, created REAL NOT NULL, error TEXT NOT NULL,
    prompt_tokens INTEGER, completion_tokens INTEGER, seconds REAL);
CREATE INDEX failures_by_request ON failures (request, fingerprint, repeat);
CREATE TABLE sweeps (id TEXT PRIMARY KEY, created REAL NOT NULL, body TEXT NOT NULL);
CREATE TABLE cells (
    sweep TEXT NOT NULL, position INTEGER NOT NULL, request TEXT NOT NULL, repeats INTEGER NOT NULL,
    labels TEXT NOT NULL, first INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (sweep, position)) WITHOUT ROWID;
CREATE INDEX cells_by_request ON cells (request);
""" + ";\n".join(_GRADES)


_COLUMNS = (
    "request, fingerprint, repeat, choice, id, run, position, created, seconds, first_token_seconds, "
    "prompt_tokens, completion_tokens, cached_tokens, finish_reason, stop_reason, text, prompt, notes, "
    "tool_calls"
)


PEERS = "(SELECT b.fingerprint FROM took a JOIN took b ON a.run = b.run WHERE a.fingerprint = {})"
"""The fingerprints that took part in a run with this one. Behind one address may be several systems, which answer in
turn: what one of them was asked is not asked again of the others. Each row keeps the fingerprint of the one that
answered."""
ON = f"(x.fingerprint = ?1 OR x.fingerprint IN {PEERS.format('?1')})"
"""A row x belongs to the fingerprint ?1: it is its own or that of a peer."""
_RAN = """
SELECT request, completions.fingerprint AS system_fingerprint, repeat, min(prompt_tokens) AS prompt_tokens,
       min(cached_tokens) AS cached_tokens, sum(completion_tokens) AS completion_tokens,
       min(completions.seconds) AS seconds,
       min(first_token_seconds) AS first_token_seconds, min(completions.created) AS created,
       min(runs.joules / runs.seconds) AS watts
FROM completions LEFT JOIN runs ON runs.id = run
WHERE choice >= 0 AND completions.fingerprint IN (SELECT value FROM json_each(?))
GROUP BY request, completions.fingerprint, repeat
"""


_NEWEST_GRADES = """
SELECT request, fingerprint, repeat, choice, thumb, score, note, created FROM grades
WHERE number IN (SELECT max(number) FROM grades GROUP BY request, fingerprint, repeat, choice)
"""
PLACE = ("request", "system_fingerprint", "repeat", "choice")
"""Columns of a results table that a stored choice is known by."""
Place = tuple[str, str, int, int]
"""Their values."""


class StoreError(RuntimeError):
    """A file that is no store, or cannot be written; the message says what to do."""


class StoreBusy(StoreError):
    """A file that another process holds locked."""


@dataclass(frozen=True)
class Cell:
    """One request of a sweep, and what sets it apart from the others."""

    request: str
    """The request's key."""
    repeats: int
    labels: Mapping[str, Any]
    """Axis → value, and the variables of the row."""
    first: int = 0
    """The first of its repeats: not 0 where answers that were given otherwise must not count (see
    `Store.define_apart`)."""


@dataclass(frozen=True)
class Answer:
    """A completion with its place in a store."""

    completion: Completion
    repeat: int
    run: int | None = None


@named_fields_only("part of a grade")
@dataclass(frozen=True)
class Grade:
    """What a person thinks of an answer. Raises ValueError for another thumb, a score that is no finite number, and
    a note that no file takes; TypeError for a note that is no text."""

    thumb: int | None = None
    """1 is up, −1 down."""
    score: float | None = None
    note: str = ""
    created: float = 0.0
    """Unix time in seconds at which it was given."""

    def __post_init__(self) -> None:
        if self.thumb is not None:
            if isinstance(self.thumb, bool | np.bool_) or self.thumb not in (1, -1):
                raise ValueError(f"thumb must be 1, -1 or None, got {self.thumb!r}")
            object.__setattr__(self, "thumb", int(self.thumb))  # SQLite would keep NumPy's integers as bytes
        if self.score is not None:
            score = Real(-math.inf, math.inf, "None for no score")
            object.__setattr__(self, "score", score("score", self.score))
        if not isinstance(self.note, str):
            raise TypeError(f"note must be a text, got {self.note!r}")
        encodable("note", self.note)

    def __bool__(self) -> bool:
        """Whether it says anything."""
        return self.thumb is not None or self.score is not None or bool(self.note)


_unsaved: dict[str, list[tuple[tuple[Answer, ...], tuple[Fingerprint, ...]]]] = {}
"""Completions that could not be written (disk full), by file: the next `Store` on it writes them first."""


class Store:
    """An SQLite file of requests, fingerprints and completions, made when it does not exist. Several
    processes may read it, and write to it, at once.

    Raises StoreError for a file that is something else, or was written by a newer version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        if self.path != ":memory:":
            self.path = str(Path(path).expanduser().resolve())
            self._make_room()
        self._lock = threading.RLock()
        self._known: set[str] = set()
        self._vocabularies: dict[Any, Vocabulary] = {}
        self._fingerprints: dict[str, Fingerprint] = {}
        self._last_grade = 0
        try:
            self._db = sqlite3.connect(
                self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            self._open()
            self._flush_unsaved()
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _make_room(self) -> None:
        path = Path(self.path)
        if path.is_dir():
            raise StoreError(f"{path} is a folder: name a file in it, such as {path / 'run.db'}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder of {path}: {error}") from error

    def _open(self) -> None:
        if self._empty():
            # Readers and one writer at a time do not wait for each other.
            self._db.execute("PRAGMA journal_mode = WAL")
            with self._transaction():
                if self._empty():  # and no other process was faster
                    for statement in _SCHEMA.split(";\n"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
                    self._db.execute(f"PRAGMA user_version = {_VERSION}")
        ((application,),) = self._all("PRAGMA application_id")
        ((version,),) = self._all("PRAGMA user_version")
        if application != _APPLICATION:
            raise StoreError(f"{self.path} is an SQLite file of something else: give the store another path")
        if version > _VERSION:
            raise StoreError(
                f"{self.path} was written by a newer toolkit (format {version}, this one knows {_VERSION}): "
                "update toolkit, or give the store another path"
            )
        if version < _VERSION:
            self._upgrade()
        self._db.execute("PRAGMA synchronous = FULL")  # a commit is on disk when it returns

    def _upgrade(self) -> None:
        with self._transaction():
            ((version,),) = self._all("PRAGMA user_version")  # another process may have been faster
            for older in range(version, _VERSION):
                for statement in _UPGRADES[older]:
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")

    def _empty(self) -> bool:
        return not self._all("SELECT 1 FROM sqlite_master LIMIT 1")

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        ((completions,),) = self._all("SELECT count(*) FROM completions")
        return f"Store({self.path!r}, {completions} completions)"

    # Writing

    def define(
        self, sweep: str, body: Mapping[str, Any], requests: Iterable[Request], cells: Sequence[Cell]
    ) -> None:
        """Records what a sweep asks. Doing it again changes nothing."""
        with self._writing():
            self._define(sweep, body, requests, cells)

    def _define(
        self, sweep: str, body: Mapping[str, Any], requests: Iterable[Request], cells: Sequence[Cell]
    ) -> None:
        self._add_requests(requests)
        row = (sweep, time.time(), _dump(body))
        self._db.execute("INSERT OR IGNORE INTO sweeps VALUES (?, ?, ?)", row)
        rows = ((sweep, i, c.request, c.repeats, _dump(c.labels), c.first) for i, c in enumerate(cells))
        self._db.executemany("INSERT OR IGNORE INTO cells VALUES (?, ?, ?, ?, ?, ?)", rows)

    def define_apart(
        self, sweep: str, body: Mapping[str, Any], requests: Iterable[Request], cells: Sequence[Cell]
    ) -> list[Cell]:
        """Like `define`, but each cell gets repeats of its own, behind all that the store has or expects of its
        request: answers that were given in another way never count as its. The same again gives the same cells."""
        with self._writing():
            query = "SELECT request, repeats, labels, first FROM cells WHERE sweep = ? ORDER BY position"
            known = [Cell(r, n, json.loads(labels), first) for r, n, labels, first in self._all(query, sweep)]
            if not known:
                known = self._reserved(cells)
                self._define(sweep, body, requests, known)
        return known

    def _reserved(self, cells: Sequence[Cell]) -> list[Cell]:
        query = (
            "SELECT max(coalesce((SELECT max(first + repeats) FROM cells WHERE request = ?1), 0), "
            "coalesce((SELECT max(repeat) + 1 FROM completions WHERE request = ?1), 0))"
        )
        taken = {cell.request: int(self._all(query, cell.request)[0][0]) for cell in cells}
        found = []
        for cell in cells:
            found.append(dataclasses.replace(cell, first=taken[cell.request]))
            taken[cell.request] += cell.repeats
        return found

    def begin(self, sweep: str, fingerprint: Fingerprint, vocabulary: Vocabulary) -> int:
        """Records that a run starts, on which engine; returns its number. vocabulary: empty where it is not known."""
        with self._writing():
            self.add_engine(fingerprint, vocabulary)
            row = (time.time(), fingerprint.id, sweep)
            cursor = self._db.execute("INSERT INTO runs (created, fingerprint, sweep) VALUES (?, ?, ?)", row)
            run = int(cursor.lastrowid or 0)
            self._db.execute("INSERT INTO took VALUES (?, ?)", (run, fingerprint.id))
            return run

    def end(self, run: int, seconds: float, joules: float | None) -> None:
        """Records how long a run took, and what its device drew, where it tells."""
        with self._writing():
            self._db.execute("UPDATE runs SET seconds = ?, joules = ? WHERE id = ?", (seconds, joules, run))

    def add_engine(self, fingerprint: Fingerprint, vocabulary: Vocabulary | None) -> None:
        """Records a fingerprint and its tokenizer's vocabulary."""
        model = str(fingerprint.components.get("model"))
        row = (fingerprint.id, model, _dump(fingerprint.to_json()))
        self._db.execute("INSERT OR IGNORE INTO fingerprints VALUES (?, ?, ?)", row)
        tokenizer = _tokenizer(fingerprint)
        known = self._all("SELECT 1 FROM vocabularies WHERE tokenizer = ?", tokenizer)
        if vocabulary and tokenizer is not None and not known:
            self._db.execute("INSERT INTO vocabularies VALUES (?, ?)", (tokenizer, _pack(vocabulary)))

    def add(
        self, answers: Sequence[Answer], patience: float = _PATIENCE, fingerprints: Sequence[Fingerprint] = ()
    ) -> None:
        """Writes completions, all or none of them, durably: each is on disk when this returns. One that is
        there already stays as it is.

        fingerprints: records that their ids stand for, where they may be new: a server's may change within a run.
        patience: seconds to wait for a file that another process holds, before StoreBusy. StoreError says
        that the disk is full.
        """
        with self._lock:
            self._db.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
            try:
                with self._writing():
                    self._add_requests(a.completion.request for a in answers)
                    for fingerprint in fingerprints:
                        self.add_engine(fingerprint, None)
                    for answer in answers:
                        self._add_answer(answer)
            finally:
                self._db.execute(f"PRAGMA busy_timeout = {int(_PATIENCE * 1000)}")

    def _add_answer(self, answer: Answer) -> None:
        c, repeat, run = answer.completion, answer.repeat, answer.run
        known_by = (c.request.key, c.system_fingerprint, repeat)
        if run is not None:
            self._db.execute("INSERT OR IGNORE INTO took VALUES (?, ?)", (run, c.system_fingerprint))
        if c.error is not None:
            used = (c.usage.prompt_tokens, c.usage.completion_tokens, c.seconds)
            failed = (*known_by, run, c.created, c.error, *used)
            self._db.execute("INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", failed)
            return
        prompt = self._add_prompt(c.prompt_token_ids)
        for choice in (*c.choices, *([c.prompt] if c.prompt else [])):
            row = (
                *known_by, choice.index, c.id, run, c.position, c.created, c.seconds, c.first_token_seconds,
                c.usage.prompt_tokens, _count(c, choice), c.usage.cached_tokens,
                choice.finish_reason, _dump(choice.stop_reason), choice.text, prompt,
                _dump(c.notes) if c.notes else None,
                _dump([dataclasses.asdict(call) for call in choice.tool_calls]) if choice.tool_calls else None,
            )  # fmt: skip
            marks = ", ".join("?" * len(row))
            cursor = self._db.execute(f"INSERT OR IGNORE INTO completions ({_COLUMNS}) VALUES ({marks})", row)
            if cursor.rowcount:
                arrays = [_bytes(getattr(choice, name)) for name in ARRAYS]
                self._db.execute("INSERT INTO arrays VALUES (?, ?, ?, ?, ?, ?)", (cursor.lastrowid, *arrays))

    def _add_requests(self, requests: Iterable[Request]) -> None:
        for request in requests:
            if request.key in self._known:
                continue
            row = (request.input, _dump(request.body))
            self._db.execute("INSERT OR IGNORE INTO inputs VALUES (?, ?)", row)
            form = request.response_format
            asked = (
                request.key,
                request.input,
                _dump(request.sampling.given()),
                form and _dump(form.to_openai()),
            )
            self._db.execute("INSERT OR IGNORE INTO requests VALUES (?, ?, ?, ?)", asked)
            self._known.add(request.key)

    def _add_prompt(self, token_ids: Any) -> str | None:
        if not len(token_ids):
            return None
        name = digest(token_ids.tolist())
        self._db.execute("INSERT OR IGNORE INTO prompts VALUES (?, ?)", (name, token_ids.tobytes()))
        return name

    def grade(self, request: str, fingerprint: str, repeat: int, choice: int = 0, **given: Any) -> Grade:
        """Records what a person thinks of a stored answer, and gives it as it is now: thumb=1, -1 or None, score=a
        number or None, note=a text. What is not given stays as it was. It is on disk when this returns; several
        processes may grade at once.

        Raises KeyError for an answer that is not stored, StoreError for a store in memory, which is a copy that would
        be lost, ValueError or TypeError for a bad grade.
        """
        if self.path == ":memory:":
            raise StoreError(
                "results that were read from Parquet or JSONL are a copy without a file to keep a grade in: grade "
                "those of the store itself, toolkit.results('run.db')"
            )
        place = (request, fingerprint, int(repeat), int(choice))
        this = "(request, fingerprint, repeat, choice) = (?, ?, ?, ?)"
        stored = f"SELECT 1 FROM completions WHERE {this} AND choice >= 0"
        newest = f"{_NEWEST_GRADES} AND {this}"
        with self._writing():
            if not self._all(stored, *place):
                raise KeyError(place)
            known = [Grade(*row[4:]) for row in self._all(newest, *place)]
            now = dataclasses.replace(known[0] if known else Grade(), **given, created=time.time())
            self._add_grades({place: now})
        return now

    def restore_grades(self, grades: Mapping[Place, Grade]) -> None:
        """Writes grades as they are: those of an export."""
        with self._writing():
            self._add_grades(grades)

    def _add_grades(self, grades: Mapping[Place, Grade]) -> None:
        rows = [(*place, *dataclasses.astuple(grade)) for place, grade in grades.items()]
        self._db.executemany(f"INSERT INTO grades VALUES (NULL{', ?' * 8})", rows)

    def keep(self, answers: Sequence[Answer], fingerprints: Sequence[Fingerprint] = ()) -> None:
        """Holds what could not be written (see `add`) until the next Store on this file in this process."""
        _unsaved.setdefault(self.path, []).append((tuple(answers), tuple(fingerprints)))

    def _flush_unsaved(self) -> None:
        for answers, fingerprints in _unsaved.get(self.path, ()):
            self.add(answers, fingerprints=fingerprints)
        _unsaved.pop(self.path, None)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._lock, self._transaction():
                yield
        except sqlite3.Error as error:
            raise self._explain(error) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._known.clear()
            with contextlib.suppress(sqlite3.Error):  # SQLite has rolled back by itself when the disk is full
                self._db.execute("ROLLBACK")
            raise

    def _explain(self, error: sqlite3.Error) -> StoreError:
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_FULL":
            return StoreError(f"the disk is full: {self.path} cannot grow. Free space and run again")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StoreBusy(f"{self.path} is locked by another process: end that one and run again")
        if name == "SQLITE_NOTADB":
            return StoreError(f"{self.path} is not a store (not an SQLite file): give the store another path")
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            return StoreError(f"{self.path} cannot be opened for writing ({error}): check its permissions")
        return StoreError(f"{self.path}: {error} ({name or type(error).__name__})")

    # Reading

    def _all(self, query: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def query(self, sql: str, values: Sequence[Any] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of an SQL query on the tables named at the top of this file."""
        with self._lock:
            cursor = self._db.execute(sql, values)
            return [column[0] for column in cursor.description], cursor.fetchall()

    def grades(self) -> dict[Place, Grade]:
        """(request, fingerprint, repeat, choice) → the last grade of each choice that has one."""
        found = {row[:4]: Grade(*row[4:]) for row in self._all(_NEWEST_GRADES)}
        return {place: grade for place, grade in found.items() if grade}

    def last_grade(self) -> int:
        """The number of the newest grade: when it changes there are new ones. 0 before the first."""
        with contextlib.suppress(sqlite3.ProgrammingError):  # a closed store knows what it knew
            ((self._last_grade,),) = self._all("SELECT coalesce(max(number), 0) FROM grades")
        return self._last_grade

    def samplings(self) -> dict[str, tuple[Any, ...]]:
        """Request key → the values of Sampling's fields, in their order."""
        known: dict[str, tuple[Any, ...]] = {}  # requests are many, settings few
        found = {}
        for key, text in self._all("SELECT key, sampling FROM requests"):
            if text not in known:
                given = json.loads(text)
                known[text] = tuple(_hashable(given.get(name)) for name in FIELDS)
            found[key] = known[text]
        return found

    def ran(self, fingerprints: Sequence[str]) -> pd.DataFrame:
        """A row for each completion on some engines, its choices together: request, system_fingerprint, repeat, its
        tokens (prompt, cached, completion), seconds, first_token_seconds, created, watts (of the device in its run;
        missing where it does not tell)."""
        import pandas as pd

        columns, rows = self.query(_RAN, [_dump(list(fingerprints))])
        return pd.DataFrame(rows, columns=columns)

    def forms(self) -> dict[str, ResponseFormat]:
        """Request key → the form that its answer is held to, of those that are."""
        query = "SELECT key, response_format FROM requests WHERE response_format IS NOT NULL"
        made: dict[str, ResponseFormat | None] = {}  # requests are many, forms few
        found = {}
        for key, text in self._all(query):
            if text not in made:
                made[text] = response_format(json.loads(text))
            if (form := made[text]) is not None:
                found[key] = form
        return found

    def stored(self, fingerprint: str) -> dict[str, set[int]]:
        """Request key → the repeats that are complete on a fingerprint (see `ON`)."""
        found: dict[str, set[int]] = {}
        query = f"SELECT request, repeat FROM completions x WHERE {ON} AND choice = 0"
        for request, repeat in self._all(query, fingerprint):
            found.setdefault(request, set()).add(repeat)
        return found

    def sweeps(self) -> list[tuple[str, dict[str, Any]]]:
        """Every sweep's id and what it asks, the oldest first."""
        return [
            (i, json.loads(body)) for i, body in self._all("SELECT id, body FROM sweeps ORDER BY created, id")
        ]

    def fingerprint(self, name: str) -> Fingerprint:
        """The record behind an id. Raises KeyError for an unknown one."""
        if name not in self._fingerprints:
            rows = self._all("SELECT body FROM fingerprints WHERE id = ?", name)
            if not rows:
                raise KeyError(name)
            self._fingerprints[name] = Fingerprint.from_json(json.loads(rows[0][0]))
        return self._fingerprints[name]

    def request(self, key: str) -> Request:
        """The request of a key. Raises KeyError for an unknown one."""
        query = (
            "SELECT body, sampling, coalesce(response_format, 'null') FROM requests "
            "JOIN inputs ON inputs.id = input WHERE key = ?"
        )
        rows = self._all(query, key)
        if not rows:
            raise KeyError(key)
        return Request.of(*map(json.loads, rows[0]))

    def completion(self, request: str, fingerprint: str, repeat: int) -> Completion:
        """One completion with all its arrays. Raises KeyError when it is not stored."""
        with self._lock:
            cursor = self._db.execute(
                "SELECT completions.*, arrays.*, prompts.token_ids AS prompt_token_ids, model "
                "FROM completions JOIN arrays ON arrays.completion = number "
                "LEFT JOIN prompts ON prompts.id = prompt JOIN fingerprints ON fingerprints.id = fingerprint "
                "WHERE request = ? AND fingerprint = ? AND repeat = ? ORDER BY choice",
                (request, fingerprint, repeat),
            )
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
        if not rows:
            raise KeyError((request, fingerprint, repeat))
        asked = self.request(request)
        choices = [self._choice(row, asked, fingerprint) for row in rows]
        first = next(row for row in rows if row["choice"] != PROMPT)
        tokens = sum(row["completion_tokens"] for row in rows)
        return Completion(
            request=asked,
            choices=tuple(c for c in choices if c.index != PROMPT),
            prompt=next((c for c in choices if c.index == PROMPT), None),
            notes=json.loads(first["notes"] or "{}"),
            usage=Usage(first["prompt_tokens"], tokens, first["cached_tokens"]),
            model=first["model"],
            system_fingerprint=fingerprint,
            id=first["id"],
            created=first["created"],
            seconds=first["seconds"],
            first_token_seconds=first["first_token_seconds"],
            prompt_token_ids=np.frombuffer(first["prompt_token_ids"] or b"", np.int32),
            position=first["position"],
        )

    def _choice(self, row: Mapping[str, Any], request: Request, fingerprint: str) -> Choice:
        mode = self.fingerprint(fingerprint).components.get("logprobs_mode")
        return Choice(
            index=row["choice"],
            text=row["text"],
            finish_reason=row["finish_reason"],
            stop_reason=json.loads(row["stop_reason"] or "null"),
            tool_calls=tuple(ToolCall(**call) for call in json.loads(row["tool_calls"] or "[]")),
            logprobs_mode=mode_of_prompt(mode) if row["choice"] == PROMPT else request.logprobs_mode(mode),
            given=_given(row, request),
            # A table that came from a file has none: then a choice says so, as every other does.
            vocabulary=(lambda: self.vocabulary(fingerprint)) if self._has_vocabulary(fingerprint) else None,
            **_arrays(row[name] for name in ARRAYS),
        )

    def arrays(self, requests: Sequence[str]) -> dict[tuple[str, str, int, int], dict[str, Any]]:
        """(request, fingerprint, repeat, choice) → the arrays of each answer to some requests (see `ARRAYS`), without
        the objects around them: thousands in a second."""
        query = (
            f"SELECT request, fingerprint, repeat, choice, {', '.join(f'arrays.{name}' for name in ARRAYS)} "
            "FROM completions JOIN arrays ON arrays.completion = number "
            "WHERE choice >= 0 AND request IN (SELECT value FROM json_each(?))"
        )
        rows = self._all(query, _dump(list(requests)))
        return {
            (request, fingerprint, repeat, choice): _arrays(blobs)
            for request, fingerprint, repeat, choice, *blobs in rows
        }

    def vocabulary(self, fingerprint: str) -> Vocabulary:
        """The bytes of every token id of a fingerprint's tokenizer. Raises KeyError when not stored."""
        tokenizer = _tokenizer(self.fingerprint(fingerprint))
        if tokenizer not in self._vocabularies:
            rows = self._all("SELECT body FROM vocabularies WHERE tokenizer = ?", tokenizer)
            if not rows:
                raise KeyError(tokenizer)
            self._vocabularies[tokenizer] = _unpack(rows[0][0])
        return self._vocabularies[tokenizer]

    def _has_vocabulary(self, fingerprint: str) -> bool:
        tokenizer = _tokenizer(self.fingerprint(fingerprint))
        query = "SELECT 1 FROM vocabularies WHERE tokenizer = ?"
        return tokenizer in self._vocabularies or bool(self._all(query, tokenizer))


def _tokenizer(fingerprint: Fingerprint) -> str | None:
    """Names the vocabulary. A server's is in the notes, since it is found here, not told. None where not known."""
    return fingerprint.components.get("tokenizer") or fingerprint.notes.get("tokenizer")


def opened(store: Store | str | Path) -> Store:
    """A store as it is, or the one of a path."""
    return store if isinstance(store, Store) else Store(store)


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _arrays(blobs: Iterable[bytes | None]) -> dict[str, Any]:
    """The arrays of a choice from what `_bytes` made of each, in the order of `ARRAYS`."""
    pairs = zip(ARRAYS.items(), blobs, strict=True)
    return shaped({name: None if b is None else np.frombuffer(b, kind) for (name, kind), b in pairs})


def _bytes(array: Any) -> bytes | None:
    return None if array is None else array.tobytes()


def _count(completion: Completion, choice: Choice) -> int:
    """Tokens of one choice. A server that gives no ids tells the count of all together: then each has its share, so
    that the sum is right."""
    if choice.index == PROMPT:
        return 0
    number, total = len(completion.choices), completion.usage.completion_tokens
    if number > 1 and any(len(c.token_ids) for c in completion.choices):
        return len(choice.token_ids) - choice.given
    return total // number + (choice.index < total % number)


def _given(row: Mapping[str, Any], request: Request) -> int:
    """Tokens of a prefix: those that were not generated."""
    if request.prefix is None or row["choice"] == PROMPT:
        return 0
    return len(row["token_ids"]) // np.dtype(ARRAYS["token_ids"]).itemsize - int(row["completion_tokens"])


def _pack(vocabulary: Vocabulary) -> bytes:
    """Count, lengths and bytes of the tokens, compressed: 200 kB for 49,152 tokens."""
    lengths = np.array([len(token) for token in vocabulary], np.int32)
    return zlib.compress(struct.pack("<I", len(lengths)) + lengths.tobytes() + b"".join(vocabulary))


def _unpack(body: bytes) -> Vocabulary:
    raw = zlib.decompress(body)
    (count,) = struct.unpack_from("<I", raw)
    ends = 4 + 4 * count + np.cumsum(np.frombuffer(raw, np.int32, count, offset=4))
    starts = [4 + 4 * count, *ends.tolist()][:count]
    return [raw[a:b] for a, b in zip(starts, ends.tolist(), strict=True)]
