"""Servers as engines: a real one of vLLM's, and a proxy in front of recorded answers that fails in every way."""

import asyncio
import contextlib
import email.utils
import gc
import json
import os
import signal
import threading
import time
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from aiohttp import web
from openai.types import Completion as OpenAICompletion
from openai.types.chat import ChatCompletion

import toolkit as tk
from toolkit.core.request import Request
from toolkit.engines.openai_api import client
from toolkit.engines.openai_api.stream import StreamAccumulator
from toolkit.store.store import Store

KEY = "sk-connect-5f0e2c"
FRANCE = "What is the capital of France?"


# A proxy


def chat(text="Paris.", fingerprint="fp_44709d6fcb", **more):
    """A recorded answer of OpenAI's, of one choice."""
    message = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    said = {
        "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
        "object": "chat.completion",
        "created": 1741570283,
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 14,
            "completion_tokens": 2,
            "total_tokens": 16,
            "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": fingerprint,
        **more,
    }
    return {name: value for name, value in said.items() if value is not ...}


def token(text, logprob, *top):
    more = {"top_logprobs": [token(t, p) for t, p in top]} if top else {}
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()), **more}


def with_logprobs(*entries):
    said = chat("".join(entry["token"] for entry in entries))
    said["choices"][0]["logprobs"] = {"content": list(entries), "refusal": None}
    return said


class Proxy:
    """Answers each question by the next step of a script (a status, headers, a body), then by a recorded answer."""

    def __init__(self):
        self.script, self.asked, self.times = [], [], []
        self.models = [{"id": "gpt-4o", "object": "model", "created": 1, "owned_by": "system"}]
        self.answer = lambda body: with_logprobs(token("Paris.", -0.1)) if body.get("logprobs") else chat()
        self.slow = 0.0
        self.open = self.most = 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.run(self._begin())

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    async def _begin(self):
        app = web.Application()
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/{path:.*}", self._ask)
        self.runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/v1"

    def close(self):
        self.run(self.runner.cleanup())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _list(self, request):
        if self.models is None or isinstance(self.models, int):
            return web.Response(status=self.models or 404, text="not now")
        return web.json_response({"object": "list", "data": self.models})

    async def _ask(self, request):
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            body = await request.json()
            self.asked.append(body)
            self.times.append(time.monotonic())
            step = self.script.pop(0) if self.script else None
            await asyncio.sleep(self.slow)
            return await step(request, body) if step else web.json_response(self.answer(body))
        finally:
            self.open -= 1


def says(status=200, body=None, headers=None, text=None, kind="application/json"):
    async def step(request, asked):
        said = json.dumps(body) if text is None else text
        return web.Response(status=status, text=said, headers=headers, content_type=kind)

    return step


def refuses(status, message="busy", headers=None, **more):
    return says(
        status, {"error": {"message": message, "type": "t", "param": None, "code": None, **more}}, headers
    )


async def cut(request, asked):
    """Half of what the headers promise."""
    response = web.StreamResponse(headers={"content-length": "500", "content-type": "application/json"})
    await response.prepare(request)
    await response.write(json.dumps(chat()).encode()[:100])
    request.transport.close()
    return response


async def hangs_up(request, asked):
    request.transport.close()
    return web.Response()


async def trickles(request, asked):
    """Some bytes, and then some, without end."""
    response = web.StreamResponse(headers={"content-type": "application/json"})
    await response.prepare(request)
    for _ in range(200):
        await response.write(b" ")
        await asyncio.sleep(0.05)
    return response


def streams(*chunks, end=True):
    async def step(request, asked):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for chunk in chunks:
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        if end:
            await response.write(b"data: [DONE]\n\n")
        else:
            request.transport.close()
        return response

    return step


