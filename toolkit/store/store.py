"""One SQLite file that keeps every completion of every sweep, and never overwrites one."""

from __future__ import annotations

import dataclasses
import json
import operator
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit._internal.hashing import digest
from toolkit._internal.text import short_repr
from toolkit._internal.validation import instance_of
from toolkit.core.choice import ARRAYS, Vocabulary
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import ResolvedRequest
from toolkit.errors import StoreError
from toolkit.store.blobs import dump_json, pack_array, pack_vocabulary
from toolkit.store.connection import PATIENCE
from toolkit.store.database import is_key
from toolkit.store.queries import COMPLETION_COLUMNS, NEWEST_GRADES
from toolkit.store.rows import Cell, Grade, Place, StoredCompletion, choice_tokens, tokenizer_name
from toolkit.store.runs import RunStore

_unsaved: dict[str, list[tuple[tuple[StoredCompletion, ...], tuple[Fingerprint, ...]]]] = {}
"""Completions that could not be written (disk full), by file: the next `Store` on it writes them first."""


class Store(RunStore):
    """An SQLite file of requests, fingerprints and completions, created when it does not exist. Several
    processes may read it, and write to it, at once (see `Database`).

    Raises StoreError for a file that is something else, is damaged, or was written by a newer version.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        super().__init__(path, create=create)
        self._flush_unsaved()

    def define(
        self, sweep: str, body: Mapping[str, Any], requests: Iterable[ResolvedRequest], cells: Sequence[Cell]
    ) -> None:
        """Records the requests of a sweep, and how they were made: of several descriptions the last counts, in which
        prompts may have got names, and rows of data more columns."""
        with self._writing():
            self._define(sweep, body, requests, cells)

    def _define(
        self, sweep: str, body: Mapping[str, Any], requests: Iterable[ResolvedRequest], cells: Sequence[Cell]
    ) -> None:
        self._add_requests(requests)
        row = (sweep, time.time(), dump_json(body))
        self._db.execute(
            "INSERT INTO sweeps VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body", row
        )
        rows = ((sweep, i, c.request, c.repeats, dump_json(c.labels), c.first) for i, c in enumerate(cells))
        self._db.executemany("INSERT OR IGNORE INTO cells VALUES (?, ?, ?, ?, ?, ?)", rows)

    def define_with_reserved_repeats(
        self, sweep: str, body: Mapping[str, Any], requests: Iterable[ResolvedRequest], cells: Sequence[Cell]
    ) -> list[Cell]:
        """Like `define`, but each cell gets repeats of its own, after all that the store has or expects for its
        request: completions of other sweeps never count as its. The same sweep again gets the same cells."""
        with self._writing():
            query = "SELECT request, repeats, labels, first FROM cells WHERE sweep = ? ORDER BY position"
            rows = self._fetch_all(query, sweep)
            reserved = [Cell(r, n, json.loads(labels), first) for r, n, labels, first in rows]
            if not reserved:
                reserved = self._reserve_repeats(cells)
                self._define(sweep, body, requests, reserved)
        return reserved

    def _reserve_repeats(self, cells: Sequence[Cell]) -> list[Cell]:
        query = (
            "SELECT max(coalesce((SELECT max(first + repeats) FROM cells WHERE request = ?1), 0), "
            "coalesce((SELECT max(repeat) + 1 FROM completions WHERE request = ?1), 0))"
        )
        next_repeat = {cell.request: int(self._fetch_all(query, cell.request)[0][0]) for cell in cells}
        reserved = []
        for cell in cells:
            reserved.append(dataclasses.replace(cell, first=next_repeat[cell.request]))
            next_repeat[cell.request] += cell.repeats
        return reserved

    def begin_run(self, sweep: str, fingerprint: Fingerprint, vocabulary: Vocabulary) -> int:
        """Records the start of a run and its engine; returns its number. vocabulary: empty where it is not known.
        The run is this process's until `end_run`."""
        with self._writing():
            self._end_dead_runs()
            self.add_engine(fingerprint, vocabulary)
            row = (time.time(), fingerprint.id, sweep)
            cursor = self._db.execute("INSERT INTO runs (created, fingerprint, sweep) VALUES (?, ?, ?)", row)
            run = int(cursor.lastrowid or 0)
            system = [(run, name) for name in self.ids_of_system(fingerprint)]
            self._db.executemany("INSERT INTO took VALUES (?, ?)", system)
            self._own(run)
        self._start_log()
        return run

    def end_run(self, run: int, seconds: float, joules: float | None) -> None:
        """Records the duration of a run, and the energy of its device where it was measured. After the last one the
        file is complete in itself."""
        try:
            with self._writing():
                self._db.execute(
                    "UPDATE runs SET seconds = ?, joules = ? WHERE id = ?", (seconds, joules, run)
                )
        finally:
            self._end_runs([run])

    def add_engine(self, fingerprint: Fingerprint, vocabulary: Vocabulary | None) -> None:
        """Records a fingerprint and its tokenizer's vocabulary."""
        model = str(fingerprint.components.get("model"))
        row = (fingerprint.id, model, dump_json(fingerprint.to_json()))
        self._db.execute("INSERT OR IGNORE INTO fingerprints VALUES (?, ?, ?)", row)
        tokenizer = tokenizer_name(fingerprint)
        stored = self._fetch_all("SELECT 1 FROM vocabularies WHERE tokenizer = ?", tokenizer)
        if vocabulary and tokenizer is not None and not stored:
            self._db.execute(
                "INSERT INTO vocabularies VALUES (?, ?)", (tokenizer, pack_vocabulary(vocabulary))
            )

    def add(
        self,
        answers: Sequence[StoredCompletion],
        patience: float = PATIENCE,
        fingerprints: Sequence[Fingerprint] = (),
    ) -> None:
        """Writes completions, all or none of them, durably: each is on disk when this returns. One that is
        stored already stays as it is.

        fingerprints: the records of fingerprints that may be new: a server's may change within a run.
        patience: seconds to wait for a file that another process has locked, before StoreBusy. Raises StoreError
        when the disk is full.
        """
        for place, answer in enumerate(answers):
            instance_of(StoredCompletion, f"answers[{place}]", answer, "StoredCompletion(completion, repeat)")
        with self._waiting(patience), self._writing():
            self._add_requests(a.completion.request for a in answers)
            for fingerprint in fingerprints:
                self.add_engine(fingerprint, None)
            for answer in answers:
                self._add_completion(answer)

    def _add_completion(self, stored: StoredCompletion) -> None:
        c, repeat, run = stored.completion, stored.repeat, stored.run
        key = (c.request.key, c.system_fingerprint, repeat)
        if run is not None:
            self._db.execute("INSERT OR IGNORE INTO took VALUES (?, ?)", (run, c.system_fingerprint))
            lease = (c.request.key, repeat, run)
            self._db.execute("DELETE FROM leases WHERE (request, repeat, run) = (?, ?, ?)", lease)
        if c.error is not None:
            self._add_failure(stored, c.error)
            return
        first = self._fetch_all(
            "SELECT id FROM completions WHERE (request, fingerprint, repeat) = (?, ?, ?) AND choice = 0", *key
        )
        if first and first != [(c.id,)] and run is not None:
            self._add_failure(stored, "generated twice: another run had stored this completion before")
        prompt = self._add_prompt(c.prompt_token_ids)
        for choice in (*c.choices, *([c.prompt] if c.prompt else [])):
            row = (
                *key, choice.index, c.id, run, c.position, c.created, c.seconds, c.first_token_seconds,
                c.usage.prompt_tokens, choice_tokens(c, choice), c.usage.cached_tokens,
                choice.finish_reason, dump_json(choice.stop_reason), choice.text, prompt,
                dump_json(c.notes) if c.notes else None,
                dump_json([dataclasses.asdict(call) for call in choice.tool_calls]) if choice.tool_calls else None,
                c.queued_seconds,
            )  # fmt: skip
            marks = ", ".join("?" * len(row))
            cursor = self._db.execute(
                f"INSERT OR IGNORE INTO completions ({COMPLETION_COLUMNS}) VALUES ({marks})", row
            )
            if cursor.rowcount:
                arrays = [pack_array(getattr(choice, name)) for name in ARRAYS]
                self._db.execute("INSERT INTO arrays VALUES (?, ?, ?, ?, ?, ?)", (cursor.lastrowid, *arrays))

    def _add_failure(self, stored: StoredCompletion, error: str) -> None:
        c = stored.completion
        key = (c.request.key, c.system_fingerprint, stored.repeat, stored.run)
        row = (*key, c.created, error, c.usage.prompt_tokens, c.usage.completion_tokens, c.seconds)
        self._db.execute("INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _add_requests(self, requests: Iterable[ResolvedRequest]) -> None:
        for request in requests:
            if request.key in self._stored_requests:
                continue
            input_row = (request.input, dump_json(request.body))
            self._db.execute("INSERT OR IGNORE INTO inputs VALUES (?, ?)", input_row)
            response_format = request.response_format
            request_row = (
                request.key,
                request.input,
                dump_json(request.sampling.given()),
                response_format and dump_json(response_format.to_openai()),
            )
            self._db.execute("INSERT OR IGNORE INTO requests VALUES (?, ?, ?, ?)", request_row)
            self._stored_requests.add(request.key)

    def _add_prompt(self, token_ids: Any) -> str | None:
        if not len(token_ids):
            return None
        name = digest(token_ids.tolist())
        self._db.execute("INSERT OR IGNORE INTO prompts VALUES (?, ?)", (name, token_ids.tobytes()))
        return name

    def grade(self, request: str, fingerprint: str, repeat: int, choice: int = 0, **changes: Any) -> Grade:
        """Records a person's grade of a stored choice, and returns it: thumb=1, -1 or None, score=a number or None,
        note=a text. A field that is left out stays as it was. The grade is on disk when this returns; several
        processes may grade at once.

        Raises KeyError for a choice that is not stored, StoreError for a store in memory, which is a copy that would
        be lost, ValueError or TypeError for a bad grade.
        """
        if self.path == ":memory:":
            raise StoreError(
                "results that were read from Parquet or JSONL, or joined from several files, are a copy without a "
                "file to keep a grade in: grade those of the store itself, toolkit.results('run.db')"
            )
        try:
            place = (request, fingerprint, operator.index(repeat), operator.index(choice))
        except TypeError:
            raise TypeError(
                f"repeat and choice must be whole numbers, got {short_repr(repeat)}, {short_repr(choice)}"
            ) from None
        if not is_key(*place):
            raise KeyError(place)
        condition = "(request, fingerprint, repeat, choice) = (?, ?, ?, ?)"
        stored_query = f"SELECT 1 FROM completions WHERE {condition} AND choice >= 0"
        newest_query = f"{NEWEST_GRADES} AND {condition}"
        with self._writing():
            if not self._fetch_all(stored_query, *place):
                raise KeyError(place)
            grades = [Grade(*row[4:]) for row in self._fetch_all(newest_query, *place)]
            grade = dataclasses.replace(grades[0] if grades else Grade(), **changes, created=time.time())
            self._add_grades({place: grade})
        return grade

    def restore_grades(self, grades: Mapping[Place, Grade]) -> None:
        """Writes grades unchanged: those of an export."""
        instance_of(Mapping, "grades", grades, "store.grades() gives one")  # type: ignore[type-abstract]
        with self._writing():
            self._add_grades(grades)

    def _add_grades(self, grades: Mapping[Place, Grade]) -> None:
        rows = [(*place, *dataclasses.astuple(grade)) for place, grade in grades.items()]
        self._db.executemany(f"INSERT INTO grades VALUES (NULL{', ?' * 8})", rows)

    def hold_unsaved(
        self, answers: Sequence[StoredCompletion], fingerprints: Sequence[Fingerprint] = ()
    ) -> None:
        """Keeps completions that could not be written (see `add`) for the next Store on this file in this process."""
        _unsaved.setdefault(self.path, []).append((tuple(answers), tuple(fingerprints)))

    def _flush_unsaved(self) -> None:
        for answers, fingerprints in list(_unsaved.get(self.path, ())):
            self.add(answers, fingerprints=fingerprints)
        _unsaved.pop(self.path, None)


def open_store(store: Store | str | Path) -> Store:
    """The store itself, or the one at a path, made when it does not exist."""
    return store if isinstance(store, Store) else Store(store)


def existing_store(store: Store | str | Path) -> Store:
    """The store itself, or the one at a path, which is only read until something is written. Raises StoreError where
    there is none."""
    return store if isinstance(store, Store) else Store(store, create=False)
