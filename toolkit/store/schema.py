"""The tables of a store, and the migrations from each older format to the next.

inputs        hash → messages or prompt                       (each text once, for all settings)
requests      key → input, sampling parameters, response format
fingerprints  id → record of the engine
vocabularies  tokenizer hash → bytes of each token ID
prompts       hash → token IDs of the rendered prompt
runs          start time, fingerprint, duration, and energy of the device
took          the fingerprints that took part in a run: one, or several of a server that changes
completions   one row a choice, with the key (request, fingerprint, repeat, choice); choice −1 is the prompt
failures      every failed attempt
sweeps, cells the requests of a sweep, and the labels of each
grades        people's grades of choices; the last of each choice counts
"""

from __future__ import annotations

from toolkit.store.queries import COMPLETION_COLUMNS

APPLICATION_ID = 0x746B6974
"""SQLite's application_id of our files: "tkit"."""
FORMAT_VERSION = 7
"""SQLite's user_version: the format written here."""
_GRADES = (
    "CREATE TABLE grades (number INTEGER PRIMARY KEY, request TEXT NOT NULL, fingerprint TEXT NOT NULL, "
    "repeat INTEGER NOT NULL, choice INTEGER NOT NULL, thumb INTEGER, score REAL, note TEXT NOT NULL, "
    "created REAL NOT NULL)",
    "CREATE INDEX grades_by_choice ON grades (request, fingerprint, repeat, choice)",
)
_COMPLETIONS = """CREATE TABLE {name} (
    number INTEGER PRIMARY KEY,
    request TEXT NOT NULL, fingerprint TEXT NOT NULL, repeat INTEGER NOT NULL, choice INTEGER NOT NULL,
    id TEXT NOT NULL, run INTEGER, position INTEGER, created REAL NOT NULL,
    seconds REAL, first_token_seconds REAL,
    prompt_tokens INTEGER, completion_tokens INTEGER, cached_tokens INTEGER,
    finish_reason TEXT NOT NULL, stop_reason TEXT, text TEXT NOT NULL, prompt TEXT, notes TEXT,
    tool_calls TEXT,
    UNIQUE (request, fingerprint, repeat, choice))"""
"""Numbers of tokens are NULL where a server does not report them."""
_NULLABLE_TOKENS = (
    _COMPLETIONS.format(name="completions_7"),
    f"INSERT INTO completions_7 (number, {COMPLETION_COLUMNS}) "
    f"SELECT number, {COMPLETION_COLUMNS} FROM completions",
    "DROP TABLE completions",
    "ALTER TABLE completions_7 RENAME TO completions",
)
"""SQLite can drop the NOT NULL of a column only with its table."""
_RUN_FINGERPRINTS = """CREATE TABLE took (
    run INTEGER NOT NULL, fingerprint TEXT NOT NULL, PRIMARY KEY (run, fingerprint)) WITHOUT ROWID"""
MIGRATIONS = {
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
        _RUN_FINGERPRINTS,
        "INSERT INTO took SELECT id, fingerprint FROM runs",
    ),
    5: _GRADES,
    6: _NULLABLE_TOKENS,
}
"""Older format → statements that upgrade it to the next."""
SCHEMA = f"""
CREATE TABLE inputs (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE requests (
    key TEXT PRIMARY KEY, input TEXT NOT NULL, sampling TEXT NOT NULL, response_format TEXT) WITHOUT ROWID;
CREATE TABLE fingerprints (id TEXT PRIMARY KEY, model TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE vocabularies (tokenizer TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE prompts (id TEXT PRIMARY KEY, token_ids BLOB NOT NULL);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, created REAL NOT NULL, fingerprint TEXT NOT NULL, sweep TEXT NOT NULL,
    seconds REAL, joules REAL);
{_RUN_FINGERPRINTS};
{_COMPLETIONS.format(name="completions")};
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