@pytest.fixture
def proxy():
    made = Proxy()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """The client's own waits, a fiftieth as long."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.1)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def connected(proxy):
    """Gives engines on the proxy that have asked it what it is, so that the script is for what comes next."""
    with contextlib.ExitStack() as stack:

        def make(**options):
            made = stack.enter_context(tk.connect(proxy.url, **{"api_key": KEY, **options})).start()
            proxy.asked.clear()
            proxy.times.clear()
            return made

        yield make


def ask(engine, *texts, **options):
    return list(engine.generate(Request.chat(text, **options) for text in texts or ["Hi"]))


# What is asked again, and what is not


AGAIN = {
    "429": [refuses(429)],
    "429 and when": [refuses(429, headers={"retry-after": "0.2"})],
    "408": [refuses(408)],
    "409": [refuses(409)],
    "500": [refuses(500)],
    "503 three times": [refuses(503)] * 3,
    "529": [refuses(529)],
    "503 of HTML": [says(503, text="<html>down</html>", kind="text/html")],
    "a body that is cut": [cut],
    "no answer at all": [hangs_up],
    "all of them": [refuses(429), refuses(500), cut, hangs_up],
}


@pytest.mark.parametrize("script", AGAIN.values(), ids=AGAIN)
def test_what_passes_is_asked_again(proxy, connected, script):
    engine = connected()
    proxy.script += script
    (c,) = ask(engine)
    assert c.error is None
    assert c.text == "Paris."
    assert len(proxy.asked) == len(script) + 1
    assert all(body == proxy.asked[0] for body in proxy.asked)
    assert c.notes["retries"] == len(script)


@pytest.mark.parametrize(
    "when", [lambda: "0.4", lambda: email.utils.formatdate(time.time() + 2, usegmt=True)]
)
def test_a_server_that_says_when_is_not_asked_before(proxy, connected, when):
    engine = connected()
    proxy.script.append(refuses(429, headers={"retry-after": when()}))
    (c,) = ask(engine)
    assert c.error is None
    first, second = proxy.times
    assert 0.35 < second - first < 3
    assert c.seconds < second - first  # of the last time alone


def test_waits_have_jitter(proxy, connected, caplog):
    """Those that are refused at once do not come back at once."""
    caplog.set_level("INFO", "openai")
    engine = connected()
    proxy.script += [refuses(429)] * 8
    assert not any(c.error for c in ask(engine, *"abcdefgh"))
    waits = [
        float(record.getMessage().split()[3]) for record in caplog.records if "Retrying" in record.message
    ]
    assert len(waits) == 8
    assert len(set(waits)) > 4


def part(**more):
    """An answer whose choice has something else."""
    said = chat()
    said["choices"][0].update(more)
    return said


NEVER = {
    "400": (refuses(400, "bad thing"), "answers 400: bad thing"),
    "422": (says(422, {"detail": "no such field"}), "answers 422: no such field"),
    "413": (refuses(413, "too large"), "answers 413: too large"),
    "context": (refuses(400, "maximum context length is 8192", code="context_length_exceeded"), "8192"),
    "403": (refuses(403, "your input was flagged"), "answers 403: your input was flagged"),
    "404": (refuses(404, "No endpoints found that support seed"), "answers 404: No endpoints"),
    "wrong JSON": (says(text='{"id": "chatcmpl-1", "choi'), "is no JSON"),
    "HTML": (says(text="<html>hello</html>", kind="text/html"), r"is no JSON \(text/html.*<html>hello"),
    "nothing": (says(text=""), "is no JSON"),
    "a list": (says(body=[1, 2]), "has no choices"),
    "an error with 200": (says(body={"error": {"message": "odd"}}), "has no choices.*odd"),
    "no choices": (says(body=chat(choices=...)), "has no choices"),
    "empty choices": (says(body=chat(choices=[])), "has no choices"),
    "no message": (
        says(body=chat(choices=[{"index": 0, "finish_reason": "stop"}])),
        "has a choice without message or text",
    ),
    "no finish_reason": (
        says(body=chat(choices=[{"index": 0, "message": {"content": "x"}, "finish_reason": None}])),
        "no finish_reason",
    ),
    "it broke off": (
        says(body=part(finish_reason="error", error={"code": 502, "message": "upstream"})),
        "broke off: .*upstream",
    ),
    "it says error": (says(body=part(finish_reason="error")), "broke off"),
    "an endless index": (
        says(text=json.dumps(chat()).replace('"index": 0', '"index": Infinity')),
        "index: Input should be a finite number",
    ),
    "a deep nest": (says(text="[" * 100_000), "is no JSON"),
    "far too long to wait": (refuses(429, "slow down", headers={"retry-after": "3600"}), "slow down"),
}


@pytest.mark.parametrize(("step", "said"), NEVER.values(), ids=NEVER)
def test_what_stays_is_the_error_of_one_request(proxy, connected, step, said):
    engine = connected(concurrency=1)
    proxy.script.append(step)
    bad, good = ask(engine, "a", "b")
    assert bad.finish_reason == "error"
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(bad.error)
    assert good.error is None
    assert len(proxy.asked) == 2
    with pytest.raises(ValueError, match="an error has no OpenAI response"):
        bad.to_openai()


@pytest.mark.parametrize(("step", "said"), [(refuses(503, "down"), "503: down"), (cut, "broke off")])
def test_patience_ends(proxy, connected, monkeypatch, step, said):
    monkeypatch.setattr(client, "_RETRIES", 3)
    engine = connected()
    proxy.script += [step] * 4
    bad, good = ask(engine, "a")[0], ask(engine, "b")[0]
    assert said in bad.error
    assert good.error is None
    assert len(proxy.asked) == 5


@pytest.mark.parametrize("slow", [trickles, None])
def test_what_takes_too_long_is_given_up(proxy, connected, slow):
    engine = connected(timeout=2)
    proxy.script += [slow] if slow else []
    proxy.slow = 0 if slow else 5
    began = time.monotonic()
    (c,) = ask(engine)
    assert "no answer from http://127.0.0.1" in c.error
    assert "within 2 s" in c.error
    assert time.monotonic() - began < 4


def test_what_was_refused_before_is_told_when_time_is_up(proxy, connected):
    engine = connected(timeout=2)
    proxy.script += [refuses(429, headers={"retry-after": "20"})]
    assert "within 2 s (the last response was 429)" in ask(engine)[0].error


@pytest.mark.parametrize(
    ("spelt", "text"), [("\\ud83d", "\ufffd"), ("\\ud83d\\ude00", "😀"), ("a\\udc00b", "a\ufffdb")]
)
def test_halves_of_characters_are_put_together_or_replaced(proxy, connected, db, spelt, text):
    body = json.dumps(chat()).replace("Paris.", spelt)
    engine = connected(concurrency=1)
    proxy.script += [says(text=body)]
    results = tk.sweep("x {n}", [{"n": i} for i in range(3)]).run(engine, db)
    assert results.frame()["text"].tolist() == [text, "Paris.", "Paris."]
    proxy.script += [streams(chunk("\ud83d"), chunk("\ude00"), chunk(reason="stop"))]
    assert list(engine.stream("x"))[-1].completion.text.encode()


# What concerns every request


def test_nobody_there():
    engine = tk.connect("http://127.0.0.1:9/v1", "some-model")
    began = time.monotonic()
    with pytest.raises(
        tk.EngineError, match=r"cannot connect to http://127.0.0.1:9/v1 .*is the server running"
    ):
        engine.start()
    assert time.monotonic() - began < 5
    with pytest.raises(tk.EngineError, match="cannot connect"):  # and again, when it is tried again
        engine.chat("Hi")
    engine.close()


def test_a_server_that_goes_away_ends_the_batch(proxy, connected, monkeypatch):
    monkeypatch.setattr(client, "_RETRIES", 2)
    engine, done = connected(concurrency=2), []
    asked = (Request.chat(str(i)) for i in range(1000))

    def go_on():
        for c in engine.generate(asked):
            done.append(c)
            if len(done) == 4:
                proxy.run(proxy.runner.cleanup())

    with pytest.raises(tk.EngineError, match=r"cannot connect.*run again to go on"):
        go_on()
    assert all(c.error is None or "broke off" in c.error for c in done)
    assert len(list(asked)) > 900  # no 1,000 rows of errors


WRONG = {
    "key": (
        refuses(401, f"Incorrect API key provided: {KEY}"),
        r"401: Incorrect API key provided: \*\*\*. Is the key",
    ),
    "credits": (refuses(402, "Insufficient credits"), "402: Insufficient credits"),
    "money": (
        refuses(429, "You exceeded your quota", {"x-should-retry": "false"}, code="insufficient_quota"),
        "quota",
    ),
}


@pytest.mark.parametrize(("step", "said"), WRONG.values(), ids=WRONG)
def test_what_all_would_be_told_is_told_once(proxy, connected, step, said):
    engine = connected(concurrency=2)
    proxy.script += [step] * 1000
    with pytest.raises(tk.EngineError, match=said) as caught:
        ask(engine, *map(str, range(1000)))
    assert KEY not in str(caught.value)
    assert len(proxy.asked) < 20


def test_an_unknown_model_is_told_with_those_that_there_are(proxy):
    proxy.models.append({"id": "gpt-4o-mini", "object": "model"})
    with pytest.raises(
        tk.EngineError, match="has several models: give one as model=…, of gpt-4o, gpt-4o-mini"
    ):
        tk.connect(proxy.url).start()
    proxy.script += [refuses(404, "The model `gpt-5x` does not exist")] * 2
    with pytest.raises(
        tk.EngineError, match=r"404: The model `gpt-5x` does not exist. It has gpt-4o, gpt-4o-mini"
    ):
        tk.connect(proxy.url, "gpt-5x").start()
    proxy.models = None
    with pytest.raises(tk.EngineError, match="lists no models: give"):
        tk.connect(proxy.url).start()
    with tk.connect(proxy.url, "a-deployment") as engine:  # a server without a list is fine
        assert engine.chat("Hi").text == "Paris."


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:8000", "address of an API"),
        ("ftp://host/v1", "address of an API"),
        ("http://host:none/v1", "address of an API"),
        (None, "address of an API"),
        (f"http://host/v1?key={KEY}", "must have no name, password, query"),
        (f"http://me:{KEY}@host/v1", "must have no name, password, query"),
    ],
)
def test_bad_addresses(url, said):
    with pytest.raises(ValueError, match=said) as caught:
        tk.connect(url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("sk two", ValueError),
        ("sk\nmore", ValueError),
        ("sk\0", ValueError),
        ("ключ", ValueError),
        (12345, TypeError),
    ],
)
def test_bad_keys(key, error):
    with pytest.raises(error, match="api_key must be") as caught:
        tk.connect("http://127.0.0.1:9/v1", "m", key)
    assert str(key) not in str(caught.value)


def test_the_space_around_a_key_is_not_of_it(proxy):
    heads = []

    async def step(request, body):
        heads.append(request.headers["authorization"])
        return web.json_response(chat())

    proxy.script += [step] * 2
    with tk.connect(proxy.url, api_key=f" {KEY}\n") as engine:
        engine.start()
    assert set(heads) == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    "options", [{"concurrency": 0}, {"concurrency": 2.5}, {"timeout": 0}, {"timeout": "1"}]
)
def test_bad_numbers(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        tk.connect("http://127.0.0.1:9/v1", **options)


# Many at once


def test_never_more_are_open_than_allowed_and_requests_are_made_when_needed(proxy, connected):
    engine, made = connected(concurrency=5), []
    proxy.slow = 0.01

    def requests():
        for i in range(100):
            made.append(i)
            yield Request.chat(str(i))

    def others():
        ask(engine, *map(str, range(50)))

    beside = threading.Thread(target=others)
    beside.start()
    answers = engine.generate(requests())
    for count, c in enumerate(answers, 1):
        assert c.error is None
        assert len(made) <= count + 5 + 16
    beside.join()
    assert count == 100
    assert proxy.most == 5
    assert len(proxy.asked) == 150


def test_answers_come_while_requests_are_made(proxy, connected):
    engine, seen = connected(), []

    def slow():
        for i in range(4):
            yield Request.chat(str(i))
            deadline = time.monotonic() + 5
            while (
                i and len(seen) < i and time.monotonic() < deadline
            ):  # the one before was given out meanwhile
                time.sleep(0.02)

    for c in engine.generate(slow()):
        seen.append(c.text)  # noqa: PERF401  # the source looks at it
    assert seen == ["Paris."] * 4


def test_what_is_asked_is_given_when_the_source_breaks(proxy, connected):
    engine, done = connected(), []

    def broken():
        yield from (Request.chat(str(i)) for i in range(10))
        raise KeyError("no more rows")

    def go_on():
        for c in engine.generate(broken()):
            done.append(c)  # noqa: PERF402  # kept when it raises

    with pytest.raises(KeyError, match="no more rows"):
        go_on()
    assert len(done) == 10


def test_what_is_finished_is_given_when_the_engine_is_closed(proxy, connected):
    engine, done = connected(concurrency=4), []

    def go_on():
        for c in engine.generate(Request.chat(str(i)) for i in range(100)):
            done.append(c)
            if len(done) == 1:
                deadline = time.monotonic() + 10
                while len(proxy.asked) < 20 and time.monotonic() < deadline:
                    time.sleep(0.02)
                engine.close()

    with pytest.raises(tk.EngineError, match="closed"):
        go_on()
    assert len(done) >= len(proxy.asked) - 4


def test_an_engine_of_the_process_that_was_forked_says_so(connected):
    engine = connected()
    said, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            engine.chat("x")
        except tk.EngineError as error:
            os.write(told, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert b"of another process" in os.read(said, 1000)


def test_leaving_early_cancels_what_is_open(proxy, connected):
    engine = connected(concurrency=8)
    proxy.slow = 0.05
    for c in engine.generate(Request.chat(str(i)) for i in range(1000)):
        assert c.error is None
        proxy.slow = 30
        break
    gone(lambda: proxy.open)
    assert len(proxy.asked) < 40
    proxy.slow = 0
    assert ask(engine, "and on")[0].text == "Paris."


def gone(count):
    gc.collect()
    for _ in range(100):
        if not count():
            return
        time.sleep(0.05)
    pytest.fail("something is still asked that nobody waits for")


def test_closing_ends_what_waits(proxy, connected):
    engine = connected()
    proxy.slow = 30
    threading.Timer(0.2, engine.close).start()
    with pytest.raises(
        tk.EngineError, match=r"closed, or of another process: toolkit.connect\(\) gives a new one"
    ):
        ask(engine, *"abc")
    with pytest.raises(tk.EngineError, match="closed"):
        engine.chat("Hi")
    engine.close()


def test_engines_that_nobody_holds_end_their_threads(proxy):
    def servers():
        return [t for t in threading.enumerate() if t.name == "toolkit-server"]

    gc.collect()
    before = len(servers())
    engine = tk.connect(proxy.url).start()
    assert len(servers()) == before + 1
    del engine
    gc.collect()
    assert len(servers()) == before


# What a server takes


def test_what_is_sent(proxy, connected):
    engine = connected()
    sampling = {
        "temperature": 0.7, "top_p": 0.9, "frequency_penalty": 0.5, "presence_penalty": -0.5, "seed": 7, "n": 2,
        "stop": ["a", "b"], "max_tokens": 9, "top_logprobs": 3, "logit_bias": {5: -1.5},
    }  # fmt: skip
    said = with_logprobs(token("Paris", -0.1, ("Paris", -0.1)))
    said["choices"] += [said["choices"][0] | {"index": 1}]
    proxy.answer = lambda body: said
    c = engine.chat(FRANCE, **sampling)
    (body,) = proxy.asked
    assert body == {
        "model": "gpt-4o", "messages": [{"role": "user", "content": FRANCE}], "logprobs": True,
        **sampling, "logit_bias": {"5": -1.5},
    }  # fmt: skip
    assert c.request == Request.chat(FRANCE, **sampling).resolve({})
    assert engine.defaults == {}


def test_forms_and_tools_are_sent_and_read(proxy, connected):
    engine = connected()

    def weather(city: str) -> str:
        """The weather."""
        return city

    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}]
    proxy.answer = lambda body: chat(choices=choices) if "tools" in body else chat('{"a": 1}')
    c = engine.chat("Weather in Rome?", tools=[weather], tool_choice="weather", logprobs=True)
    assert proxy.asked[0]["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert c.tool_calls == (tk.ToolCall("call_1", "weather", '{"city":"Rome"}'),)
    assert ChatCompletion.model_validate_json(json.dumps(c.to_openai()), strict=True)
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert engine.parse(
        "A", {"type": "json_schema", "json_schema": {"schema": schema, "name": "x"}}
    ).parsed == {"a": 1}
    assert proxy.asked[1]["response_format"]["json_schema"]["strict"] is True


def test_a_refusal_is_a_refusal(proxy, connected):
    engine = connected()
    said = chat(None)
    said["choices"][0]["message"]["refusal"] = "I'm sorry, I cannot assist with that request."
    proxy.answer = lambda body: said
    c = engine.chat("A", response_format={"type": "object", "properties": {"a": {"type": "integer"}}})
    assert c.refusal == "I'm sorry, I cannot assist with that request."
    assert c.parsed is None


ONLY_VLLM = [
    ("top_k", {"top_k": 5}),
    ("min_p", {"min_p": 0.1}),
    ("repetition_penalty", {"repetition_penalty": 1.1}),
    ("min_tokens", {"min_tokens": 2}),
    ("ignore_eos", {"ignore_eos": True}),
    ("bad_words", {"bad_words": ["x"]}),
    ("stop_token_ids", {"stop_token_ids": [1]}),
    ("prompt_logprobs", {"prompt_logprobs": 1}),
    ("prefix", {"prefix": "Well"}),
    ("response_format of type regex", {"response_format": {"type": "regex", "regex": "a+"}}),
]


@pytest.mark.parametrize(("name", "options"), ONLY_VLLM, ids=[name for name, _ in ONLY_VLLM])
def test_what_only_vllm_takes_is_an_error_of_its_request(proxy, connected, name, options):
    engine = connected()
    bad, good = sorted((*ask(engine, "a", **options), *ask(engine, "b")), key=lambda c: c.error is None)
    assert bad.error.startswith(name)
    assert "only vLLM's own server takes this" in bad.error
    assert good.error is None
    assert len(proxy.asked) == 1
    with pytest.raises(tk.RequestError, match=name):
        list(engine.stream("a", **options))


def test_a_server_with_another_name_for_max_tokens_and_without_top_p(proxy):
    async def step(request, body):
        if "max_tokens" in body:
            why = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return await refuses(400, why)(request, body)
        if "top_p" in body:
            return await refuses(400, "Unsupported parameter: 'top_p'.")(request, body)
        return await says(body=chat())(request, body)

    proxy.script += [step] * 20
    with tk.connect(proxy.url) as engine:
        assert engine.chat("a", max_tokens=5).text == "Paris."
        assert proxy.asked[-1]["max_completion_tokens"] == 5
        assert not {"max_tokens", "top_p"} & proxy.asked[-1].keys()


UNTOLD = {"top_p": 0.5, "temperature": 0.0, "presence_penalty": 1.0}


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("Unsupported parameter: 'top_p' is not supported with this model.", 400),
        ("`temperature` and `top_p` cannot both be specified for this model", 400),
        ("Input validation error: `top_p` must be > 0.0 and < 1.0", 422),
        ("Argument not supported on this model: presencePenalty", 400),
    ],
)
def test_what_a_server_refuses_at_its_neutral_value_is_sent_where_it_was_chosen(proxy, words, status):
    proxy.script.append(refuses(status, words))
    with tk.connect(proxy.url) as engine:
        engine.start()
        left = sorted({"temperature", "top_p", "presence_penalty"} - proxy.asked[-1].keys())
        assert left
        plain = engine.chat("x")
        assert not proxy.asked[-1].keys() & set(left)
        assert sorted(plain.notes["not_sent"]) == left
        for name in left:
            assert name not in engine.chat("x", **{name: UNTOLD[name]}).notes.get("not_sent", ())
            assert proxy.asked[-1][name] == UNTOLD[name]


def test_a_model_that_thinks_its_first_tokens_away_is_understood(proxy):
    said = "Could not finish the message because max_tokens or model output limit was reached."
    proxy.script.append(refuses(400, said))
    with tk.connect(proxy.url) as engine:
        assert not engine.start().fingerprint.known
        assert engine.chat("x").text == "Paris."
        assert engine.start().fingerprint.known  # the answer said it


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (says(body=chat()), "logprobs"),
        (refuses(400, "logprobs are not supported"), "logprobs"),
        (refuses(400, "Unknown field: seed"), "seed"),
    ],
)
def test_what_a_server_lacks_is_told_before_it_is_asked(proxy, step, name):
    proxy.script.append(step)
    with tk.connect(proxy.url) as engine:
        engine.start()
        asked = len(proxy.asked)
        with pytest.raises(tk.RequestError, match=f"^{name}: this server refuses or ignores it"):
            engine.chat("x", **{name: 1 if name == "seed" else True})
        assert len(proxy.asked) == asked
        other = {"seed": 1} if name == "logprobs" else {"logprobs": True}
        assert engine.chat("x", **other).error is None


def test_a_gateway_has_models_of_several_makers(proxy):
    proxy.models = [{"id": "gpt-4o", "owned_by": "openai"}, {"id": "llama", "owned_by": "vllm"}]
    with tk.connect(proxy.url, "gpt-4o") as engine:
        engine.chat("x")
        assert "top_k" not in proxy.asked[-1]
    with tk.connect(proxy.url, "llama") as engine:
        engine.chat("x")
        assert "top_k" in proxy.asked[-1]


def test_a_server_that_cannot_tell_its_models_now_is_no_server_without_a_list(proxy):
    proxy.models = 503
    with pytest.raises(tk.EngineError, match="answers 503"):
        tk.connect(proxy.url).start()


def test_text_completions(proxy, connected):
    engine = connected()
    choices = [{"index": 0, "text": " Paris", "logprobs": None, "finish_reason": "length"}]
    proxy.answer = lambda body: chat(id="cmpl-7", object="text_completion", choices=choices)
    c = engine.complete("The capital is", suffix=".", max_tokens=3)
    (body,) = proxy.asked
    assert (body["prompt"], body["suffix"], body["max_tokens"]) == ("The capital is", ".", 3)
    assert (c.text, c.id) == (" Paris", "7")
    assert OpenAICompletion.model_validate_json(json.dumps(c.to_openai()), strict=True)


# Numbers


def test_usage_and_time(proxy, connected):
    engine = connected()
    before = engine.generated_tokens
    proxy.slow = 0.1
    c = engine.chat(FRANCE)
    assert c.usage == tk.Usage(14, 2, cached_tokens=8)
    assert 0.1 <= c.seconds < 1
    assert (c.first_token_seconds, c.queued_seconds, c.decode_seconds, c.tokens_per_second) == (None,) * 4
    assert engine.generated_tokens == before + 2
    assert c.id == "B9MHDbslfkBeAs8l4bebGdFOJ6PeG"
    assert ChatCompletion.model_validate_json(json.dumps(c.to_openai()), strict=True)


def test_tokens_of_openai_models_have_ids(proxy, connected, db):
    import tiktoken

    engine = connected()
    proxy.answer = lambda body: with_logprobs(
        token("Paris", -0.25, ("Paris", -0.25), ("Rome", -2.0)), token(".", -0.5, ("!", -0.1), ("?", -0.3))
    )
    results = tk.sweep("x", tk.grid(top_logprobs=[2])).run(engine, db)
    o200k = tiktoken.get_encoding("o200k_base") if os.environ.get("TIKTOKEN_CACHE_DIR") else None
    for c in (results[0], engine.chat("x", top_logprobs=2)):
        assert [t.text for t in c.tokens] == ["Paris", "."]
        assert c.top_ids.shape == (2, 2)
        assert [t[1] for t in c.tokens[1].top] == ["!", "?"]
        assert c.ranks.tolist() == [1, 0]  # beyond the top 2 it is not known
        content = c.to_openai()["choices"][0]["logprobs"]["content"]
        assert [(e["token"], e["bytes"]) for e in content] == [("Paris", list(b"Paris")), (".", [46])]
        assert np.allclose(tk.logprobs(c).logprobs, [-0.25, -0.5])
        if o200k:
            assert o200k.decode(c.token_ids.tolist()) == "Paris."


def test_tokens_without_ids(proxy, connected, db):
    proxy.models = [{"id": "llama-cpp", "object": "model"}]
    engine = connected()
    proxy.answer = lambda body: with_logprobs(
        token("Paris", -0.25, ("Paris", -0.25)), token(".", -0.5, ("!", -0.1))
    )
    sweep = tk.sweep("x", tk.grid(top_logprobs=[1], seed=[1, 2]), repeats=2)
    results = sweep.run(engine, db)
    for c in (results[0], engine.chat("x", top_logprobs=1)):
        assert c.logprobs.tolist() == [-0.25, -0.5]
        assert c.token_ids.shape == (0,)
        assert (c.ranks, c.top_ids, c.top_logprobs, c.tokens) == (None, None, None, ())
        with pytest.raises(ValueError, match="no token ids"):
            c.to_openai()
        with pytest.raises(ValueError, match="no token ids"):
            tk.logprobs(c)
    assert results.determinism().requests[["runs", "unique", "same"]].values.tolist() == [[2, 1, True]] * 2
    assert results.frame()["completion_tokens"].tolist() == [2] * 4


def test_several_choices_share_what_was_generated(proxy, connected, db):
    engine = connected()
    parts = [chat()["choices"][0] | {"index": i} for i in range(3)]
    proxy.answer = lambda body: chat(choices=parts, usage={"prompt_tokens": 4, "completion_tokens": 7})
    results = tk.sweep("x", tk.grid(n=[3])).run(engine, db)
    assert results.frame()["completion_tokens"].tolist() == [3, 2, 2]
    assert results[0].usage == tk.Usage(4, 7)


# Which system answered


def test_the_fingerprint_is_what_the_server_tells(proxy, connected):
    engine = connected()
    assert dict(engine.fingerprint.components) == {
        "engine": "server", "url": proxy.url, "model": "gpt-4o", "owned_by": "system", "root": None,
        "max_model_len": None, "version": None, "system_fingerprint": "fp_44709d6fcb",
    }  # fmt: skip
    assert engine.chat("x").system_fingerprint == engine.fingerprint.id
    assert "s own string" in engine.fingerprint._repr_html_()


@pytest.mark.parametrize("absent", [None, ""])
def test_an_absent_fingerprint_is_unknown(proxy, connected, db, absent):
    proxy.answer = lambda body: chat(fingerprint=absent)
    engine = connected()
    assert engine.fingerprint.components["system_fingerprint"] is None
    other = tk.Fingerprint({**engine.fingerprint.components, "system_fingerprint": "fp_1"})
    assert "system_fingerprint (none, fp_1)" in str(engine.fingerprint.diff(other))
    assert (engine.fingerprint.known, other.known) == (False, True)
    report = tk.sweep("x", repeats=2).run(engine, db).determinism()
    assert "reports no system_fingerprint: whether its runs are of one system is unknown" in repr(report)


def test_answers_of_another_system_are_stored_under_its_fingerprint(proxy, connected, db):
    engine = connected(concurrency=1)
    turns = iter(f"fp_{'ab'[i % 2]}" for i in range(1000))
    proxy.answer = lambda body: chat(body["messages"][0]["content"], fingerprint=next(turns))
    sweep = tk.sweep("x {n}", [{"n": i} for i in range(10)])
    results = sweep.run(engine, db)
    assert len(results) == 10
    assert results.frame()["system_fingerprint"].value_counts().tolist() == [5, 5]
    told = {f.components["system_fingerprint"] for f in results.fingerprints.values()}
    assert told == {"fp_a", "fp_b"}
    assert len(list(results)) == 10
    assert engine.fingerprint.components["system_fingerprint"] == "fp_44709d6fcb"
    # Whichever of them shows itself next: what was answered is not asked again.
    for _ in range(2):
        with tk.connect(proxy.url) as again:
            assert sweep.plan(again, db).missing == ()
            assert len(sweep.run(again, db)) == 10
    assert len(questions(proxy)) == 10
    # Of a system that took no part nothing is known.
    proxy.answer = lambda body: chat(fingerprint="fp_new")
    with tk.connect(proxy.url) as other:
        assert len(sweep.plan(other, db).missing) == 10


def questions(proxy):
    """Those of a sweep, without those that ask a server what it is."""
    texts = [body["messages"][0]["content"] for body in proxy.asked]
    return [text for text in texts if text != "Hi"]


def test_systems_that_take_turns_over_several_runs_are_asked_once(proxy, connected, db):
    """First a alone, then b begins and a answers every other request: what a has said already is b's as well."""
    sweep, half = (tk.sweep("x {n}", [{"n": i} for i in range(n)]) for n in (10, 5))
    proxy.answer = lambda body: chat(fingerprint="fp_a")
    engine = connected()
    assert len(half.run(engine, db)) == 5
    turns = iter(f"fp_{'ba'[i % 2]}" for i in range(1000))
    proxy.answer = lambda body: chat(fingerprint="fp_b" if body["max_tokens"] == 16 else next(turns))
    with tk.connect(proxy.url, concurrency=1) as other:
        found = sweep.run(other, db)  # b is not known to be a's peer: all ten are asked
        assert len(found) == 10
        assert not found.frame().duplicated(["row", "repeat"]).any()
        assert sweep.plan(other, db).missing == ()
        assert len(sweep.run(other, db)) == 10
    for known in tk.results(db).fingerprints:
        rows = tk.Results.of(Store(db), fingerprint=known).frame()
        assert not rows.duplicated(["sweep", "row", "repeat"]).any()
        assert len(rows) == 15
        own = rows["system_fingerprint"] == known
        assert own.sum() >= 5  # its own answers count before those of its peers
    assert len(questions(proxy)) == 15


