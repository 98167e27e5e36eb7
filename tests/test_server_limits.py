"""What the server refuses before vLLM sees it: its middleware and its protocol, on a real uvicorn."""

import asyncio
import contextlib
import json
import socket
import threading
import time

import pytest
import uvicorn

from toolkit.serving import body_middleware, host_middleware, http_protocol
from toolkit.serving.address import canonical_host, checked_hosts
from toolkit.serving.auth_middleware import ApiKeyMiddleware
from toolkit.serving.body_middleware import BodyLimitMiddleware
from toolkit.serving.host_middleware import HOSTS_VARIABLE, HostMiddleware
from toolkit.serving.server_main import _HTTP_PROTOCOL

KEY = "sk-test-0123456789"


async def echo(scope, receive, send):
    """Answers with the size of the body; accepts any WebSocket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return await send({"type": "websocket.close"})
    if scope["type"] == "lifespan":
        return None
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    answer = str(size).encode()
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@contextlib.contextmanager
def served(app, **options):
    """The port of a uvicorn in a thread."""
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="off", http=_HTTP_PROTOCOL, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(5)


@pytest.fixture(scope="module")
def port():
    """Of a server that listens on loopback, without a key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOSTS_VARIABLE, "127.0.0.1,models.example.org")
        with served(HostMiddleware(BodyLimitMiddleware(echo))) as port:
            yield port


