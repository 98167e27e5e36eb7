"""The rows of a store as a data frame."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.jsonable import data_value
from toolkit._internal.missing import is_missing
from toolkit._internal.text import is_valid_unicode, plural
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.sampling import FIELDS
from toolkit.errors import StoreError
from toolkit.prompts.messages import plain_text
from toolkit.prompts.selectors import FEW_SHOT_AXES
from toolkit.results.dtypes import exact_column, narrowed, repeated_column
from toolkit.results.standard_json import dump_standard, load_standard
from toolkit.store.rows import PLACE
from toolkit.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.display.tables import Table


LABELS = ("prompt", "case", "row", *FEW_SHOT_AXES, "response_format", "rung")
AXES = ("sweep", *LABELS, *FIELDS, "model", "system_fingerprint", "repeat", "choice")
"""Columns that identify the request and the system; the variables of a row of data are `row.<name>`."""
RUN_NAME = "run_name"
"""Column with the name of each row's run, in a table of several (see `combine`)."""
_NAMES_OF = {"repeat": (RUN_NAME,), "sweep": (RUN_NAME, "prompt"), "system_fingerprint": (RUN_NAME, "model")}
"""Column with a hash or a bare number → those that may have a name for each of its values."""
OUTCOMES = (
    "text", "finish_reason", "error", "stop_reason", "prompt_tokens", "completion_tokens", "cached_tokens",
    "seconds", "first_token_seconds",
)  # fmt: skip
"""Columns with the outcome. `seconds` is the time from arrival to the last token, with waiting in the batch."""
PARTS_OF_SECONDS = ("queued_seconds", "decode_seconds")
"""Columns with parts of `seconds`: before a request was first computed, and from its first token to its last."""
PROMPT_COLUMNS = ("examples", "dropped")
"""Columns on the rendered prompt: ids of its few-shot examples in order, and what did not fit."""
GRADES = ("grade.thumb", "grade.score", "grade.note")
"""Columns with people's grades (see `Grade`); missing from a table without any grade."""
_SPELT_OUT = re.compile(r"\\ud[89a-f][0-9a-f]{2}")
"""Half of a surrogate pair as Python spells it."""
_KEYS = ("request", "run", "position", "created")
_COLUMNS_BY_DTYPE = {
    "str": (
        "run_name", "sweep", "prompt", "case", "selector", "response_format", "rung", "model", "system_fingerprint",
        "text", "finish_reason", "error", "dropped", "grade.note", "request",
    ),
    "Int64": (
        "row", "k", "order_seed", "seed", "n", "max_tokens", "top_logprobs", "prompt_logprobs", "top_k",
        "min_tokens", "run", "position", "grade.thumb", "prompt_tokens", "completion_tokens", "cached_tokens",
    ),
    "int64": ("repeat", "choice"),
    "float64": (
        "temperature", "top_p", "frequency_penalty", "presence_penalty", "min_p", "repetition_penalty", "seconds",
        "queued_seconds", "decode_seconds", "first_token_seconds", "created", "grade.score",
    ),
    "boolean": ("logprobs", "ignore_eos", "include_stop_str_in_output", "skip_special_tokens"),
    "object": (
        "stop", "logit_bias", "stop_token_ids", "bad_words", "allowed_token_ids", "stop_reason", "examples",
    ),
}  # fmt: skip
DTYPES = {name: dtype for dtype, names in _COLUMNS_BY_DTYPE.items() for name in names}
"""Column → its dtype, unless a value needs another one (see `exact_column`). The variables of rows have the dtypes of
their values."""