def test_an_error_goes_when_a_peer_has_answered(proxy, connected, db):
    sweep = tk.sweep("x {n}", [{"n": i} for i in range(3)])
    proxy.answer = lambda body: chat(fingerprint="fp_a")
    engine = connected(concurrency=1)
    proxy.script += [refuses(400, "bad thing")]
    assert sweep.run(engine, db).frame()["error"].notna().sum() == 1
    turns = iter(["fp_b", "fp_a"] * 100)
    proxy.answer = lambda body: chat(fingerprint="fp_b" if body["max_tokens"] == 16 else next(turns))
    with tk.connect(proxy.url, concurrency=1) as other:
        assert sweep.run(other, db).frame()["error"].isna().all()
    assert tk.results(db).frame()["error"].isna().all()


def test_an_engine_says_who_answered_last_when_it_is_started_again(proxy, connected):
    engine = connected()
    before = engine.fingerprint
    proxy.answer = lambda body: chat(fingerprint="fp_new")
    assert engine.chat("x").system_fingerprint != before.id
    assert engine.fingerprint == before  # one run has one
    assert engine.start().fingerprint.components["system_fingerprint"] == "fp_new"
    assert len(engine.fingerprints) == 2


# Plans and limits


def test_a_plan_without_a_window_and_with_estimated_tokens(proxy, connected, db):
    engine = connected()
    plan = tk.sweep("word " * 30, tk.grid(seed=range(3))).plan(engine, db)
    assert plan.window is None
    assert plan.refused == ()
    assert plan.prompt_tokens == 3 * tk.count_tokens(Request.chat("word " * 30), "gpt-4o")
    assert plan.costs("gpt-4o")["most"].item() > 0
    with pytest.raises(tk.NotTold, match="does not report the context window"):
        engine.window  # noqa: B018
    with pytest.raises(tk.NotTold, match="which tokens end a text"):
        engine.ends  # noqa: B018
    with pytest.raises(tk.NotTold, match="does not report the tokens"):
        engine.encode("x")


