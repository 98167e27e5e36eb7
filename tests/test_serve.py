"""The managed server: one real one for the whole file, killed and started again in its midst."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from argparse import Namespace
from dataclasses import asdict, fields, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import openai
import psutil
import pytest

import toolkit as tk
from toolkit import models
from toolkit._internal.files import toolkit_home
from toolkit.cli import main as command
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request
from toolkit.engines.variant import Variant
from toolkit.engines.vllm.config import Spec
from toolkit.serving import process_group, server as server_module, server_main
from toolkit.serving.auth_middleware import ApiKeyMiddleware
from toolkit.serving.client_environment import Environment
from toolkit.serving.command_line import _NO_FLAG, OPENAI, command_line_flags, secret_flags
from toolkit.serving.logs import delete_old_logs, log_excerpt
from toolkit.serving.registry import ServerRecord, registry_folder
from toolkit.serving.server import Server, _environment, _record, _start
from toolkit.serving.tool_chat_template import with_tool_instructions

KEY = "sk-test-0123456789"
SMALL = {"kv_cache_memory_bytes": 512 << 20, "max_model_len": 2048}
"""Other engines are in memory as well."""
ASKED = {"host": "0.0.0.0", "api_key": KEY, "aliases": ["gpt-4o-mini", "gpt-4o"], **SMALL}
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def own_home(tmp_path_factory):
    """Records and logs of its own, so that servers of whoever runs the tests are left alone."""
    home = tmp_path_factory.mktemp("home")
    models.path()
    (home / "models").symlink_to(toolkit_home() / "models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLKIT_HOME", str(home))
        patch.delenv("VLLM_API_KEY", raising=False)
        yield home


@pytest.fixture(scope="module")
def server(own_home):
    with tk.serve(**ASKED) as server:
        yield server


def status(server, path, key=None, **headers):
    """What a plain HTTP request is answered."""
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(server.url.removesuffix("/v1") + path, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(request, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code


def family(server):
    first = psutil.Process(server.pid)
    return [first, *first.children(recursive=True)]


def listening(server):
    """Address and port of its sockets; of those that only this machine reaches the port may be any."""
    own = {p.pid for p in family(server)}
    found = {c.laddr for c in psutil.net_connections("inet") if c.status == "LISTEN" and c.pid in own}
    return {(a.ip, a.port if a.port == server.port else "any") for a in found}


def killed(server):
    """Kills its first process, and waits for its end."""
    first = psutil.Process(server.pid)
    first.kill()
    assert running([first]) == []


def running(processes):
    """Those that have not ended within a second; what waits for its parent to take note has ended."""
    _, left = psutil.wait_procs(processes, timeout=1)
    return [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


# One real server.


@pytest.mark.slow
def test_the_official_client_is_answered(server):
    answer = server.client.chat.completions.create(
        model=server.model, messages=FRANCE, temperature=0, max_tokens=12
    )
    assert answer.choices[0].message.content == "The capital of France is Paris."
    assert server.alive
    assert server.healthy


@pytest.mark.slow
def test_the_message_of_an_answer_is_taken_back(server):
    asked = {"temperature": 0, "max_tokens": 12}
    answer = server.client.chat.completions.create(model=server.model, messages=FRANCE, **asked)
    message = answer.choices[0].message
    text = {"role": "assistant", "content": message.content}
    with tk.connect(server.url, api_key=KEY) as engine:
        answers = [
            engine.chat([*FRANCE, turn, {"role": "user", "content": "And of Japan?"}], **asked).text
            for turn in (text, message, message.model_dump(), message.to_dict())
        ]
    assert len(set(answers)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SmolLM2-135M-Instruct", "gpt-4o-mini", "gpt-4o"])
def test_every_name_is_served(server, name):
    assert name in {model.id for model in server.client.models.list()}
    assert (
        server.client.completions.create(model=name, prompt="One, two,", max_tokens=2).usage.completion_tokens
        == 2
    )


@pytest.mark.slow
def test_another_name_is_not(server):
    with pytest.raises(openai.NotFoundError, match=r"gpt-3\.5-turbo"):
        server.client.chat.completions.create(model="gpt-3.5-turbo", messages=FRANCE)


@pytest.mark.slow
def test_the_fingerprint_is_in_every_answer_and_is_that_of_an_engine_in_processes_of_its_own(server, engine):
    answer = server.client.chat.completions.create(model="gpt-4o", messages=FRANCE, max_tokens=1)
    assert answer.system_fingerprint == server.fingerprint.id
    here = dict(engine.fingerprint.components)
    sizes = {"max_model_len": 2048, "max_num_batched_tokens": 4096}
    apart = {"own_processes": True, "attention_backend": "auto"}
    assert Fingerprint({**here, **sizes, **apart}).diff(server.fingerprint) == {}


@pytest.mark.slow
def test_its_threads_run_on_every_core_as_those_of_an_engine_in_this_process(server):
    cores = len(os.sched_getaffinity(0))  # a worker among several has its part of them, see `cores`
    assert server.fingerprint.components["device"]["threads"] == int(os.environ.get("OMP_NUM_THREADS", cores))
    assert {tuple(p.cpu_affinity()) for p in family(server)} == {tuple(sorted(os.sched_getaffinity(0)))}


@pytest.mark.slow
def test_a_streamed_answer_has_it_too(server):
    pieces = server.client.chat.completions.create(model="gpt-4o", messages=FRANCE, max_tokens=4, stream=True)
    assert {p.system_fingerprint for p in pieces} - {None} == {server.fingerprint.id}


@pytest.mark.slow
def test_unseeded_requests_are_fresh_draws(server):
    assert "--seed=" in " ".join(psutil.Process(server.pid).cmdline())


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_calls_that_must_be_made_are_made(server, choice):
    fields = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    told = {"name": "get_weather", "description": "Weather of a city", "parameters": fields}
    answer = server.client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[{"type": "function", "function": told}],
        tool_choice=choice,
        temperature=0,
        max_tokens=80,
    )
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"] == "Paris"


@pytest.mark.slow
def test_bound_to_every_address_it_is_open_at_one_port(server):
    assert listening(server) - {("127.0.0.1", "any")} == {("0.0.0.0", server.port)}
    assert server.url == f"http://127.0.0.1:{server.port}/v1"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "key", "expected"),
    [
        ("/health", None, 200),
        ("/v1/models", KEY, 200),
        ("/v1/models", None, 401),
        ("/v1/models", KEY[:-1], 401),
        ("/metrics", None, 401),
        ("/metrics", KEY, 200),
        ("/tokenize", None, 401),
        ("/version", None, 401),
        ("/openapi.json", None, 401),
        ("/health/../metrics", None, 401),
        ("//metrics", None, 401),
    ],
)
def test_all_but_health_is_closed_without_the_key(server, path, key, expected):
    assert status(server, path, key) == expected


@pytest.mark.slow
def test_web_pages_are_not_let_in(server):
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    request = urllib.request.Request(
        f"{server.url}/models", headers={**asked, "Authorization": f"Bearer {KEY}"}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.slow
def test_web_pages_may_not_ask(server):
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    for path in ("/v1/chat/completions", "/metrics"):
        request = urllib.request.Request(
            server.url.removesuffix("/v1") + path,
            headers={**asked, "Authorization": f"Bearer {KEY}"},
            method="OPTIONS",
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
        assert caught.value.code == 400
        assert caught.value.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("[::1]:8000", 200),
        ("10.1.2.3:8000", 200),  # it listens on all addresses
        (socket.gethostname(), 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("", 403),
    ],
)
def test_it_answers_to_its_own_names_only(server, host, expected):
    assert status(server, "/health", Host=host) == status(server, "/v1/models", KEY, Host=host) == expected


@pytest.mark.slow
@pytest.mark.parametrize("n", [0, -1, 129, 10**6, 2**70])
def test_choices_are_limited(server, n):
    with pytest.raises(openai.BadRequestError, match=r"n|integer") as caught:
        server.client.chat.completions.create(
            model="gpt-4o", messages=FRANCE, n=n, max_tokens=1, temperature=1
        )
    if n in (129, 10**6):
        assert f"n must be at most 128, got {n}" in str(caught.value)
        assert "VLLM_MAX_N_SEQUENCES" in str(caught.value)
    with pytest.raises(openai.BadRequestError):
        server.client.completions.create(model="gpt-4o", prompt="Hi", n=n, max_tokens=1, temperature=1)


@pytest.mark.slow
def test_a_large_body_is_refused(server):
    with pytest.raises(openai.APIStatusError, match="at most 67,108,864 are allowed") as caught:
        server.client.with_options(max_retries=0).completions.create(model="gpt-4o", prompt="x" * (65 << 20))
    assert caught.value.status_code == 413
    assert server.healthy


@pytest.mark.slow
def test_an_unused_connection_is_closed(server):
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - begun < 15


@pytest.mark.slow
def test_a_text_model_has_no_image_fetched(server):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.2)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/a.png"
        part = {"type": "image_url", "image_url": {"url": url}}
        with pytest.raises(openai.BadRequestError):
            server.client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": [part]}]
            )
        with pytest.raises(TimeoutError):
            listening.accept()


@pytest.mark.slow
def test_the_key_is_shown_nowhere(server, own_home):
    seen = subprocess.run(["ps", "-eo", "args", "ww"], capture_output=True, text=True, check=True).stdout
    assert "toolkit.serving.server_main" in seen
    shown = [seen, server.log.read_text(), repr(server), repr(server.environment), repr(server._record)]
    assert not [text for text in shown if KEY in text]
    holding = [p for p in own_home.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
    assert [oct(p.stat().st_mode & 0o777) for p in holding] == ["0o600"]
    assert server.log.stat().st_mode & 0o777 == 0o600  # prompts are in it, if it is asked to log them
    assert holding[0].parent.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_its_environment_makes_a_bare_client_use_it(server, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    assert openai.OpenAI().models.list().data[0].id == server.model
    assert str(server.environment) == f"export OPENAI_BASE_URL={server.url}\nexport OPENAI_API_KEY={KEY}"


@pytest.mark.slow
def test_the_same_call_finds_it_and_another_does_not(server):
    again = tk.serve(**ASKED)
    assert (again.pid, again.ours) == (server.pid, False)
    with again:
        pass
    assert server.alive  # who did not start it does not end it
    assert [s.pid for s in tk.servers()] == [server.pid]


@pytest.mark.slow
def test_another_process_finds_it(server):
    code = f"import toolkit as tk; s = tk.serve(**{ASKED!r}); print(s.pid, s.ours, s.client.models.list().data[0].id)"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == [str(server.pid), "False", server.model]


@pytest.mark.slow
def test_a_port_that_is_taken_is_told(server):
    with pytest.raises(
        tk.EngineError, match=rf"port {server.port} is not available \(Address already in use\): give"
    ):
        tk.serve(port=server.port, **SMALL)
    assert [s.pid for s in tk.servers()] == [server.pid]


@pytest.mark.slow
def test_one_that_was_killed_is_told_and_starts_again_on_its_port(server):
    client, port, left = server.client, server.port, family(server)
    other = tk.serve(**ASKED)
    os.kill(server.pid, signal.SIGKILL)
    assert running(left[:1]) == []
    assert not server.alive
    assert "not running" in repr(server)
    with pytest.raises(tk.EngineError, match=r"server\.restart\(\) starts it again\. Its log, .*ends:"):
        _ = server.fingerprint
    with pytest.raises(tk.EngineError, match=r"server\.restart\(\) starts it again"):
        _ = server.client
    assert server.restart().port == port
    assert (other.pid, other.alive, other.client.models.list().data[0].id) == (server.pid, True, server.model)
    assert running(left) == []  # what it had left running, too
    assert client.models.list().data[0].id == server.model  # the old client goes on
    assert [s.pid for s in tk.servers()] == [server.pid]


@pytest.mark.slow
def test_stopped_with_all_of_its_processes(server):
    own = family(server)
    assert len(own) >= 3  # it, vLLM's engine and its worker
    server.stop()
    assert running(own) == []
    assert tk.servers() == []
    assert not server.alive
    assert list(registry_folder().glob("*.*")) == [registry_folder() / ".lock"]
    server.stop()  # twice is fine


@pytest.mark.slow
def test_one_that_does_not_start_is_told_with_its_log(own_home):
    with pytest.raises(tk.EngineError, match=r"did not start(.|\n)*max_model_len") as caught:
        tk.serve(max_model_len=100_000, kv_cache_memory_bytes=64 << 20)
    (log,) = (w.rstrip(",") for w in str(caught.value).split() if "serve-" in w)
    assert "Traceback" in Path(log).read_text()
    assert tk.servers() == []


@pytest.mark.slow
def test_the_command_runs_until_it_is_interrupted(own_home):
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "toolkit", "serve", "--alias", "gpt-4o", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    first, *variables = (process.stdout.readline() for _ in range(3))
    (server,) = tk.servers()
    own = family(server)
    assert first.startswith(f"SmolLM2-135M-Instruct at {server.url}; Ctrl-C stops it.")
    assert variables == [f"export OPENAI_BASE_URL={server.url}\n", "export OPENAI_API_KEY=EMPTY\n"]
    assert server.client.models.list().data[-1].id == "gpt-4o"
    assert {address for address, _ in listening(server)} == {"127.0.0.1"}  # as nothing else was asked for
    assert ("127.0.0.1", server.port) in listening(server)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=40)[0] == "stopped\n"
    assert process.returncode == 0
    assert running(own) == []


# Without one.


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"host": "0.0.0.0"},
            ValueError,
            r"host='0\.0\.0\.0' accepts requests from other machines: give an api_key",
        ),
        ({"host": "::"}, ValueError, "accepts requests from other machines"),
        ({"host": "example.org"}, ValueError, "accepts requests from other machines"),
        ({"host": ""}, ValueError, "accepts requests from other machines"),
        ({"host": "127.0.0.1 "}, ValueError, "accepts requests from other machines"),
        ({"host": "no such host", "api_key": KEY}, ValueError, "'no such host' is not a valid address"),
        ({"api_key": "two words"}, ValueError, "api_key must be of visible ASCII characters"),
        ({"api_key": "ключ"}, ValueError, "api_key must be of visible ASCII characters"),
        ({"api_key": 12345}, TypeError, "api_key must be text, got int"),
        ({"env": {"VLLM_API_KEY": "two words"}}, ValueError, "api_key must be of visible ASCII characters"),
        ({"port": 70_000}, ValueError, "port must be 1 to 65535"),
        (
            {"served_model_name": "mine"},
            TypeError,
            r"its model's own name: aliases=\[…\] gives it more names",
        ),
        ({"enable_mm_processor_stats": True}, TypeError, "vLLM's command line has no option for it"),
        (
            {"aliases": "gpt-4o"},
            TypeError,
            r"aliases must be a list of names, got 'gpt-4o': write \['gpt-4o'\]",
        ),
        ({"max_model_length": 5}, TypeError, "max_model_len"),
        ({"hf_overrides": len}, TypeError, "hf_overrides of a server must be plain data"),
        (
            {"allowed_hosts": "a.example"},
            TypeError,
            r"allowed_hosts must be a list of names, got 'a\.example'",
        ),
        ({"allowed_hosts": ["http://a.example"]}, ValueError, "allowed_hosts must be host names, such as"),
        ({"allowed_hosts": ["*"]}, ValueError, "allowed_hosts must be host names, such as"),
        ({"api_key": ""}, ValueError, "api_key must be the key itself, got an empty text"),
        ({"api_key": " "}, ValueError, "api_key must be the key itself, got an empty text"),
        ({"threads": 0}, ValueError, "threads"),
        ({"env": {"A": 1}}, TypeError, "env must be a dict of strings"),
        ({"model": "/no/such/model"}, tk.ModelError, "unknown model '/no/such/model'"),
    ],
)
def test_bad_arguments(own_home, monkeypatch, given, error, message):
    monkeypatch.setattr(server_module, "_environment", None)  # else what passes by mistake would be served
    with pytest.raises(error, match=message) as caught:
        tk.serve(**given)
    assert not [key for key in ("two words", "12345") if key in str(caught.value)]
    assert list(registry_folder().glob("*.json")) == []


def test_a_key_of_the_environment_counts(own_home, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    record = _record(Variant(), "0.0.0.0", None, None, ())
    assert record.api_key == KEY
    assert KEY not in " ".join(command_line_flags(record))
    assert "--middleware=toolkit.serving.auth_middleware.ApiKeyMiddleware" in command_line_flags(record)


@pytest.mark.parametrize(
    ("given", "env", "here", "expected"),
    [
        (None, {"VLLM_API_KEY": KEY}, None, KEY),
        (None, {"VLLM_API_KEY": KEY}, "of this process", KEY),
        (KEY, {"VLLM_API_KEY": "of-env"}, None, KEY),
        (None, {"VLLM_API_KEY": None}, KEY, None),
        (None, {}, KEY, KEY),
        (None, {}, None, None),
    ],
)
def test_a_key_of_its_own_environment_counts_before_that_of_this_process(
    own_home, monkeypatch, given, env, here, expected
):
    if here:
        monkeypatch.setenv("VLLM_API_KEY", here)
    record = _record(Variant(env=env), "127.0.0.1", None, given, ())
    assert (record.api_key, record.env) == (expected, {})
    assert (
        "--middleware=toolkit.serving.auth_middleware.ApiKeyMiddleware" in command_line_flags(record)
    ) is bool(expected)
    assert _environment(record).get("VLLM_API_KEY") == expected


@pytest.mark.parametrize("given", [{"hf_token": "hf_secret"}, {"env": {"HF_TOKEN": "hf_secret"}}])
def test_the_token_of_the_hub_is_on_no_command_line(own_home, given):
    variant = Variant(arguments={k: v for k, v in given.items() if k != "env"}, env=given.get("env", {}))
    record = _record(variant, "127.0.0.1", None, None, ())
    assert record.env == {"HF_TOKEN": "hf_secret"}
    assert "hf_secret" not in " ".join(command_line_flags(record)) + repr(record)


@pytest.mark.parametrize(
    "arguments",
    [
        {"model_loader_extra_config": {"api_key": "hidden-1"}},
        {"kv_transfer_config": {"kv_connector_extra_config": {"password": "hidden-1"}}},
        {"hf_overrides": {"proxies": ["http://me:hidden-1@proxy"]}},
        {"additional_config": [{"auth_token": "hidden-1"}]},
    ],
)
def test_secrets_in_arguments_are_on_no_command_line_and_in_no_error(own_home, tmp_path, arguments):
    record = _record(Variant(arguments={**arguments, "seed": 3}), "127.0.0.1", None, None, ())
    assert "hidden-1" not in " ".join(command_line_flags(record)) + repr(record)
    assert "--seed=3" in command_line_flags(record)
    assert "hidden-1" in " ".join(secret_flags(record))  # which the process adds itself
    (tmp_path / "log").write_text(f"non-default args: {arguments}\n")
    assert "hidden-1" not in log_excerpt(tmp_path / "log", record.arguments)


def test_no_token_of_the_hub_is_none_of_this_machine_either(own_home):
    record = _record(Variant(arguments={"hf_token": False}), "127.0.0.1", None, None, ())
    assert record.env == {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    assert "hf-token" not in " ".join(command_line_flags(record))


@pytest.fixture(scope="module")
def parser():
    """vLLM's own, of its server's command line."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    return make_arg_parser(FlexibleArgumentParser())


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"enforce_eager": False, "enable_prefix_caching": False, "disable_log_stats": True},
        {"disable_log_stats": False, "trust_remote_code": True, "quantization": None},
        {"hf_overrides": {"rope_theta": 1e4}, "override_generation_config": {"temperature": 0.5}},
        {"data_parallel_multi_port_external_lb": False, "enable_mm_processor_stats": False},
        {"max_logprobs": -1, "gpu_memory_utilization": 0.25, "seed": 3, "dtype": "bfloat16"},
        {"structured_outputs_config": {"backend": "xgrammar"}, "allowed_media_domains": ["a.org", "b.org"]},
        {"speculative_config": {"method": "ngram", "num_speculative_tokens": 2}},
        {"compilation_config": {"mode": 0}, "limit_mm_per_prompt": {"image": 2}},
    ],
)
def test_vllm_reads_the_command_line_as_the_arguments_that_were_given(own_home, parser, given):
    from vllm.engine.arg_utils import AsyncEngineArgs

    record = _record(Variant(arguments=given), "127.0.0.1", 8123, None, ["gpt-4o"])
    read = parser.parse_args(command_line_flags(record))
    assert (read.host, read.port, read.allowed_origins) == ("127.0.0.1", 8123, [])
    assert read.served_model_name == ["SmolLM2-135M-Instruct", "gpt-4o"]
    found, bare = AsyncEngineArgs.from_cli_args(read), AsyncEngineArgs(record.path)
    for name, value in record.arguments.items():
        wanted = getattr(bare, name) if value is None else value
        got = getattr(found, name)
        if isinstance(wanted, dict) and not isinstance(got, dict):  # the parser makes some of them objects
            got = {key: getattr(got, key) for key in wanted}
        assert got == wanted, name


