"""Fingerprint: the components of a system as a record with an ID, and differences of two in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from toolkit._internal.field_docs import documented
from toolkit._internal.hashing import digest
from toolkit._internal.text import short_repr
from toolkit._internal.validation import instance_of
from toolkit._internal.value_text import distinct_labels, short_value
from toolkit.display.markup import Markup, joined, markup

_MAX_COMPONENTS = 2
"""The most components of a fingerprint that name a system."""
COMPONENTS = {
    "engine": "kind of engine",
    "versions": "versions of the packages that compute",
    "model": "model's name",
    "revision": "requested revision of the model",
    "weights": "weights",
    "config": "model's configuration",
    "tokenizer": "tokenizer",
    "chat_template": "chat template",
    "generation_config": "model's default sampling parameters",
    "dtype": "number format of weights and activations",
    "quantization": "quantization of the weights",
    "kv_cache_dtype": "number format of the KV cache; auto: as dtype",
    "block_size": "tokens in a block of the KV cache",
    "max_model_len": "context window, in tokens",
    "enforce_eager": "eager, not compiled",
    "compilation": "compilation mode; 0: none",
    "cudagraph_mode": "which steps run as CUDA graphs",
    "custom_ops": "which of vLLM's own operations run",
    "attention_backend": "attention kernels; auto: chosen in vLLM's own process",
    "speculative": "speculative decoding",
    "lora": "LoRA",
    "prefix_caching": "prefix cache",
    "chunked_prefill": "long prompts prefilled in chunks",
    "async_scheduling": "next step scheduled while one runs",
    "max_num_seqs": "most sequences in a batch",
    "max_num_batched_tokens": "most tokens in a step",
    "tensor_parallel_size": "devices among which each layer is divided",
    "pipeline_parallel_size": "devices among which the layers are divided",
    "data_parallel_size": "copies of the model among which the requests are divided",
    "expert_parallel": "experts distributed over devices",
    "batch_invariant": "vLLM's batch-invariant kernels",
    "logprobs_mode": "which scores are reported as logprobs",
    "max_logprobs": "most logprobs per token",
    "structured_outputs_backend": "library that constrains output to a schema",
    "compact_json": "JSON without optional white space",
    "options": "other engine arguments that were set",
    "own_processes": "vLLM in its own processes",
    "device": "hardware",
    "environment": "environment variables that change numbers",
}
"""Descriptions of the components of a local engine. The names are part of the key of a cached fingerprint."""
SERVED = {
    "url": "server's address, where nothing better tells the system",
    "owned_by": "owner of the model, as the server reports it",
    "root": "what the model is, as the server reports it",
    "version": "version of the server",
    "system_fingerprint": "the server's own string; none: unknown, and so whether two responses came from one system",
}
"""Descriptions of the components that a server has instead."""
_DESCRIPTIONS = {**COMPONENTS, **SERVED}
ABSENT = "not there"
"""The value in a diff of a component that one of two fingerprints lacks."""
_HASHES = ("weights", "config", "tokenizer", "chat_template")
_HASH_DIGITS = 8
"""Digits of a hash that sentences contain."""


@documented
@dataclass(frozen=True, eq=False)
class Fingerprint:
    """A record of named components that may change an output. Equal components give an equal ID.

    An equal ID never proves equal outputs, as with OpenAI's `system_fingerprint`
    (https://cookbook.openai.com/examples/reproducible_outputs_with_the_seed_parameter).
    """

    components: Mapping[str, Any]
    """Plain data by name; all of it goes into the ID. `COMPONENTS` describes each."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Recorded, but without effect on the output, so not in the ID: paths, vLLM's own string, the `arguments` to
    make an engine like this one, and the address of a server that is known by its own string."""

    def __post_init__(self) -> None:
        for name in ("components", "notes"):
            instance_of(Mapping, name, getattr(self, name), "values by name")  # type: ignore[type-abstract]

    @cached_property
    def id(self) -> str:
        """`fp_` and 10 hex digits."""
        return "fp_" + digest(dict(self.components), size=5)

    @property
    def is_server(self) -> bool:
        """Whether it is of a server, and so has what the server reports."""
        return self.components.get("engine") == "server"

    @property
    def system_fingerprint(self) -> str | None:
        """The string in the field of that name in OpenAI's API: a server's own, None where it sends none; of an
        engine on this machine its ID."""
        return self.components.get("system_fingerprint") if self.is_server else self.id

    @property
    def known(self) -> bool:
        """False for a server that reports nothing about its system: equal fingerprints may hide two systems."""
        return not self.is_server or bool(self.system_fingerprint)

    def diff(self, other: Fingerprint) -> Difference:
        """The components that differ. Empty if, and only if, the IDs are equal."""
        instance_of(Fingerprint, "other", other, "engine.fingerprint and store.fingerprint(id) give one")
        return Difference(_differences(self.components, other.components))

    def to_json(self) -> dict[str, Any]:
        return {"components": dict(self.components), "notes": dict(self.notes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Fingerprint:
        """What `to_json` gave. Raises ValueError for other data."""
        try:
            return cls(dict(data["components"]), dict(data["notes"]))
        except (TypeError, KeyError, IndexError, ValueError):
            raise ValueError(
                f"no fingerprint, got {short_repr(data)}: it has components and notes, by name"
            ) from None

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

    def _repr_html_(self) -> Markup:
        rows = ((name, _DESCRIPTIONS.get(name, ""), value) for name, value in self.components.items())
        caption = markup("<caption><code>{}</code></caption>", self.id)
        return markup("<table>{}{}</table>", caption, joined(map(_row, rows)))


class Difference(dict[str, tuple[Any, Any]]):
    """The components in which two fingerprints differ: name → (here, there). Parts of a component are named with dots
    (`device.threads`); `ABSENT` is the value of a component that one of them lacks."""

    def sentence(self) -> str:
        """The difference in words: hashes are shortened, and of two lists only the items that differ are named."""
        if not self:
            return "these 2 fingerprints are equal"
        parts = [
            f"{_component(name)} ({', '.join(_value_texts(name, *pair))})" for name, pair in self.items()
        ]
        enumeration = " and ".join([*([", ".join(parts[:-1])] if parts[1:] else []), parts[-1]])
        return f"these 2 fingerprints differ in {enumeration}"

    __str__ = sentence

    def describe_changes(self) -> list[tuple[str, str, str, str]]:
        """For each component that differs: its name, its description, and its two values, as text."""
        return [
            (name, _DESCRIPTIONS.get(name.partition(".")[0], ""), *_value_texts(name, *pair))
            for name, pair in self.items()
        ]

    def _repr_html_(self) -> Markup:
        if not self:
            return markup("<p>{}</p>", self.sentence())
        head = Markup("<tr><th>component</th><th>what it is</th><th>here</th><th>there</th></tr>")
        rows = ((name, _DESCRIPTIONS.get(name.partition(".")[0], ""), *pair) for name, pair in self.items())
        return markup("<table>{}{}</table>", head, joined(map(_row, rows)))


def leaves(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings, each with its full name: `device.threads`."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _differences(
    first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for name in {**first, **second}:
        a, b = first.get(name, ABSENT), second.get(name, ABSENT)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _differences(a, b, f"{prefix}{name}.")
        elif digest(a) != digest(b):  # as in the ID: 1 is not True, NaN equals itself
            yield prefix + name, (a, b)


def _component(name: str) -> str:
    return f"the {COMPONENTS[name]}" if name in _HASHES else name


def _value_texts(name: str, first: Any, second: Any) -> tuple[str, str]:
    """A component's two values, as a sentence names them."""
    if name in _HASHES:
        return _short_hash(first), _short_hash(second)
    if isinstance(first, list) and isinstance(second, list):
        unshared = [x for x in first if x not in second], [x for x in second if x not in first]
        if any(unshared):  # else only their order differs
            return _items_text(unshared[0]), _items_text(unshared[1])
    return _value_text(first), _value_text(second)


def _short_hash(value: Any) -> str:
    return _value_text(value) if value in (None, ABSENT) else str(value)[:_HASH_DIGITS]


def _items_text(items: list[Any]) -> str:
    return " ".join(map(str, items)) or "without"


def _value_text(value: Any) -> str:
    return "none" if value is None else str(value)


def _row(values: tuple[Any, ...]) -> Markup:
    return markup("<tr>{}</tr>", joined(markup("<td>{}</td>", _value_text(value)) for value in values))


def system_names(fingerprints: Mapping[str, Fingerprint]) -> dict[str, str]:
    """Fingerprint id → a name: the model, where each has another one, or else the first components that differ, such
    as `dtype float32`."""
    records = {id: dict(leaves(fingerprint.components)) for id, fingerprint in fingerprints.items()}
    models = [str(record.get("model")) for record in records.values()]
    if len(set(models)) == len(models):
        return dict(zip(records, models, strict=True))
    differing = [
        name
        for name in dict.fromkeys(name for record in records.values() for name in record)
        if len({repr(record.get(name)) for record in records.values()}) > 1
    ]
    names = [_name(record, differing) for record in records.values()]
    return dict(zip(records, distinct_labels(names), strict=True))


def _name(record: Mapping[str, Any], components: Sequence[str]) -> str:
    return ", ".join(
        f"{name} {short_value(record.get(name), 24)}" for name in islice(components, _MAX_COMPONENTS)
    )
