import base64
import io
import json
import os
import socket
import threading
import time

import pytest
from PIL import Image

import toolkit as tk
from toolkit.core.request import Request
from toolkit.prompts import images
from toolkit.prompts.images import decode_data_url, image_part
from toolkit.prompts.messages import messages


def picture(kind="PNG", colour="red"):
    stream = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(stream, format=kind)
    return stream.getvalue()


def url(part):
    return part["image_url"]["url"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_file_becomes_part_of_the_request(tmp_path, kind):
    path = tmp_path / "a picture.bin"
    path.write_bytes(picture(kind))
    for source in (path, str(path), path.as_uri(), picture(kind)):
        part = tk.image(source)
        assert part["type"] == "image_url"
        assert url(part) == f"data:image/{kind.lower()};base64," + base64.b64encode(picture(kind)).decode()
        assert decode_data_url(url(part)) == picture(kind)


def test_a_pil_image_keeps_its_pixels():
    given = Image.effect_noise((8, 8), 90)
    assert Image.open(io.BytesIO(decode_data_url(url(tk.image(given))))).tobytes() == given.tobytes()


def test_an_address_stays_an_address():
    assert url(tk.image("https://example.org/cat.png")) == "https://example.org/cat.png"


def test_the_name_in_a_data_url_is_corrected_to_what_the_bytes_are():
    wrong = "data:image/png;base64," + base64.b64encode(picture("JPEG")).decode()
    assert url(tk.image(wrong)).startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "no/such.png",
            "the image 'no/such.png' cannot be read .FileNotFoundError.: give a file that exists",
        ),
        ("/", "cannot be read .IsADirectoryError"),
        ("x" * 5000, "cannot be read"),
        (b"GIF", "'these bytes' is not a PNG, JPEG, GIF or WebP image"),
        (b"RIFF0000WAVE", "is not a PNG"),
        ("data:text/plain;base64,AAAA", "an image's data: URL begins with data:image/png;base64,"),
        ("data:image/png;base64,@@@@", "is not valid base64"),
        ("data:image/png;base64,AAAA", "is not a PNG"),
        (7, "an image is a path, a URL, bytes or a PIL image, got 7"),
    ],
)
def test_what_is_no_picture_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        tk.image(source)


# Files