def test_a_plan_without_tokens(proxy, connected, db):
    proxy.models = [{"id": "llama-cpp", "object": "model"}]
    engine = connected()
    sweep = tk.sweep("x", tk.grid(seed=range(3)))
    plan = sweep.plan(engine, db)
    assert (plan.prompt_tokens, plan.uncounted, plan.refused) == (0, 3, ())
    assert "0 without those of 3 requests: the server does not count" in repr(plan)
    with pytest.raises(ValueError, match="a limit needs the tokens of prompts"):
        sweep.run(engine, db, max_tokens=1000)
    assert len(sweep.run(engine, db)) == 3
    assert engine.vocabulary == []


def test_a_limit_holds(proxy, connected, db):
    results = tk.sweep("x", tk.grid(seed=range(10), max_tokens=[2])).run(connected(), db, max_tokens=60)
    assert 1 < len(results) < 10


# Keys


def test_the_key_is_written_nowhere(proxy, tmp_path, monkeypatch, caplog, capfd):
    caplog.set_level("DEBUG")
    echo = f"your key {KEY} and your header Bearer {KEY} are odd"
    for key in ({"api_key": KEY}, {}):
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        with tk.connect(proxy.url, **key) as engine:
            engine.start()
            proxy.script += [
                refuses(400, echo),
                says(text=echo),
                says(body={"error": echo}),
                refuses(429, echo),
            ]
            found = tmp_path / "x.db"
            results = tk.sweep("x", tk.grid(seed=range(6), top_logprobs=[1])).run(engine, found)
            results.to_html(tmp_path / "x.html")
            results.to_jsonl(tmp_path / "x.jsonl")
            shown = [
                repr(engine),
                repr(engine.fingerprint),
                repr(results),
                str(vars(engine)),
                repr(engine._client),
            ]
            shown += [str(c.error) for c in results] + [results._repr_html_()]
            proxy.script.append(refuses(401, echo))
            with pytest.raises(tk.EngineError) as caught:
                engine.chat("x")
            shown.append("".join(__import__("traceback").format_exception(caught.value)))
        assert sum(c.error is not None for c in results) >= 3
    shown += [caplog.text, *capfd.readouterr()]
    for text in (*shown, *(path.read_bytes().decode("latin1") for path in tmp_path.iterdir())):
        assert KEY not in text


