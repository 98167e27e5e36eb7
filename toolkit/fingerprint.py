"""Fingerprint: what a system is made of, as a record with an id, so that two can be told apart in words."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from toolkit.request import digest


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """A record of named components that may change an output. Equal components give an equal id.

    An equal id never proves equal outputs, as with OpenAI's `system_fingerprint`
    (https://cookbook.openai.com/examples/reproducible_outputs_with_the_seed_parameter).
    """

    components: Mapping[str, Any]
    """Plain data by name; all of it goes into the id."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What is worth recording but says nothing of the output (paths, vLLM's own string); not in the id."""

    @cached_property
    def id(self) -> str:
        """`fp_` and 10 hex digits."""
        return "fp_" + digest(dict(self.components), size=5)

    def diff(self, other: Fingerprint) -> dict[str, tuple[Any, Any]]:
        """The components that differ: name → (here, there); None where one of them lacks it."""
        names = {**self.components, **other.components}
        pairs = {name: (self.components.get(name), other.components.get(name)) for name in names}
        return {name: (a, b) for name, (a, b) in pairs.items() if a != b}

    def to_json(self) -> dict[str, Any]:
        return {"components": dict(self.components), "notes": dict(self.notes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Fingerprint:
        return cls(data["components"], data["notes"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprint) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        width = max(map(len, self.components), default=0)
        lines = [f"  {name:<{width}}  {value}" for name, value in self.components.items()]
        return "\n".join([self.id, *lines])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>"
            for name, value in self.components.items()
        )
        return f"<table><caption><code>{self.id}</code></caption>{rows}</table>"
