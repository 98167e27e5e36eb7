"""Encoding: OpenAI's tokenizers, from files that are on this machine. Nothing is fetched."""

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

from toolkit.models import ModelError

if TYPE_CHECKING:
    from tiktoken import Encoding

FOLDER = Path(__file__).parents[1] / "data" / "tiktoken"
"""In the project's own folder, named as in tiktoken's cache; an installation without it needs a cache."""
_SETTINGS = ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
"""Where tiktoken looks for a cache of the user's own; the first that is set holds."""
_HERE = ("cl100k_base", "o200k_base", "o200k_harmony")
"""The encodings that `FOLDER` has the files of."""
_THREADS = 8
"""At most this many count at once: each has an encoding of its own, of 50 MB."""
_SAME = {"gpt2": "r50k_base"}
"""The same tokens in another format of files."""


def bare(model: str) -> str:
    """A model's name as OpenAI's API has it: without spaces around it, capitals, and the seller's name before it.

    >>> bare(" openai/GPT-4o")
    'gpt-4o'
    """
    # openai/gpt-oss-20b is a Hugging Face repository, with a chat template.
    return re.sub(r"^(openai|azure)/(?!gpt-oss)", "", model.strip().lower())


def encoding_name(model: str) -> str | None:
    """The encoding of one of OpenAI's models, dated and fine-tuned ones as well, or of an encoding's own name; None
    for all others. As tiktoken has it, of the `bare` name.

    >>> encoding_name("ft:gpt-4.1-mini-2025-04-14:my-org::7p4lURel")
    'o200k_base'
    """
    from tiktoken.model import encoding_name_for_model

    # tiktoken knows the prefix "ft:gpt-4" only, and would take fine-tuned models of gpt-4.1 for those of gpt-4.
    asked = bare(model)
    asked = asked.split(":")[1] if asked.startswith("ft:") else asked
    if asked not in _source().ENCODING_CONSTRUCTORS:
        try:
            asked = encoding_name_for_model(asked)
        except KeyError:
            return None
    return _SAME.get(asked, asked)


def known_names() -> list[str]:
    """The encodings that come with the toolkit, and the models that tiktoken names them for."""
    from tiktoken.model import MODEL_TO_ENCODING

    return [*_HERE, *(model for model, name in MODEL_TO_ENCODING.items() if name in _HERE)]


@cache
def encoding(name: str) -> Encoding:
    """An encoding by its own name, from a cache that the user has set, else from `FOLDER` or tiktoken's usual cache.

    Raises ModelError where its file is not there, or is not the one that tiktoken expects.
    """
    import tiktoken

    return tiktoken.Encoding(**_source().ENCODING_CONSTRUCTORS[name]())


def ids(own: Encoding, text: str) -> npt.NDArray[np.uint32]:
    """(T,) the ids of a text, the names of special tokens as ordinary text. Raises ValueError where tiktoken gives
    up: with o200k_base at a million characters of white space on end."""
    return own.encode_to_numpy(text, disallowed_special=())


@cache
def vocabulary(name: str) -> list[bytes]:
    """The bytes of every token id of an encoding, special tokens by their names; empty for ids that are none's."""
    own = encoding(name)

    def known(token: int) -> bytes:
        try:
            return own.decode_single_token_bytes(token)
        except KeyError:
            return b""

    return [known(token) for token in range(own.n_vocab)]


def lengths(name: str, batches: Iterable[list[str]]) -> Iterator[list[int]]:
    """How many tokens each text has, by batches, on all processors."""
    return _workers(os.getpid()).map(_lengths, itertools.repeat(name), batches)


@cache
def _workers(process: int) -> ThreadPoolExecutor:
    """Threads that stay, since each keeps an encoding; a forked process has none of its parent's."""
    return ThreadPoolExecutor(min(len(os.sched_getaffinity(process)), _THREADS), "toolkit-count")


_mine = threading.local()


def _lengths(name: str, texts: list[str]) -> list[int]:
    # tiktoken's regular expressions serve the thread that used them first without a lock, and all others a third
    # slower: two threads with one encoding are 1.4 times as fast as one thread, with an encoding each 2.0 times.
    own = _mine.__dict__.get(name)
    if own is None:
        own = _mine.__dict__[name] = copy.copy(encoding(name))  # tiktoken compiles a copy anew
    return [len(ids(own, text)) for text in texts]


@cache
def _source() -> Any:
    """tiktoken's list of encodings, as a module of our own.

    tiktoken's loader downloads what its cache lacks, deletes a file there that fails its hash, and is told where to
    look by the environment of the whole process. In a copy of the module the loader can be ours, and nobody else who
    uses tiktoken notices.
    """
    spec = importlib.util.find_spec("tiktoken_ext.openai_public")
    assert spec is not None  # tiktoken is a dependency
    assert spec.loader is not None
    own: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(own)
    own.load_tiktoken_bpe = _ranks
    return own


def _ranks(url: str, expected_hash: str) -> dict[bytes, int]:
    """Bytes of each token → its rank, which is its id. In the place of `tiktoken.load.load_tiktoken_bpe`."""
    pairs = (line.split() for line in _read(url, expected_hash).splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def _read(url: str, expected_hash: str) -> bytes:
    from tiktoken.load import check_hash

    name = url.rpartition("/")[2].removesuffix(".tiktoken")
    folders, setting = _folders()
    files = [folder / hashlib.sha1(url.encode()).hexdigest() for folder in folders]
    file = next((f for f in files if f.is_file()), None)
    if file is None:
        unset = f"unset {setting} to use them, or " if setting and name in _HERE else ""
        raise ModelError(
            f"tiktoken's {name} is not in {' or '.join(map(str, folders))}, and nothing is fetched to count. "
            f"cl100k_base and o200k_base come with the toolkit's repository: {unset}run "
            f"tiktoken.get_encoding({name!r}) once with a network, and it is found where tiktoken keeps it"
        )
    raw = file.read_bytes()
    if not check_hash(raw, expected_hash):
        raise ModelError(
            f"{file} is damaged: it has not the SHA-256 that tiktoken expects of {name}. Delete it and get it again; "
            "a file of the toolkit's repository comes back with git checkout data/tiktoken"
        )
    return raw


def _folders() -> tuple[list[Path], str]:
    """Where to look, and the setting that says so: the user's own cache alone, where there is one."""
    setting = next((name for name in _SETTINGS if name in os.environ), "")
    if own := os.environ.get(setting):  # empty: tiktoken is to keep nothing
        return [Path(own)], setting
    return [FOLDER, Path(tempfile.gettempdir()) / "data-gym-cache"], ""