# Streams


def chunk(text=None, reason=None, **more):
    delta = {} if text is None else {"content": text}
    part = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
    return chat(object="chat.completion.chunk", choices=[part], usage=None, **more)


def test_streaming(proxy, connected):
    engine = connected()
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    proxy.script.append(
        streams(chunk(""), chunk("Pa"), chunk("ris"), chunk(reason="stop"), chat(choices=[], usage=usage))
    )
    deltas = list(engine.stream("x"))
    assert [(d.text, d.finish_reason) for d in deltas] == [("Pa", None), ("ris", None), ("", "stop")]
    c = deltas[-1].completion
    assert (c.text, c.usage, c.finish_reason) == ("Paris", tk.Usage(5, 2), "stop")
    assert 0 < c.first_token_seconds <= c.seconds
    assert c.system_fingerprint == engine.fingerprint.id
    assert proxy.asked[0]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (streams(chunk("Pa"), end=False), "truncated|broke off|cannot be read"),
        (streams(chunk("Pa")), "no finish_reason"),
        (streams(chunk("Pa"), {"error": {"message": f"overloaded {KEY}"}}), "overloaded"),
        (streams(), "no choices"),
        (
            streams({"choices": [{"index": "first", "delta": {"content": "x"}}]}),
            "is malformed .choices.0.index",
        ),
        (streams({"choices": [None]}), "is malformed"),
        (streams([1, 2]), "is malformed"),
        (refuses(400, "bad thing"), "bad thing"),
    ],
)
def test_broken_streams(proxy, connected, step, said):
    engine = connected()
    proxy.script.append(step)
    with pytest.raises(tk.RequestError, match=said) as caught:
        list(engine.stream("x"))
    assert KEY not in str(caught.value)
    assert engine.chat("x").text == "Paris."