@pytest.fixture
def tree(tmp_path):
    """A folder with what is no file, and with links to it."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "red.png").write_bytes(picture())
    targets = {"zero": "/dev/zero", "random": "/dev/urandom", "tty": "/dev/tty", "null": "/dev/null"}
    targets |= {
        "linked_pipe": "pipe.png",
        "linked_folder": "folder.png",
        "linked": "red.png",
        "circle": "circle.png",
    }
    for name, target in targets.items():
        (tmp_path / f"{name}.png").symlink_to(target)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket.png"))
        yield tmp_path


@pytest.mark.parametrize("name", ["pipe", "socket", "zero", "random", "tty", "null", "linked_pipe"])
@pytest.mark.parametrize("form", ["path", "text", "url"])
def test_what_may_never_end_is_not_read(tree, name, form):
    path = tree / f"{name}.png"
    source = {"path": path, "text": str(path), "url": path.as_uri()}[form]
    begun = time.monotonic()
    with pytest.raises(
        ValueError, match=rf"{name}\.png' is a device, a pipe or a socket, whose end may never come: give"
    ):
        tk.image(source)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("name", ["folder", "linked_folder", "circle", "nothing"])
def test_what_is_no_file_is_refused(tree, name):
    with pytest.raises(
        ValueError, match=rf"{name}\.png' cannot be read \((IsADirectory|File|OS|Runtime)\w*Error\): give"
    ):
        tk.image(tree / f"{name}.png")


def test_a_link_to_a_file_is_read(tree):
    assert tk.image(tree / "linked.png") == tk.image(picture())


def test_what_becomes_a_pipe_after_the_check_is_not_waited_for(tree, monkeypatch):
    monkeypatch.setattr(type(tree), "stat", lambda self: os.stat(tree / "red.png"))
    with pytest.raises(ValueError, match="is not a PNG, JPEG, GIF or WebP image"):
        tk.image(tree / "pipe.png")


def test_files_of_the_kernel_end(tree):
    for path in ("/proc/self/environ", "/proc/cpuinfo"):
        with pytest.raises(ValueError, match="is not a PNG"):
            tk.image(path)


@pytest.mark.parametrize("form", ["file", "bytes", "data", "part"])
def test_the_size_is_limited(tmp_path, monkeypatch, form):
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", 1000)
    for size in (999, 1000, 1001):
        raw = picture().ljust(size, b"\0")
        path = tmp_path / "a.png"
        path.write_bytes(raw)
        data = "data:image/png;base64," + base64.b64encode(raw).decode()
        make = image_part if form == "part" else tk.image
        source = {"file": path, "bytes": raw, "data": data, "part": data}[form]
        if size <= 1000:
            assert decode_data_url(url(make(source))) == raw
        else:
            with pytest.raises(
                ValueError, match=r"has 1,0\d\d bytes, and at most 1,000 are allowed: scale it down"
            ):
                make(source)


def test_a_large_file_is_not_read(tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.write(picture())
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(
        ValueError, match=r"large\.png' has 1,099,511,627,776 bytes, and at most 50,000,000 are allowed"
    ):
        tk.image(path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("ftp://example.org/a.png", "has the scheme ftp: give an https: or data: URL, or a file"),
        ("gopher://example.org/a.png", "has the scheme gopher"),
        ("s3://bucket/a.png", "has the scheme s3"),
        ("file://example.org/a.png", r"is on the host 'example\.org': write file:///path"),
        ("~nobody-has-this-name/a.png", r"cannot be read \(RuntimeError\)"),
        ("a\0b.png", r"cannot be read \(ValueError\)"),
        ("", "cannot be read"),
    ],
)
def test_other_sources_are_refused(source, message):
    with pytest.raises(ValueError, match=message):
        tk.image(source)


@pytest.mark.parametrize("scheme", ["https", "HTTPS", "http"])
def test_a_scheme_may_have_large_letters(tmp_path, scheme):
    assert url(tk.image(f"{scheme}://example.org/a.png")) == f"{scheme}://example.org/a.png"
    (tmp_path / "a.png").write_bytes(picture())
    assert tk.image(f"FILE:{tmp_path}/a.png") == tk.image(picture())
    assert tk.image(url(tk.image(picture())).replace("data:", "DATA:")) == tk.image(picture())


# Messages, which may come from a file, name no files.


def turn(source):
    return [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": source}],
        }
    ]


@pytest.mark.parametrize("form", ["{}", "file://{}", "FILE:{}", "file:{}", " {}", "file://localhost{}"])
@pytest.mark.parametrize("shape", [dict, str])
def test_messages_read_no_files(tmp_path, form, shape):
    (tmp_path / "a.png").write_bytes(picture())
    named = form.format(tmp_path / "a.png")
    source = {"url": named} if shape is dict else named
    for use in (messages, Request.chat, lambda turns: tk.Prompt("{x}", history=turns)):
        with pytest.raises(ValueError, match="in a message is neither an https: nor a data: URL"):
            use(turn(source))


@pytest.mark.parametrize(
    "name", ["ftp://a/b.png", "gopher://a/", "javascript:alert(1)", "s3://a/b", "a.png", ""]
)
def test_messages_name_images_by_data_and_https_urls(name):
    with pytest.raises(ValueError, match="in a message is neither an https: nor a data: URL"):
        messages(turn(name))


def test_messages_keep_the_part_that_was_made_of_a_file(tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    (message,) = messages([{"role": "user", "content": [tk.image(tmp_path / "a.png")]}])
    assert message["content"] == [tk.image(picture())]


@pytest.mark.parametrize("suffix", ["yaml", "json"])
@pytest.mark.parametrize("shape", [dict, str])
def test_a_prompts_file_names_files_only_if_it_may(tmp_path, suffix, shape):
    (tmp_path / "a.png").write_bytes(picture())
    named = str(tmp_path / "a.png")
    history = turn({"url": named, "detail": "low"} if shape is dict else named)
    path = tmp_path / f"prompt.{suffix}"
    path.write_text(
        json.dumps({"template": "{x}", "history": [*history, {"role": "assistant", "content": "Nice."}]})
    )
    with pytest.raises(ValueError, match=rf"prompt\.{suffix}: the image '.*a\.png' in a message is neither"):
        tk.Prompt.load(path)
    part = tk.Prompt.load(path, allow_files=True).history[0]["content"][1]
    assert part["image_url"].pop("detail", "low") == "low"
    assert part == tk.image(picture())


@pytest.mark.parametrize("name", ["/dev/zero", "/etc/passwd", "no/such.png", "http://example.org/a.png"])
def test_files_that_may_be_named_are_looked_at(tmp_path, name):
    path = tmp_path / "prompt.json"
    path.write_text(json.dumps({"template": "{x}", "history": turn({"url": name})}))
    if name.startswith("http"):
        assert url(tk.Prompt.load(path, allow_files=True).history[0]["content"][1]) == name
    else:
        with pytest.raises(ValueError, match=r"prompt\.json: .*(device|is not a PNG|cannot be read)"):
            tk.Prompt.load(path, allow_files=True)


@pytest.mark.parametrize(
    "history", [7, [7], [{"role": "user", "content": 7}], [{"role": "user", "content": [7]}], [{}]]
)
def test_what_is_no_history_is_told_as_ever(tmp_path, history):
    path = tmp_path / "prompt.json"
    path.write_text(json.dumps({"template": "{x}", "history": history}))
    found = []
    for allow in (False, True):
        with pytest.raises((ValueError, TypeError)) as caught:
            tk.Prompt.load(path, allow_files=allow)
        found.append(str(caught.value))
    assert found[0] == found[1]


def test_a_pipe_with_a_writer_is_not_read_either(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    opened = threading.Thread(target=lambda: os.close(os.open(tmp_path / "pipe", os.O_RDWR)), daemon=True)
    opened.start()
    with pytest.raises(ValueError, match="a pipe"):
        tk.image(tmp_path / "pipe")
    opened.join(1)