def completions_table(store: Store, sweep: str | None, fingerprint: Fingerprint | str | None) -> pd.DataFrame:
    names, rows = store.cell_rows(sweep, fingerprint)
    columns: dict[str, Any] = dict(
        zip(names, zip(*rows, strict=True) if rows else ((),) * len(names), strict=True)
    )
    stop_reasons = {text: load_standard(text or "null") for text in set(columns["stop_reason"])}
    columns["stop_reason"] = [stop_reasons[text] for text in columns["stop_reason"]]
    joined = make_table(columns, store)
    joined["cell"] = columns["cell"]
    if fingerprint is not None and joined["system_fingerprint"].nunique() > 1:
        # Several systems have answered the same request: the answer of this one counts, else the first.
        own = store.ids_of_system(fingerprint)
        joined = joined.sort_values("created").sort_values(
            "system_fingerprint", key=lambda names: ~names.isin(own), kind="stable"
        )
        joined = joined.drop_duplicates(["sweep", "cell", "repeat", "choice"])
    # Sorted here, since SQLite takes three times as long.
    joined = joined.sort_values(
        ["sweep", "cell", "system_fingerprint", "repeat", "choice"], ignore_index=True
    )
    return joined.drop(columns="cell")


def make_table(columns: Mapping[str, Sequence[Any]], store: Store) -> pd.DataFrame:
    """The table of some choices, in their order: sweep, labels (JSON), request, system_fingerprint, repeat, choice,
    the outcomes, run, position and created of each. store: has their sweeps, requests and fingerprints."""
    import pandas as pd

    models = {
        name: store.fingerprint(name).components.get("model") for name in set(columns["system_fingerprint"])
    }
    joined: dict[str, Any] = {
        **_label_columns(columns["sweep"], columns["labels"], dict(store.sweeps())),
        **_sampling_columns(columns["request"], store.samplings()),
        "model": exact_column([models[name] for name in columns["system_fingerprint"]], "str"),
        **{
            name: exact_column(columns[name], DTYPES[name])
            for name in (*AXES, *OUTCOMES, *PARTS_OF_SECONDS, *_KEYS)
            if name in columns
        },
    }
    joined["decode_seconds"] = joined["seconds"] - joined["first_token_seconds"]
    missing = [None] * len(columns["request"])
    return pd.DataFrame(
        {
            name: joined[name] if name in joined else exact_column(missing, DTYPES[name])
            for name in ordered(joined)
        }
    )


def ordered(names: Iterable[str]) -> list[str]:
    """All columns of a table, those of rows of data among `names`, in their order."""
    names = list(names)
    variables = [name for name in names if name.startswith("row.")]
    run_name = [RUN_NAME] if RUN_NAME in names else []
    return [
        *run_name,
        *AXES[:4],
        *variables,
        *AXES[4:],
        *OUTCOMES,
        *PARTS_OF_SECONDS,
        *PROMPT_COLUMNS,
        *_KEYS,
    ]


def in_order_of_interest(table: pd.DataFrame, axes: Sequence[str]) -> list[str]:
    """The columns of a table: the axes, the outcomes, then what is the same in all rows."""
    columns = list(map(str, table.columns))
    first = [*axes, *OUTCOMES, *(name for name in GRADES if name in columns), *PARTS_OF_SECONDS]
    return [*first, *(name for name in columns if name not in first)]


