"""Conversations with images as vLLM's input."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from toolkit._internal.text import short_repr
from toolkit.prompts.images import MAX_IMAGE_BYTES, decode_data_url, image
from toolkit.prompts.messages import Message, Messages

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
_KEPT_IMAGES = 16
_KEPT_SECONDS = 300.0
"""For how long a downloaded image is not asked for again."""
_FAILED_SECONDS = 10.0
"""For how long an image that could not be downloaded is not asked for again: until the batch has gone through."""


def image_limit(llm: Any) -> int:
    """How many images a request may have; 0 for a text-only model."""
    if not llm.llm_engine.vllm_config.model_config.is_multimodal_model:
        return 0
    return llm.llm_engine.renderer.get_mm_processor().info.allowed_mm_limits.get("image", 0) or 0


def check_image_count(messages: Sequence[Message], limit: int) -> None:
    """Raises ValueError for more images than the model takes."""
    images = sum(map(_image_count, messages))
    if images > limit:
        capacity = f"at most {limit} in a request" if limit else "none: it is a text-only model"
        raise ValueError(
            f"{images} image(s) were given, and this model takes {capacity}. Load a vision-language model, such as "
            'toolkit.load("HuggingFaceTB/SmolVLM-256M-Instruct"), or leave the images out'
        )


def with_images(llm: Any, messages: Messages) -> Any:
    """A conversation with images as vLLM's input: token IDs with placeholders for the images, and their pixels.

    Raises what vLLM raises for images that it cannot process.
    """
    from vllm.renderers.params import ChatParams

    params = ChatParams(chat_template_kwargs={"add_generation_prompt": True})
    # Without vLLM's cache of images: one that is only rendered to be counted would pass for sent.
    renderer = llm.llm_engine.renderer
    _, (rendered,) = renderer.render_chat([list(messages)], params, skip_mm_cache=True)
    images = sum(map(_image_count, messages))
    placeholders = len(rendered.get("mm_placeholders", {}).get("image", ()))
    if placeholders != images:
        raise ValueError(
            f"the chat template has places for {placeholders} of {images} images: it loses the others"
        )
    return rendered


def _image_count(message: Message) -> int:
    content = message["content"]
    return 0 if isinstance(content, str) else sum(part["type"] == "image_url" for part in content)


class ImageDownloads:
    """The images that requests name by URL. Each is downloaded once for the requests of some minutes: those of a
    sweep see the same picture. allowed_hosts: see `media_download.download`."""

    def __init__(self, allowed_hosts: Collection[str] = ()) -> None:
        self._allowed_hosts = tuple(allowed_hosts)
        self._outcomes: dict[str, tuple[float, bytes | ValueError]] = {}
        """URL → until when it counts, and the image or the reason why there is none; the oldest first."""
        self._lock = threading.Lock()

    def into(self, message: Message) -> dict[str, Any]:
        """A message with its images loaded, in the caller's thread: not in the one that all callers share. Raises
        ValueError for an image that cannot be loaded, or is too large."""
        content = message["content"]
        if isinstance(content, str):
            return dict(message)
        return {**message, "content": [self._loaded_part(part) for part in content]}

    def _loaded_part(self, part: dict[str, Any]) -> dict[str, Any]:
        if part["type"] == "text":
            return part
        if part["type"] != "image_url":
            raise ValueError(
                f"a message has a part of type {short_repr(part['type'])}: text and image_url can be sent"
            )
        url = part["image_url"]["url"]
        is_local = url[:5].lower() == "data:"
        raw = decode_data_url(url) if is_local else self._downloaded(url)
        loaded = part if is_local else image(raw)
        check_pixels(raw)
        return loaded

    def _downloaded(self, url: str) -> bytes:
        until, outcome = self._outcomes.get(url, (0.0, b""))
        if time.monotonic() >= until:
            outcome = self._outcome(url)
            kept = _FAILED_SECONDS if isinstance(outcome, ValueError) else _KEPT_SECONDS
            with self._lock:
                self._outcomes.pop(url, None)
                self._outcomes[url] = time.monotonic() + kept, outcome
                while len(self._outcomes) > _KEPT_IMAGES:
                    self._outcomes.pop(next(iter(self._outcomes)))
        if isinstance(outcome, ValueError):
            raise ValueError(str(outcome))
        return outcome

    def _outcome(self, url: str) -> bytes | ValueError:
        from toolkit.engines.vllm.media_download import download

        apart = ThreadPoolExecutor(1)  # in a notebook an event loop runs in this thread already
        try:
            return apart.submit(asyncio.run, download(url, self._allowed_hosts, MAX_IMAGE_BYTES)).result()
        except ValueError as error:
            return error
        finally:
            apart.shutdown(wait=False)


def check_pixels(raw: bytes) -> None:
    """Raises ValueError for an image that would need too much memory when it is decompressed, by Pillow's limit, and
    for one whose size cannot be read."""
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    try:
        with Image.open(io.BytesIO(raw), formats=_FORMATS) as picture:
            pixels = picture.width * picture.height
    except Image.DecompressionBombError as error:
        raise ValueError(f"an image is too large to be decompressed: {error} Scale it down") from None
    except Exception as error:
        raise ValueError(f"an image cannot be decoded: {error}") from error
    if limit is not None and pixels > limit:
        raise ValueError(
            f"an image is too large to be decompressed: it has {pixels:,} pixels, and at most {limit:,} are allowed. "
            "Scale it down"
        )
