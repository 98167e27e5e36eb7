"""vLLM's loader of the images and other media in requests to its server, with our downloads: vLLM's own connect to
any address. Importing this module registers it."""

from __future__ import annotations

import asyncio
from typing import Any

from PIL import Image
from vllm.connections import HTTPConnection
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector

from toolkit.engines.vllm.media_download import download

NAME = "toolkit"
"""The value of VLLM_MEDIA_CONNECTOR that chooses it."""
_MAX_BYTES = 256 << 20
"""Of media for which vLLM sets no limit; it is vLLM's own default for all of them."""


@MEDIA_CONNECTOR_REGISTRY.register(NAME)
class CheckedMediaConnector(MediaConnector):  # type: ignore[misc]
    """Refusals are errors of the request, with status 400."""

    def __init__(self, *args: Any, allowed_media_domains: list[str] | None = None, **options: Any) -> None:
        downloads = _Downloads(allowed_media_domains or [])
        super().__init__(*args, connection=downloads, allowed_media_domains=allowed_media_domains, **options)

    async def load_from_url_async(self, url: str, *args: Any, **options: Any) -> Any:
        if url[:5].lower() == "file:" and self.allowed_local_media_path is None:
            raise VLLMValidationError(
                f"{url[:80]!r} is a file of the server: send the image itself, as a data: URL, or serve the model "
                "with allowed_local_media_path='…', a folder that images may come from",
                parameter="image_url",
            )
        try:
            return await super().load_from_url_async(url, *args, **options)
        except Image.DecompressionBombError as error:
            raise VLLMValidationError(f"{error} Scale it down", parameter="image_url") from error


class _Downloads(HTTPConnection):  # type: ignore[misc]
    def __init__(self, allowed_hosts: list[str]) -> None:
        super().__init__()
        self._allowed_hosts = allowed_hosts

    def get_bytes(self, url: str, *, max_bytes: int | None = None, **_: Any) -> bytes:
        return asyncio.run(self.async_get_bytes(url, max_bytes=max_bytes))

    async def async_get_bytes(self, url: str, *, max_bytes: int | None = None, **_: Any) -> bytes:
        """Ignores vLLM's time-outs, retries and redirects: `download` has its own."""
        try:
            return await download(url, self._allowed_hosts, max_bytes or _MAX_BYTES)
        except ValueError as error:
            raise VLLMValidationError(str(error), parameter="image_url") from error
