"""The errors that callers may want to catch; each says what to do."""

from __future__ import annotations


class RequestError(ValueError):
    """A request that the engine cannot answer (prompt too long, …); the message says why."""


class NotTold(ValueError):
    """Something that a server does not report (its context window, the tokens of a text, …)."""


class EngineError(RuntimeError):
    """An engine that cannot start, has died or was closed; the message says what to do and names its log."""


class ModelError(RuntimeError):
    """A model that cannot be found, fetched, verified or converted; the message says what to do."""


class StoreError(RuntimeError):
    """A file that is not a store, or cannot be written; the message says what to do."""


class StoreBusy(StoreError):
    """A file that another process has locked."""


class PriceError(LookupError):
    """A model without a known price; the message names the nearest models, and how to set a price."""