def test_leaving_a_stream(proxy, connected):
    engine = connected(concurrency=1)

    async def endless(request, body):
        return await streams(*[chunk("x")] * 10_000)(request, body)

    proxy.script.append(endless)
    for delta in engine.stream("x"):
        assert delta.text == "x"
        break
    gone(lambda: proxy.open)
    assert engine.chat("x").text == "Paris."


def test_pieces_of_calls_and_of_several_choices():
    whole = StreamAccumulator(chat=True)

    def piece(index, **delta):
        return {"id": "chatcmpl-1", "choices": [{"index": index, "delta": delta, "finish_reason": None}]}

    for name, arguments in (("wea", ""), ("ther", '{"ci'), ("", 'ty":1}')):
        whole.add(
            piece(
                0, tool_calls=[{"index": 0, "id": "c1", "function": {"name": name, "arguments": arguments}}]
            )
        )
    whole.add(piece(0, tool_calls=[{"index": 1, "id": "c2", "function": {"name": "time"}}]))
    whole.add(piece(1, content="Hi", refusal="no", reasoning_content="Hm"))
    first, second = whole.response["choices"]
    assert first["message"]["tool_calls"] == [
        {"id": "c1", "function": {"name": "weather", "arguments": '{"city":1}'}},
        {"id": "c2", "function": {"name": "time", "arguments": ""}},
    ]
    assert second["message"] == {"content": "Hi", "refusal": "no", "reasoning_content": "Hm"}


# A real server


@pytest.fixture(scope="module")
def served(serving):
    with serving(kv_cache_memory_bytes=512 << 20, api_key=KEY) as server:
        yield server


@pytest.fixture(scope="module")
def remote(served):
    with tk.connect(served.url, api_key=KEY) as engine:
        yield engine


def running(server):
    """Requests that vLLM holds."""
    asked = urllib.request.Request(
        server.url.removesuffix("/v1") + "/metrics", headers={"Authorization": f"Bearer {KEY}"}
    )
    text = urllib.request.urlopen(asked).read().decode()
    lines = [line for line in text.splitlines() if line.startswith("vllm:num_requests_")]
    found = [line for line in lines if "_running" in line or "_waiting{" in line]
    assert found
    return sum(float(line.rpartition(" ")[2]) for line in found)


QUESTIONS = [FRANCE, "Name three colours.", "Who wrote Hamlet?", "Say 'café' in French, with an emoji."]


def test_it_says_what_it_is(served, remote):
    assert dict(remote.fingerprint.components) == {
        "engine": "server", "model": served.model, "system_fingerprint": served.fingerprint.id,
    }  # fmt: skip
    told = remote.fingerprint.notes
    assert (told["url"], told["owned_by"]) == (served.url, "vllm")
    assert told["max_model_len"] == remote.window == served.fingerprint.components["max_model_len"]
    assert told["version"]
    assert remote.model == served.model
    assert remote.vocabulary[504] == b"The"


def test_openais_field_has_the_servers_own_string(served, remote):
    c = remote.chat(FRANCE, max_tokens=1)
    assert c.to_openai()["system_fingerprint"] == served.fingerprint.id
    assert c.system_fingerprint == remote.fingerprint.id != served.fingerprint.id


@pytest.mark.slow
def test_a_server_that_is_stopped_and_served_again_elsewhere_is_the_same_system(serving, db):
    sweep = tk.sweep("Name {n} colours.", [{"n": n} for n in range(2, 8)], tk.grid(max_tokens=[2]))
    options = {"kv_cache_memory_bytes": 512 << 20, "max_model_len": 2048, "aliases": ["gpt-4o-mini"]}
    with serving(**options) as first, tk.connect(first.url, first.model) as engine:
        assert len(sweep.run(engine, db)) == 6
        system = first.fingerprint.id
    with serving(**options, port=first.port + 1) as second:
        assert (second.url != first.url, second.fingerprint.id) == (True, system)
        for name in (second.model, "gpt-4o-mini", None):
            with tk.connect(second.url, name) as engine:
                plan = sweep.plan(engine, db)
                assert (plan.stored, len(plan.missing)) == (6, 0)
                assert len(sweep.run(engine, db)) == 6


