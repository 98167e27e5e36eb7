import os
import signal
import subprocess
import sys
import time

import pytest

from toolkit import models
from toolkit.errors import ModelError


def test_the_default_model_is_complete():
    folder = models.path()
    assert os.path.basename(folder) == models.DEFAULT
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(os.listdir(folder))
    assert not [name for name in os.listdir(os.path.dirname(folder)) if name.startswith(f".{models.DEFAULT}")]


def test_a_damaged_file_is_refused(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"abc")
    models.verify(file, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")  # FIPS 180-2
    file.write_bytes(b"abd")
    with pytest.raises(ModelError, match=r"model.gguf is damaged or not the one expected: SHA-256 a52d159f"):
        models.verify(file, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")


def test_a_path_that_is_a_text_is_verified(tmp_path, monkeypatch):
    (tmp_path / "a.bin").write_bytes(b"abc")
    models.verify(str(tmp_path / "a.bin"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModelError, match=r"a\.bin is damaged or not the one expected: .*expected abc"):
        models.verify("~/a.bin", "abc")
    with pytest.raises(FileNotFoundError, match=r"none\.bin"):
        models.verify(str(tmp_path / "none.bin"), "abc")
    with pytest.raises(TypeError, match=r"a path must be a text or a pathlib\.Path, got 3"):
        models.verify(3, "abc")


@pytest.mark.parametrize("name", ["x" * 300, "a/" + "x" * 300, "x/" * 3000])
def test_a_name_longer_than_a_file_can_have_is_that_of_no_model(name):
    with pytest.raises(ModelError, match="is not on this machine: it is neither a folder"):
        models.local(name)
    with pytest.raises(
        ModelError, match=r"(?s)unknown model '.*The nearest model on this machine is '"
    ) as caught:
        models.path(name)
    assert len(str(caught.value)) < 1000


def test_local_folders_are_taken_as_they_are(tmp_path):
    assert models.path(models.path()) == models.path()
    with pytest.raises(ModelError, match=r"is no model: it has no config\.json"):
        models.path(str(tmp_path))


def test_weights_hash_follows_the_bytes(monkeypatch, tmp_path):
    monkeypatch.setenv("TOOLKIT_HOME", str(tmp_path / "home"))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    first = models.weights_hash(tmp_path)
    assert models.weights_hash(tmp_path) == first
    weights.write_bytes(b"two")
    os.utime(weights, ns=(1, 1))
    assert models.weights_hash(tmp_path) != first


@pytest.mark.parametrize("content", ["", '"abc', "[1]", "\x00"])
def test_a_hash_that_was_cut_short_is_made_again(monkeypatch, tmp_path, content):
    monkeypatch.setenv("TOOLKIT_HOME", str(tmp_path / "home"))
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = models.weights_hash(tmp_path)
    (cache,) = (tmp_path / "home" / "hashes").iterdir()
    cache.write_text(content)
    assert models.weights_hash(tmp_path) == first
    assert cache.read_text() == f'"{first}"'


FETCH = "from toolkit import models; print(models.path())"


@pytest.mark.slow
def test_interrupted_and_simultaneous_conversions_leave_one_whole_model(tmp_path):
    env = {**os.environ, "TOOLKIT_HOME": str(tmp_path)}

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", FETCH], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    first = start()
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("models/.*/model")) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not (tmp_path / "models" / models.DEFAULT).exists()
    assert list(tmp_path.glob("models/.*/")), "killed before it had begun: the test tests nothing"
    both = [start(), start()]
    found = [process.communicate(timeout=300)[0].strip() for process in both]
    assert found == [str(tmp_path / "models" / models.DEFAULT)] * 2
    assert os.listdir(tmp_path / "models") == [models.DEFAULT, f"{models.DEFAULT}.lock"] or sorted(
        os.listdir(tmp_path / "models")
    ) == [models.DEFAULT, f"{models.DEFAULT}.lock"]
    assert models.weights_hash(tmp_path / "models" / models.DEFAULT) == models.weights_hash(
        type(tmp_path)(models.path())
    )
