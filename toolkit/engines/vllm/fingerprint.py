"""The fingerprint of a vLLM engine: its configuration as vLLM resolved it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toolkit import models
from toolkit._internal.hashing import digest
from toolkit._internal.jsonable import name_or_text, to_plain
from toolkit.core.fingerprint import Fingerprint
from toolkit.engines.vllm.config import Spec, model_folder
from toolkit.engines.vllm.hardware import device, versions


def engine_fingerprint(spec: Spec, llm: Any, tokenizer: dict[str, str]) -> Fingerprint:
    engine = llm.llm_engine
    return fingerprint(
        spec, engine.vllm_config, tokenizer, in_process=hasattr(engine.engine_core, "engine_core")
    )


def fingerprint(spec: Spec, config: Any, tokenizer: dict[str, str], *, in_process: bool) -> Fingerprint:
    """The fingerprint of an engine from vLLM's resolved `VllmConfig`; `COMPONENTS` describes each component.

    in_process: vLLM computes in this process, not in processes of its own.
    """
    environment = dict(spec.environment)
    invariant = environment.pop("VLLM_BATCH_INVARIANT", None) or "0"
    components = {
        "engine": "vllm",
        "versions": versions(),
        **_model_components(spec, config.model_config),
        **tokenizer,
        **_compute_components(config),
        **_batching_components(config),
        "batch_invariant": bool(int(invariant)),
        **_output_components(config),
        "options": spec.options,
        "own_processes": not in_process,
        "device": {**device(), **(_threads() if in_process and device()["kind"] == "cpu" else {})},
        "environment": environment,
    }
    notes = {
        "path": spec.path,
        "arguments": spec.arguments_without_secrets,
        "kv_cache_memory_bytes": config.cache_config.kv_cache_memory_bytes,
        "vllm_fingerprint": _vllm_fingerprint(config),
    }
    # Through JSON once, so that the record equals the stored one.
    data = json.loads(json.dumps({"components": components, "notes": notes}, default=str))
    return Fingerprint.from_json(data)


def _model_components(spec: Spec, model: Any) -> dict[str, Any]:
    files = model_folder(spec.path, spec.arguments.get("revision"))
    sampling_defaults = model.get_diff_sampling_param()
    return {
        "model": spec.model,
        "revision": model.revision,
        "weights": models.weights_hash(files) if files else None,
        "config": _config_hash(model),
        "generation_config": {k: 0 if (k, v) == ("top_k", -1) else v for k, v in sampling_defaults.items()},
    }


def _config_hash(model: Any) -> str:
    """Hash of the model's and its image processor's configuration, without the paths and versions in them. 16 hex
    digits."""

    def content(mapping: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in mapping.items() if not k.startswith("_") and k != "transformers_version"}

    configs = [model.hf_config.to_dict(), getattr(model, "hf_image_processor_config", None)]
    return digest(json.loads(json.dumps(configs, default=str), object_hook=content), 8)


def _compute_components(config: Any) -> dict[str, Any]:
    model, cache, compilation = config.model_config, config.cache_config, config.compilation_config
    return {
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantization": model.quantization,
        "kv_cache_dtype": str(cache.cache_dtype),
        "block_size": cache.block_size,
        "max_model_len": model.max_model_len,
        "enforce_eager": model.enforce_eager,
        "compilation": int(getattr(compilation, "mode", 0) or 0),
        "cudagraph_mode": getattr(compilation.cudagraph_mode, "name", None),
        "custom_ops": sorted(compilation.custom_ops),
        "attention_backend": _attention_backends(config),
        "speculative": _speculative(config.speculative_config),
        "lora": _lora(config.lora_config),
    }


def _attention_backends(config: Any) -> str:
    """The backends that the layers use; where they are in another process, the requested one."""
    layers = config.compilation_config.static_forward_context.values()
    backends = {layer.attn_backend.get_name() for layer in layers if hasattr(layer, "attn_backend")}
    requested = config.attention_config.backend
    return " ".join(sorted(backends)) or getattr(requested, "name", requested) or "auto"


def _speculative(config: Any) -> dict[str, Any] | None:
    """Settings of speculative decoding: how drafts are made and judged; None without drafts."""
    if config is None:
        return None
    files = model_folder(config.model, config.revision) if config.model else None
    numbers = ("num_speculative_tokens", "prompt_lookup_min", "prompt_lookup_max")
    settings = ("method", "quantization", "rejection_sample_method", "draft_sample_method")
    components = {
        "model": files.resolve().name if files and Path(config.model).is_dir() else config.model,
        "weights": models.weights_hash(files) if files else None,
        **{name: to_plain(getattr(config, name, None), name_or_text) for name in (*settings, *numbers)},
    }
    return {name: value for name, value in components.items() if value is not None}


def _lora(config: Any) -> dict[str, Any] | None:
    names = ("max_lora_rank", "max_loras", "lora_dtype", "target_modules", "fully_sharded_loras")
    return (
        None
        if config is None
        else {name: to_plain(getattr(config, name, None), name_or_text) for name in names}
    )


def _batching_components(config: Any) -> dict[str, Any]:
    scheduler, parallel = config.scheduler_config, config.parallel_config
    return {
        "prefix_caching": bool(config.cache_config.enable_prefix_caching),
        "chunked_prefill": bool(scheduler.enable_chunked_prefill),
        "async_scheduling": bool(scheduler.async_scheduling),
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "tensor_parallel_size": parallel.tensor_parallel_size,
        "pipeline_parallel_size": parallel.pipeline_parallel_size,
        "data_parallel_size": parallel.data_parallel_size,
        "expert_parallel": bool(parallel.enable_expert_parallel),
    }


def _output_components(config: Any) -> dict[str, Any]:
    model, structured_outputs = config.model_config, config.structured_outputs_config
    return {
        "logprobs_mode": str(model.logprobs_mode),
        "max_logprobs": model.max_logprobs,
        "structured_outputs_backend": str(structured_outputs.backend),
        "compact_json": bool(structured_outputs.disable_any_whitespace),
    }


def _threads() -> dict[str, int]:
    """vLLM's number of threads, read in the thread that runs it: fewer than the cores with hyperthreading."""
    import torch

    return {"threads": torch.get_num_threads()}


def _vllm_fingerprint(config: Any) -> str | None:
    """vLLM's own string: its version and a hash with the model's path, but without weights and device."""
    try:
        from vllm.entrypoints.serve.utils.fingerprint import build_system_fingerprint
    except ImportError:  # before vLLM 0.30 it lived elsewhere, or nowhere
        return None
    return str(build_system_fingerprint(config))
