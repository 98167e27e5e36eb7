"""vLLM's engine arguments: their names, this package's defaults on a CPU, and which of them change outputs."""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from toolkit import models
from toolkit._internal.text import short_repr
from toolkit._internal.validation import nearest, suggestion
from toolkit.core.sampling import FIELDS
from toolkit.errors import EngineError

_CPU_CONTEXT = 8192
"""Longer windows need more KV cache than our default for one request; max_model_len asks for them."""
RESOLVED_ARGUMENTS = frozenset((
    "dtype", "quantization", "kv_cache_dtype", "block_size", "max_model_len", "enforce_eager",
    "attention_backend", "attention_config.backend", "compilation_config.mode",
    "compilation_config.cudagraph_mode", "compilation_config.custom_ops", "enable_prefix_caching",
    "enable_chunked_prefill", "async_scheduling", "max_num_seqs", "max_num_batched_tokens",
    "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "enable_expert_parallel",
    "logprobs_mode", "max_logprobs", "structured_outputs_config.backend",
    "structured_outputs_config.disable_any_whitespace", "revision", "tokenizer", "tokenizer_revision",
    "hf_config_path", "hf_overrides", "generation_config", "override_generation_config",
    "speculative_config", "spec_method", "spec_model", "spec_tokens", "enable_lora", "max_lora_rank",
    "max_loras", "lora_dtype", "lora_target_modules", "fully_sharded_loras",
))  # fmt: skip
"""Engine arguments that a component of the fingerprint records as vLLM resolved them."""
NEUTRAL_ARGUMENTS = frozenset((
    "kv_cache_memory_bytes", "gpu_memory_utilization", "num_gpu_blocks_override", "max_num_queued_reqs",
    "max_num_queued_tokens", "download_dir", "hf_token", "served_model_name", "allowed_local_media_path",
    "allowed_media_domains", "disable_log_stats", "use_tqdm_on_load", "max_parallel_loading_workers",
    "safetensors_load_strategy", "safetensors_prefetch_block_size", "safetensors_prefetch_num_threads",
    "renderer_num_workers", "stream_interval", "shutdown_timeout", "log_config_file", "log_level",
    "logging_config", "aggregate_engine_logging", "enable_logging_iteration_details",
    "otlp_traces_endpoint", "collect_detailed_traces", "show_hidden_metrics_for_version",
    "kv_cache_metrics", "kv_cache_metrics_sample", "cudagraph_metrics", "enable_mfu_metrics",
    "enable_mm_processor_stats", "custom_histogram_buckets", "profiler_config", "ray_workers_use_nsight",
    "distributed_timeout_seconds", "cpu_distributed_timeout_seconds", "master_addr", "master_port",
    "data_parallel_address", "data_parallel_rpc_port",
))  # fmt: skip
"""Engine arguments that change no output: memory sizes, paths, logs. Any that is not listed counts."""
STRUCTURED_OUTPUTS = {"structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True}}
"""How completions are constrained to a schema. llguidance enforces what it accepts and refuses the rest; with vLLM's
"auto" the first request decides which backend runs for all later ones, and xgrammar drops `not`, `if`, overlapping
`oneOf`, `$ref` with siblings and more silently. JSON is compact: where white space is free a small model may write it
without end."""


def cpu_defaults(path: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults that were measured to be exact and safe on CPUs; on a GPU vLLM's own defaults hold.

    float32 gives the same text alone and in any batch, where bfloat16 does not; a prefill in chunks crashes
    seeded requests (the CPU generator knows no offset), so a whole window must fit into one step; without an
    explicit size the KV cache takes 92% of all memory. 264 sequences are vLLM's 256 and the few that the
    engine thread keeps free. The prefix cache works by whole blocks: vLLM's 128 tokens never serve a short prompt,
    32 (the least that its attention takes) make 256 completions of one prompt start six times as fast.
    """
    window = arguments.get("max_model_len") or min(_model_window(path), _CPU_CONTEXT)
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


def _model_window(path: str) -> int:
    """The context window in a model's config."""
    from huggingface_hub import hf_hub_download

    folder = Path(path)
    file = folder / "config.json" if folder.is_dir() else Path(hf_hub_download(path, "config.json"))
    return models.context_window(file.parent) or _CPU_CONTEXT


def engine_arguments() -> frozenset[str]:
    """The names of vLLM's engine arguments."""
    return frozenset(_annotations()) - {"model"}


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raises TypeError for an argument that vLLM's engine does not have, with the nearest ones, and ValueError for a
    text that is not among those that an argument takes, such as dtype="fp16"."""
    for name, value in arguments.items():
        if name not in engine_arguments():
            raise TypeError(_unknown_argument(name))
        allowed = _allowed_texts(_annotations()[name]) if isinstance(value, str) else ()
        # vLLM folds the case of some itself.
        if allowed and value.lower().replace("-", "_") not in map(str.lower, allowed):
            hint = suggestion(value, allowed) or "leave it out for vLLM's default"
            raise ValueError(
                f"{name} must be one of {', '.join(map(repr, allowed))}, got {short_repr(value)}: {hint}"
            )


def _unknown_argument(name: str) -> str:
    (best,) = nearest(name, {*FIELDS, *engine_arguments()}, 1)
    sampling = f"{best} is a sampling option, engine.chat(…, {best}=…); " if best in FIELDS else ""
    first, *others = map(repr, nearest(name, engine_arguments()))
    question = f"did you mean {', '.join([first, *others[:-1]])} or {others[-1]}?"
    return f"unknown engine argument {name!r}: {sampling}{question}"


@cache
def _annotations() -> dict[str, str]:
    """vLLM's engine arguments → their types, read from its source: importing vLLM takes five seconds."""
    source = (_source_folder() / "engine" / "arg_utils.py").read_text()
    (definition,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "EngineArgs"
    )
    fields = (node for node in definition.body if isinstance(node, ast.AnnAssign))
    return {f.target.id: ast.unparse(f.annotation) for f in fields if isinstance(f.target, ast.Name)}


@cache
def _allowed_texts(annotation: str) -> tuple[str, ...]:
    """The texts that an argument of a type takes; empty where it takes others too."""
    name = annotation.removesuffix(" | None")
    definition = re.compile(rf"^{name}(?:: TypeAlias)? = Literal\[(.*?)\]", re.MULTILINE | re.DOTALL)
    for file in sorted((_source_folder() / "config").glob("*.py")) if name.isidentifier() else ():
        if match := definition.search(file.read_text()):
            with contextlib.suppress(ValueError, SyntaxError):  # it refers to another type
                values = ast.literal_eval(f"[{match[1]}]")
                return tuple(values) if all(isinstance(value, str) for value in values) else ()
    return ()


def _source_folder() -> Path:
    package = importlib.util.find_spec("vllm")
    if package is None or not package.submodule_search_locations:
        raise EngineError("vLLM is not installed")
    return Path(package.submodule_search_locations[0])