@pytest.mark.parametrize("value", [True, False])
def test_vllm_reads_every_argument_that_is_yes_or_no(own_home, parser, value):
    from vllm.engine.arg_utils import EngineArgs

    known = {field.name: field for field in fields(EngineArgs)}
    assert set(_NO_FLAG) <= set(known)
    names = [
        name
        for name, field in known.items()
        if "bool" in str(field.type) and name not in (*_NO_FLAG, "hf_token")
    ]
    assert len(names) > 40
    record = _record(Variant(arguments=dict.fromkeys(names, value)), "127.0.0.1", 8123, None, ())
    read = parser.parse_args(command_line_flags(record))
    assert [name for name in names if getattr(read, name) is not value] == []


def test_every_other_argument_has_its_flag(parser):
    from toolkit.engines.vllm.engine_args import engine_arguments

    flags = {flag for action in parser._actions for flag in action.option_strings}
    lacking = {name for name in engine_arguments() if "--" + name.replace("_", "-") not in flags}
    assert {name for name in lacking if not name.startswith("_")} == set(_NO_FLAG)


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ({}, {"OMP_NUM_THREADS": None, "VLLM_CPU_OMP_THREADS_BIND": "nobind"}),
        ({"threads": 3}, {"OMP_NUM_THREADS": "3", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}),
        ({"env": {"VLLM_CPU_OMP_THREADS_BIND": "0-1"}}, {"VLLM_CPU_OMP_THREADS_BIND": "0-1"}),
        ({"env": {"VLLM_CPU_OMP_THREADS_BIND": None}}, {"VLLM_CPU_OMP_THREADS_BIND": None}),
    ],
)
def test_its_environment_has_the_threads_that_were_asked_for(own_home, monkeypatch, variant, expected):
    for name in ("OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND"):
        monkeypatch.delenv(name, raising=False)
    found = _environment(_record(Variant(**variant), "127.0.0.1", None, None, ()))
    assert {name: found.get(name) for name in expected} == expected


