"""Probes a server: its model, version and supported parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from toolkit import models
from toolkit.core.request import Request, check_token_ids
from toolkit.core.sampling import Sampling
from toolkit.engines.openai_api.client import KEY_HINT, ApiClient, RequestFailed
from toolkit.engines.openai_api.dialect import Dialect, MalformedResponse, NoLogprobs
from toolkit.engines.openai_api.request_body import build_body
from toolkit.engines.openai_api.response_model import ModelEntry, read
from toolkit.engines.openai_api.response_parser import parse_response
from toolkit.errors import EngineError, ModelError
from toolkit.tokenizers.huggingface import Tokenizer

_PROBE: dict[str, Any] = {"max_tokens": 16, "logprobs": True, "seed": 1}
"""The request that shows what a server supports; some have a minimum max_tokens of 16."""
_OUTPUT_LIMIT = "output limit was reached"
"""OpenAI's error where all of max_tokens went into reasoning: the request was accepted, and has no completion."""
_SAMPLE = "Zebras aren't 1,234 naïve 🎉 words…\n\tdef f(x): return x"
"""A local tokenizer that splits this into the same tokens as the server is taken for the server's own."""


@dataclass(frozen=True)
class ServerInfo:
    """What a server reports of itself, and what probing it showed."""

    model: str
    """The name that requests have: maybe an alias."""
    dialect: Dialect
    components: Mapping[str, Any]
    """Of its fingerprint, without its system_fingerprint, which may change between responses."""
    tokenizer: Tokenizer | None
    """The model's own, where it is on this machine and tokenizes as the server does."""
    adapter: bool = False
    """Whether the model is an adapter (LoRA) on another one."""

    def check_tokens(self, request: Request) -> None:
        """Raises ValueError for token IDs that the model cannot have, or does not have, where that is known; and for
        names of its special tokens in the response format."""
        check_token_ids(request, self.model, *([self.tokenizer.size] if self.tokenizer else []))
        if self.tokenizer and request.constraint:
            self.tokenizer.check_format(request.constraint)


async def probe(client: ApiClient, requested_model: str | None) -> tuple[ServerInfo, str | None]:
    """What a server is, and its system_fingerprint; generates a few tokens. requested_model: None for its only one.
    Raises EngineError where the server cannot be reached, or refuses the key or the model."""
    models_by_name = await _listed_models(client)
    model = requested_model or _only_model(models_by_name, client.url)
    model_info = models_by_name.get(model) or ModelEntry(id=model)
    # A gateway may have models of several owners. An unlisted model is taken to be of the owners of all listed ones.
    entries = [model_info] if model in models_by_name else models_by_name.values()
    owners = {info.owned_by for info in entries}
    vllm = owners == {"vllm"}
    dialect, fingerprint = await _probe_dialect(client, model, Dialect(vllm=vllm), sorted(models_by_name))
    components = {
        "engine": "server",
        "url": client.url,
        "model": _first_name(model_info, models_by_name),
        "owned_by": model_info.owned_by,
        "root": model_info.root,
        "max_model_len": model_info.max_model_len,
        "version": await _version(client) if vllm else None,
    }
    return ServerInfo(model, dialect, components, None, model_info.parent is not None), fingerprint


def _first_name(model: ModelEntry, models_by_name: Mapping[str, ModelEntry]) -> str:
    """The first of the names under which the server lists a model: the others are aliases."""
    if not model.root:
        return model.id
    identity = (model.root, model.parent, model.owned_by)
    aliases = (e.id for e in models_by_name.values() if (e.root, e.parent, e.owned_by) == identity)
    return next(aliases, model.id)


async def _listed_models(client: ApiClient) -> dict[str, ModelEntry]:
    """The server's entry for each of its models, by name; empty where it has no list. Raises EngineError."""
    try:
        response = await client.get("/models")
    except RequestFailed as error:
        if error.status in (403, 429) or (error.status or 0) >= 500:
            raise EngineError(f"{error}. {KEY_HINT}" if error.status == 403 else str(error)) from None
        return {}
    listed = (
        response.get("data") if isinstance(response, Mapping) else response
    )  # Together's has no object around it
    entries: dict[str, ModelEntry] = {}
    for data in listed if isinstance(listed, list) else ():
        with contextlib.suppress(MalformedResponse):
            entry = read(ModelEntry, data)
            entries[entry.id] = entry
    return entries


async def _version(client: ApiClient) -> str | None:
    try:
        response = await client.get(f"{client.root}/version")
        return str(response["version"])
    except (RequestFailed, EngineError, KeyError, TypeError):
        return None


async def _probe_dialect(
    client: ApiClient, model: str, dialect: Dialect, model_names: Sequence[str]
) -> tuple[Dialect, str | None]:
    """The dialect that the server accepts, and its system_fingerprint; generates a few tokens."""
    refusals = []
    for request in (Request.chat("Hi", **_PROBE), Request(prompt="Hi", sampling=Sampling(**_PROBE))):
        try:
            return await _negotiate(client, request, model, dialect)
        except (RequestFailed, MalformedResponse) as error:
            refusals.append(error)
    first, status = refusals[0], getattr(refusals[0], "status", None)
    if status == 403:
        raise EngineError(f"{first}. {KEY_HINT}")
    if status == 404:
        names = f"It has {', '.join(model_names)}" if model_names else "It lists no models"
        raise EngineError(f"{first}. {names}; url must end as the API does, mostly in /v1")
    raise EngineError(f"the server answers no request: {client.redact(str(first))}")


async def _negotiate(
    client: ApiClient, request: Request, model: str, dialect: Dialect
) -> tuple[Dialect, str | None]:
    """Retries without the options and neutral values that the server refuses, until it responds."""
    while True:
        body = build_body(dialect.without_unsupported(request).resolve({}), model, dialect)
        try:
            response, *_ = await client.create(body.fields, body.chat)
            return dialect, parse_response(body, response, lambda *_: None, None).system_fingerprint
        except NoLogprobs:
            dialect = dialect.with_unsupported("logprobs")
        except RequestFailed as error:
            if error.status == 400 and _OUTPUT_LIMIT in str(error):
                return dialect, None
            reduced = dialect.after_refusal(str(error), body.fields) if error.status in (400, 422) else None
            if reduced is None:
                raise
            dialect = reduced


def with_local_tokenizer(client: ApiClient, server: ServerInfo) -> ServerInfo:
    """Adds the model's tokenizer, where it is on this machine and agrees with the server on a sample."""
    if not server.dialect.vllm:
        return server
    try:
        tokenizer = Tokenizer(models.local(str(server.components["root"] or server.model)))
        server_ids = client.wait(client.tokenize({"model": server.model, "prompt": _SAMPLE}))
    except (ModelError, EngineError, ValueError):  # the server answers without it
        return server
    return (
        replace(server, tokenizer=tokenizer)
        if tokenizer.encode(Request(prompt=_SAMPLE)) == server_ids
        else server
    )


def _only_model(models_by_name: Mapping[str, ModelEntry], url: str) -> str:
    """The server's model, under the first of its names. Raises EngineError where there are several."""
    if not models_by_name:
        raise EngineError(
            f"{url} lists no models: give toolkit.connect the name of one, as model=…; url must end as the API does, "
            "mostly in /v1"
        )
    roots = {info.root or name for name, info in models_by_name.items()}
    if len(roots) > 1:
        raise EngineError(
            f"{url} has several models: give one as model=…, of {', '.join(sorted(models_by_name))}"
        )
    return next(iter(models_by_name))
