"""Ladder: runs the same requests under one condition after another, to find the first that changes the answers."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from toolkit._internal.files import user_path
from toolkit._internal.hashing import digest
from toolkit._internal.text import short_repr
from toolkit._internal.validation import Whole, limited_list
from toolkit.analysis.determinism.report import Determinism, determinism
from toolkit.core.completion import Completion
from toolkit.core.openai_names import standard_names
from toolkit.core.request import Request, ResolvedRequest
from toolkit.engines.base import as_engine
from toolkit.engines.subprocess import run_in_subprocess
from toolkit.engines.variant import Variant
from toolkit.engines.vllm.engine import VLLMEngine
from toolkit.errors import EngineError
from toolkit.experiments.ladder_report import Ladder, Rung
from toolkit.experiments.run import run
from toolkit.experiments.sweep import Sweep
from toolkit.experiments.workload import Workload, check_number
from toolkit.prompts.messages import Message
from toolkit.prompts.rendered import Rendered
from toolkit.results.results import Results
from toolkit.store.store import Store

_logger = logging.getLogger(__name__)

STORE = "runs/ladder.db"
SIZES = (4, 16, 64)
_TRAFFIC = 8
"""Requests of a batch among other traffic, and the number of other requests beside them."""


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
    """Runs the same requests n times under each of many conditions, each of which adds one thing that may change an
    answer: alone (with an empty prefix cache), from the prefix cache, in batches of several sizes, in another order,
    among other traffic, after a restart, and on variants of the engine (other threads, dtype, eager or compiled,
    batch-invariant kernels where the hardware has them). Requests sampled without a seed are the negative control,
    the repeats alone the positive one.

    requests: a sweep, or texts, messages or requests. variants: instead of those derived from the engine (an empty
    list for none). sampling: for texts and messages; temperature 0, 32 tokens and top_logprobs 5 when left out. Every
    answer is stored, and the same call resumes where it was interrupted. On a GPU the engine is closed before the
    variants run; a variant that does not start is noted, not raised.

    Raises ValueError for requests that no engine could repeat, and for two variants of one name.

    >>> tk.determinism_ladder(engine, ["Write a haiku."], n=5)  # doctest: +SKIP
    """
    Whole(2, None, "runs of each request under each condition")("n", n)
    base_requests = _requests(engine, requests, sampling)
    check_number(len(base_requests), n)
    path = str(user_path(store).resolve())
    variant_rungs, notes = _variants(engine, variants)
    rungs = [*_rungs(engine, sizes), *variant_rungs]
    _check_names(rungs)
    fingerprint = engine.fingerprint.id
    workloads = {rung.name: _workload(rung, base_requests, n, fingerprint) for rung in rungs}
    completed = _run_rungs(engine, _groups(rungs), workloads, path, notes)
    names = [rung.name for rung in completed]
    sweeps = [str(workloads[name].reserved_sweep) for name in names]
    return Ladder(_report(Store(path), sweeps, names), tuple(completed), tuple(notes))


def _check_names(rungs: Sequence[Rung]) -> None:
    names = [rung.name for rung in rungs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"two conditions are called {short_repr(name)}: give each variant a name of its own, with "
                "variant.with_(name)"
            )


def _run_rungs(
    engine: VLLMEngine,
    groups: list[list[Rung]],
    workloads: Mapping[str, Workload],
    path: str,
    notes: list[str],
) -> list[Rung]:
    """The rungs whose engine ran; the reasons why others did not are added to `notes`."""
    completed = []
    for number, group in enumerate(groups, 1):
        group_workloads = [(rung, workloads[rung.name]) for rung in group]
        variant = group[0].variant
        try:
            if variant is None:
                _run_workloads(engine, group_workloads, path)
            else:
                _logger.info(
                    "%s (%d of %d in a process of its own)", group[0].name, number - 1, len(groups) - 1
                )
                run_in_subprocess(variant, _run_workloads, group_workloads, path)
        except EngineError as error:
            if variant is None:
                raise
            notes.append(f"{group[0].name} could not run: {str(error).splitlines()[0]}")
            continue
        completed += group
    return completed


def _requests(engine: VLLMEngine, requests: Any, sampling: dict[str, Any]) -> list[ResolvedRequest]:
    as_engine(engine)
    if isinstance(requests, Sweep):
        resolved = [request for request, _ in requests.requests(engine.defaults)]
    elif isinstance(requests, str) or not isinstance(requests, Sequence) or not requests:
        raise TypeError(
            f"requests must be a sweep, or a list of texts, messages or requests, got {short_repr(requests)}"
        )
    else:
        options = {"temperature": 0, "max_tokens": 32, "top_logprobs": 5, **standard_names(sampling)}
        made = [r if isinstance(r, Request) else Request.chat(r, **options) for r in requests]
        resolved = [request.resolve(engine.defaults) for request in made]
    unique = list({request.key: request for request in resolved}.values())
    for number, request in enumerate(unique):
        if request.sampling.temperature != 0 and request.sampling.seed is None:
            raise ValueError(
                f"request {number} is sampled without a seed, which no engine could repeat: set seed=, or "
                "temperature=0"
            )
    return unique


def _rungs(engine: VLLMEngine, sizes: Sequence[int]) -> list[Rung]:
    """The conditions on one engine, the mildest first."""
    for size in limited_list("sizes", sizes):
        Whole(2, None, "requests of a batch")("sizes", size)
    batches = [
        Rung(
            f"batch of {size}", "how many requests are computed together: kernels add in another order", size
        )
        for size in sorted(set(sizes))
    ]
    largest = max(sizes, default=_TRAFFIC)
    cached = engine.fingerprint.components["prefix_caching"]
    warm = [Rung("from the prefix cache", "the prefix cache: fewer tokens are computed together", warm=True)]
    return [
        Rung(
            "alone", "chance, or something that is not controlled: even the same condition differs", cold=True
        ),
        *(warm if cached else []),
        *batches,
        Rung(f"batch of {largest}, shuffled", "the place in a batch", largest, shuffled=True),
        Rung("among other traffic", "which other requests are computed together", _TRAFFIC, traffic=True),
        Rung("sampled without a seed", size=largest, sampled=True),
    ]


def _variants(engine: VLLMEngine, variants: Sequence[Variant] | None) -> tuple[list[Rung], list[str]]:
    """The conditions that need a process of their own, and notes on what cannot be tried here."""
    this_engine = Variant.of(engine)
    restart = Rung(
        "after a restart",
        "the process: something that is drawn or measured at its start",
        cold=True,
        variant=this_engine,
    )
    if variants is not None:
        return [restart, *(_rung(Variant.of(variant)) for variant in variants)], []
    components = engine.fingerprint.components
    dtypes = {"float32": "bfloat16", "bfloat16": "float32", "float16": "float32"}
    derived = [this_engine.with_(f"dtype={(other := dtypes[components['dtype']])}", dtype=other)]
    eager = not components["enforce_eager"]
    derived.append(this_engine.with_("eager" if eager else "compiled", enforce_eager=eager))
    if components["device"]["kind"] == "cuda":
        derived.append(this_engine.with_("batch-invariant", env={"VLLM_BATCH_INVARIANT": "1"}))
        return [restart, *map(_rung, derived)], []
    threads = components["device"]["threads"]
    derived.insert(
        0, this_engine.with_(f"threads={1 if threads > 1 else 2}", threads=1 if threads > 1 else 2)
    )
    note = "batch-invariant could not be tried: on a CPU VLLM_BATCH_INVARIANT=1 crashes vLLM while it loads"
    return [restart, *map(_rung, derived)], [note]


def _rung(variant: Variant) -> Rung:
    return Rung(
        variant.name,
        f"{variant.name}: the requests are the same, the engine is not",
        cold=True,
        variant=variant,
    )


def _groups(rungs: Sequence[Rung]) -> list[list[Rung]]:
    """The rungs of each engine, in order: the loaded engine first."""
    return [[r for r in rungs if r.variant is None], *([r] for r in rungs if r.variant is not None)]


def _workload(rung: Rung, requests: list[ResolvedRequest], n: int, fingerprint: str) -> Workload:
    if rung.sampled:
        requests = [replace(r, sampling=replace(r.sampling, temperature=1.0, seed=None)) for r in requests]
    variant = rung.variant and [
        rung.variant.model,
        repr(sorted(rung.variant.arguments.items())),
        rung.variant.threads,
        dict(rung.variant.env),
    ]
    keys = [request.key for request in requests]
    sweep = digest(["ladder", rung.name, rung.size, variant, fingerprint, n, keys], size=5)
    labelled = [(request, {"rung": rung.name, "row": i}) for i, request in enumerate(requests)]
    return Workload(lambda _: labelled, n, reserved_sweep=sweep, name=rung.name)


def _run_workloads(engine: VLLMEngine, workloads: list[tuple[Rung, Workload]], path: str) -> None:
    """Runs what is missing of the rungs of one engine."""
    with Store(path) as store:
        for rung, workload in workloads:
            run(workload, engine, store, generate=partial(_generate, engine, rung))


def _generate(engine: VLLMEngine, rung: Rung, requests: Sequence[ResolvedRequest]) -> Iterator[Completion]:
    """The completions of requests under a rung's condition, without those of the other traffic."""
    rng = random.Random(rung.name)
    if rung.warm:
        primers = {r.key: replace(r, sampling=replace(r.sampling, max_tokens=1)) for r in requests}
        for primer in primers.values():
            list(engine.generate_in_one_step([primer]))
    for batch in _batches(rung, _interleaved(requests), rng):
        if rung.cold:
            engine.reset_prefix_cache()
        completions = engine.generate_in_one_step(_with_traffic(batch, rng) if rung.traffic else batch)
        keys = {request.key for request in batch}
        yield from (c for c in completions if c.request.key in keys)


