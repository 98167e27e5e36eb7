"""Ladder: the same requests under one condition after another, to find the first that changes the answers."""

from __future__ import annotations

import html
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit import plots, report
from toolkit.agreement import bound, interval, percent
from toolkit.apart import apart
from toolkit.determinism import Determinism, determinism
from toolkit.engine import EngineError
from toolkit.engines.vllm import VLLMEngine
from toolkit.findings import drifted, many
from toolkit.messages import Message
from toolkit.prompt import Rendered
from toolkit.recorder import Recorder
from toolkit.request import Request, digest
from toolkit.results import Results
from toolkit.sampling import Whole
from toolkit.store import Cell, Store
from toolkit.sweep import Sweep
from toolkit.variant import Variant

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

STORE = "runs/ladder.db"
SIZES = (4, 16, 64)
_TRAFFIC = 8
"""Requests of a batch among other traffic, and as many others."""
Todo = list[tuple[Request, int]]
"""Requests with the repeats still to be asked."""


@dataclass(frozen=True)
class Rung:
    """A condition under which requests are asked."""

    name: str
    cause: str = ""
    """What is at work when this is the first that changes an answer."""
    size: int = 1
    """Requests that start together."""
    cold: bool = False
    """The prefix cache is emptied before each batch."""
    warm: bool = False
    """Every prompt is in the prefix cache."""
    shuffled: bool = False
    traffic: bool = False
    """Beside others, of all lengths."""
    sampled: bool = False
    """At temperature 1 without a seed: what must differ."""
    variant: Variant | None = None
    """In a process of its own."""


def determinism_ladder(
    engine: VLLMEngine,
    requests: Sweep | Sequence[Request | str | Rendered | Sequence[Message]],
    n: int = 20,
    *,
    sizes: Sequence[int] = SIZES,
    variants: Sequence[Variant] | None = None,
    store: str | Path = STORE,
    **sampling: Any,
) -> Ladder:
    """Asks the same requests n times under each of many conditions, each of which adds one thing that may change an
    answer: alone (with an empty prefix cache), from the prefix cache, in batches of several sizes, in another order,
    among other traffic, after a restart, and on variants of the engine (other threads, dtype, eager or compiled,
    batch-invariant kernels where the hardware has them). Requests sampled without a seed are the negative control,
    the repeats alone the positive one.

    requests: a sweep, or texts, messages or requests. variants: instead of those that come from the engine (an empty
    list for none). sampling: for texts and messages; temperature 0, 32 tokens and top_logprobs 5 when left out. Every
    answer is stored, and the same call goes on where it was interrupted. On a GPU the engine is closed before the
    variants run; a variant that does not start is noted, not raised.

    Raises ValueError for requests that no engine could repeat.

    >>> tk.determinism_ladder(engine, ["Write a haiku."], n=5)  # doctest: +SKIP
    """
    Whole(2, None, "runs of each request under each condition")("n", n)
    asked = _requests(engine, requests, sampling)
    path = str(Path(store).expanduser().resolve())
    others, notes = _variants(engine, variants)
    rungs = [*_rungs(engine, sizes), *others]
    base = engine.fingerprint.id
    plans = {rung.name: _plan(rung, asked, n, base) for rung in rungs}
    climbed = []
    for number, group in enumerate(_groups(rungs), 1):
        what = [(rung, *plans[rung.name]) for rung in group]
        variant = group[0].variant
        try:
            if variant is None:
                _climb(engine, what, path)
            else:
                print(f"{group[0].name} ({number - 1} of {len(others)} in a process of its own)")
                apart(variant, _climb, what, path)
        except EngineError as error:
            if variant is None:
                raise
            notes.append(f"{group[0].name} could not run: {str(error).splitlines()[0]}")
            continue
        climbed += group
    names = [rung.name for rung in climbed]
    return Ladder(
        _report(Store(path), [plans[name][0] for name in names], names), tuple(climbed), tuple(notes)
    )