def _label_columns(
    sweeps: Sequence[str], texts: Sequence[str], bodies: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Label → its column. Rows of a table are many, cells few: each cell's labels are read once."""
    cells = list(zip(sweeps, texts, strict=True))
    places = {cell: i for i, cell in enumerate(dict.fromkeys(cells))}
    labels = [_labels(load_standard(text), bodies[sweep]) for sweep, text in places]
    if any(name in cell for cell in labels for name in FEW_SHOT_AXES):
        prompts = [_prompt(load_standard(text), bodies[sweep]) for sweep, text in places]
        labels = [cell | _few_shot(cell, prompt) for cell, prompt in zip(labels, prompts, strict=True)]
    rows = np.array([places[cell] for cell in cells], np.int64)
    names = dict.fromkeys(name for cell in labels for name in cell)
    return {
        name: repeated_column([cell.get(name) for cell in labels], rows, DTYPES.get(name, ""))
        for name in names
    }


def _sampling_columns(requests: Sequence[str], samplings: Mapping[str, str]) -> dict[str, Any]:
    """Field of Sampling → its column. Requests are many, settings few: each is read once."""
    places: dict[str, int] = {}
    rows = np.array([places.setdefault(samplings[key], len(places)) for key in requests], np.int64)
    settings = [json.loads(text) for text in places]
    return {
        name: repeated_column([hashable(setting.get(name)) for setting in settings], rows, DTYPES[name])
        for name in FIELDS
    }


def readable_table(store: Store, sweep: str | None, fingerprint: Fingerprint | str | None) -> pd.DataFrame:
    """The table of `completions_table`; of a damaged store, of what can be read in it."""
    try:
        return completions_table(store, sweep, fingerprint)
    except (KeyError, ValueError, StoreError):
        if not store.find_damage():
            raise
        return completions_table(store, sweep, fingerprint)


def with_grades(table: pd.DataFrame, store: Store) -> pd.DataFrame:
    """The table with the grades of a store; without these columns when no row has a grade."""
    grades = store.grades()
    places = zip(*(table[name] for name in PLACE), strict=True)
    row_grades = [grades.get(place) for place in places]
    ungraded = table.drop(columns=[name for name in GRADES if name in table])
    if not any(row_grades):
        return ungraded
    fields = [(None, None, None) if g is None else (g.thumb, g.score, g.note or None) for g in row_grades]
    columns = zip(GRADES, zip(*fields, strict=True), strict=True)
    return ungraded.assign(**{name: exact_column(values, DTYPES[name]).array for name, values in columns})


def _labels(labels: dict[str, Any], sweep: Mapping[str, Any]) -> dict[str, Any]:
    """Labels as columns: the number of a prompt or a row of data becomes its text or its variables."""
    if "row" in labels and sweep.get("rows"):
        labels |= {_variable(name): value for name, value in sweep["rows"][labels["row"]].items()}
    prompts = sweep.get("prompts", ())
    if len(prompts) == 1 and isinstance(prompts[0], Mapping) and prompts[0].get("name"):
        labels.setdefault("prompt", 0)
    if isinstance(number := labels.get("prompt"), int):
        names = [_prompt_name(prompt) for prompt in prompts]
        ambiguous = names.count(names[number]) > 1
        labels["prompt"] = f"{names[number]} [{number}]" if ambiguous else names[number]
    if isinstance(dropped := labels.get("dropped"), dict):
        labels["dropped"] = ", ".join(f"{n} {name}" for name, n in dropped.items())
    return {name: hashable(value) for name, value in labels.items()}


def _prompt(labels: Mapping[str, Any], sweep: Mapping[str, Any]) -> Any:
    """The prompt of a cell, as the store keeps it; None where it is not known."""
    prompts, number = sweep.get("prompts") or [None], labels.get("prompt", 0)
    is_scored = "label" in labels  # by `classify`, which keeps the template alone
    return prompts[number] if isinstance(number, int) and not is_scored else None


def _few_shot(labels: Mapping[str, Any], prompt: Any) -> dict[str, Any]:
    """How many examples a cell's prompt has, and what selected them, where that is known: 0 and "none" without
    examples, so that tables grouped by these axes keep the zero-shot baseline."""
    examples = labels.get("examples", () if isinstance(prompt, (str, Mapping)) else None)
    k = labels.get("k", None if examples is None else len(examples))
    selector = prompt.get("selector") if isinstance(prompt, Mapping) else None
    selector = "none" if k == 0 else labels.get("selector", selector)
    return {name: value for name, value in (("k", k), ("selector", selector)) if value is not None}


def _variable(name: str) -> str:
    """The column of a variable; a lone surrogate, which no name of a column may have, is spelt out. In a name that
    has such a spelling itself, backslashes are doubled: each variable has a column of its own."""
    if is_valid_unicode(name):
        return "row." + (name.replace("\\", "\\\\") if _SPELT_OUT.search(name) else name)
    return f"row.{ascii(name)[1:-1]}"


def _prompt_name(prompt: str | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """The name of a prompt in a table: its name, its template, or the last message's text."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, Mapping):
        return str(prompt.get("name") or prompt["template"])
    return plain_text(prompt[-1])


def hashable(value: Any) -> Any:
    """A value that a column can be grouped by: lists as tuples, dicts as JSON."""
    if isinstance(value, dict):
        return dump_standard(value)
    return tuple(map(hashable, value)) if isinstance(value, (list, tuple)) else value


def narrowed_table(table: pd.DataFrame) -> pd.DataFrame:
    """A copy of some rows of a table, with the dtypes that their values need: see `narrowed`."""
    columns = {name: narrowed(table[name], DTYPES.get(name, "")) for name in map(str, table.columns)}
    return table.assign(**columns)


def equals(column: pd.Series[Any], value: Any) -> npt.NDArray[np.bool_]:
    """(N,) whether a column has a value, or any value of a list: None for a missing one."""
    import pandas as pd

    if isinstance(value, range):  # which may be long
        return np.array([_is_in(item, value) for item in column.tolist()], bool)
    several = isinstance(value, (list, tuple, set, frozenset, np.ndarray, pd.Series, pd.Index))
    values = list(_column_values(value if several else [value]))
    if (
        getattr(column.dtype, "storage", "python") != "python"
    ):  # Arrow's: only texts, without halves of surrogate pairs
        values = [v for v in values if is_missing(v) or (isinstance(v, str) and is_valid_unicode(v))]
    equal = column.isin([item for item in values if not is_missing(item)])
    return (equal | column.isna() if any(map(is_missing, values)) else equal).to_numpy(bool)


def _column_values(values: Iterable[Any]) -> Iterator[Any]:
    """Values as columns hold them; without those that are no data, which are in no column."""
    for value in values:
        with contextlib.suppress(TypeError, ValueError):
            yield hashable(data_value(value))


def _is_in(value: Any, numbers: range) -> bool:
    """Whether a value is one of some whole numbers. Python would list them to look for what is no int."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and value // 1 == value
    return is_number and int(value) in numbers


def summary(table: pd.DataFrame, names: list[str]) -> Table:
    """A row for each combination of the values of some columns: see `Results.summary`."""
    reasons = table["finish_reason"]
    failed = reasons == "error"  # without a text, and of none or unknown tokens
    answers = {name: table[name].mask(failed) for name in ("text", "completion_tokens")}
    cut = (reasons == "length").astype(np.float64).mask(failed)
    table = table.assign(**answers, cut=cut, failed=failed)
    groups = table.groupby(names, dropna=False) if names else table.groupby(lambda _: "all")
    from toolkit.display.tables import Table

    rows = groups.agg(
        completions=("text", "size"),
        distinct=("text", "nunique"),
        mean_tokens=("completion_tokens", "mean"),
        cut_share=("cut", "mean"),
        failed=("failed", "sum"),
    )
    return Table(rows.astype({"mean_tokens": np.float64}))  # NaN where none is known


def counts_text(table: pd.DataFrame) -> str:
    """The numbers of rows and of tokens, and of rows that were cut or failed, in words."""
    tokens = table["completion_tokens"]
    unknown_rows = int(tokens.isna().sum())
    note = f" without those of {plural(unknown_rows, 'row')}, which are unknown" if unknown_rows else ""
    cut, failed = (int((table["finish_reason"] == reason).sum()) for reason in ("length", "error"))
    parts = [f"{len(table)} rows", f"{int(tokens.sum()):,} completion tokens{note}"]
    parts += [f"{cut} cut at max_tokens"] if cut else []
    parts += [f"{failed} failed"] if failed else []
    return ", ".join(parts)


def varies(column: pd.Series[Any]) -> bool:
    return bool(column.nunique(dropna=False) > 1)


def without_explained(axes: list[str], table: pd.DataFrame) -> list[str]:
    """The axes without the hash of a sweep or a system, and the number of a repeat, where another of them has a name
    for each."""
    explained = [
        hash_
        for hash_, names in _NAMES_OF.items()
        if hash_ in axes and any(name in axes and _determines(table, name, hash_) for name in names)
    ]
    return [name for name in axes if name not in explained]


def _determines(table: pd.DataFrame, name: str, other: str) -> bool:
    """Whether rows with one value of a column have one of another; not where the former is missing."""
    pairs = table[[name, other]].drop_duplicates()
    return len(pairs) == pairs[name].nunique()