def test_equal_records_are_found_and_others_not(own_home):
    def made(host="127.0.0.1", port=None, api_key=None, aliases=(), allowed_hosts=(), **variant):
        return _record(Variant(**variant), host, port, api_key, aliases, allowed_hosts)

    from toolkit.serving.server import _serves

    there = made(port=8123)
    assert _serves(there, made())
    assert _serves(there, made(port=8123))
    others = [{"port": 8124}, {"api_key": KEY}, {"aliases": ["a"]}, {"threads": 1}, {"env": {"A": "b"}}]
    others += [{"host": "127.0.0.2"}, {"arguments": {"max_model_len": 512}}, {"allowed_hosts": ["a"]}]
    assert not any(_serves(there, made(**other)) for other in others)


def test_a_server_is_told_its_names_and_who_asks_passes_them_first(own_home):
    for host, more, expected in (
        ("127.0.0.1", (), "127.0.0.1"),
        ("::1", ["A.example:80", "b"], "::1,a.example,b"),
    ):
        record = _record(Variant(), host, None, KEY, (), more)
        assert _environment(record)["TOOLKIT_SERVER_HOSTS"] == expected
        middleware = [flag for flag in command_line_flags(record) if flag.startswith("--middleware=")]
        assert [flag.rpartition(".")[2] for flag in middleware] == [  # vLLM calls the last one first
            "BodyLimitMiddleware", "ApiKeyMiddleware", "HostMiddleware"
        ]  # fmt: skip


