"""OpenAI's encodings without a network."""

import functools
import hashlib
import inspect
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings, strategies as st
from tiktoken_ext import openai_public

from toolkit import models
from toolkit._internal.files import toolkit_home
from toolkit.errors import ModelError
from toolkit.tokenizers import tiktoken as encodings
from toolkit.tokenizers.text_tokenizer import _SEAM, _parts

FILES = {
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
}


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """No encoding loaded yet, and none in tiktoken's usual place."""
    encodings.encoding.cache_clear()
    for name in encodings._CACHE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    encodings.encoding.cache_clear()


@pytest.mark.parametrize("name", FILES)
def test_the_files_have_the_names_and_hashes_that_tiktoken_expects(name):
    source = inspect.getsource(getattr(openai_public, name))
    (url,) = re.findall(r'"(https://.*)"', source)
    (expected,) = re.findall(r'expected_hash="(.*)"', source)
    assert FILES[name] == hashlib.sha1(url.encode()).hexdigest()
    raw = (encodings.FOLDER / FILES[name]).read_bytes()
    assert hashlib.sha256(raw).hexdigest() == expected
    readme = (encodings.FOLDER / "README.md").read_text()
    assert f"`{FILES[name]}`" in readme
    assert f"{len(raw):,} | `{expected}`" in readme


