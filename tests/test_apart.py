import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import toolkit as tk
from toolkit.engines.subprocess import run_in_subprocess
from toolkit.errors import EngineError

pytestmark = pytest.mark.slow
warm = pytest.mark.usefixtures("warm")
"""For all but what Python itself is to start: one test of each kind, and what is set before anything loads."""
SMALL = tk.Variant(arguments={"kv_cache_memory_bytes": 512 << 20})
"""The session's engine is in memory as well."""


def test_work_and_result_travel():
    class Local:  # of no module that the process could import
        value = 7

    assert run_in_subprocess(SMALL, lambda engine, x: (engine.model, x.value + 1, os.getpid()), Local())[
        :2
    ] == (
        "SmolLM2-135M-Instruct",
        8,
    )
    assert run_in_subprocess(SMALL, lambda engine: os.getpid()) != os.getpid()


def test_threads_and_environment_are_set_before_anything_loads(monkeypatch):
    # The session's engine has been loaded: these are set afterwards.
    monkeypatch.setenv("TOOLKIT_TEST_OUT", "1")
    monkeypatch.setenv("TOOLKIT_TEST_LATER", "1")

    def seen(engine):
        import torch

        names = ("OMP_NUM_THREADS", "TOOLKIT_TEST_IN", "TOOLKIT_TEST_OUT", "TOOLKIT_TEST_LATER", "LD_PRELOAD")
        return torch.get_num_threads(), [os.environ.get(name) for name in names]

    variant = SMALL.with_("other", threads=1, env={"TOOLKIT_TEST_IN": "yes", "TOOLKIT_TEST_OUT": None})
    # vLLM sets LD_PRELOAD in this process, which has an engine; the other must not take it for the user's.
    assert run_in_subprocess(variant, seen) == (1, ["1", "yes", None, "1", None])


def test_a_process_that_dies_before_it_reads_its_work_is_told(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(3)")  # which Python imports first of all
    variant = SMALL.with_("broken", env={"PYTHONPATH": str(tmp_path)})
    with pytest.raises(EngineError, match=r"process of the variant .* died \(exit status 3\)"):
        run_in_subprocess(variant, lambda engine, work: None, b" " * (4 << 20))


@warm
def test_what_is_printed_there_appears_here(capsys):
    def talk(engine):
        print("on the way")
        print("something is odd", file=sys.stderr)

    run_in_subprocess(SMALL, talk)
    said = capsys.readouterr()
    assert "on the way\n" in said.out
    assert "something is odd\n" in said.err


@warm
def test_progress_there_is_drawn_here(monkeypatch):
    drawn = []

    class Bar:
        def __init__(self, **options):
            self.options = options

        def refresh(self):
            drawn.append((self.options["desc"], self.options["total"], self.n, self.postfix))

        def close(self):
            drawn.append("closed")

    def work(engine):
        from tqdm.auto import tqdm

        with tqdm(total=2, desc="counting", disable=None) as bar:
            bar.n = 1
            bar.set_postfix({"stored": 1}, refresh=False)
            bar.refresh()

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    run_in_subprocess(SMALL, work)
    assert ("counting", 2, 1, "stored=1") in drawn
    assert drawn[-1] == "closed"


@warm
@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda engine: 1 / 0, ZeroDivisionError, "division by zero"),
        (lambda engine: engine.chat("x", max_tokens=10**6), tk.RequestError, "exceed the context window"),
        (
            lambda engine: os.kill(os.getpid(), signal.SIGKILL),
            EngineError,
            r"variant default died \(SIGKILL\)",
        ),
        (lambda engine: os._exit(3), EngineError, r"died \(exit status 3\)"),
    ],
)
def test_errors_come_back(function, error, message):
    with pytest.raises(error, match=message) as raised:
        run_in_subprocess(SMALL, function)
    if error is ZeroDivisionError:
        assert "in the process of the variant default" in raised.value.__notes__[0]


@warm
def test_an_error_that_cannot_travel_is_told():
    def work(engine):
        class Local(Exception):
            def __reduce__(self):
                raise TypeError("not me")

        raise Local("what went wrong")

    with pytest.raises(RuntimeError, match="Local: what went wrong"):
        run_in_subprocess(SMALL, work)


@warm
def test_an_engine_that_does_not_start_says_why():
    with pytest.raises(EngineError, match="vLLM did not start"):
        run_in_subprocess(SMALL.with_("odd", max_model_len=1 << 30), lambda engine: engine.start())


@warm
def test_an_interrupt_reaches_the_work_and_comes_back(tmp_path):
    flag = tmp_path / "cleaned"

    def work(engine):
        try:
            (tmp_path / "began").touch()
            time.sleep(60)
        finally:
            flag.touch()

    def interrupt():
        while not (tmp_path / "began").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_in_subprocess(SMALL, work)
    assert flag.exists()
    assert time.monotonic() - began < 40


def test_a_process_whose_parent_is_killed_ends_its_work(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, pathlib, sys, time\n"
        "from toolkit.engines.subprocess import run_in_subprocess\nfrom toolkit.engines.variant import Variant\n"
        "def work(engine, folder):\n"
        "    try:\n"
        "        pathlib.Path(folder, 'began').write_text(str(os.getpid()))\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        pathlib.Path(folder, 'cleaned').touch()\n"
        "run_in_subprocess(Variant(), work, sys.argv[1])\n"
    )
    parent = subprocess.Popen([sys.executable, script, tmp_path])
    _wait_for(tmp_path / "began")
    parent.kill()
    parent.wait()
    _wait_for(tmp_path / "cleaned")


def _wait_for(path, seconds=30):
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} never came"
        time.sleep(0.05)
