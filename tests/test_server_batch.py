"""A batch on a server that is interrupted: what has come is given, and nothing comes after that."""

import time

import pytest
from answering_server import AnsweringServer

import toolkit as tk
from toolkit.core.request import Request

SECONDS = 0.05


@pytest.fixture(scope="module")
def server():
    with AnsweringServer(SECONDS) as server:
        yield server


@pytest.mark.parametrize("after", [1, 3, 12, 16])
def test_an_interrupt_while_requests_are_sent_leaves_none_behind(server, monkeypatch, after):
    """It comes when a request has just been sent, before anything is known of it here."""
    with tk.connect(server.url, model="m", concurrency=4).start() as engine:
        start, complete = engine._client.start, engine._completion
        sent, received, given = [], [], []

        def start_and_be_interrupted(work):
            future = start(work)
            sent.append(work)
            if len(sent) == after:
                raise KeyboardInterrupt
            return future

        def completed(*arguments, **options):
            completion = complete(*arguments, **options)
            received.append(completion.id)
            return completion

        monkeypatch.setattr(engine._client, "start", start_and_be_interrupted)
        monkeypatch.setattr(engine, "_completion", completed)
        requests = (Request.chat("Hi", seed=seed, max_tokens=4) for seed in range(40))
        with pytest.raises(KeyboardInterrupt):
            given.extend(completion.id for completion in engine.generate(requests))
        time.sleep(3 * SECONDS)
        assert sorted(given) == sorted(received)