def test_a_record_keeps_its_hosts_and_older_ones_have_none(own_home):
    record = a_record(allowed_hosts=("a.example",))
    record.write()
    assert ServerRecord.read(record.file) == record
    older = {name: value for name, value in asdict(record).items() if name != "allowed_hosts"}
    record.file.write_text(json.dumps(older))
    assert ServerRecord.read(record.file) == replace(record, allowed_hosts=())
    record.file.unlink()


def a_record(pid=0, born="", log="/nowhere", **more):
    own = {"id": "0123abcd", "host": "127.0.0.1", "port": 1, **more}
    empty = {
        "model": "m",
        "path": "-",
        "arguments": {},
        "spec": "-",
        "names": ("m",),
        "api_key": None,
        "env": {},
    }
    return ServerRecord(
        log=log, pid=pid, born=born, output=process_group.inode_key(log) or "", **empty, **own
    )


def test_a_process_that_got_the_number_of_a_dead_server_is_not_taken_for_it(own_home):
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        record = a_record(other.pid, "another boot 17")
        record.write()
        assert not record.alive
        assert tk.servers() == []
        assert not record.file.exists()
        assert other.poll() is None  # nor is it ended
        assert a_record(other.pid, process_group.process_identity(other.pid)).alive
    finally:
        other.kill()
        other.wait()
    assert not a_record(other.pid, process_group.process_identity(other.pid) or "").alive


