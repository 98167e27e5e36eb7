"""A real Jupyter kernel: load, interrupt, go on."""

import re
import sqlite3
import time
from queue import Empty

import pytest
from jupyter_client.manager import start_new_kernel

pytestmark = pytest.mark.slow


class Kernel:
    def __init__(self, manager, client, folder):
        self.manager, self.client, self.folder = manager, client, folder

    def send(self, code):
        return self.client.execute(code)

    def result(self, name, timeout=240):
        """(status, everything printed and shown) of a cell."""
        shown, deadline = [], time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except Empty:
                continue
            if message["parent_header"].get("msg_id") != name:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                shown.append(content["text"])
            elif kind in ("execute_result", "display_data"):
                shown.append(content["data"].get("text/plain", ""))
            elif kind == "error":
                shown.append(f"{content['ename']}: {content['evalue']}")
            elif kind == "status" and content["execution_state"] == "idle":
                return self._reply(name)["status"], "\n".join(shown)
        raise TimeoutError("\n".join(shown))

    def _reply(self, name):
        """The reply to a cell: before it may stand others, such as that of a kernel_info that was asked for twice
        since the kernel was slow to start."""
        while True:
            message = self.client.get_shell_msg(timeout=10)
            if message["parent_header"].get("msg_id") == name:
                return message["content"]

    def run(self, code):
        return self.result(self.send(code))


def stored(path):
    """How many completions another process has written to a store."""
    if not path.exists():
        return 0
    try:
        with sqlite3.connect(path) as db:
            return db.execute("SELECT count(*) FROM completions").fetchone()[0]
    except sqlite3.OperationalError:  # it is being made
        return 0


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernel")
    manager, client = start_new_kernel(cwd=str(folder))
    yield Kernel(manager, client, folder)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_interrupting_a_sweep_keeps_what_was_finished_and_the_engine(kernel):
    assert (
        kernel.run("import toolkit as tk\nengine = tk.load(kv_cache_memory_bytes=512 << 20).start()")[0]
        == "ok"
    )
    code = (
        "long = tk.grid(seed=range(99, 119), max_tokens=100, ignore_eos=True)\n"
        "cells = tk.grid(seed=range(40), max_tokens=2) + long\n"
        "sweep = tk.sweep('Tell a story.', cells)\nresults = sweep.run(engine, 'run.db')"
    )
    name = kernel.send(code)
    deadline = time.monotonic() + 60
    while not stored(kernel.folder / "run.db") and time.monotonic() < deadline:
        time.sleep(0.05)
    kernel.manager.interrupt_kernel()
    status, shown = kernel.result(name)
    assert status == "error"
    assert "KeyboardInterrupt" in shown
    (have,) = re.findall(r"interrupted: (\d+) of 60 completions are in .*run\.db; run again to go on", shown)
    assert 0 < int(have) < 60
    assert kernel.run("len(sweep.plan(engine, 'run.db').missing)") == ("ok", str(60 - int(have)))
    assert kernel.run("engine.call(lambda llm: llm.llm_engine.has_unfinished_requests())") == ("ok", "False")
    assert kernel.run("engine.chat('Hi', max_tokens=2).usage.completion_tokens") == ("ok", "2")
    status, _ = kernel.run("results = sweep.run(engine, 'run.db')")
    assert status == "ok"
    assert kernel.run("len(results), results.frame()['request'].is_unique") == ("ok", "(60, True)")


def test_stop_pressed_again_and_again_loses_nothing(kernel):
    """The first press ends the sweep; later ones come while it finishes, and after it."""
    kernel.run("import threading\ncells = tk.grid(max_tokens=range(4, 124, 2), ignore_eos=True)")
    kernel.run("sweep = tk.sweep('Tell a story.', cells)")
    have = 0
    for times in (2, 3, 3):
        name = kernel.send("sweep.run(engine, 'again.db')")
        deadline = time.monotonic() + 60
        while stored(kernel.folder / "again.db") <= have and time.monotonic() < deadline:
            time.sleep(0.05)
        for _ in range(times):
            kernel.manager.interrupt_kernel()
            time.sleep(0.02)
        status, shown = kernel.result(name)
        assert (status, "KeyboardInterrupt" in shown) == ("error", True)
        (told,) = re.findall(r"interrupted: (\d+) of 60 completions are in .*again\.db", shown)
        assert have < int(told) < 60
        have = int(told)
        assert stored(kernel.folder / "again.db") == have
        assert kernel.run("[t.name for t in threading.enumerate() if 'writer' in t.name]") == ("ok", "[]")
    assert kernel.run("sweep.run(engine, 'again.db');")[0] == "ok"
    told = "results = tk.results('again.db'); len(results), results.costs().total['failed_attempts']"
    assert kernel.run(told) == (
        "ok",
        "(60, 0)",
    )  # an answer to what was stored already would be among the failed


def test_interrupting_a_chat_leaves_the_engine_usable(kernel):
    name = kernel.send("engine.chat('Go on.', max_tokens=4000, ignore_eos=True)")
    time.sleep(1.5)
    kernel.manager.interrupt_kernel()
    status, shown = kernel.result(name, timeout=20)
    assert (status, "KeyboardInterrupt" in shown) == ("error", True)
    assert kernel.run("engine.chat('What is the capital of France?', temperature=0).text") == (
        "ok", "'The capital of France is Paris.'",
    )  # fmt: skip


def test_loading_again_gives_the_loaded_engine_and_vllm_stays_quiet(kernel):
    assert kernel.run("tk.load(kv_cache_memory_bytes=512 << 20) is engine") == ("ok", "True")
    status, shown = kernel.run("engine.chat('Hi', max_tokens=1);")
    assert (status, shown) == ("ok", "")