def test_greedy_text_and_logprobs_are_those_of_the_engine_in_this_process(engine, remote):
    asked = [Request.chat(q, temperature=0, max_tokens=12, top_logprobs=5) for q in QUESTIONS]
    here, there = ({c.request.key: c for c in e.generate(asked)} for e in (engine, remote))
    assert here.keys() == there.keys()
    for key, own in here.items():
        c = there[key]
        assert (c.text, c.finish_reason) == (own.text, own.finish_reason)
        # What the prefix cache holds is what either was asked before.
        assert replace(c.usage, cached_tokens=0) == replace(own.usage, cached_tokens=0)
        assert np.array_equal(c.token_ids, own.token_ids)
        assert np.array_equal(c.prompt_token_ids, own.prompt_token_ids)
        assert np.array_equal(c.ranks, own.ranks)
        assert np.abs(c.logprobs - own.logprobs).max() < 1e-3
        assert c.top_ids.shape == own.top_ids.shape == (len(c.token_ids), 5)
        assert np.abs(c.top_logprobs - own.top_logprobs).max() < 1e-3
        assert shape(c.to_openai()) == shape(own.to_openai())
        assert ChatCompletion.model_validate_json(json.dumps(c.to_openai()), strict=True)


def shape(data):
    """Names and types."""
    if isinstance(data, dict):
        return {name: shape(value) for name, value in data.items()}
    return [shape(item) for item in data] if isinstance(data, list) else type(data)


def test_a_served_chat_has_the_shape_and_the_numbers_of_to_openai(engine, served):
    asked = {"temperature": 0, "max_tokens": 12, "logprobs": True, "top_logprobs": 5}
    for question in QUESTIONS:
        turns = [{"role": "user", "content": question}]
        said = served.client.chat.completions.create(model=served.model, messages=turns, **asked)
        agrees(engine.chat(turns, **asked).to_openai(), said.to_dict())


def test_a_served_completion_has_the_shape_and_the_numbers_of_to_openai(engine, served):
    asked = {"temperature": 0, "max_tokens": 8, "logprobs": 3}
    said = served.client.completions.create(model=served.model, prompt="The capital of France is", **asked)
    own = engine.complete("The capital of France is", temperature=0, max_tokens=8, top_logprobs=3)
    agrees(own.to_openai(), said.to_dict())


def agrees(own, said, at=""):
    """What we write is in what vLLM serves, which has more: names, types, texts, and numbers to 1e-3. Of what is null
    it leaves out some that OpenAI has."""
    if isinstance(own, dict):
        for name in own.keys() - {"id", "created", "system_fingerprint", "prompt_tokens_details"}:
            agrees(own[name], said.get(name), f"{at}.{name}")
    elif isinstance(own, list):
        assert len(own) == len(said), at
        for i, pair in enumerate(zip(own, said, strict=True)):
            agrees(*pair, f"{at}[{i}]")
    elif isinstance(own, float):
        assert own == pytest.approx(said, abs=1e-3), at
    else:
        assert (type(own), own) == (type(said), said), at


def test_sampled_tokens_beyond_the_likely_ones(engine, remote):
    """vLLM's list begins with the chosen token; the k likely ones are there all the same."""
    asked = {"temperature": 1.7, "seed": 5, "max_tokens": 12, "top_logprobs": 2}
    own, c = engine.chat("Tell me something odd.", **asked), remote.chat("Tell me something odd.", **asked)
    assert np.array_equal(c.token_ids, own.token_ids)
    assert np.array_equal(c.top_ids, own.top_ids)
    assert own.ranks.max() > 2
    assert np.array_equal(c.ranks, np.where(own.ranks <= 2, own.ranks, 0))


def test_the_widest_list_tells_no_rank_that_it_may_not_hold(engine, remote):
    asked = {"temperature": 1.9, "seed": 3, "max_tokens": 24, "top_logprobs": 20}
    own, c = engine.chat("Tell me something odd.", **asked), remote.chat("Tell me something odd.", **asked)
    assert np.array_equal(c.token_ids, own.token_ids)
    assert own.ranks.max() > 20
    last = own.ranks >= 20  # then the server's list has no room for the twentieth, or may have none
    assert np.array_equal(c.ranks, np.where(last, 0, own.ranks))
    assert np.array_equal(c.top_ids[:, :19], own.top_ids[:, :19])
    assert np.array_equal(np.isnan(c.top_logprobs[:, 19]), last)


def test_legacy_completions_with_echo(engine, remote):
    asked = {"temperature": 0, "max_tokens": 5, "echo": True, "top_logprobs": 2}
    own, c = (e.complete("The capital of France is", **asked) for e in (engine, remote))
    assert c.text == own.text
    assert c.prompt.text == "The capital of France is"
    assert np.allclose(c.prompt.logprobs, own.prompt.logprobs, atol=1e-3, equal_nan=True)
    assert np.array_equal(c.prompt.ranks, own.prompt.ranks)
    assert np.array_equal(c.prompt.top_ids, own.prompt.top_ids)
    ids = c.prompt_token_ids.tolist()
    assert remote.complete(ids, temperature=0, max_tokens=5).text == own.text.removeprefix(
        "The capital of France is"
    )
    a, b = c.to_openai()["choices"][0]["logprobs"], own.to_openai()["choices"][0]["logprobs"]
    assert a["tokens"] == b["tokens"]
    assert a["text_offset"] == b["text_offset"]


def test_prefixes_scores_and_branches(engine, remote):
    own, c = (e.chat("Greet me.", prefix="Well, hel", temperature=0, max_tokens=6) for e in (engine, remote))
    assert (c.text, c.choices[0].prefix_tokens) == (own.text, own.choices[0].prefix_tokens)
    assert np.array_equal(c.token_ids, own.token_ids)
    texts = [" Paris", " Rome"]
    for prompt in ("The capital of France is", [{"role": "user", "content": FRANCE}]):
        scores = [[s.logprobs.sum() for s in e.score(prompt, texts)] for e in (engine, remote)]
        assert np.allclose(*scores, atol=1e-3)
    asked = {"temperature": 0, "max_tokens": 12, "top_logprobs": 2}
    grown = [e.branch(e.chat(FRANCE, **asked), 1, " city") for e in (engine, remote)]
    assert grown[0].text == grown[1].text
    pieces = list(remote.stream("Greet me.", prefix="Well, hel", temperature=0, max_tokens=6))
    assert "".join(p.text for p in pieces) == c.text == pieces[-1].completion.text


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 1, "temperature": 1.5},
        {"min_p": 1.0, "temperature": 1.5},
        {"temperature": 0, "repetition_penalty": 1.3},
        {"temperature": 0, "ignore_eos": True, "max_tokens": 14},
        {"temperature": 0, "stop": ["France"], "include_stop_str_in_output": True},
        {"temperature": 0, "min_tokens": 12, "max_tokens": 14},
        {"temperature": 0, "bad_words": ["Paris"]},
        {"temperature": 0, "logit_bias": {504: -100}},
        {"temperature": 0, "skip_special_tokens": False},
        {"temperature": 0, "response_format": {"type": "choice", "choice": ["Rome", "Paris"]}},
    ],
    ids=lambda options: list(options)[-1],
)
def test_vllms_own_options(engine, remote, options):
    own, c = (e.chat(FRANCE, **{"max_tokens": 12, **options}) for e in (engine, remote))
    assert (c.text, c.finish_reason) == (own.text, own.finish_reason)
    assert c.choices[0].stop_reason == own.choices[0].stop_reason


