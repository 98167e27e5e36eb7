"""Variant: an engine that could be made, as plain data: model, arguments, threads and environment."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from toolkit.engine import Engine
from toolkit.engines.spec import Spec, device, engine_arguments
from toolkit.fingerprint import Fingerprint
from toolkit.models import DEFAULT
from toolkit.sampling import Whole, unknown


@dataclass(frozen=True)
class Variant:
    """What `toolkit.load` is given, and what must be set before vLLM is loaded: so it runs in a process of its
    own."""

    model: str = DEFAULT
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Engine arguments of vLLM."""
    threads: int | None = None
    """Of a CPU; None for as many as the process may use."""
    env: Mapping[str, str | None] = field(default_factory=dict)
    """Environment variables on top of those of this process; None for one that is not to be set."""
    name: str = "default"
    """What sets it apart from the others."""

    def __post_init__(self) -> None:
        for argument in self.arguments:
            if argument not in engine_arguments():
                raise TypeError(unknown("engine argument", argument, engine_arguments()))
        if self.threads is not None:
            Whole(1, None, "threads of the CPU")("threads", self.threads)
        for name, value in self.env.items():
            if not isinstance(name, str) or not isinstance(value, str | None):
                raise TypeError(f"env must be a dict of strings (None: not set), got {name!r}: {value!r}")

    @classmethod
    def of(cls, engine: Variant | Engine | Fingerprint) -> Variant:
        """The variant that would make an engine like this one, or one of this fingerprint, on this machine.

        Raises TypeError for anything else, ValueError for a fingerprint that does not tell its arguments, as a
        server's.
        """
        if isinstance(engine, Variant):
            return engine
        found = engine.fingerprint if isinstance(engine, Engine) else engine
        if not isinstance(found, Fingerprint):
            raise TypeError(
                f"a variant is made by toolkit.variants, or of an engine or a fingerprint, got {engine!r}"
            )
        if "arguments" not in found.notes:
            raise ValueError(
                f"{found.id} does not say how its engine was made: give toolkit.Variant(model, …)"
            )
        device, path = found.components["device"], str(found.notes["path"])
        known = {k: v for k, v in found.notes["arguments"].items() if k in engine_arguments()}
        return cls(path, known, device.get("threads"), dict(found.components["environment"]), found.id)

    def with_(self, name: str, **changes: Any) -> Variant:
        """Another one: threads, env (added to) and model by their names, all else engine arguments, None
        for vLLM's own."""
        own = {k: changes.pop(k) for k in ("threads", "model") if k in changes}
        env = {**self.env, **changes.pop("env", {})}
        arguments = {k: v for k, v in {**self.arguments, **changes}.items() if v is not None}
        return replace(self, name=name, env=env, arguments=arguments, **own)

    def resolved(self) -> Variant:
        """The same with everything that `toolkit.load` and the machine fill in."""
        spec = Spec.of(self.model, self.arguments)
        return replace(
            self, model=spec.path, arguments=spec.arguments, threads=self.threads or device().get("threads")
        )

    def __str__(self) -> str:
        return self.name


def variants(
    model: str | Sequence[str] = DEFAULT,
    *,
    threads: int | Sequence[int | None] | None = None,
    env: Mapping[str, str | None] | Sequence[Mapping[str, str | None]] | None = None,
    **arguments: Any,
) -> list[Variant]:
    """Every combination of engine settings, the first one varying slowest, for `Sweep.run_across`.

    A list gives several values; anything else is the same for all. arguments: any engine argument of vLLM. threads:
    of a CPU. env: environment variables, set before vLLM is loaded.

    Raises TypeError for an unknown argument, ValueError for an empty list.

    >>> [str(v) for v in variants(dtype=["float32", "bfloat16"], threads=[1, 2])]
    ['dtype=float32, threads=1', 'dtype=float32, threads=2', 'dtype=bfloat16, threads=1', 'dtype=bfloat16, threads=2']
    """
    given = {"model": model, **arguments, "threads": threads, "env": env or {}}
    axes = {
        name: list(value) if isinstance(value, (list, tuple)) else [value] for name, value in given.items()
    }
    for name, values in axes.items():
        if not values:
            raise ValueError(f"{name} is empty: give at least one value, or leave it out")
    varying = [name for name, values in axes.items() if len(values) > 1]
    made = []
    for combination in itertools.product(*axes.values()):
        chosen = dict(zip(axes, combination, strict=True))
        called = ", ".join(_told(name, chosen[name]) for name in varying) or "default"
        own = {name: chosen.pop(name) for name in ("model", "threads", "env")}
        made.append(Variant(arguments=chosen, name=called, **own))
    return made


def _told(name: str, value: Any) -> str:
    if name == "env":
        return ", ".join(f"{key}={text}" for key, text in value.items()) or "no env"
    return f"{name}={value}"
