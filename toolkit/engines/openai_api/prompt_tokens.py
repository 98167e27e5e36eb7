"""The token IDs of prompts, tokenized by a vLLM server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.core.request import Request
from toolkit.engines.base import request_errors
from toolkit.engines.openai_api.client import ApiClient
from toolkit.engines.openai_api.probe import ServerInfo
from toolkit.engines.openai_api.request_body import TokenizedPrompt
from toolkit.errors import NotTold
from toolkit.tokenizers import tiktoken as encodings

_CACHE_SIZE = 4096


class PromptTokens:
    """Has a server tokenize prompts, each once. Called in the client's loop."""

    def __init__(self, client: ApiClient, server: ServerInfo) -> None:
        self._client, self._server = client, server
        self._cache: dict[str, tuple[int, ...]] = {}

    async def encode(self, request: Request) -> tuple[int, ...]:
        """The token IDs of a request's prompt, without its prefix."""
        if isinstance(request.prompt, tuple):
            return request.prompt
        if not self._server.dialect.vllm:
            raise NotTold(f"{self._client.url} does not report the tokens of a text: it is no vLLM server")
        if request.has_images:
            raise NotTold("a server does not report how many tokens images take")
        if (token_ids := self._cache.get(request.input)) is None:
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            token_ids = self._cache[request.input] = await self._client.tokenize(self._tokenize_body(request))
        return token_ids

    def _tokenize_body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._server.model}
        if request.messages is None:
            return {**body, "prompt": request.prompt}
        tools = [tool.to_openai() for tool in request.tools] if request.tool_choice != "none" else []
        return {**body, "messages": list(request.messages), **({"tools": tools} if tools else {})}

    async def tokenized(self, request: Request) -> TokenizedPrompt:
        """The token IDs of prompt and prefix, and their texts. The prefix is tokenized as by `Tokenizer.prefix`."""
        prompt_ids, prefix, prompt = await self.encode(request), request.prefix or (), request.prompt
        model = self._server.model
        prefix_text = prefix if isinstance(prefix, str) else await self._detokenize(prefix)
        if isinstance(prefix, str):
            joined_ids = prompt_ids
            if isinstance(prompt, str):
                joined_ids = await self._client.tokenize({"model": model, "prompt": prompt + prefix})
            if joined_ids != prompt_ids and joined_ids[: len(prompt_ids)] == prompt_ids:
                prefix = joined_ids[len(prompt_ids) :]
            else:
                prefix = await self._client.tokenize(
                    {"model": model, "prompt": prefix, "add_special_tokens": False}
                )
        needs_text = request.echo or request.sampling.prompt_logprobs is not None
        text = (
            (prompt if isinstance(prompt, str) else await self._detokenize(prompt_ids)) if needs_text else ""
        )
        return TokenizedPrompt(prompt_ids, tuple(prefix), (text if request.echo else "") + prefix_text, text)

    async def _detokenize(self, token_ids: Sequence[int]) -> str:
        if not token_ids:
            return ""
        return await self._client.detokenize({"model": self._server.model, "tokens": list(token_ids)})


def estimated_tokens(request: Request, model: str, url: str) -> int:
    """The prompt tokens of a request by the encoding of one of OpenAI's models. Raises NotTold for other models, and
    for what OpenAI does not tell how to count."""
    from toolkit.tokenizers.openai_counts import OpenAITextTokenizer

    if (name := encodings.encoding_name(model)) is None:
        raise NotTold(f"{url} does not count tokens, and the tokenizer of {model} is not known")
    try:
        with request_errors():
            return OpenAITextTokenizer(encodings.bare(model), name).prompt(request)[0]
    except ValueError as error:
        raise NotTold(str(error)) from None
