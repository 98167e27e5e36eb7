"""The tables of a store, and what each format has more than the one before it.

inputs        hash → messages or prompt                       (each text once, for all settings)
requests      key → input, sampling parameters, response format
fingerprints  id → record of the engine
vocabularies  tokenizer hash → bytes of each token ID
prompts       hash → token IDs of the rendered prompt
runs          start time, fingerprint, duration, and energy of the device; owner and heartbeat while it goes on
took          the fingerprints that took part in a run: one, or several of a server that changes
completions   one row a choice, with the key (request, fingerprint, repeat, choice); choice −1 is the prompt
leases        the (request, repeat) pairs that a run has taken and not stored: while it goes on no other run asks
              them, and once it has ended it is not known what they have spent
failures      every failed attempt, and completions of what another run had stored meanwhile
sweeps, cells the requests of a sweep, and the labels of each
grades        people's grades of choices; the last of each choice counts
"""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.store.queries import COMPLETION_COLUMNS

APPLICATION_ID = 0x746B6974
"""SQLite's application_id of our files: "tkit"."""
FORMAT_VERSION = 8
"""SQLite's user_version: the format written here."""
RUNNING = 1000
"""Added to user_version while a run writes: what it stores is beside the file, in its write-ahead log. It is in the
first page, so that a copy of the file alone shows it."""
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
    tool_calls TEXT,{more}
    UNIQUE (request, fingerprint, repeat, choice))"""
"""Numbers of tokens are NULL where a server does not report them, and times where they are not known."""
_COLUMNS_7 = COMPLETION_COLUMNS.removesuffix(", queued_seconds")  # those of format 7
_RUN_FINGERPRINTS = """CREATE TABLE took (
    run INTEGER NOT NULL, fingerprint TEXT NOT NULL, PRIMARY KEY (run, fingerprint)) WITHOUT ROWID"""
_LEASES = """CREATE TABLE leases (
    request TEXT NOT NULL, repeat INTEGER NOT NULL, run INTEGER NOT NULL,
    PRIMARY KEY (request, repeat, run)) WITHOUT ROWID"""


@dataclass(frozen=True)
class Migration:
    """What a format has more than the one before it."""

    columns: tuple[tuple[str, str, str], ...] = ()
    """(table, column, type with its default) of the new columns of older tables."""
    statements: tuple[str, ...] = ()
    """Make and fill the new tables."""
    constraints: tuple[str, ...] = ()
    """Change constraints of older tables, which concern writing alone."""

    def upgrade(self) -> tuple[str, ...]:
        """Statements that bring a file up to date."""
        added = (f"ALTER TABLE {table} ADD COLUMN {column} {kind}" for table, column, kind in self.columns)
        return (*added, *self.statements, *self.constraints)


MIGRATIONS = {
    1: Migration((("completions", "notes", "TEXT"),)),
    2: Migration((("completions", "tool_calls", "TEXT"), ("requests", "response_format", "TEXT"))),
    3: Migration(
        (
            ("failures", "prompt_tokens", "INTEGER"),
            ("failures", "completion_tokens", "INTEGER"),
            ("failures", "seconds", "REAL"),
            ("runs", "seconds", "REAL"),
            ("runs", "joules", "REAL"),
            ("cells", "first", "INTEGER NOT NULL DEFAULT 0"),
        )
    ),
    4: Migration(statements=(_RUN_FINGERPRINTS, "INSERT INTO took SELECT id, fingerprint FROM runs")),
    5: Migration(statements=_GRADES),
    6: Migration(
        (("runs", "owner", "TEXT"), ("runs", "heartbeat", "REAL")),
        (_LEASES,),
        (  # numbers of tokens may be unknown; SQLite can drop a NOT NULL only with its table
            _COMPLETIONS.format(name="completions_7", more=""),
            f"INSERT INTO completions_7 (number, {_COLUMNS_7}) SELECT number, {_COLUMNS_7} FROM completions",
            "DROP TABLE completions",
            "ALTER TABLE completions_7 RENAME TO completions",
        ),
    ),
    7: Migration((("completions", "queued_seconds", "REAL"),)),
}
"""Older format → what the next one has more."""


def views_of(version: int) -> list[str]:
    """Statements that show the tables of an older format as those of this one, for a connection that only reads:
    views with the columns that the file lacks, and temporary tables."""
    migrations = [MIGRATIONS[older] for older in range(version, FORMAT_VERSION)]
    columns: dict[str, list[str]] = {}
    for table, column, kind in (added for migration in migrations for added in migration.columns):
        default = kind.partition("DEFAULT ")[2] or "NULL"
        columns.setdefault(table, []).append(f"{default} AS {column}")
    views = [
        f"CREATE TEMP VIEW {table} AS SELECT *, {', '.join(added)} FROM main.{table}"
        for table, added in columns.items()
    ]
    statements = (statement for migration in migrations for statement in migration.statements)
    return views + [
        statement.replace("CREATE TABLE ", "CREATE TEMP TABLE ").replace(
            "CREATE INDEX ", "CREATE INDEX temp."
        )
        for statement in statements
    ]


SCHEMA = f"""
CREATE TABLE inputs (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE requests (
    key TEXT PRIMARY KEY, input TEXT NOT NULL, sampling TEXT NOT NULL, response_format TEXT) WITHOUT ROWID;
CREATE TABLE fingerprints (id TEXT PRIMARY KEY, model TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE vocabularies (tokenizer TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE prompts (id TEXT PRIMARY KEY, token_ids BLOB NOT NULL);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, created REAL NOT NULL, fingerprint TEXT NOT NULL, sweep TEXT NOT NULL,
    seconds REAL, joules REAL, owner TEXT, heartbeat REAL);
{_RUN_FINGERPRINTS};
{_LEASES};
{_COMPLETIONS.format(name="completions", more=" queued_seconds REAL,")};
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
