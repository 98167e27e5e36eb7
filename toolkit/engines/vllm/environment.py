"""The environment variables of processes that compute: which change outputs, and which this package sets."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping

from toolkit.engines.vllm.hardware import device

THREADS = {
    # Threads that wait spin for some microseconds: never spinning costs a fifth of the speed on idle cores, and
    # libgomp's own milliseconds make it ten times slower when another program wants a core.
    "GOMP_SPINCOUNT": "2000",
    # In processes of its own vLLM would bind threads, whatever number was asked for, and leave one core to its
    # scheduler: on two cores two thirds of the speed.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""How threads run on a CPU, unless the user sets it otherwise."""
_env_changes: dict[str, tuple[str | None, str | None]] = {}
"""Variables that this package or vLLM set for an engine: the value of each before, and the one set."""


@contextlib.contextmanager
def track_env_changes() -> Iterator[None]:
    """Records the environment variables that are set meanwhile: by this package, or by vLLM, which sets some thirty
    while it loads, LD_PRELOAD among them."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in before.keys() | os.environ.keys():
            was, now = before.get(name), os.environ.get(name)
            if was != now:
                first, last = _env_changes.get(name, (was, was))
                # A value that an earlier engine's load has set is not the user's either.
                _env_changes[name] = (first if last == was else was, now)


def original_env() -> dict[str, str]:
    """The current environment without the recorded changes: a new process must not take those for the user's. What
    was set since then is the user's."""
    values: dict[str, str | None] = dict(os.environ)
    values |= {name: was for name, (was, now) in _env_changes.items() if os.environ.get(name) == now}
    return {name: value for name, value in values.items() if value is not None}


def subprocess_env(env: Mapping[str, str | None], **defaults: str) -> dict[str, str]:
    """The environment of a new process of this package that loads an engine: the user's, with some variables changed
    (None: not set). defaults: values where the user has set none."""
    # `python -m` finds this package where this process has it, whatever its folder.
    path = os.pathsep.join(p for p in sys.path if p)
    values = {**defaults, **original_env(), "PYTHONPATH": path, **env}
    return {name: value for name, value in values.items() if value is not None}


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
"""Parts of the names of settings that change no output, or must not be recorded."""


def runs_in_own_processes() -> str:
    """Whether vLLM will run in processes of its own, by `logs.prepare_process` and vLLM's default: "1" or "0"."""
    return os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") or ("0" if device()["kind"] == "cpu" else "1")


def numeric_environment() -> dict[str, str]:
    """The variables of this process that may change outputs: settings of vLLM and of the libraries below it."""
    names = _numeric_names([name for name, value in os.environ.items() if (name, value) != _DEFAULT_BINDING])
    return {name: os.environ[name] for name in sorted(names)}


def _numeric_names(names: Collection[str]) -> set[str]:
    """The names among these of variables that may change outputs."""
    settings = {n for n in names if n.startswith(_NUMERIC_PREFIXES) and not _NEUTRAL_ENV.search(n)}
    return (settings - _INTERNAL_ENV) | _NUMERIC_ENV.intersection(names)


_INTERNAL_ENV = frozenset(
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
_DEFAULT_BINDING = ("VLLM_CPU_OMP_THREADS_BIND", "nobind")
"""This package's value on a CPU: `device.threads` then records it fully. Another binding may have other threads, and
counts."""