def _requests(engine: VLLMEngine, given: Any, sampling: dict[str, Any]) -> list[Request]:
    if isinstance(given, Sweep):
        found = [request for request, _ in given.requests(engine.defaults)]
    elif isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise TypeError(f"requests must be a sweep, or a list of texts, messages or requests, got {given!r}")
    else:
        options = {"temperature": 0, "max_tokens": 32, "top_logprobs": 5, **sampling}
        found = [r if isinstance(r, Request) else Request.chat(r, **options) for r in given]
        found = [request.resolve(engine.defaults) for request in found]
    unique = list({request.key: request for request in found}.values())
    for number, request in enumerate(unique):
        if request.sampling.temperature != 0 and request.sampling.seed is None:
            raise ValueError(
                f"request {number} is sampled without a seed, which no engine could repeat: set seed=, or "
                "temperature=0"
            )
    return unique


def _rungs(engine: VLLMEngine, sizes: Sequence[int]) -> list[Rung]:
    """The conditions on one engine, the gentlest first."""
    for size in sizes:
        Whole(2, None, "requests of a batch")("sizes", size)
    batches = [
        Rung(
            f"batch of {size}", "how many requests are computed together: kernels add in another order", size
        )
        for size in sorted(sizes)
    ]
    most = max(sizes, default=_TRAFFIC)
    cached = engine.fingerprint.components["prefix_caching"]
    warm = [Rung("from the prefix cache", "the prefix cache: fewer tokens are computed together", warm=True)]
    return [
        Rung(
            "alone", "chance, or something that is not controlled: even the same condition differs", cold=True
        ),
        *(warm if cached else []),
        *batches,
        Rung(f"batch of {most}, shuffled", "the place in a batch", most, shuffled=True),
        Rung("among other traffic", "which other requests are computed together", _TRAFFIC, traffic=True),
        Rung("sampled without a seed", size=most, sampled=True),
    ]


def _variants(engine: VLLMEngine, given: Sequence[Variant] | None) -> tuple[list[Rung], list[str]]:
    """The conditions that need a process of their own, and what cannot be tried here."""
    base = Variant.of(engine)
    restart = Rung(
        "after a restart",
        "the process: something that is drawn or measured at its start",
        cold=True,
        variant=base,
    )
    if given is not None:
        return [restart, *(_rung(Variant.of(variant)) for variant in given)], []
    found = engine.fingerprint.components
    dtypes = {"float32": "bfloat16", "bfloat16": "float32", "float16": "float32"}
    made = [base.with_(f"dtype={(other := dtypes[found['dtype']])}", dtype=other)]
    eager = not found["enforce_eager"]
    made.append(base.with_("eager" if eager else "compiled", enforce_eager=eager))
    if found["device"]["kind"] == "cuda":
        made.append(base.with_("batch-invariant", env={"VLLM_BATCH_INVARIANT": "1"}))
        return [restart, *map(_rung, made)], []
    threads = found["device"]["threads"]
    made.insert(0, base.with_(f"threads={1 if threads > 1 else 2}", threads=1 if threads > 1 else 2))
    note = "batch-invariant could not be tried: on a CPU VLLM_BATCH_INVARIANT=1 crashes vLLM while it loads"
    return [restart, *map(_rung, made)], [note]


def _rung(variant: Variant) -> Rung:
    return Rung(
        variant.name,
        f"{variant.name}: the requests are the same, the engine is not",
        cold=True,
        variant=variant,
    )


def _groups(rungs: Sequence[Rung]) -> list[list[Rung]]:
    """Those that one engine does after another."""
    return [[r for r in rungs if r.variant is None], *([r] for r in rungs if r.variant is not None)]


def _plan(rung: Rung, asked: list[Request], n: int, base: str) -> tuple[str, list[Request], int]:
    """The id of the rung's own sweep, its requests, and how often each is asked."""
    if rung.sampled:
        asked = [replace(r, sampling=replace(r.sampling, temperature=1.0, seed=None)) for r in asked]
    variant = rung.variant and [
        rung.variant.model,
        repr(sorted(rung.variant.arguments.items())),
        rung.variant.threads,
        dict(rung.variant.env),
    ]
    return (
        digest(["ladder", rung.name, rung.size, variant, base, n, [r.key for r in asked]], size=5),
        asked,
        n,
    )


