import json
import os
import threading
from pathlib import Path

import pytest

from toolkit.engines.vllm import environment
from toolkit.engines.vllm.environment import THREADS, original_env, track_env_changes
from toolkit.engines.vllm.logs import _log_config, prepare_process


@pytest.fixture(autouse=True)
def none_written(monkeypatch):
    monkeypatch.setattr(environment, "_env_changes", {})


def write(monkeypatch, name, value):
    if value is None:
        monkeypatch.delenv(name, raising=False)
    else:
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # what the user has it at, what a load makes of it, what the user makes of it then
        ((None, "vllm", "vllm"), None),
        (("user", "vllm", "vllm"), "user"),
        (("user", None, None), "user"),
        (("user", "user", "user"), "user"),
        ((None, "vllm", "later"), "later"),
        (("user", "vllm", "later"), "later"),
        (("user", "vllm", None), None),
        ((None, None, "later"), "later"),
        (("user", "user", None), None),
    ],
)
def test_what_the_user_has_set_by_now_is_told_from_what_a_load_wrote(monkeypatch, values, expected):
    before, loaded, after = values
    write(monkeypatch, "TOOLKIT_TEST", before)
    with track_env_changes():
        write(monkeypatch, "TOOLKIT_TEST", loaded)
    write(monkeypatch, "TOOLKIT_TEST", after)
    assert original_env().get("TOOLKIT_TEST") == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # by the user, by the first load, by the user, by the second load
        ((None, "1", "1", "2"), None),
        (("user", "1", "1", "2"), "user"),
        (("user", "1", "1", "1"), "user"),
        ((None, "1", "user", "2"), "user"),
        ((None, "1", "user", "user"), "user"),
    ],
)
def test_a_second_engine_in_the_same_process(monkeypatch, values, expected):
    for user, loaded in (values[:2], values[2:]):
        write(monkeypatch, "TOOLKIT_TEST", user)
        with track_env_changes():
            write(monkeypatch, "TOOLKIT_TEST", loaded)
    assert original_env().get("TOOLKIT_TEST") == expected


def test_a_load_that_fails_has_written_too(monkeypatch):
    def load():
        with track_env_changes():
            monkeypatch.setenv("TOOLKIT_TEST", "vllm")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        load()
    assert "TOOLKIT_TEST" not in original_env()


def test_our_own_settings_are_not_the_users(monkeypatch, tmp_path):
    for name in (*THREADS, "VLLM_LOGGING_CONFIG_PATH", "VLLM_NO_USAGE_STATS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TOOLKIT_HOME", str(tmp_path))
    before = dict(os.environ)
    prepare_process()
    prepare_process()
    assert original_env() == before
    assert os.environ["VLLM_LOGGING_CONFIG_PATH"].startswith(str(tmp_path))
    for name in set(os.environ) - set(before):  # for monkeypatch to take away again
        monkeypatch.delenv(name)


@pytest.fixture
def logs(monkeypatch, tmp_path):
    """The folder of logs, in a home of its own."""
    for name in (*THREADS, "VLLM_LOGGING_CONFIG_PATH", "VLLM_NO_USAGE_STATS"):
        monkeypatch.setenv(name, "")  # for monkeypatch to put back what is there
        monkeypatch.delenv(name)
    monkeypatch.setenv("TOOLKIT_HOME", str(tmp_path))
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


def test_each_process_has_a_log_of_its_own_whatever_its_parent_had(monkeypatch, logs):
    """A process that is started from one with an engine finds its variables; the file may be gone by then."""
    monkeypatch.setenv("VLLM_LOGGING_CONFIG_PATH", str(logs / "vllm-1.json"))
    log = prepare_process()
    assert log == logs / f"vllm-{os.getpid()}.log"
    assert os.environ["VLLM_LOGGING_CONFIG_PATH"] == str(log.with_suffix(".json"))
    assert str(log) in log.with_suffix(".json").read_text()
    assert "VLLM_LOGGING_CONFIG_PATH" not in original_env()


def test_a_logging_configuration_of_the_user_stays(monkeypatch, logs):
    monkeypatch.setenv("VLLM_LOGGING_CONFIG_PATH", "/etc/mine.json")
    prepare_process()
    assert (
        os.environ["VLLM_LOGGING_CONFIG_PATH"]
        == original_env()["VLLM_LOGGING_CONFIG_PATH"]
        == "/etc/mine.json"
    )


def test_logs_of_processes_that_run_are_kept_however_old(logs):
    beyond = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    for i, pid in enumerate([os.getppid(), *range(beyond, beyond + 30)]):
        for suffix in ("log", "json"):
            (logs / f"vllm-{pid}.{suffix}").touch()
            os.utime(logs / f"vllm-{pid}.{suffix}", (i, i))
    prepare_process()
    kept = [os.getppid(), *range(beyond + 10, beyond + 30)]
    names = {f"vllm-{pid}.{suffix}" for pid in kept for suffix in ("log", "json")}
    assert {p.name for p in logs.iterdir()} == names | {f"vllm-{os.getpid()}.json"}


def test_logs_of_today_are_kept_since_another_container_may_be_writing_them(logs):
    beyond = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    for pid in range(beyond, beyond + 30):
        (logs / f"vllm-{pid}.log").touch()
        (logs / f"vllm-{pid}.json").touch()
    prepare_process()
    assert len(list(logs.iterdir())) == 61


def test_the_configuration_of_the_log_is_whole_whenever_it_is_read(logs):
    """A process of vLLM's may read it while another engine is made."""
    path = _log_config(logs / "vllm-1.log")
    stop = threading.Event()

    def write():
        while not stop.is_set():
            _log_config(logs / "vllm-1.log")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(json.loads(path.read_text())["version"] == 1 for _ in range(300))
    finally:
        stop.set()
        writer.join()
