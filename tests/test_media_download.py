"""Images that requests name by URL: real servers on loopback, which only `allowed_hosts` makes reachable."""

import asyncio
import base64
import contextlib
import io
import socket
import ssl
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from hypothesis import given, strategies as st
from PIL import Image

import toolkit as tk
from toolkit.engines.vllm import images, media_download
from toolkit.engines.vllm.images import ImageDownloads, check_image_count, check_pixels
from toolkit.engines.vllm.media_download import download, is_public

HERE = ("127.0.0.1", "localhost")


def picture(kind="PNG", size=(4, 3)):
    stream = io.BytesIO()
    Image.new("RGB", size, "red").save(stream, format=kind)
    return stream.getvalue()


RED = picture()


class Handler(BaseHTTPRequestHandler):
    """Answers by its path; counts what it is asked."""

    def do_GET(self):
        self.server.asked.append(self.path)
        with contextlib.suppress(OSError):
            getattr(self, "do_" + self.path.split("/")[1].split("?")[0].split(".")[0])()

    def send(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in {"Content_Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_red(self):
        self.send(RED)

    def do_none(self):
        self.send(b"no", 404)

    def do_broken(self):
        self.send(b"no", 500)

    def do_text(self):
        self.send(b"<html>")

    def do_announced(self):
        self.send(b"x", Content_Length=10**12)

    def do_endless(self):
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(b"x" * 65536)

    def do_slow(self):
        self.send_response(200)
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def do_silent(self):
        time.sleep(3)

    def do_trickle(self):
        for letter in b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100:
            self.wfile.write(bytes([letter]))
            self.wfile.flush()
            time.sleep(0.02)

    def do_redirect(self):
        self.send(b"", 302, Location=unquote(self.path.partition("?")[2]))

    def do_loop(self):
        self.send(b"", 302, Location="/loop")

    def do_nowhere(self):
        self.send(b"", 302)

    def do_zipped(self):
        self.send(zlib.compress(b"x" * 10**6), Content_Encoding="deflate")

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.asked = []
        server.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def fetch(url, allowed=HERE, max_bytes=10_000):
    return asyncio.run(download(url, allowed, max_bytes))


def test_an_image_is_asked_for_once(server):
    assert fetch(server.address + "/red.png") == RED
    assert fetch(server.address + "/red.png?a=%20b") == RED
    assert server.asked == ["/red.png", "/red.png?a=%20b"]


def test_a_redirect_is_followed(server):
    assert fetch(server.address + "/redirect?/red.png") == RED
    assert fetch(f"{server.address}/redirect?http://localhost:{server.server_port}/red.png") == RED


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/none.png", "404"),
        ("/broken.png", "500"),
        ("/announced.png", "it has 1,000,000,000,000 bytes or more, and at most 10,000 are allowed"),
        ("/endless.png", "bytes or more, and at most 10,000 are allowed"),
        ("/loop", "it is redirected more than 5 times"),
        ("/nowhere", "it is redirected more than 5 times"),
        ("/redirect?file:///etc/passwd", "file: is not https: or http:"),
        ("/redirect?ftp://127.0.0.1/a.png", "ftp: is not https: or http:"),
        ("/redirect?gopher://127.0.0.1/a.png", "gopher: is not https: or http:"),
        ("/redirect?data:image/png;base64,AAAA", "data: is not https: or http:"),
        (
            "/redirect?http://me:secret@127.0.0.1/a.png",
            "a user name or a password for 127.0.0.1 stands in the URL",
        ),
        ("/redirect?http://192.168.0.1/a.png", "the host 192.168.0.1 is not among allowed_media_domains"),
        (
            "/redirect?http://[::1]/a.png",
            "the host ::1 is not among allowed_media_domains, 127.0.0.1, localhost",
        ),
    ],
)
def test_what_cannot_be_fetched_is_told(server, path, reason):
    with pytest.raises(ValueError, match=r"^the image http://127\.0\.0\.1:") as caught:
        fetch(server.address + path)
    assert path[:10] in str(caught.value)
    assert reason in str(caught.value).partition("cannot be fetched: ")[2]
    assert "secret" not in str(caught.value).partition("fetched:")[2]
    assert len(server.asked) <= media_download._MAX_REDIRECTS + 1


@pytest.mark.parametrize("path", ["/slow.png", "/silent.png", "/trickle.png"])
def test_nothing_is_waited_for_for_ever(server, monkeypatch, path):
    monkeypatch.setattr(media_download, "_SECONDS", 0.4)
    begun = time.monotonic()
    with pytest.raises(ValueError, match=r"cannot be fetched: it took more than 0\.4 s"):
        fetch(server.address + path)
    assert time.monotonic() - begun < 2


