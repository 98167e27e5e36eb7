"""A small HTTP server that reports what it is as vLLM's does: models, aliases, adapters, a `system_fingerprint`."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OURS = "fp_5e0a1b2c3d"
"""A string as `toolkit.serve` has vLLM send it."""


def card(name, root="/models/small", owned_by="vllm", parent=None, **more):
    """A model in the server's list."""
    return {"id": name, "object": "model", "owned_by": owned_by, "root": root, "parent": parent, **more}


class ReportingServer:
    """Answers every request with the text of its last message, in a `with` block. asked: the bodies so far."""

    def __init__(self, *models, fingerprint=OURS, version="0.32.0", window=2048):
        self.models = [{**model, "max_model_len": window} for model in models or (card("small"),)]
        self.fingerprint, self.version, self.asked = fingerprint, version, []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                known = {"/v1/models": {"object": "list", "data": server.models}}
                known |= {"/version": {"version": server.version}} if server.version else {}
                self._send(known.get(self.path))

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path == "/tokenize":
                    text = body.get("prompt") or body["messages"][-1]["content"]
                    return self._send({"tokens": list(text.encode())})
                server.asked.append(body)
                return self._send(server.answer(body))

            def _send(self, data):
                raw = json.dumps(data).encode()
                self.send_response(200 if data is not None else 404)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def answer(self, body):
        text = body["messages"][-1]["content"]
        message = {"role": "assistant", "content": text, "refusal": None}
        logprobs = {"content": [{"token": "token_id:7", "logprob": -0.5, "bytes": [55], "top_logprobs": []}]}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "token_ids": [7]}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{**choice, "logprobs": logprobs if body.get("logprobs") else None}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
            "system_fingerprint": self.fingerprint,
        }

    def questions(self):
        """The texts of its requests, without those of the probe."""
        return [text for body in self.asked if (text := body["messages"][-1]["content"]) != "Hi"]

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()
