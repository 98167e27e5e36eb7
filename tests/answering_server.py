"""A small server of OpenAI's API that says which requests it has answered, and scripts of sweeps on it, for tests of
what becomes of answers when a sweep is killed or interrupted, or has company."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

SWEPT = """
import json, sys, threading
import toolkit as tk
from toolkit.engines.openai_api.engine import ServerEngine
from toolkit.experiments.completion_writer import CompletionWriter
url, store, number = sys.argv[1:]
show, made = CompletionWriter._show, ServerEngine._completion
received = []
def shown(self):  # what the progress bar counts, on a pipe
    show(self)
    print(self._bar.n, flush=True)
def completed(self, *arguments, **options):
    completion = made(self, *arguments, **options)
    received.append(completion.id)
    return completion
CompletionWriter._show, ServerEngine._completion = shown, completed
engine = tk.connect(url, model="m", concurrency=8).start()
received.clear()
cells = tk.grid(seed=range(int(number)), max_tokens=4)
print("ready", flush=True)
sys.stdin.readline()
try:
    rows = len(tk.sweep("Tell a story.", cells).run(engine, store))
except KeyboardInterrupt:
    rows = -1
left = [thread.name for thread in threading.enumerate() if thread.name == "toolkit-completion-writer"]
print("end " + json.dumps({"rows": rows, "received": received, "left": left}), flush=True)
"""
"""A script that waits for a line, runs a sweep of so many seeds, prints what its progress bar counts, and at the end
its rows (-1 when it was interrupted), the answers that have reached the engine, and threads that are left."""


class AnsweringServer(ThreadingHTTPServer):
    """Answers after a moment; `answered` counts the seeds of its answers, those that nobody waited for included."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, seconds: float = 0.02) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seconds = seconds
        self.answered: Counter[int] = Counter()
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who has been killed has no further use for the answer."""


class _Handler(BaseHTTPRequestHandler):
    server: AnsweringServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "tests"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(self.server.seconds * random.uniform(0.5, 1.5))
        seed = asked.get("seed")
        message = {"role": "assistant", "content": f"answer {seed}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        self._send(
            {
                "id": uuid.uuid4().hex, "object": "chat.completion", "created": int(time.time()), "model": "m",
                "choices": [choice], "usage": usage, "system_fingerprint": "fp_test",
            }
        )  # fmt: skip
        if asked.get("max_tokens") == 4:
            with self.server.lock:
                self.server.answered[seed] += 1

    def _send(self, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class SweepProcess:
    """A process that runs `SWEPT`, ready to begin."""

    def __init__(self, server: AnsweringServer, store: object, number: int) -> None:
        command = [sys.executable, "-c", SWEPT, server.url, str(store), str(number)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]
        while (line := self.process.stdout.readline()) != "ready\n":
            assert line, self.process.communicate()[1]

    def begin(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def reported(self, least: int) -> int:
        """Waits until the progress bar counts so many; returns what it counts."""
        for line in self.process.stdout:
            if not line.startswith("end ") and int(line) >= least:
                return int(line)
        raise AssertionError(self.process.communicate()[1])

    def result(self) -> dict[str, Any]:
        """What the script says at its end."""
        output, errors = self.process.communicate(timeout=120)
        lines = [line for line in output.splitlines() if line.startswith("end ")]
        assert lines, errors
        return dict(json.loads(lines[0].removeprefix("end ")))

    def kill(self) -> int:
        """Kills it; returns what its progress bar last counted."""
        self.process.kill()
        output, _ = self.process.communicate()
        return max((int(line) for line in output.split() if line.isdigit()), default=0)