def test_what_is_compressed_stays_small(server):
    assert len(fetch(server.address + "/zipped.png")) < 2000


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "LOCALHOST", "0.0.0.0", "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "10.0.0.1", "172.16.0.1",
        "192.168.1.1", "100.64.0.1", "169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "[fe80::1%25lo]",
        "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1",
        "198.18.0.1",
    ],
)  # fmt: skip
def test_private_addresses_are_not_asked(server, host):
    with pytest.raises(ValueError, match="is no public address") as caught:
        fetch(f"http://{host}:{server.server_port}/red.png", allowed=())
    assert "allowed_media_domains" in str(caught.value)
    assert server.asked == []


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.1", "127.0.0.1.", "localhost.", "0",
        "2852039166", "127。0。0。1", "①②⑦.⓪.⓪.①", "127.0.0.1%00.example.org", "127.0.0.1\\@example.org",
    ],
)  # fmt: skip
def test_nor_in_another_spelling(server, host):
    with pytest.raises(ValueError, match="cannot be fetched: "):
        fetch(f"http://{host}:{server.server_port}/red.png", allowed=())
    assert server.asked == []


def answers(monkeypatch, *addresses):
    """Lets the name server of `name.example` give these addresses, one after the other."""
    genuine, left = socket.getaddrinfo, list(addresses)

    def getaddrinfo(host, port, *args, **kwargs):
        if host != "name.example":
            return genuine(host, port, *args, **kwargs)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    "addresses",
    [
        [["127.0.0.1"]],
        [["10.0.0.1"]],
        [["127.0.0.1", "203.0.113.7"]],
        [["192.0.2.1", "127.0.0.1"]],
    ],
)
def test_names_of_private_addresses_are_not_asked(server, monkeypatch, addresses):
    answers(monkeypatch, *addresses)
    with pytest.raises(ValueError, match="is no public address"):
        fetch(f"http://name.example:{server.server_port}/red.png", allowed=())
    assert server.asked == []


def test_an_answer_that_changes_after_the_check_is_not_used(server, monkeypatch):
    answers(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    monkeypatch.setattr(media_download, "_SECONDS", 0.5)
    asked = []

    async def connect(self, sock, address):
        asked.append(address[0])
        raise OSError("no network in tests")

    monkeypatch.setattr(asyncio.BaseEventLoop, "sock_connect", connect, raising=False)
    monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", connect)
    with pytest.raises(ValueError, match="cannot be fetched"):
        fetch(f"http://name.example:{server.server_port}/red.png", allowed=())
    assert asked == ["8.8.8.8"]
    assert server.asked == []


def test_a_redirect_to_a_private_address_is_not_followed(server, monkeypatch):
    # The first server counts as public.
    monkeypatch.setattr(media_download, "is_public", lambda address: address == "127.0.0.1")
    for target in (
        "http://10.0.0.1/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data",
        "//10.0.0.1/a.png",
    ):
        with pytest.raises(ValueError, match="is no public address"):
            fetch(f"{server.address}/redirect?{target}", allowed=())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "file: is not https: or http:"),
        ("ftp://example.org/a.png", "ftp: is not https: or http:"),
        ("gopher://example.org/a.png", "gopher: is not https: or http:"),
        ("http+unix://%2Fvar%2Frun%2Fdocker.sock/", "is not https: or http:"),
        ("/etc/passwd", "it: is not https: or http: with a host"),
        ("http://", "cannot be fetched"),
        ("http:///a.png", "cannot be fetched"),
        ("http://[::1/a.png", "cannot be fetched"),
        ("http://a:99999/b.png", "cannot be fetched"),
        ("http://me:secret@example.org/a.png", "a user name or a password for example.org"),
        ("http://me@example.org/a.png", "a user name or a password for example.org"),
        ("", "cannot be fetched"),
    ],
)
def test_other_urls_are_refused(url, reason):
    with pytest.raises(ValueError, match=r"^the image .* cannot be fetched: ") as caught:
        fetch(url, allowed=())
    assert reason in str(caught.value)
    assert "secret" not in str(caught.value)


def test_only_the_hosts_that_are_allowed_are_asked(server):
    assert fetch(server.address.replace("127.0.0.1", "LOCALHOST") + "/red.png", allowed=["localhost"]) == RED
    with pytest.raises(
        ValueError, match=r"the host 127\.0\.0\.1 is not among allowed_media_domains, localhost"
    ):
        fetch(server.address + "/red.png", allowed=["localhost"])


def test_the_proxies_of_the_environment_are_not_used(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, server.address)
    with pytest.raises(ValueError, match="is no public address"):
        fetch("http://10.0.0.1/red.png", allowed=())
    assert server.asked == []


def test_a_false_certificate_is_refused(server):
    with pytest.raises(ValueError, match="cannot be fetched") as caught:
        fetch(server.address.replace("http:", "https:") + "/red.png")
    assert "SSL" in str(caught.value) or isinstance(caught.value.__cause__, ssl.SSLError)


@given(st.ip_addresses(v=4))
def test_an_address_is_as_public_however_it_is_written(address):
    expected = is_public(str(address))
    assert expected == (address.is_global and not address.is_multicast and not address.is_reserved)
    number = int(address)
    for written in (f"::ffff:{address}", f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}"):
        assert is_public(written) is expected
    assert is_public(f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1") is expected
    assert not is_public(f"::{address}")


@given(st.ip_addresses(v=6))
def test_no_address_of_the_future_is_public(address):
    assert not is_public(str(address)) or int(address) >> 125 == 1 or int(address) >> 32 == 0x64FF9B << 64 or (
        address.ipv4_mapped is not None
    )  # fmt: skip


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "64:ff9b::808:808"]
)
def test_public_addresses(address):
    assert is_public(address)