def _interleaved(requests: Sequence[ResolvedRequest]) -> list[ResolvedRequest]:
    """The first repeat of every request, then the second ones, …: a batch holds different requests."""
    by_key: dict[str, list[ResolvedRequest]] = {}
    for request in requests:
        by_key.setdefault(request.key, []).append(request)
    return [request for turn in zip_longest(*by_key.values()) for request in turn if request is not None]


def _batches(
    rung: Rung, requests: list[ResolvedRequest], rng: random.Random
) -> Iterator[list[ResolvedRequest]]:
    ordered = rng.sample(requests, len(requests)) if rung.shuffled else requests
    return (ordered[i : i + rung.size] for i in range(0, len(ordered), rung.size))


def _with_traffic(requests: list[ResolvedRequest], rng: random.Random) -> list[Request]:
    """The requests mixed with as many others: of other texts and lengths, sampled."""
    others = []
    for _ in requests:
        text = " ".join(str(rng.randrange(10**6)) for _ in range(rng.randint(1, 60)))
        longest = max(r.sampling.max_tokens or 1 for r in requests)
        others.append(
            Request.chat(text, temperature=1.0, max_tokens=rng.randint(1, longest), seed=rng.randrange(2**31))
        )
    mixed = [*requests, *others]
    rng.shuffle(mixed)
    return mixed


def _report(store: Store, sweeps: list[str], names: list[str]) -> Determinism:
    results = Results.of(store).filter(sweep=sweeps)
    table = results._table
    order = table["rung"].map({name: number for number, name in enumerate(names)})
    table = table.assign(_order=order).sort_values("_order", kind="stable", ignore_index=True)
    fingerprints = table.groupby("rung")["system_fingerprint"].first()

    def difference(a: str, b: str) -> str:
        first, second = (store.fingerprint(fingerprints[rung]) for rung in (a, b))
        return "" if first == second else str(first.diff(second))

    return determinism(table, store, across="rung", difference=difference)
