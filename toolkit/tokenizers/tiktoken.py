"""OpenAI's tokenizers (encodings), from files on this machine. Nothing is fetched."""

from __future__ import annotations

import base64
import copy
import hashlib
import importlib.util
import itertools
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.files import data_folder
from toolkit._internal.text import short_repr
from toolkit.errors import ModelError

if TYPE_CHECKING:
    from tiktoken import Encoding


FOLDER = data_folder("tiktoken")
"""Vocabularies that come with the package, named as in tiktoken's cache."""
_CACHE_VARIABLES = ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
"""Environment variables that give tiktoken a cache folder; the first that is set applies."""
_BUNDLED = ("cl100k_base", "o200k_base", "o200k_harmony")
"""The encodings whose files are in `FOLDER`."""
_MAX_THREADS = 8
"""Most threads that count at once: each has its own encoding, of 50 MB."""
_EQUIVALENT = {"gpt2": "r50k_base"}
"""Encodings with the same tokens in another file format."""


def bare(model: str) -> str:
    """A model's name as in OpenAI's API: lower case, without surrounding spaces and the provider's prefix.

    >>> bare(" openai/GPT-4o")
    'gpt-4o'
    """
    # openai/gpt-oss-20b is a Hugging Face repository, with a chat template.
    return re.sub(r"^(openai|azure)/(?!gpt-oss)", "", model.strip().lower())


def encoding_name(model: str) -> str | None:
    """The encoding of one of OpenAI's models, dated and fine-tuned ones as well, or of an encoding's own name; None
    for all others. As tiktoken assigns it, for the `bare` name.

    >>> encoding_name("ft:gpt-4.1-mini-2025-04-14:my-org::7p4lURel")
    'o200k_base'
    """
    from tiktoken.model import encoding_name_for_model

    # tiktoken knows the prefix "ft:gpt-4" only, and would take fine-tuned models of gpt-4.1 for those of gpt-4.
    name = bare(model)
    name = name.split(":")[1] if name.startswith("ft:") else name
    if name not in _encodings_module().ENCODING_CONSTRUCTORS:
        try:
            name = encoding_name_for_model(name)
        except KeyError:
            return None
    return _EQUIVALENT.get(name, name)


def known_names() -> list[str]:
    """The encodings that come with the toolkit, and the models that tiktoken assigns them to."""
    from tiktoken.model import MODEL_TO_ENCODING

    return [*_BUNDLED, *(model for model, name in MODEL_TO_ENCODING.items() if name in _BUNDLED)]


@cache
def encoding(name: str) -> Encoding:
    """An encoding by its own name, from a cache that the user has set, else from `FOLDER` or tiktoken's usual cache.

    Raises ModelError when its file is missing, or is not the one that tiktoken expects.
    """
    import tiktoken

    return tiktoken.Encoding(**_encodings_module().ENCODING_CONSTRUCTORS[name]())


def ids(encoder: Encoding, text: str) -> npt.NDArray[np.uint32]:
    """(T,) the token IDs of a text, the names of special tokens as ordinary text. Raises ValueError where tiktoken
    fails: with o200k_base at a million consecutive white space characters."""
    return encoder.encode_to_numpy(text, disallowed_special=())


@cache
def vocabulary(name: str) -> list[bytes]:
    """The bytes of every token ID of an encoding, special tokens by their names; empty for unused IDs."""
    encoder = encoding(name)

    def token_bytes(token_id: int) -> bytes:
        try:
            return encoder.decode_single_token_bytes(token_id)
        except KeyError:
            return b""

    return [token_bytes(token_id) for token_id in range(encoder.n_vocab)]


def lengths(name: str, batches: Iterable[list[str]]) -> Iterator[list[int]]:
    """The number of tokens of each text, batch by batch, on all processors."""
    return _workers(os.getpid()).map(_lengths, itertools.repeat(name), batches)


@cache
def _workers(process: int) -> ThreadPoolExecutor:
    """Persistent threads, since each keeps an encoding; a forked process does not inherit its parent's."""
    return ThreadPoolExecutor(min(len(os.sched_getaffinity(process)), _MAX_THREADS), "toolkit-count")


_thread_encodings = threading.local()


def _lengths(name: str, texts: list[str]) -> list[int]:
    # tiktoken's regular expressions serve the thread that used them first without a lock, and all others a third
    # slower: compared with one thread, two are 1.4 times as fast with a shared encoding, 2.0 times with one each.
    encoder = _thread_encodings.__dict__.get(name)
    if encoder is None:
        encoder = _thread_encodings.__dict__[name] = copy.copy(encoding(name))  # tiktoken recompiles a copy
    return [len(ids(encoder, text)) for text in texts]


@cache
def _encodings_module() -> Any:
    """tiktoken's list of encodings, as a private copy of its module.

    tiktoken's loader downloads files that its cache lacks, deletes those that fail their hash, and finds its cache by
    environment variables of the whole process. In a copy of the module the loader can be replaced without any effect
    on others who use tiktoken.
    """
    spec = importlib.util.find_spec("tiktoken_ext.openai_public")
    assert spec is not None  # tiktoken is a dependency
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.load_tiktoken_bpe = _ranks
    return module


def _ranks(url: str, expected_hash: str) -> dict[bytes, int]:
    """Bytes of each token → its rank, which is its ID. Replaces `tiktoken.load.load_tiktoken_bpe`."""
    pairs = (line.split() for line in _read(url, expected_hash).splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def _read(url: str, expected_hash: str) -> bytes:
    from tiktoken.load import check_hash

    name = url.rpartition("/")[2].removesuffix(".tiktoken")
    folders, variable = _folders()
    files = [folder / hashlib.sha1(url.encode()).hexdigest() for folder in folders]
    file = next((f for f in files if f.is_file()), None)
    if file is None:
        unset = f"unset {variable} to use them, or " if variable and name in _BUNDLED else ""
        raise ModelError(
            f"tiktoken's {name} is not in {' or '.join(map(str, folders))}, and nothing is fetched to count. "
            f"cl100k_base and o200k_base come with the toolkit's repository: {unset}run "
            f"tiktoken.get_encoding({short_repr(name)}) once with a network, and it is read from tiktoken's cache"
        )
    raw = file.read_bytes()
    if not check_hash(raw, expected_hash):
        raise ModelError(
            f"{file} is damaged: it does not have the SHA-256 that tiktoken expects of {name}. Delete it and fetch "
            "it again; a file of the toolkit's repository comes back with git checkout data/tiktoken"
        )
    return raw


def _folders() -> tuple[list[Path], str]:
    """The folders to search, and the variable that sets them: the user's own cache alone, if there is one."""
    variable = next((name for name in _CACHE_VARIABLES if name in os.environ), "")
    if folder := os.environ.get(variable):  # empty: tiktoken keeps no cache
        return [Path(folder)], variable
    return [FOLDER, Path(tempfile.gettempdir()) / "data-gym-cache"], ""
