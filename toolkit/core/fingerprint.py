"""Fingerprint: what a system is made of, as a record with an id, so that two can be told apart in words."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from toolkit.request import digest

COMPONENTS = {
    "engine": "kind of engine",
    "versions": "versions of the packages that compute",
    "model": "model's name",
    "revision": "revision of the model that was asked for",
    "weights": "weights",
    "config": "model's configuration",
    "tokenizer": "tokenizer",
    "chat_template": "chat template",
    "generation_config": "model's own sampling options",
    "dtype": "number format of weights and activations",
    "quantization": "quantization of the weights",
    "kv_cache_dtype": "number format of the KV cache; auto: as dtype",
    "block_size": "tokens in a block of the KV cache",
    "max_model_len": "context window, in tokens",
    "enforce_eager": "eager, not compiled",
    "compilation": "compilation mode; 0: none",
    "cudagraph_mode": "which steps run as CUDA graphs",
    "custom_ops": "which of vLLM's own operations run",
    "attention_backend": "attention kernels; auto: chosen in a process of vLLM's own",
    "speculative": "speculative decoding",
    "lora": "LoRA",
    "prefix_caching": "prefix cache",
    "chunked_prefill": "long prompts computed in parts",
    "async_scheduling": "next step planned while one runs",
    "max_num_seqs": "most sequences in a batch",
    "max_num_batched_tokens": "most tokens in a step",
    "tensor_parallel_size": "devices that share each layer",
    "pipeline_parallel_size": "devices that share the layers out",
    "data_parallel_size": "copies of the model that share the requests",
    "expert_parallel": "experts shared out over devices",
    "batch_invariant": "vLLM's batch-invariant kernels",
    "logprobs_mode": "which scores logprobs are",
    "max_logprobs": "most logprobs for a token",
    "structured_outputs_backend": "library that holds answers to a form",
    "compact_json": "JSON without free white space",
    "options": "other engine arguments that were set",
    "own_processes": "vLLM in processes of its own",
    "device": "hardware",
    "environment": "environment variables that change numbers",
}
"""What each component of an engine on this machine is, in words. A record that is remembered is of this form."""
SERVED = {
    "url": "server's address",
    "owned_by": "whose the model is, as the server says",
    "root": "what the server says the model is",
    "version": "version of the server",
    "system_fingerprint": "the server's own string; none: unknown, and so whether two answers came of one system",
}
"""What a server has instead, in words."""
_WORDS = {**COMPONENTS, **SERVED}
ABSENT = "not there"
"""Stands in a diff for what one of two fingerprints lacks."""
_HASHES = ("weights", "config", "tokenizer", "chat_template")
_SHOWN = 8
"""Digits of a hash that are shown."""


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """A record of named components that may change an output. Equal components give an equal id.

    An equal id never proves equal outputs, as with OpenAI's `system_fingerprint`
    (https://cookbook.openai.com/examples/reproducible_outputs_with_the_seed_parameter).
    """

    components: Mapping[str, Any]
    """Plain data by name; all of it goes into the id. `COMPONENTS` says what each is."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What is worth recording but says nothing of the output: paths, vLLM's own string, and the `arguments` that an
    engine like this one is made with; not in the id."""

    @cached_property
    def id(self) -> str:
        """`fp_` and 10 hex digits."""
        return "fp_" + digest(dict(self.components), size=5)

    @property
    def known(self) -> bool:
        """False for a server that says nothing of its system: then equal fingerprints are not known to be of one."""
        return self.components.get("engine") != "server" or bool(self.components.get("system_fingerprint"))

    def diff(self, other: Fingerprint) -> Difference:
        """The components that differ. Empty if, and only if, the ids are equal."""
        return Difference(_differences(self.components, other.components))

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
        rows = ((name, _WORDS.get(name, ""), value) for name, value in self.components.items())
        return f"<table><caption><code>{self.id}</code></caption>{''.join(map(_row, rows))}</table>"


class Difference(dict[str, tuple[Any, Any]]):
    """What two fingerprints differ in: name → (here, there). Parts of a component are named with dots
    (`device.threads`); `ABSENT` stands for what one of them lacks."""

    def sentence(self) -> str:
        """The difference in words, with hashes shortened, and of two lists only what the other has not."""
        if not self:
            return "these 2 fingerprints are equal"
        parts = [f"{_called(name)} ({', '.join(_said(name, *pair))})" for name, pair in self.items()]
        listed = " and ".join([*([", ".join(parts[:-1])] if parts[1:] else []), parts[-1]])
        return f"these 2 fingerprints differ in {listed}"

    __str__ = sentence

    def told(self) -> list[tuple[str, str, str, str]]:
        """Of each component that differs its name, what it is, and what it is here and there, in words."""
        return [
            (name, _WORDS.get(name.partition(".")[0], ""), *_said(name, *pair)) for name, pair in self.items()
        ]

    def _repr_html_(self) -> str:
        if not self:
            return f"<p>{self.sentence()}</p>"
        head = "<tr><th>component</th><th>what it is</th><th>here</th><th>there</th></tr>"
        rows = ((name, _WORDS.get(name.partition(".")[0], ""), *pair) for name, pair in self.items())
        return f"<table>{head}{''.join(map(_row, rows))}</table>"


def leaves(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings, each with its whole name: `device.threads`."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _differences(
    here: Mapping[str, Any], there: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for name in {**here, **there}:
        a, b = here.get(name, ABSENT), there.get(name, ABSENT)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _differences(a, b, f"{prefix}{name}.")
        elif digest(a) != digest(b):  # as the id tells them apart: 1 is not True, NaN is itself
            yield prefix + name, (a, b)


def _called(name: str) -> str:
    return f"the {COMPONENTS[name]}" if name in _HASHES else name


def _said(name: str, here: Any, there: Any) -> tuple[str, str]:
    """Two values as a sentence says them."""
    if name in _HASHES:
        return _short(here), _short(there)
    if isinstance(here, list) and isinstance(there, list):
        only = [x for x in here if x not in there], [x for x in there if x not in here]
        if any(only):  # else they differ in their order
            return _spaced(only[0]), _spaced(only[1])
    return _plainly(here), _plainly(there)


def _short(value: Any) -> str:
    return _plainly(value) if value in (None, ABSENT) else str(value)[:_SHOWN]


def _spaced(items: list[Any]) -> str:
    return " ".join(map(str, items)) or "without"


def _plainly(value: Any) -> str:
    return "none" if value is None else str(value)


def _row(values: tuple[Any, ...]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(_plainly(value))}</td>" for value in values) + "</tr>"