@pytest.mark.parametrize(("begin", "ended"), [("server.__enter__()", True), ("server", False)])
def test_at_the_end_of_the_interpreter_a_with_block_ends_its_server(own_home, tmp_path, begin, ended):
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(["sleep", "60"], stdout=output, start_new_session=True)
    record = a_record(process.pid, process_group.process_identity(process.pid), str(log))
    record.write()
    code = f"""if True:
        from toolkit.serving.registry import ServerRecord as Record
        from pathlib import Path
        from toolkit.serving.server import Server
        server = Server(Record.read(Path({str(record.file)!r})), ours=True)
        {begin}
        assert server.alive"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (process.poll() is not None) is ended
    process.kill()
    process.wait()
    assert tk.servers() == []


def test_what_a_dead_server_has_left_running_is_ended_with_its_record(own_home, tmp_path):
    log = tmp_path / "log"
    code = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); input()"
    with log.open("w") as output:
        leader = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=output, start_new_session=True
        )
    while not log.read_text().endswith("\n"):
        time.sleep(0.02)
    left = psutil.Process(int(log.read_text()))
    a_record(leader.pid, process_group.process_identity(leader.pid), str(log)).write()
    leader.kill()
    leader.communicate()
    assert left.is_running()
    assert tk.servers() == []
    assert running([left]) == []


def test_records_of_other_machines_are_left_alone(own_home):
    record = a_record(1, "-")
    record.write()
    text = json.dumps({**asdict(record), "machine": "elsewhere"})
    record.file.write_text(text)
    assert tk.servers() == []
    assert record.file.read_text() == text
    record.file.unlink()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"id": 1}', '{"names": []}'])
def test_what_is_no_record_is_passed_over(own_home, text):
    file = registry_folder() / "broken.json"
    file.write_text(text)
    assert tk.servers() == []
    file.unlink()


def test_what_ignores_an_interrupt_is_killed_with_its_children(tmp_path):
    code = "import signal, subprocess; signal.signal(2, 1); subprocess.run(['sleep', '60'])"
    log = tmp_path / "log"
    with log.open("w") as output:
        leader = subprocess.Popen([sys.executable, "-c", code], stdout=output, start_new_session=True)
    while len(process_group.members(leader.pid, process_group.inode_key(log))) < 2:
        time.sleep(0.02)
    assert process_group.members(leader.pid, process_group.inode_key("/")) == []
    own = [psutil.Process(pid) for pid in process_group.members(leader.pid, process_group.inode_key(log))]
    assert process_group.end(leader.pid, process_group.inode_key(log), 0.2) == []
    assert leader.wait() == -signal.SIGKILL
    assert running(own) == []


def test_a_told_log_begins_with_the_cause_of_the_last_start(tmp_path):
    log = tmp_path / "log"
    old = "--- started a\nValueError: of yesterday\n"
    prefix = "(EngineCore pid=7) ERROR 11-22 09:11:15 [core.py:1510] "
    log.write_text(
        f"{old}--- started b\n{prefix}ValueError: too small\n" + "line\n" * 20 + "RuntimeError: see above\n"
    )
    told = log_excerpt(log)
    assert told.startswith(f"ValueError: too small\nIts log, {log}, ends:\nline")
    assert told.endswith("line\nRuntimeError: see above")
    assert "yesterday" not in told
    assert log_excerpt(tmp_path / "none") == f"It has left no log at {tmp_path / 'none'}"


def test_an_environment_hides_its_key_where_it_is_kept():
    found = Environment(OPENAI_BASE_URL="u", OPENAI_API_KEY=KEY)
    assert repr(found) == "export OPENAI_BASE_URL=u\nexport OPENAI_API_KEY=…"
    assert str(found) == f"export OPENAI_BASE_URL=u\nexport OPENAI_API_KEY={KEY}"
    assert {**found} == {"OPENAI_BASE_URL": "u", "OPENAI_API_KEY": KEY}


def test_the_lines_for_a_shell_are_taken_as_they_are_meant():
    odd = 'a\'b "$HOME";`id`#\\'
    lines = str(Environment(OPENAI_BASE_URL="http://[::1]:1/v1", OPENAI_API_KEY=odd))
    code = f'{lines}\nprintf %s "$OPENAI_BASE_URL $OPENAI_API_KEY"'
    seen = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout == f"http://[::1]:1/v1 {odd}"


def test_the_names_in_the_guides_are_aliases():
    assert {"gpt-4o", "gpt-4o-mini", "gpt-4o-2024-08-06", "gpt-3.5-turbo", "gpt-3.5-turbo-instruct"} <= set(
        OPENAI
    )
    assert len(set(OPENAI)) == len(OPENAI)


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"type": "lifespan"}, "through"),
        ({"type": "http", "path": "/health"}, "through"),
        ({"type": "http", "path": "/v1/models"}, 401),
        ({"type": "http", "path": "/health/"}, 401),
        ({"type": "http", "path": "/v1/models", "key": f"Bearer {KEY}"}, "through"),
        ({"type": "http", "path": "/v1/models", "key": f"bearer {KEY}"}, 401),
        ({"type": "http", "path": "/v1/models", "key": KEY}, 401),
        ({"type": "http", "path": "/v1/models", "key": f"Bearer {KEY}x"}, 401),
        ({"type": "http", "path": "/v1/models", "key": "Bearer \xff"}, 401),
        ({"type": "http", "method": "OPTIONS", "path": "/v1/models"}, 401),
        ({"type": "websocket", "path": "/v1/realtime"}, 1008),
        ({"type": "websocket", "path": "/v1/realtime", "key": f"Bearer {KEY}"}, "through"),
    ],
)
def test_the_guard(monkeypatch, scope, expected):
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    said = []

    async def app(scope, receive, send):
        said.append({"status": "through"})

    async def send(message):
        said.append(message)

    key = scope.pop("key", None)
    headers = [(b"authorization", key.encode("latin-1"))] if key else []
    asyncio.run(ApiKeyMiddleware(app)({"headers": headers, **scope}, None, send))
    assert (said[0].get("status") or said[0]["code"]) == expected


CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}
ASKS = [{"role": "user", "content": "Hi"}]
CALLED = [{"role": "assistant", "content": "", "tool_calls": [CALL]}]
CALLED_AND_SAID = [{"role": "assistant", "content": "So:", "tool_calls": [CALL, CALL]}]
TOLD = [{"role": "tool", "tool_call_id": "c1", "content": "5 °C"}]


def weather(city: str) -> str:
    """The weather in a “city”."""
    return city


@pytest.mark.parametrize("known", [[], [weather]])
@pytest.mark.parametrize(
    "turns",
    [
        ASKS,
        [{"role": "system", "content": "Be brief."}, *ASKS],
        [*ASKS, *CALLED, *TOLD],
        [*ASKS, *CALLED_AND_SAID, *TOLD],
    ],
)
def test_a_served_model_is_told_of_tools_in_the_same_words(turns, known):
    tokenizer = Spec.of(models.DEFAULT, {}).tokenizer()
    request = Request.chat(turns, **({"tools": known} if known else {}))
    sent = json.loads(json.dumps(turns))
    for call in (call for turn in sent for call in turn.get("tool_calls", ())):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])  # as vLLM does
    shown = tokenizer.hf.apply_chat_template(
        sent,
        tools=[one.to_openai() for one in request.tools] or None,
        chat_template=with_tool_instructions(tokenizer),
        add_generation_prompt=True,
        tokenize=False,
    )
    assert shown == tokenizer.decode(tokenizer.encode(request))


def test_one_of_several_templates_is_left_to_vllm():
    tokenizer = Spec.of(models.DEFAULT, {}).tokenizer()
    tokenizer.hf.chat_template = {
        "default": tokenizer.hf.chat_template,
        "tool_use": "{{ messages }}{{ tools }}",
    }
    assert with_tool_instructions(tokenizer) is None
    assert "--chat-template" not in server_main._tool_call_flags(tokenizer)


@pytest.mark.parametrize(("more", "said"), [("", True), ("[TOOL_CALLS]", False)])
def test_the_log_says_when_the_form_of_calls_is_a_guess(capsys, more, said):
    tokenizer = Spec.of(models.DEFAULT, {}).tokenizer()
    tokenizer.hf.chat_template = "{{ messages }}{{ tools }}" + more
    server_main._tool_call_flags(tokenizer)
    assert ("hermes is a guess" in capsys.readouterr().out) is said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["--max-model-len=512", "--dtype", "float16"], {"max_model_len": 512, "dtype": "float16"}),
        (
            ["--enforce-eager", "--no-enable-prefix-caching"],
            {"enforce_eager": True, "enable_prefix_caching": False},
        ),
        (['--hf-overrides={"a": 1}'], {"hf_overrides": {"a": 1}}),
    ],
)
def test_engine_arguments_of_the_command(words, expected):
    assert command._engine_arguments(words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "0.0.0.0"], "give an api_key"),
        (["--max-model-length=5"], "max_model_len"),
        (["float16"], "'float16' is no option: write --name=value"),
        (
            ["--api-key=sk-secret"],
            "--api-key is no option: others can read a command line: set the environment",
        ),
        (["--api-key", "12345"], "set the environment variable VLLM_API_KEY to the key"),
        (["--no-api-key"], "set the environment variable VLLM_API_KEY to the key"),
        (["--aliases", '["gpt-4o"]'], "--aliases is no option: write --alias NAME"),
        (["--allowed-hosts", '["a"]'], "--allowed-hosts is no option: write --allowed-host NAME"),
        (["--allowed-host", "http://a.example"], "allowed_hosts must be host names, such as"),
        (["--served-model-name=mine"], "--served-model-name is no option: write --alias NAME"),
        (['--env={"A": "b"}'], "--env is no option: set the variables before the command"),
        (["--model", "/no/such/model"], "unknown model"),
    ],
)
def test_bad_arguments_of_the_command(own_home, monkeypatch, capsys, words, message):
    monkeypatch.setattr(sys, "argv", ["toolkit", "serve", *words])
    monkeypatch.setattr(server_module, "_environment", None)
    with pytest.raises(SystemExit) as caught:
        command.main()
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert message in said
    assert "sk-secret" not in said


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_signal_that_nohup_has_switched_off_stays_so(monkeypatch, number, before):
    monkeypatch.setattr(command, "serve", lambda *_, **__: 1 / 0)
    given = Namespace(model="m", host="-", port=None, threads=None, alias=[], openai=False)
    kept = {each: signal.getsignal(each) for each in (signal.SIGHUP, signal.SIGTERM)}
    try:
        signal.signal(number, before)
        with pytest.raises(ZeroDivisionError):
            command._serve(given, {})
        assert (signal.getsignal(number) is before) is (before is signal.SIG_IGN)
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)


def test_a_vllm_whose_server_has_no_main_is_run_as_its_module_would():
    done = []
    parser = SimpleNamespace(parse_args=lambda: "arguments")
    older = SimpleNamespace(
        cli_env_setup=lambda: done.append("set up"),
        FlexibleArgumentParser=lambda: "parser",
        make_arg_parser=lambda bare: parser,
        validate_parsed_serve_args=lambda arguments: done.append(f"validated {arguments}"),
        run_server=lambda arguments: f"server of {arguments}",
        uvloop=SimpleNamespace(run=lambda server: done.append(f"ran {server}")),
    )
    server_main._run(older)
    assert done == ["set up", "validated arguments", "ran server of arguments"]


def test_a_port_that_is_held_is_given_to_no_other_program_but_to_vllm():
    from toolkit.serving.address import bound_socket

    with bound_socket("127.0.0.1", 0) as held, socket.socket() as other, socket.socket() as server:
        port = held.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as vLLM's does
        server.bind(("127.0.0.1", port))
        server.listen()
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))


# With another process in its place.


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("TOOLKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def standing_in(monkeypatch):
    """Servers are processes that only sleep; those that are left are killed in the end."""
    began = []

    def popen(words, **options):
        began.append(subprocess.Popen(["sleep", "60"], **options))
        return began[-1]

    names = ("DEVNULL", "STDOUT")
    known = SimpleNamespace(Popen=popen, **{name: getattr(subprocess, name) for name in names})
    monkeypatch.setattr(server_module, "subprocess", known)
    yield
    for process in began:
        process.kill()
        process.wait()


def a_server(**more):
    """One that was just started."""
    record = a_record(**{"port": 0, **more})
    return Server(_start(replace(record, log=str(toolkit_home() / "logs" / f"serve-{record.id}.log"))))


@pytest.mark.parametrize("kind", ["plain", "symlink", "relative", "log deleted", "log renamed"])
def test_a_server_is_stopped_whatever_its_log_is_called(monkeypatch, tmp_path, standing_in, kind):
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    names = {"symlink": str(tmp_path / "link"), "relative": "home"}
    monkeypatch.setenv("TOOLKIT_HOME", names.get(kind, str(tmp_path / "home")))
    server = a_server()
    process = psutil.Process(server.pid)
    if kind == "log deleted":
        server.log.unlink()
    if kind == "log renamed":
        server.log.rename(f"{server.log}.1")
    server.stop()
    assert running([process]) == []
    assert tk.servers() == []


def test_a_server_that_cannot_be_stopped_is_told_and_stays_known(home, standing_in):
    server = a_server()
    replace(server._record, output="").write()  # then nothing of it is found
    for do in (server.stop, server.restart):
        with pytest.raises(
            tk.EngineError, match=rf"processes of the server of m do not end: \[{server.pid}\]"
        ):
            do()
        assert [s.pid for s in tk.servers()] == [server.pid]


def test_a_dead_server_is_known_until_all_of_it_has_ended(home, monkeypatch):
    record = a_record(2**22 + 1, "another boot 17")
    record.write()
    monkeypatch.setattr(process_group, "end", lambda *_: [1])
    assert tk.servers() == []
    assert ServerRecord.read(record.file) == record


def test_a_second_notebook_stops_the_server_that_the_first_has_started_again(home, monkeypatch, standing_in):
    monkeypatch.setattr(Server, "_wait", lambda self: self)
    first = a_server()
    (second,) = tk.servers()
    old = psutil.Process(first.pid)
    first.restart()
    new = psutil.Process(first.pid)
    assert new != old
    assert (second.pid, second.alive) == (new.pid, True)
    second.stop()
    assert running([old, new]) == []
    assert not first.alive
    assert tk.servers() == []


def test_nobody_gets_the_port_of_a_server_that_loads(home, standing_in):
    server = a_server()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", server.port))


def test_the_port_of_a_server_that_loads_is_taken(home, monkeypatch, standing_in):
    server = a_server()
    with pytest.raises(tk.EngineError, match=rf"port {server.port} is that of Server\('m', .* give another"):
        a_server(id="89abcdef", port=server.port)
    assert [s.pid for s in tk.servers()] == [server.pid]
    ports = iter([server.port, server.port, 0])
    bound = server_module.bound_socket
    monkeypatch.setattr(server_module, "bound_socket", lambda host, port: bound(host, next(ports)))
    assert a_server(id="89abcdef").port != server.port
    assert next(ports, None) is None


@pytest.fixture
def healthy():
    """The port of a program that says it is healthy."""

    class Says(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Says) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found.server_port
        found.shutdown()


def test_what_answers_at_its_port_before_it_is_ready_is_not_taken_for_it(home, standing_in, healthy):
    server = a_server()
    replace(server._record, port=healthy).write()
    assert server.healthy
    with pytest.raises(tk.EngineError, match="is still starting, and finds its fingerprint last"):
        _ = server.fingerprint
    waiting = threading.Thread(target=server._wait, daemon=True)
    waiting.start()
    waiting.join(0.6)
    assert waiting.is_alive()
    server._record.write_fingerprint(Fingerprint({}))
    waiting.join(10)
    assert not waiting.is_alive()
    assert server.fingerprint == Fingerprint({})


def test_a_server_that_fell_silent_is_told_with_the_way_to_it(home, monkeypatch, standing_in):
    monkeypatch.setattr(server_module, "_SILENT", 0.1)
    server = a_server()
    server._record.write_fingerprint(Fingerprint({}))
    with pytest.raises(
        tk.EngineError, match=r"does not answer: it is among toolkit\.servers\(\), and its restart"
    ):
        server._wait()


def test_a_server_that_dies_while_it_loads_is_forgotten(home, standing_in):
    server = a_server()
    killed(server)
    with pytest.raises(tk.EngineError, match="the server of m did not start"):
        server._wait()
    assert not list(registry_folder().glob("*.json"))


def test_a_client_of_a_dead_server_is_refused_with_the_way_on(home, standing_in):
    server = a_server()
    assert server.client is server.client
    killed(server)
    with pytest.raises(tk.EngineError, match=r"is not running: server\.restart\(\) starts it again"):
        _ = server.client


def test_logs_of_servers_that_may_run_are_kept(home):
    logs = home / "logs"
    logs.mkdir(parents=True)
    names = [f"serve-{i:08}.log" for i in range(24)]
    for i, name in enumerate(names):
        (logs / name).touch()
        os.utime(logs / name, (i, i))
    elsewhere = a_record(1, "-", log=f"/elsewhere/logs/{names[0]}")
    elsewhere.write()
    elsewhere.file.write_text(json.dumps({**asdict(elsewhere), "machine": "elsewhere"}))
    delete_old_logs(logs / names[1])  # of one that is started again
    assert sorted(set(names) - {log.name for log in logs.iterdir()}) == names[2:4]
