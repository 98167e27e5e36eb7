import base64
import io

import pytest
from PIL import Image

import toolkit as tk
from toolkit.prompts.images import decode_data_url


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