def test_tokens_are_counted_as_here(engine, remote):
    for request in (
        Request.chat(FRANCE),
        Request(prompt="Zebras 🎉"),
        Request.chat("a", prefix=" b c"),
        Request(prompt="Zebra", prefix="s and more"),
        Request(prompt=(1, 2, 3), prefix=(4, 5)),
    ):
        assert remote.encode(request) == engine.encode(request)
        assert remote.count(request) == engine.count(request)
    assert remote.ends == engine.ends
    assert tk.count_tokens("Zebras", remote) == tk.count_tokens("Zebras", engine)


def test_streams_end_when_they_are_left(served, remote):
    deltas = list(remote.stream(FRANCE, temperature=0, max_tokens=12, top_logprobs=2))
    whole = remote.chat(FRANCE, temperature=0, max_tokens=12, top_logprobs=2)
    c = deltas[-1].completion
    assert "".join(d.text for d in deltas) == c.text == whole.text
    assert np.allclose(c.logprobs, whole.logprobs, atol=1e-3)
    assert (c.usage.completion_tokens, c.usage.prompt_tokens) == (8, 37)
    assert c.system_fingerprint == whole.system_fingerprint
    assert whole.usage.cached_tokens == 32  # by the first of them; whole blocks of 16
    assert 0 < c.first_token_seconds < c.seconds
    for _ in remote.stream("Tell a long story.", max_tokens=2000, ignore_eos=True):
        break
    gone(lambda: running(served))


def test_batches_end_when_they_are_left(served, remote):
    short = Request.chat("Hi", max_tokens=1)
    long = (Request.chat(f"Tell story {i}.", max_tokens=2000, ignore_eos=True) for i in range(30))
    for c in remote.generate([short, *long]):
        assert c.error is None
        gone(lambda: running(served) < 10)  # they have come to run
        break
    gone(lambda: running(served))
    assert remote.chat("Hi", max_tokens=1).text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"messages": "word " * 9000}, "maximum context length is 8192 tokens"),
        ({"max_tokens": 9000}, "max_tokens=9000 cannot be greater than max_model_len=8192"),
        ({"top_logprobs": 25}, "greater than max allowed: 20"),
        ({"stop": list("abcde")}, "at most 4"),
    ],
)
def test_what_the_server_refuses_is_the_error_of_one_request(remote, options, said):
    asked = [
        Request.chat(**{"turns": options.pop("messages", "x"), **options}),
        Request.chat("Hi", max_tokens=1),
    ]
    bad, good = sorted(remote.generate(asked), key=lambda c: c.error is None)
    assert said in bad.error
    assert good.error is None


def test_an_answer_that_the_window_cuts_says_so(proxy, connected):
    """vLLM's server lowers max_tokens in silence."""
    proxy.models = [{"id": "small", "object": "model", "max_model_len": 20}]
    engine = connected()
    assert engine.window == 20
    assert engine.chat("x", max_tokens=7).notes["max_tokens"] == "6, where the window ends"
    assert "max_tokens" not in engine.chat("x", max_tokens=6).notes


def test_wrong_key_and_wrong_model(served):
    with pytest.raises(tk.EngineError, match=r"401: Unauthorized\. Is the key right"):
        tk.connect(served.url, api_key="sk-wrong").start()
    with pytest.raises(tk.EngineError, match=f"does not exist.* It has {served.model}"):
        tk.connect(served.url, "gpt-5", KEY).start()
    with pytest.raises(tk.EngineError, match="url must end as the API does"):
        tk.connect(served.url.removesuffix("/v1"), served.model, KEY).start()


def test_a_sweep_is_planned_run_resumed_and_read(remote, db):
    cells = tk.grid(temperature=[0, 1], seed=[1, 2], max_tokens=[8], top_logprobs=[2])
    sweep = tk.sweep(
        "What is the capital of {country}?", [{"country": "France"}, {"country": "Japan"}], cells
    )
    plan = sweep.plan(remote, db)
    assert (plan.total, len(plan.missing), plan.window) == (6, 6, 8192)
    assert plan.prompt_tokens == sum(remote.count(request) for request, _ in plan.missing)
    first = sweep.run(remote, db, max_tokens=150)
    assert 0 < len(first) < 6
    before = remote.generated_tokens
    results = sweep.run(remote, db)
    assert len(results) == 6
    assert results.frame()["error"].isna().all()
    again = remote.generated_tokens
    assert sweep.run(remote, db).frame().equals(results.frame())
    assert remote.generated_tokens == again > before
    assert results.frame()["completion_tokens"].sum() == sum(len(c.token_ids) for c in results)
    stored = tk.results(db)[0]  # without the server
    assert stored.tokens[0].bytes
    assert stored.to_openai()["choices"][0]["logprobs"]["content"]
    assert len(tk.logprobs(list(results))) > 0
    assert "tokens" in repr(results.costs())
    assert sweep.plan(remote, db).seconds is not None


def test_determinism_and_fork_work_on_its_answers(remote, db):
    results = tk.sweep(
        "Name a colour.", tk.grid(temperature=[0, 1.5], max_tokens=[6], logprobs=[True]), repeats=3
    ).run(remote, db)
    report = results.determinism()
    greedy, drawn = (report.requests[report.requests["random"] == random].iloc[0] for random in (False, True))
    assert (greedy["runs"], greedy["unique"]) == (3, 1)
    assert drawn["unique"] > 1
    assert drawn["fork"] >= 0
    assert np.isfinite(greedy["drift"])


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back(served, warm, monkeypatch, db):
    monkeypatch.setattr(client, "_RETRIES", 2)
    sweep = tk.sweep("Say {n}.", [{"n": i} for i in range(60)], tk.grid(max_tokens=[12], temperature=[0]))
    answered, revived = [], []
    asks = client.ApiClient.create

    async def counted(self, body, chat):
        found = await asks(self, body, chat)
        answered.append(body["messages"][0]["content"])
        if len(answered) == 22 and not revived:
            os.killpg(served.pid, signal.SIGKILL)
        return found

    with tk.connect(served.url, api_key=KEY, concurrency=8) as engine:
        engine.start()
        monkeypatch.setattr(client.ApiClient, "create", counted)
        with pytest.raises(tk.EngineError, match="cannot connect"):
            sweep.run(engine, db)
        with Store(db) as store:
            stored = len(store.stored(engine.fingerprint.id))
        assert 20 <= stored < 60
        assert stored <= len(answered) <= stored + 8
        known = tk.results(db).frame()["row.n"].tolist()
        answered.clear()
        revived.append(served.restart())
        results = sweep.run(engine, db)
    assert len(results) == 60
    assert results.frame()["error"].isna().all()
    asked = [int(text.split()[1].rstrip(".")) for text in answered]
    assert len(asked) == len(set(asked)) == 60 - stored
    assert not set(asked) & set(known)