@pytest.mark.parametrize(
    ("name", "last"), [("cl100k_base", 100276), ("o200k_base", 200018), ("o200k_harmony", 201087)]
)
def test_an_encoding_is_tiktokens_own(name, last, monkeypatch):
    ours = encodings.encoding(name)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(encodings.FOLDER))
    theirs = tiktoken.Encoding(**getattr(openai_public, name)())
    assert ours.name == name
    assert ours.max_token_value == theirs.max_token_value == last
    assert ours.token_byte_values() == theirs.token_byte_values()
    assert ours.special_tokens_set == theirs.special_tokens_set
    assert ours._pat_str == theirs._pat_str


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-2024-08-06", "o200k_base"),
        ("gpt-4.1-mini", "o200k_base"),
        ("gpt-5-nano", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("gpt-oss-20b", "o200k_harmony"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo-2024-04-09", "cl100k_base"),
        ("gpt-3.5-turbo-0301", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("ft:gpt-4o-mini-2024-07-18:my-org::7p4lURel", "o200k_base"),
        ("ft:gpt-4.1-2025-04-14:my-org:suffix:abc", "o200k_base"),
        ("ft:gpt-4-0613:my-org::abc", "cl100k_base"),
        ("ft:gpt-3.5-turbo-0125:my-org::abc", "cl100k_base"),
        ("text-davinci-003", "p50k_base"),
        ("gpt2", "r50k_base"),
        ("p50k_edit", "p50k_edit"),
        ("o200k_base", "o200k_base"),
        (" gpt-4o ", "o200k_base"),
        ("GPT-4o", "o200k_base"),
        ("openai/gpt-4", "cl100k_base"),
        ("azure/gpt-4o-2024-08-06", "o200k_base"),
        (" o200k_base", "o200k_base"),
        ("openai/gpt-oss-20b", None),  # a Hugging Face repository, with a chat template
        ("openai/clip-vit-base-patch32", None),
        ("claude-3", None),
        ("Qwen/Qwen3-0.6B", None),
        ("ft:llama", None),
        ("", None),
    ],
)
def test_models_have_the_encoding_that_tiktoken_gives_them(model, name):
    assert encodings.encoding_name(model) == name


@pytest.mark.parametrize("setting", ["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"])
def test_a_cache_of_the_users_own_is_used_alone(setting, monkeypatch, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(encodings.FOLDER / FILES["o200k_base"], own)
    monkeypatch.setenv(setting, str(own))
    monkeypatch.setattr(encodings, "FOLDER", tmp_path / "none")
    assert encodings.encoding("o200k_base").n_vocab == 200019
    monkeypatch.undo()
    monkeypatch.setenv(setting, str(own))
    with pytest.raises(
        ModelError, match=f"cl100k_base is not in {own}, .*unset {setting} to use them, or run"
    ):
        encodings.encoding("cl100k_base")
    assert [f.name for f in own.iterdir()] == [FILES["o200k_base"]]


def test_a_setting_that_is_empty_is_no_cache(monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    monkeypatch.setenv("DATA_GYM_CACHE_DIR", "/nowhere")  # tiktoken reads the first that is set
    assert encodings.encoding("cl100k_base").n_vocab == 100277


def test_what_tiktoken_has_kept_where_it_usually_does_is_found(monkeypatch, tmp_path):
    kept = tmp_path / "data-gym-cache"
    kept.mkdir()
    shutil.copy(encodings.FOLDER / FILES["cl100k_base"], kept)
    monkeypatch.setattr(encodings, "FOLDER", tmp_path / "none")
    assert encodings.encoding("cl100k_base").n_vocab == 100277
    with pytest.raises(ModelError, match=r"o200k_base is not in .*none or .*data-gym-cache"):
        encodings.encoding("o200k_base")


@pytest.mark.parametrize(
    ("name", "file"),
    [("p50k_base", "p50k_base"), ("p50k_edit", "p50k_base"), ("r50k_base", "r50k_base")],
)
def test_what_is_not_here_is_told_and_not_fetched(name, file, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was tried"))
    message = (
        rf"tiktoken's {file} is not in .*nothing is fetched to count. cl100k_base and o200k_base come with"
    )
    with pytest.raises(
        ModelError, match=rf"{message}.*: run tiktoken.get_encoding\('{file}'\) once with a network"
    ):
        encodings.encoding(name)


def test_a_damaged_file_is_told_and_left_alone(monkeypatch, tmp_path):
    damaged = tmp_path / FILES["cl100k_base"]
    damaged.write_bytes((encodings.FOLDER / FILES["cl100k_base"]).read_bytes()[:-1])
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    with pytest.raises(
        ModelError, match=f"{damaged} is damaged: .*SHA-256 that tiktoken expects of cl100k_base"
    ):
        encodings.encoding("cl100k_base")
    assert damaged.exists()


def test_others_who_use_tiktoken_notice_nothing(monkeypatch, tmp_path):
    loader, registered = openai_public.load_tiktoken_bpe, dict(tiktoken.registry.ENCODINGS)
    encodings.encoding("cl100k_base")
    assert openai_public.load_tiktoken_bpe is loader
    assert registered == tiktoken.registry.ENCODINGS
    assert not list(tmp_path.iterdir())


def test_text_that_tiktoken_gives_up_on_is_an_error_that_can_be_caught():
    """Its `encode_ordinary` panics."""
    with pytest.raises(ValueError, match="Max stack size exceeded"):
        encodings.ids(encodings.encoding("o200k_base"), " " * 1_000_000)


@functools.cache
def cutter(pattern):
    """An encoding; of r50k_base (and p50k_base) the pattern with another vocabulary: its own is not here."""
    if pattern != "r50k_base":
        return encodings.encoding(pattern)
    ranks = encodings.encoding("cl100k_base")._mergeable_ranks
    return tiktoken.Encoding(
        "r", pat_str=openai_public.r50k_pat_str, mergeable_ranks=ranks, special_tokens={}
    )


@pytest.mark.parametrize("pattern", ["cl100k_base", "o200k_base", "r50k_base"])
@settings(max_examples=3 * settings.default.max_examples)
@given(text=st.text(st.sampled_from("abZß日あ1 \t\n\r\u3000'’s!/.\u0301🎉"), max_size=60))
def test_a_text_cut_at_seams_has_the_same_tokens(pattern, text):
    own = cutter(pattern)
    cuts = [0, *(m.start() for m in _SEAM.finditer(text)), len(text)]
    parts = [text[a:b] for a, b in itertools.pairwise(cuts)]
    assert [i for part in parts for i in own.encode_ordinary(part)] == own.encode_ordinary(text)


def test_long_texts_are_cut_and_nothing_is_lost():
    text = "Some words, and more.\n" * 50_000
    parts = list(_parts(text))
    assert len(parts) > 3
    assert "".join(parts) == text
    assert list(_parts("日" * 600_000)) == ["日" * 600_000]  # no place to cut


NO_NETWORK = """
import os, socket
tried = []
def refuse(*arguments, **options):
    tried.append(arguments)
    raise OSError("no network here")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
import numpy as np
import toolkit as tk
turns = [{"role": "user", "content": "Hi"}]
kinds = ["gpt-4", "gpt-4o", "o200k_harmony", "acme/tiny", "SmolLM2-135M-Instruct", os.environ["SNAPSHOT"], tk.load()]
for kind in [*kinds, None]:
    counts = tk.count_tokens("Hi there", kind), tk.count_tokens(turns, kind), tk.count_many(["Hi"] * 9, kind).sum()
    print(*counts, repr(tk.tokens("Hi there", kind)))
print(len(tk.compare_tokenizers(["Hi there"], kinds)))
for kind in ("p50k_base", "acme/none", "gpt-6"):
    try:
        tk.count_tokens("Hi", kind)
    except tk.ModelError as error:
        print(str(error)[:30])
print(tried)
"""


@pytest.mark.slow
def test_nothing_is_fetched_to_count(tmp_path):
    """With Hugging Face's hub told that it is online, in a cache that holds one tokenizer."""
    home = tmp_path / "hub" / "models--acme--tiny"
    snapshot = home / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(Path(models.path()) / name, snapshot)
    env = {
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "0",
        "SNAPSHOT": str(snapshot),
        "PATH": "/usr/bin:/bin",
    }
    env |= {"TOOLKIT_HOME": str(toolkit_home())}
    done = subprocess.run([sys.executable, "-c", NO_NETWORK], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ["2 8 9 Hi| there"] * 3
    assert lines[3:8] == ["2 31 9 Hi| there"] * 5
    assert lines[8:] == [
        "7",
        "tiktoken's p50k_base is not in /"[:30],
        "'acme/none' is not on this machine: it is"[:30],
        "unknown model 'gpt-6': did you mean 'gpt-4'"[:30],
        "[]",
    ]