# The images of a request


def turn(*sources, **more):
    parts = [{"type": "image_url", "image_url": {"url": s}} for s in sources]
    return {"role": "user", "content": [{"type": "text", "text": "What is this?"}, *parts], **more}


def test_an_image_is_downloaded_once_for_all_requests(server):
    downloads = ImageDownloads(HERE)
    for _ in range(3):
        loaded = downloads.into(turn(server.address + "/red.png", server.address + "/red.png"))
        assert [part["image_url"] for part in loaded["content"][1:]] == [tk.image(RED)["image_url"]] * 2
    assert server.asked == ["/red.png"]


def test_after_some_minutes_it_is_downloaded_again(server, monkeypatch):
    monkeypatch.setattr(images, "_KEPT_SECONDS", 0.0)
    monkeypatch.setattr(images, "_FAILED_SECONDS", 0.0)
    downloads = ImageDownloads(HERE)
    for _ in range(2):
        downloads.into(turn(server.address + "/red.png"))
        with pytest.raises(ValueError, match=r"none\.png cannot be fetched: 404"):
            downloads.into(turn(server.address + "/none.png"))
    assert server.asked == ["/red.png", "/none.png"] * 2


def test_a_failure_is_not_repeated_for_every_request_of_a_batch(server):
    downloads = ImageDownloads(HERE)
    for _ in range(3):
        with pytest.raises(ValueError, match=r"none\.png cannot be fetched: 404"):
            downloads.into(turn(server.address + "/none.png"))
    assert server.asked == ["/none.png"]


def test_few_images_are_kept(server, monkeypatch):
    monkeypatch.setattr(images, "_KEPT_IMAGES", 2)
    downloads = ImageDownloads(HERE)
    for i in (1, 2, 3, 3, 2, 1):
        downloads.into(turn(f"{server.address}/red.png?{i}"))
    assert [path[-1] for path in server.asked] == list("1231")


def test_in_a_notebook_a_loop_runs_already(server):
    async def cell():
        return ImageDownloads(HERE).into(turn(server.address + "/red.png"))

    assert asyncio.run(cell())["content"][1] == tk.image(RED)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (turn("file:///etc/passwd")["content"][1], "file: is not https: or http:"),
        (turn("/etc/passwd")["content"][1], "it: is not https: or http:"),
        (turn("http://127.0.0.1:1/a.png")["content"][1], r"127\.0\.0\.1 is no public address"),
        ({"type": "video_url", "video_url": {"url": "http://127.0.0.1/a.mp4"}}, "a part of type 'video_url'"),
        ({"type": "input_audio", "input_audio": {}}, "a part of type 'input_audio'"),
        ({"type": "image_embeds", "image_embeds": "AAAA"}, "a part of type 'image_embeds'"),
    ],
)
def test_what_a_stored_request_names_is_not_read_either(part, message):
    with pytest.raises(ValueError, match=message):
        ImageDownloads().into({"role": "user", "content": [part]})


def test_what_is_fetched_must_be_an_image(server):
    with pytest.raises(ValueError, match="'these bytes' is not a PNG, JPEG, GIF or WebP image"):
        ImageDownloads(HERE).into(turn(server.address + "/text.png"))


def test_text_is_left_alone():
    message = {"role": "user", "content": "Hi"}
    assert ImageDownloads().into(message) == message


@pytest.mark.parametrize("limit", [0, 1])
def test_more_images_than_the_model_takes(limit):
    check_image_count([turn(*["http://x"] * limit)], limit)
    capacity = "at most 1 in a request" if limit else "none: it is a text-only model"
    with pytest.raises(ValueError, match=rf"2 image\(s\) were given, and this model takes {capacity}"):
        check_image_count([turn("http://x"), {"role": "user", "content": "Hi"}, turn("http://y")], limit)


# Decompression bombs


def bomb(width, height):
    """A PNG of a few bytes that claims a size."""
    header = width.to_bytes(4) + height.to_bytes(4) + b"\x01\x00\x00\x00\x00"
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 10)), (b"IEND", b"")]
    body = b"".join(
        len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "size", [(10_000, 9_000), (15_000, 15_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1), (1, 10**9)]
)
def test_bombs_are_refused(size):
    raw = bomb(*size)
    with pytest.raises(
        ValueError, match=r"an image is too large to be decompressed: .*(allowed|limit).* Scale it down"
    ):
        check_pixels(raw)
    with pytest.raises(ValueError, match="too large to be decompressed"):
        ImageDownloads().into(turn("data:image/png;base64," + base64.b64encode(raw).decode()))


@pytest.mark.parametrize("raw", [RED, picture("JPEG"), picture("GIF"), picture("WEBP"), bomb(9_000, 9_000)])
def test_others_are_not(raw):
    check_pixels(raw)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"BM" + b"\0" * 60],
)
def test_what_is_no_image_is_refused(raw):
    with pytest.raises(ValueError, match="an image cannot be decoded"):
        check_pixels(raw)