def _climb(engine: VLLMEngine, what: list[tuple[Rung, str, list[Request], int]], path: str) -> None:
    """Asks what is missing of some rungs of one engine."""
    with Store(path) as store:
        todo, total = [], 0
        stored = store.stored(engine.fingerprint.id)
        for rung, sweep, requests, n in what:
            cells = [
                Cell(request.key, n, {"rung": rung.name, "row": i}) for i, request in enumerate(requests)
            ]
            cells = store.define_apart(sweep, {"prompts": [], "rows": []}, requests, cells)
            missing = [
                (request, cell.first + run)
                for run in range(n)
                for request, cell in zip(requests, cells, strict=True)
                if cell.first + run not in stored.get(request.key, ())
            ]
            total += n * len(requests)
            todo.append((rung, sweep, missing))
        left = sum(len(missing) for _, _, missing in todo)
        if not left:
            return
        engine.start()
        done = total - left
        for rung, sweep, missing in todo:
            if missing:
                run = store.begin(sweep, engine.fingerprint, engine.vocabulary)
                with Recorder(store, run, engine, total, done) as recorder:
                    _ask(engine, rung, missing, recorder)
                done += len(missing)


def _ask(engine: VLLMEngine, rung: Rung, missing: Todo, recorder: Recorder) -> None:
    draw = random.Random(rung.name)
    if rung.warm:
        primers = {
            request.key: replace(request, sampling=replace(request.sampling, max_tokens=1))
            for request, _ in missing
        }
        for primer in primers.values():
            list(engine.together([primer]))
    for batch in _batches(rung, missing, draw):
        if rung.cold:
            engine.forget()
        ours = [request for request, _ in batch]
        answers = engine.together(_among(ours, draw) if rung.traffic else ours)
        keys = {request.key for request in ours}  # what others are answered is not looked at
        for _ in recorder.record((c for c in answers if c.request.key in keys), batch):
            pass  # each is on its way to the store


def _batches(rung: Rung, missing: Todo, draw: random.Random) -> Iterator[Todo]:
    ordered = draw.sample(missing, len(missing)) if rung.shuffled else missing
    return (ordered[i : i + rung.size] for i in range(0, len(ordered), rung.size))


def _among(requests: list[Request], draw: random.Random) -> list[Request]:
    """The requests with as many others between them: of other texts and lengths, sampled."""
    others = []
    for _ in requests:
        text = " ".join(str(draw.randrange(10**6)) for _ in range(draw.randint(1, 60)))
        most = max(r.sampling.max_tokens or 1 for r in requests)
        others.append(
            Request.chat(text, temperature=1.0, max_tokens=draw.randint(1, most), seed=draw.randrange(2**31))
        )
    mixed = [*requests, *others]
    draw.shuffle(mixed)
    return mixed


def _report(store: Store, sweeps: list[str], names: list[str]) -> Determinism:
    results = Results.of(store).filter(sweep=sweeps)
    table = results._table
    order = table["rung"].map({name: place for place, name in enumerate(names)})
    table = table.assign(_order=order).sort_values("_order", kind="stable", ignore_index=True)
    fingerprints = table.groupby("rung")["system_fingerprint"].first()

    def difference(a: str, b: str) -> str:
        one, other = (store.fingerprint(fingerprints[rung]) for rung in (a, b))
        return "" if one == other else str(one.diff(other))

    return determinism(table, store, across="rung", difference=difference)


