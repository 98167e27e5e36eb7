"""Conversations with images as vLLM's input."""

from __future__ import annotations

from typing import Any

from toolkit.engines.vllm.environment import track_env_changes
from toolkit.prompts.images import image
from toolkit.prompts.messages import Messages


def with_images(llm: Any, messages: Messages) -> Any:
    """A conversation with images as vLLM's input: token IDs with placeholders for the images, and their pixels.

    Raises ValueError for a text-only model, and what vLLM raises for images that it cannot process.
    """
    from vllm.renderers.params import ChatParams

    renderer, images = llm.llm_engine.renderer, sum(map(_image_count, messages))
    is_multimodal = llm.llm_engine.vllm_config.model_config.is_multimodal_model
    limit = renderer.get_mm_processor().info.allowed_mm_limits.get("image", 0) if is_multimodal else 0
    if images > (limit or 0):
        capacity = f"at most {limit} in a request" if limit else "none: it is a text-only model"
        raise ValueError(
            f"{images} image(s) were given, and this model takes {capacity}. Load a vision-language model, such as "
            'toolkit.load("HuggingFaceTB/SmolVLM-256M-Instruct"), or leave the images out'
        )
    params = ChatParams(chat_template_kwargs={"add_generation_prompt": True})
    # Without vLLM's cache of images: one that is only rendered to be counted would pass for sent.
    _, (rendered,) = renderer.render_chat([list(messages)], params, skip_mm_cache=True)
    placeholders = len(rendered.get("mm_placeholders", {}).get("image", ()))
    if placeholders != images:
        raise ValueError(
            f"the chat template has places for {placeholders} of {images} images: it loses the others"
        )
    return rendered


def _image_count(message: dict[str, Any]) -> int:
    content = message["content"]
    return 0 if isinstance(content, str) else sum(part["type"] == "image_url" for part in content)


def fetch_image(url: str) -> bytes:
    """An image from the network, by vLLM's own fetcher, which has time-outs, retries and size limits."""
    with track_env_changes():  # this may be the first import of vLLM
        from vllm.multimodal.media import MediaConnector

    return bytes(MediaConnector().fetch_image(url).original_bytes)


def with_images_fetched(message: dict[str, Any]) -> dict[str, Any]:
    """A message with its images loaded: those on the network are fetched here, in the caller's thread, and not in
    the thread that all callers share."""
    if isinstance(message["content"], str):
        return message
    return {**message, "content": [_fetched_part(part) for part in message["content"]]}


def _fetched_part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] != "image_url" or part["image_url"]["url"].startswith("data:"):
        return part
    url = part["image_url"]["url"]
    try:
        return image(fetch_image(url))
    except Exception as error:
        raise ValueError(f"the image {url} cannot be fetched: {error}") from error
