"""Reading a store."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.validation import instance_of, limited_list
from toolkit.core.choice import ARRAYS, PROMPT, Choice, Ints, Vocabulary, mode_of_prompt
from toolkit.core.completion import Completion, Usage, sum_tokens
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import ResolvedRequest
from toolkit.core.server_fingerprint import same_system
from toolkit.errors import StoreError
from toolkit.store.blobs import dump_json, is_json, unpack_arrays, unpack_vocabulary
from toolkit.store.damage import Damage
from toolkit.store.database import Database, is_key
from toolkit.store.queries import (
    COMPLETED_ROWS,
    COMPLETION_TIMINGS,
    FAILED_ATTEMPTS,
    FAILED_ROWS,
    NEWEST_GRADES,
    STORED_REPEATS,
    TOKEN_IDS,
    TOOL_CALLS,
)
from toolkit.store.rows import Grade, Place, prefix_tokens, tokenizer_name
from toolkit.structured.response_format import ResponseFormat, response_format
from toolkit.structured.tools import ToolCall

if TYPE_CHECKING:
    import pandas as pd

_logger = logging.getLogger(__name__)


class StoreReader(Database):
    """Requests, fingerprints, completions and grades of a file."""

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        super().__init__(path, create=create)
        self._vocabularies: dict[Any, Vocabulary] = {}
        self._fingerprints: dict[str, Fingerprint] = {}
        self._last_grade = 0
        self._damage = Damage()

    def __repr__(self) -> str:
        if self._closed:
            return f"Store({self.path!r}, closed)"
        ((completions,),) = self._fetch_all("SELECT count(*) FROM completions")
        return f"Store({self.path!r}, {completions} completions)"

    def grades(self) -> dict[Place, Grade]:
        """(request, fingerprint, repeat, choice) → the last grade of each choice that has one."""
        grades = {row[:4]: Grade(*row[4:]) for row in self._fetch_all(NEWEST_GRADES)}
        return {place: grade for place, grade in grades.items() if grade}

    def last_grade(self) -> int:
        """The number of the newest grade, which changes with every new one; 0 before the first."""
        if not self._closed:  # then it keeps the last number that it read
            ((self._last_grade,),) = self._fetch_all("SELECT coalesce(max(number), 0) FROM grades")
        return self._last_grade

    def samplings(self) -> dict[str, str]:
        """Request key → the fields of its Sampling as JSON; without those that are damaged."""
        is_whole = functools.cache(is_json)  # requests are many, settings few
        rows = self._fetch_all("SELECT key, sampling FROM requests")
        return {key: text for key, text in rows if is_whole(text)}

    def completion_timings(self, fingerprints: Sequence[str]) -> pd.DataFrame:
        """A row for each completion on some engines, its choices together: request, system_fingerprint, repeat, its
        tokens (prompt, cached, completion; NaN where unknown), seconds, first_token_seconds, created, watts (mean
        power of the device in its run; missing where it was not measured)."""
        import pandas as pd

        columns, rows = self.query(COMPLETION_TIMINGS, [_json_texts("fingerprints", fingerprints)])
        counts = dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens"), np.float64)
        return pd.DataFrame(rows, columns=columns).astype(counts)

    def run_sweeps(self) -> dict[int, str]:
        """Run → its sweep; empty in a store that was made from an export."""
        return dict(self._fetch_all("SELECT id, sweep FROM runs"))

    def failed_attempts(self) -> pd.DataFrame:
        """The failed attempts, with the sweep of their run: one row for each request, engine and repeat. Their tokens
        are NaN where those of one are unknown."""
        import pandas as pd

        columns, rows = self.query(FAILED_ATTEMPTS)
        return pd.DataFrame(rows, columns=columns).astype(
            {"prompt_tokens": np.float64, "completion_tokens": np.float64}
        )

    def cell_rows(
        self, sweep: str | None, fingerprint: Fingerprint | str | None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names, and a row for each choice, or error, of each cell of a sweep (None: of all) on the system of
        a fingerprint (None: any) or one that took part in a run with it; without those that `find_damage` has found,
        which are counted and named in a warning."""
        if sweep is not None:
            instance_of(str, "sweep", sweep, "the id of one, or None for all")
        system = None if fingerprint is None else dump_json(self.ids_of_system(fingerprint))
        names, rows = self.query(COMPLETED_ROWS, (system, sweep))
        rows = rows + self.query(FAILED_ROWS, (system, sweep))[1]
        damage = self._damage
        if sweep is None and fingerprint is None:
            damage = damage.with_unplaced(self)
        if damage:
            readable = damage.readable(names, rows)
            _logger.warning("%s: %s", self.path, damage.sentence(len(rows) - len(readable)))
            rows = readable
        return names, rows

    def find_damage(self) -> bool:
        """Whether there is anything that cannot be read; its rows are left out from now on."""
        self._damage = Damage.of(self)
        return bool(self._damage)

    def tool_calls(self) -> Iterator[tuple[Place, str, str]]:
        """(request, fingerprint, repeat, choice), name and arguments of each tool call."""
        for *place, calls in self._fetch_all(TOOL_CALLS):
            for call in json.loads(calls):  # SQLite's JSON has no halves of surrogate pairs
                yield tuple(place), call["name"], call["arguments"]

    def token_ids(self, requests: Collection[str]) -> Iterator[tuple[Place, Ints]]:
        """(request, fingerprint, repeat, choice) and the token IDs of each choice of some requests."""
        for *place, ids in self._fetch_all(TOKEN_IDS, _json_texts("requests", requests)):
            yield tuple(place), np.frombuffer(ids, np.int32)

    def forms(self) -> dict[str, ResponseFormat]:
        """Request key → its response format, for the requests that have one."""
        query = "SELECT key, response_format FROM requests WHERE response_format IS NOT NULL"
        parsed: dict[str, ResponseFormat | None] = {}  # requests are many, response formats few
        formats = {}
        for key, text in self._fetch_all(query):
            if text not in parsed:
                parsed[text] = response_format(json.loads(text)) if is_json(text) else None
            if (parsed_format := parsed[text]) is not None:
                formats[key] = parsed_format
        return formats

    def stored(self, fingerprint: Fingerprint | str) -> dict[str, set[int]]:
        """Request key → the repeats that are complete on the system of a fingerprint (see `BELONGS_TO`)."""
        repeats: dict[str, set[int]] = {}
        for request, repeat in self._fetch_all(STORED_REPEATS, dump_json(self.ids_of_system(fingerprint))):
            repeats.setdefault(request, set()).add(repeat)
        return repeats

    def ids_of_system(self, fingerprint: Fingerprint | str) -> list[str]:
        """The IDs under which completions of a system are stored: that of the fingerprint, and those by which earlier
        versions of the toolkit knew the same server. A fingerprint that is not stored must be the record itself."""
        if isinstance(fingerprint, str):
            try:
                name, record = fingerprint, self.fingerprint(fingerprint)
            except KeyError:
                return [fingerprint]
        else:
            instance_of(
                Fingerprint, "fingerprint", fingerprint, "engine.fingerprint, or the id of a stored one"
            )
            name, record = fingerprint.id, fingerprint
        others = (
            self._fetch_all("SELECT id FROM fingerprints WHERE id != ?", name) if record.is_server else []
        )
        return [name, *(other for (other,) in others if same_system(record, self.fingerprint(other)))]

    def system_ids(self, fingerprints: Collection[str]) -> dict[str, str]:
        """Fingerprint → the one by which its system is known here, for those of some completions: where a server has
        several (see `ids_of_system`), the one without its address, else the first."""
        records = {name: self.fingerprint(name) for name in fingerprints}
        systems: list[str] = []
        ids: dict[str, str] = {}
        for name in sorted(records, key=lambda name: "url" in records[name].components):
            same = (other for other in systems if same_system(records[other], records[name]))
            ids[name] = next(same, name)
            systems += [name] * (ids[name] == name)
        return ids

    def sweeps(self) -> list[tuple[str, dict[str, Any]]]:
        """Id and body (see `Store.define`) of every sweep, the oldest first."""
        return [
            (i, json.loads(body))
            for i, body in self._fetch_all(
                "SELECT id, body FROM sweeps WHERE is_json(body) ORDER BY created, id"
            )
        ]

    def fingerprint(self, name: str) -> Fingerprint:
        """The record behind an id. Raises KeyError for an unknown one."""
        if not isinstance(name, str) or name not in self._fingerprints:
            rows = self._find("SELECT body FROM fingerprints WHERE id = ?", name)
            if not rows:
                raise KeyError(name)
            with self._naming(f"the fingerprint {name}"):
                self._fingerprints[name] = Fingerprint.from_json(json.loads(rows[0][0]))
        return self._fingerprints[name]

    def request(self, key: str) -> ResolvedRequest:
        """The request of a key. Raises KeyError for an unknown one."""
        query = (
            "SELECT body, sampling, coalesce(response_format, 'null') FROM requests "
            "JOIN inputs ON inputs.id = input WHERE key = ?"
        )
        rows = self._find(query, key)
        if not rows:
            raise KeyError(key)
        with self._naming(f"the request {key}"):
            return ResolvedRequest.of(*map(json.loads, rows[0]))

    def completion(self, request: str, fingerprint: str, repeat: int) -> Completion:
        """One completion with all its arrays. Raises KeyError when it is not stored."""
        if not is_key(request, fingerprint, repeat):
            raise KeyError((request, fingerprint, repeat))
        with self._lock, self._errors():
            cursor = self._db.execute(
                "SELECT completions.*, arrays.*, prompts.token_ids AS prompt_token_ids, model "
                "FROM completions LEFT JOIN arrays ON arrays.completion = number "
                "LEFT JOIN prompts ON prompts.id = prompt JOIN fingerprints ON fingerprints.id = fingerprint "
                "WHERE request = ? AND fingerprint = ? AND repeat = ? ORDER BY choice",
                (request, fingerprint, repeat),
            )
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
        if not rows:
            raise KeyError((request, fingerprint, repeat))
        with self._naming(f"the completion of request {request}, repeat {repeat}, on {fingerprint}"):
            return self._completion(rows, self.request(request), fingerprint)

    def _completion(
        self, rows: Sequence[Mapping[str, Any]], stored_request: ResolvedRequest, fingerprint: str
    ) -> Completion:
        choices = [self._choice(row, stored_request, fingerprint) for row in rows]
        first = next(row for row in rows if row["choice"] != PROMPT)
        completion_tokens = sum_tokens(row["completion_tokens"] for row in rows)
        return Completion(
            request=stored_request,
            choices=tuple(c for c in choices if c.index != PROMPT),
            prompt=next((c for c in choices if c.index == PROMPT), None),
            notes=json.loads(first["notes"] or "{}"),
            usage=Usage(first["prompt_tokens"], completion_tokens, first["cached_tokens"]),
            model=first["model"],
            system_fingerprint=fingerprint,
            fingerprint=self.fingerprint(fingerprint),
            id=first["id"],
            created=first["created"],
            seconds=first["seconds"],
            first_token_seconds=first["first_token_seconds"],
            queued_seconds=first["queued_seconds"],
            prompt_token_ids=np.frombuffer(first["prompt_token_ids"] or b"", np.int32),
            position=first["position"],
        )

    def _choice(self, row: Mapping[str, Any], request: ResolvedRequest, fingerprint: str) -> Choice:
        mode = self.fingerprint(fingerprint).components.get("logprobs_mode")
        return Choice(
            index=row["choice"],
            text=row["text"],
            finish_reason=row["finish_reason"],
            stop_reason=json.loads(row["stop_reason"] or "null"),
            tool_calls=tuple(ToolCall(**call) for call in json.loads(row["tool_calls"] or "[]")),
            logprobs_mode=mode_of_prompt(mode) if row["choice"] == PROMPT else request.logprobs_mode(mode),
            prefix_tokens=prefix_tokens(row, request),
            # None in a store that was made from an export: then the choice raises the usual error.
            vocabulary=(lambda: self.vocabulary(fingerprint)) if self._has_vocabulary(fingerprint) else None,
            **unpack_arrays(row[name] for name in ARRAYS),
        )

    def arrays(self, requests: Sequence[str]) -> dict[tuple[str, str, int, int], dict[str, Any]]:
        """(request, fingerprint, repeat, choice) → the arrays of each choice of some requests (see `ARRAYS`), without
        the objects around them: thousands in a second."""
        query = (
            f"SELECT request, fingerprint, repeat, choice, {', '.join(f'arrays.{name}' for name in ARRAYS)} "
            "FROM completions JOIN arrays ON arrays.completion = number "
            "WHERE choice >= 0 AND request IN (SELECT value FROM json_each(?))"
        )
        rows = self._fetch_all(query, _json_texts("requests", requests))
        return {
            (request, fingerprint, repeat, choice): unpack_arrays(blobs)
            for request, fingerprint, repeat, choice, *blobs in rows
        }

    def vocabulary(self, fingerprint: str) -> Vocabulary:
        """The bytes of every token ID of a fingerprint's tokenizer. Raises KeyError when not stored."""
        tokenizer = tokenizer_name(self.fingerprint(fingerprint))
        if tokenizer not in self._vocabularies:
            rows = self._fetch_all("SELECT body FROM vocabularies WHERE tokenizer = ?", tokenizer)
            if not rows:
                raise KeyError(tokenizer)
            with self._naming(f"the vocabulary {tokenizer}"):
                self._vocabularies[tokenizer] = unpack_vocabulary(rows[0][0])
        return self._vocabularies[tokenizer]

    @contextlib.contextmanager
    def _naming(self, part: str) -> Iterator[None]:
        """Says what it is that cannot be read."""
        try:
            yield
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            StopIteration,
            zlib.error,
            struct.error,
        ) as error:
            raise StoreError(
                f"{part} cannot be read from {self.path} ({type(error).__name__}: {error}): the file is damaged; put "
                "a backup in its place, or run its sweep again into another store"
            ) from error

    def _has_vocabulary(self, fingerprint: str) -> bool:
        tokenizer = tokenizer_name(self.fingerprint(fingerprint))
        query = "SELECT 1 FROM vocabularies WHERE tokenizer = ?"
        return tokenizer in self._vocabularies or bool(self._fetch_all(query, tokenizer))


def _json_texts(name: str, values: Iterable[str]) -> str:
    """Keys as a JSON list. Raises TypeError for what is no text."""
    return dump_json(
        [instance_of(str, f"{name}[{i}]", v, "a key") for i, v in enumerate(limited_list(name, values))]
    )