@dataclass(frozen=True, eq=False)
class Ladder:
    """What each condition did to the answers. Made by `determinism_ladder`."""

    report: Determinism
    """The same answers as a report across rungs: forks, survival, drift, every number."""
    rungs: tuple[Rung, ...]
    notes: tuple[str, ...]
    """What could not be tried."""

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each rung: system_fingerprint, requests, runs; unique (the most different answers of one
        request); changed (requests of which some run is not what is answered alone), differ (such runs) with low and
        high (95 % interval of their share) and bound (at 95 % no more than this share of such runs differs); fork
        (the first step at which one differs), margin (median, alone, at those steps) and drift (the largest
        difference of a log probability before). Requests that are sampled without a seed are compared with each
        other."""
        import pandas as pd

        rows = {rung.name: self._row(number, rung) for number, rung in enumerate(self.rungs)}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("rung")

    def _row(self, number: int, rung: Rung) -> dict[str, Any]:
        own = [r for r in self.report.runs if r.counts[number].any()]
        steps, margins, drifts, differ = list[float](), list[float](), list[float](), list[int]()
        for r in own:
            alone = int(r.modes[0 if r.counts[0].any() else number])
            here = np.flatnonzero(r.system == number)
            others = here[r.output[here] != r.output[alone]]
            parted = r.fork[r.output[alone], r.output[others]].tolist()
            compared = r.compared(here, np.full(len(here), alone))
            differ.append(len(others))
            steps += parted
            margins += [r.margin(alone, step) for step in parted]
            drifts.append(float("nan") if compared is None else compared.largest_drift)
        runs = sum(int(r.counts[number].sum()) for r in own)
        low, high = interval(sum(differ), runs)
        rows = self.report.table
        return {
            "system_fingerprint": rows.loc[rows["rung"] == rung.name, "system_fingerprint"].iloc[0],
            "requests": len(own),
            "runs": runs,
            "unique": max(int((r.counts[number] > 0).sum()) for r in own),
            "changed": sum(count > 0 for count in differ),
            "differ": sum(differ),
            "low": float(low),
            "high": float(high),
            # Against itself a condition has one run less of each request to show a difference.
            "bound": bound(sum(differ), runs - (len(own) if rung.sampled or not number else 0)),
            "fork": min(steps, default=np.nan),
            "margin": np.median(margins) if margins else np.nan,
            "drift": max(drifts),
        }

    @property
    def first(self) -> Rung | None:
        """The first condition that changed an answer; None when none did."""
        names = [r for r in self.rungs if not r.sampled and self.table.at[r.name, "changed"]]
        return names[0] if names else None

    def sentences(self) -> list[str]:
        """What was found, in plain words."""
        rows = zip(self.rungs, self.table.iterrows(), strict=True)
        return [self._cause(), *(self._said(rung, row) for rung, (_, row) in rows), *self.notes]

    def _cause(self) -> str:
        if self.first is None:
            worst = self.table[[not r.sampled for r in self.rungs]]["bound"].max()
            return (
                "No condition changed an answer; at 95 % confidence none changes more than "
                f"{percent(worst)} of such runs (3/N)."
            )
        return (
            f"The first condition that changes an answer is {self.first.name!r}. At work: {self.first.cause}."
        )

    def _said(self, rung: Rung, row: pd.Series[Any]) -> str:
        runs = f"{many(row['requests'], 'request')}, {many(row['runs'], 'run')}"
        if rung.sampled:
            kept = "as they must" if row["changed"] else "though they must: nothing here tells answers apart"
            several = f"{many(row['changed'], 'request')} gave several answers"
            return f"{rung.name} (negative control), {runs}: {several}, {kept}."
        drift = drifted(row["drift"], "; ", "; the same log probabilities")
        if not row["changed"]:
            most = percent(row["bound"])
            return (
                f"{rung.name}, {runs}: all as alone{drift}. At 95 % confidence less than {most} differ (3/N)."
            )
        margin = "" if np.isnan(row["margin"]) else f", median margin there {row['margin']:.2g} nats"
        return (
            f"{rung.name}, {runs}: {many(row['changed'], 'request')} and {many(row['differ'], 'run')} differ from "
            f"the answer alone, first at token {int(row['fork'])}{margin}{drift}; up to {row['unique']} different "
            "answers to one request."
        )

    def frame(self) -> pd.DataFrame:
        return self.table.copy()

    def plot(self) -> Figure:
        """Runs that differ from the answer alone, and the largest drift, by rung (see `plots.ladder`)."""
        return plots.ladder(self.table)

    def __repr__(self) -> str:
        return "\n".join(self.sentences())

    def _repr_html_(self) -> str:
        cause, *rest = (html.escape(s) for s in self.sentences())
        notes = "".join(f"<li>{s}</li>" for s in rest[len(self.rungs) :])
        shown = self.table.reset_index()
        return f"<div><p><b>{cause}</b></p>{report.table(report.short(shown))}<ul>{notes}</ul></div>"
