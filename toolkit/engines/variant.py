"""Variant: an engine configuration as plain data: model, arguments, threads and environment."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from toolkit._internal.field_docs import documented
from toolkit._internal.secrets import hide_secrets, is_secret
from toolkit._internal.text import short_repr
from toolkit._internal.validation import Whole
from toolkit.core.fingerprint import Fingerprint
from toolkit.engines.base import Engine
from toolkit.engines.vllm.config import Spec
from toolkit.engines.vllm.engine_args import check_arguments, engine_arguments
from toolkit.engines.vllm.hardware import device
from toolkit.models import DEFAULT


@documented
@dataclass(frozen=True)
class Variant:
    """Arguments of `toolkit.load`, and what must be set before vLLM is loaded: its engine runs in a process of its
    own. The repr hides tokens, passwords and keys."""

    model: str = DEFAULT
    """The default model, a local folder, or a Hugging Face id."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Engine arguments of vLLM."""
    threads: int | None = None
    """CPU threads; None for as many as the process may use."""
    env: Mapping[str, str | None] = field(default_factory=dict)
    """Environment variables on top of those of this process; None unsets one."""
    name: str = "default"
    """What distinguishes it from the other variants."""

    def __post_init__(self) -> None:
        for name in ("arguments", "env"):
            if not isinstance(getattr(self, name), Mapping):
                raise TypeError(f"{name} must be a dict, got {short_repr(getattr(self, name))}")
        check_arguments(self.arguments)
        if self.threads is not None:
            Whole(1, None, "threads of the CPU")("threads", self.threads)
        for name, value in self.env.items():
            if not isinstance(name, str) or not isinstance(value, str | None):
                text = short_repr(hide_secrets({name: value})[name])
                raise TypeError(
                    f"env must be a dict of strings (None: not set), got {short_repr(name)}: {text}"
                )

    @classmethod
    def of(cls, engine: Variant | Engine | Fingerprint) -> Variant:
        """The variant that would make an engine like this one, or one of this fingerprint, on this machine.

        Raises TypeError for anything else, ValueError for a fingerprint that does not record its arguments, such
        as a server's.
        """
        if isinstance(engine, Variant):
            return engine
        fingerprint = engine.fingerprint if isinstance(engine, Engine) else engine
        if not isinstance(fingerprint, Fingerprint):
            raise TypeError(
                f"a variant is made by toolkit.variants, or of an engine or a fingerprint, got {short_repr(engine)}"
            )
        if "arguments" not in fingerprint.notes:
            raise ValueError(
                f"{fingerprint.id} does not say how its engine was made: give toolkit.Variant(model, …)"
            )
        device, path = fingerprint.components["device"], str(fingerprint.notes["path"])
        arguments = {k: v for k, v in fingerprint.notes["arguments"].items() if k in engine_arguments()}
        return cls(
            path,
            arguments,
            device.get("threads"),
            dict(fingerprint.components["environment"]),
            fingerprint.id,
        )

    def with_(self, name: str, **changes: Any) -> Variant:
        """A changed copy: threads, env (merged) and model by their names, all else engine arguments, None
        for vLLM's default."""
        own = {k: changes.pop(k) for k in ("threads", "model") if k in changes}
        env = {**self.env, **changes.pop("env", {})}
        arguments = {k: v for k, v in {**self.arguments, **changes}.items() if v is not None}
        return replace(self, name=name, env=env, arguments=arguments, **own)

    def resolved(self) -> Variant:
        """A copy with everything that `toolkit.load` and the machine fill in."""
        spec = Spec.of(self.model, self.arguments)
        return replace(
            self, model=spec.path, arguments=spec.arguments, threads=self.threads or device().get("threads")
        )

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        values = {f.name: hide_secrets(getattr(self, f.name)) for f in fields(self)}
        return f"Variant({', '.join(f'{name}={value!r}' for name, value in values.items())})"


def variants(
    model: str | Sequence[str] = DEFAULT,
    *,
    threads: int | Sequence[int | None] | None = None,
    env: Mapping[str, str | None] | Sequence[Mapping[str, str | None]] | None = None,
    **arguments: Any,
) -> list[Variant]:
    """Every combination of engine settings, the first one varying slowest, for `Sweep.run_across`.

    A list gives several values; anything else is the same for all. arguments: any engine argument of vLLM. threads:
    CPU threads. env: environment variables, set before vLLM is loaded.

    Raises TypeError for an unknown argument, ValueError for an unknown value of one, and for an empty list.

    >>> [str(v) for v in variants(dtype=["float32", "bfloat16"], threads=[1, 2])]
    ['dtype=float32, threads=1', 'dtype=float32, threads=2', 'dtype=bfloat16, threads=1', 'dtype=bfloat16, threads=2']
    """
    settings = {"model": model, **arguments, "threads": threads, "env": env or {}}
    axes = {
        name: list(value) if isinstance(value, (list, tuple)) else [value] for name, value in settings.items()
    }
    for name, values in axes.items():
        if not values:
            raise ValueError(f"{name} is empty: give at least one value, or leave it out")
    varying = [name for name, values in axes.items() if len(values) > 1]
    combined = []
    for numbered in itertools.product(*(enumerate(values, 1) for values in axes.values())):
        chosen = {name: value for name, (_, value) in zip(axes, numbered, strict=True)}
        numbers = {name: number for name, (number, _) in zip(axes, numbered, strict=True)}
        label = ", ".join(_setting_label(name, chosen[name], numbers[name]) for name in varying) or "default"
        own = {name: chosen.pop(name) for name in ("model", "threads", "env")}
        combined.append(Variant(arguments=chosen, name=label, **own))
    return combined


def _setting_label(name: str, value: Any, number: int) -> str:
    """A setting in words; a secret by its number among the values of the axis."""
    if name == "env" and isinstance(value, Mapping):
        return ", ".join(_setting_label(key, text, number) for key, text in value.items()) or "no env"
    text = f"secret {number}" if is_secret(name) and isinstance(value, str) else hide_secrets(value)
    return f"{name}={text}"
