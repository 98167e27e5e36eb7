"""What a notebook tells about the toolkit: completion, help on fields, interrupts in one line."""

import dataclasses
import pydoc
import re
import time
from queue import Empty

import pytest
from jupyter_client.manager import start_new_kernel

import toolkit as tk
from toolkit._internal.field_docs import documented, field_docs

PUBLIC = [getattr(tk, name) for name in tk.__all__ if name != "Determinism"]
DATACLASSES = [value for value in PUBLIC if dataclasses.is_dataclass(value)]


@pytest.mark.parametrize("kind", DATACLASSES, ids=lambda kind: kind.__name__)
def test_help_says_what_each_field_is(kind):
    texts = field_docs(kind)
    text = pydoc.plain(pydoc.render_doc(kind))
    for field in dataclasses.fields(kind):
        assert texts.get(field.name), f"{kind.__name__}.{field.name} has no docstring"
        assert re.search(
            rf"\b{field.name} \(.*\): {re.escape(texts[field.name].split()[0])}", text, re.DOTALL
        )


def test_a_documented_class_keeps_its_own_words():
    @documented
    @dataclasses.dataclass
    class Point:
        """A point."""

        x: int
        """Its place."""
        y: int = 0

    @dataclasses.dataclass
    class Point3(Point):
        """A point in space."""

        z: int = 0

    class Silent(Point):
        pass

    assert Point.__doc__ == "A point.\n\nFields:\n    x (int): Its place.\n    y (int)"
    assert Point(1).__doc__ == Point.__doc__
    assert (Point3.__doc__, Silent.__doc__) == ("A point in space.", None)
    assert field_docs(Point3)["x"] == "Its place."


class Kernel:
    def __init__(self, manager, client):
        self.manager, self.client = manager, client

    def run(self, code, interrupt_after=None):
        """(printed, lines of the traceback) of a cell."""
        name, start, printed, trace = self.client.execute(code), time.monotonic(), "", []
        while time.monotonic() < start + 120:
            if interrupt_after is not None and time.monotonic() > start + interrupt_after:
                self.manager.interrupt_kernel()
                interrupt_after = None
            try:
                message = self.client.get_iopub_msg(timeout=0.2)
            except Empty:
                continue
            if message["parent_header"].get("msg_id") != name:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                printed += content["text"]
            elif message["msg_type"] == "error":
                trace = "\n".join(content["traceback"]).splitlines()
            elif content.get("execution_state") == "idle":
                return printed, trace
        raise TimeoutError(printed)

    def complete(self, code):
        """What Tab offers at the end of a line of code."""
        name = self.client.complete(code, len(code))
        while True:
            message = self.client.get_shell_msg(timeout=60)
            if message["parent_header"].get("msg_id") == name:
                return message["content"]["matches"]


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel()
    kernel = Kernel(manager, client)
    kernel.run(
        "import socket, time, toolkit as tk\n"
        "silent = socket.create_server(('127.0.0.1', 0))  # accepts connections, and answers none\n"
        "engine = tk.connect(f'http://127.0.0.1:{silent.getsockname()[1]}/v1', model='m')"
    )
    yield kernel
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.slow
def test_tab_offers_the_public_names_and_every_option(kernel):
    assert {*kernel.complete("tk.")} == {*tk.__all__}
    for call in ("engine.chat('x', ", "engine.stream('x', ", "tk.Conversation(engine, ", "tk.grid("):
        assert kernel.complete(f"{call}tempe") == ["temperature="]
        assert "max_tokens=" in kernel.complete(f"{call}max_")
    assert {"response_format=", "tools=", "prefix="} <= {*kernel.complete("engine.chat('x', ")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("engine.chat('Hi')", "Engine.chat"),
        ("list(engine.stream('Hi'))", "ServerEngine.stream_request"),
        ("tk.sweep('Hi').run(engine, tk.Store(':memory:'))", "Sweep.run"),
        ("tk.explore(engine, 'Hi')", "explore"),
    ],
)
def test_an_interrupt_of_our_work_ends_in_one_line(kernel, code, name):
    _, trace = kernel.run(code, interrupt_after=3)
    assert trace == [f"KeyboardInterrupt: {name} was interrupted"]


@pytest.mark.slow
def test_an_interrupt_of_other_code_shows_where(kernel):
    _, trace = kernel.run("def wait():\n    time.sleep(60)\nwait()", interrupt_after=1)
    assert len(trace) > 3
    assert any("time" in line and "sleep" in line for line in trace)