def exchange(port, sent, wait=10.0, after=b""):
    """All that is answered to some bytes, until the server closes or says nothing for a while."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        connection.sendall(sent)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while not (after and after in answer) and (data := connection.recv(1 << 16)):
                answer += data
        return answer.decode(errors="replace")


def request(host="localhost", path="/v1/models", method="GET", body=b"", **headers):
    fields = {} if host is None else {"Host": host}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    if body and "Transfer-Encoding" not in fields:
        fields.setdefault("Content-Length", len(body))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1") + body


def answered(port, *args, **options):
    """Status and body of one request."""
    head, _, body = exchange(port, request(*args, Connection="close", **options)).partition("\r\n\r\n")
    return int(head.split()[1]), body


def error_of(body):
    error = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    return error


# Host


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:8000", "LOCALHOST", "localhost.", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000",
        "[0:0:0:0:0:0:0:1]", "127.1.2.3", "[::ffff:127.0.0.1]", "models.example.org", "Models.Example.org:443",
    ],
)  # fmt: skip
def test_its_own_names_are_answered(port, host):
    assert answered(port, host) == (200, "0")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8000", "localhost.evil.example", "evil.example.", "127.0.0.1.evil.example",
        "127.0.0.1.nip.io", "example.org", "x.models.example.org", "0.0.0.0", "192.168.1.7", "[fe80::1]", "10.0.0.1",
        "localhost@evil.example", "evil.example#localhost", "evil.example,localhost", "localhost/", "localhost:80:80",
        "localhost:port", "[::1", "::1]", "[localhost]", "", " ", "*", "2130706433", "0x7f.1", "localhost..",
        "lokalhost", "loc\xe4lhost",
    ],
)  # fmt: skip
def test_other_names_are_not(port, host):
    status, body = answered(port, host)
    assert status == 403
    error = error_of(body)
    assert error["code"] == "host_not_allowed"
    assert error["message"].startswith(
        f"The Host header {host.strip()[:90]!r} is no name of this server. It answers to"
    )
    assert "allowed_hosts=['that.name']" in error["message"]


@pytest.mark.parametrize(
    "more", ["Host: localhost\r\nHost: evil.example", "Host: evil.example\r\nHost: localhost", "A: b"]
)
def test_one_name_is_needed(port, more):
    sent = f"GET / HTTP/1.1\r\n{more}\r\nConnection: close\r\n\r\n".encode()
    status = int(exchange(port, sent).split()[1])
    assert status in (400, 403)  # uvicorn's parsers may refuse it themselves


@pytest.mark.parametrize(
    ("listening", "host", "allowed"),
    [
        ("0.0.0.0", "box", True),
        ("0.0.0.0", "box.cluster", True),
        ("0.0.0.0", "BOX.local", True),
        ("0.0.0.0", "box.cluster.example.org:8000", True),
        ("0.0.0.0", "192.168.1.7", True),
        ("0.0.0.0", "[2001:db8::7]:8000", True),
        ("::", "192.168.1.7", True),
        ("::", "box", True),
        ("", "box", True),
        ("0.0.0.0", "evil.example", False),
        ("0.0.0.0", "box.evil.example", False),
        ("0.0.0.0", "192.168.1.7.evil.example", False),
        ("0.0.0.0", "3232235783", False),
        ("192.168.1.7", "192.168.1.7:8000", True),
        ("192.168.1.7", "box", True),
        ("192.168.1.7", "192.168.1.8", False),
        ("box.cluster", "box.cluster", True),
        ("127.0.0.1", "box", False),
        ("::1", "[::1]", True),
        ("::1", "127.0.0.1", True),
        ("localhost", "localhost", True),
        ("localhost", "box", False),
    ],
)
def test_names_where_others_reach_it(monkeypatch, listening, host, allowed):
    monkeypatch.setenv(HOSTS_VARIABLE, listening)
    monkeypatch.setattr(host_middleware.socket, "gethostname", lambda: "box.cluster")
    monkeypatch.setattr(host_middleware.socket, "getfqdn", lambda: "box.cluster.example.org")
    assert HostMiddleware(echo)._is_own(host) is allowed


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://localhost:8000", "localhost:8000", 101),
        ("https://models.example.org", "models.example.org", 101),
        (None, "localhost:8000", 101),
        ("http://evil.example", "localhost:8000", 403),
        ("http://localhost:8888", "localhost:8000", 403),
        ("null", "localhost:8000", 403),
        ("http://evil.example", "evil.example", 403),
    ],
)
def test_web_pages_open_no_websockets(port, origin, host, status):
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    upgrade |= {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", **({"Origin": origin} if origin else {})}
    sent = request(host, "/v1/realtime", **upgrade)
    assert exchange(port, sent, after=b"\r\n\r\n").startswith(f"HTTP/1.1 {status} ")


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("a.b", "a.b"), ("A.b:1", "a.b"), ("[::1]:1", "::1"), ("::1", "::1"), ("[0::1]", "::1"),
        ("1.2.3.4", "1.2.3.4"), ("[::FFFF:1.2.3.4]", "1.2.3.4"), ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%eth0]:1", "fe80::1"), ("a.b.", "a.b"), ("a%b", "a%b"), ("[a%b]", None), ("", None), ("a b", None),
        ("a/b", None), ("http://a", None),
        ("a:b", None), ("[a]", None), ("a@b", None), ("a?b", None), ("a\\b", None), ("a:123456", None), (":80", None),
    ],
)  # fmt: skip
def test_a_host_in_one_spelling(header, host):
    assert canonical_host(header) == host


def test_names_to_allow():
    assert checked_hosts(["A.example", "a.example", "[::1]", "::1", "b:80"]) == ("a.example", "::1", "b")
    assert checked_hosts([]) == ()


@pytest.mark.parametrize(
    "name", ["http://a.example", "a.example/v1", "*", "*.example", "", "a b", "u@a", 7, None]
)
def test_what_is_no_name_is_not_allowed(name):
    with pytest.raises(ValueError, match=r"allowed_hosts must be host names, .* got ") as caught:
        checked_hosts([name])
    assert repr(name) in str(caught.value)


def test_one_name_is_no_list():
    with pytest.raises(TypeError, match=r"must be a list of names, got 'a': write \['a'\]"):
        checked_hosts("a")


# The body


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(body_middleware, "MAX_BODY_BYTES", 1000)


def chunked(*chunks, end=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        ({"body": b"x" * 1000}, 200, "1000"),
        ({"body": chunked(b"x" * 500, b"x" * 500), "Transfer_Encoding": "chunked"}, 200, "1000"),
        ({"body": b""}, 200, "0"),
        ({"body": b"x" * 1001}, 413, "1,001 bytes or more"),
        ({"body": b"x", "Content_Length": "99999999999"}, 413, "99,999,999,999 bytes or more"),
        ({"body": b"x", "Content_Length": "2000", "Expect": "100-continue"}, 413, "2,000 bytes or more"),
        ({"body": chunked(*[b"x"] * 1001), "Transfer_Encoding": "chunked"}, 413, "bytes or more"),
        ({"body": chunked(b"x" * 70_000, end=b""), "Transfer_Encoding": "chunked"}, 413, "bytes or more"),
    ],
)  # fmt: skip
def test_a_body_of_a_size(port, small, options, status, expected):
    options = {name.replace("_", "-"): value for name, value in options.items()}
    found, body = answered(port, method="POST", **options)
    assert found == status
    message = body if status == 200 else error_of(body)["message"]
    assert expected in message
    assert status == 200 or ("at most 1,000 are allowed: send smaller" in message)


def test_the_limit_has_room_for_an_image():
    from toolkit.prompts.images import MAX_IMAGE_BYTES

    assert body_middleware.MAX_BODY_BYTES > MAX_IMAGE_BYTES * 4 / 3 + 100_000


def test_a_body_that_does_not_come_is_not_waited_for(port, monkeypatch):
    monkeypatch.setattr(body_middleware, "_BODY_SECONDS", 0.2)
    for body in (b"x", b"1\r\nx\r\n"):
        framing = {"Content_Length": "100"} if body == b"x" else {"Transfer_Encoding": "chunked"}
        begun = time.monotonic()
        status, text = answered(port, method="POST", body=body, **framing)
        assert (status, error_of(text)["code"]) == (408, "request_timeout")
        assert "did not arrive within 0.2 s" in text
        assert time.monotonic() - begun < 2


def test_the_clients_library_is_told(port, small):
    import openai

    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="-", max_retries=0)
    with pytest.raises(openai.APIStatusError, match="at most 1,000 are allowed") as caught:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x" * 3_000_000}])
    assert caught.value.status_code == 413
    other = openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="-", default_headers={"Host": "evil.example"}
    )
    with pytest.raises(
        openai.PermissionDeniedError, match=r"Host header 'evil\.example' is no name of this server"
    ):
        other.models.list()


def test_who_may_not_ask_has_no_body_read(monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    read = []

    async def receive():
        read.append(1)
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    sent = []

    async def send(message):
        sent.append(message)

    app = ApiKeyMiddleware(BodyLimitMiddleware(echo))
    asyncio.run(app({"type": "http", "path": "/v1/completions", "headers": []}, receive, send))
    assert (sent[0]["status"], read) == (401, [])
    assert error_of(sent[1]["body"]) == {
        "message": "Unauthorized", "type": "invalid_request_error", "param": None, "code": "invalid_api_key"
    }  # fmt: skip


def test_a_client_that_leaves_is_noticed_after_the_body():
    seen = []

    async def app(scope, receive, send):
        seen.extend([await receive(), await receive()])

    messages = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.request", "body": b"b"},
        {"type": "http.disconnect"},
    ]

    async def receive():
        return messages.pop(0)

    asyncio.run(BodyLimitMiddleware(app)({"type": "http", "headers": []}, receive, None))
    assert seen == [{"type": "http.request", "body": b"ab", "more_body": False}, {"type": "http.disconnect"}]


# Connections


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(http_protocol, "_HEAD_SECONDS", 0.5)


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: localhost\r\nA: ", b"\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(port, hasty, sent):
    begun = time.monotonic()
    answer = exchange(port, sent)
    assert time.monotonic() - begun > 0.4
    if sent:
        head, _, body = answer.partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 408 Request Timeout")
        assert "did not arrive within 0.5 s" in error_of(body)["message"]
    else:
        assert answer == ""


def test_a_head_that_trickles_is_not_waited_for(port, hasty):
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
        for letter in b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 100:
            try:
                connection.sendall(bytes([letter]))
            except OSError:
                break
            time.sleep(0.02)
    assert time.monotonic() - begun < 2


def test_the_second_head_on_a_connection_is_not_waited_for_either(port, hasty):
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        connection.makefile("rb") as answers,
    ):
        connection.sendall(request())
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
        connection.sendall(b"GET /second")
        assert b"HTTP/1.1 408 Request Timeout" in answers.read()


def test_a_slow_answer_is_waited_for(hasty):
    async def slow(scope, receive, send):
        await asyncio.sleep(0.8)
        await echo(scope, receive, send)

    with served(slow) as port:
        assert answered(port) == (200, "0")
        twice = exchange(port, request() + request(Connection="close"))
        assert twice.count("HTTP/1.1 200 OK") == 2


def test_an_open_websocket_is_not_closed(hasty):
    async def patient(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(0.8)
        await send({"type": "websocket.send", "text": "still here"})
        await send({"type": "websocket.close"})

    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    upgrade |= {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    with served(patient) as port:
        assert "still here" in exchange(port, request(**upgrade), after=b"still here")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"x" * 70_000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"x" * 70_000,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 12_000,
    ],
)
def test_a_long_head_is_refused(port, sent):
    head, _, body = exchange(port, sent).partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 431 Request Header Fields Too Large")
    assert "more than 65,536 bytes: send what is long in the body" in error_of(body)["message"]


def test_what_follows_a_refused_body_is_not_taken_for_a_head(monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    with served(ApiKeyMiddleware(echo)) as port:
        answer = exchange(port, request(method="POST", body=b"x" * 300_000), wait=1)
    assert answer.startswith("HTTP/1.1 401")
    assert "431" not in answer
