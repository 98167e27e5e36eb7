"""Prices: what tokens cost at a provider, and what the hours of one's own machine cost."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.sampling import Real, Whole, unknown

if TYPE_CHECKING:
    import pandas as pd

Doubles = npt.NDArray[np.float64]
Counts = Any
"""Numbers of tokens: one, or an array of them."""


class PriceError(LookupError):
    """A model whose price is not known; the message names the nearest ones, and how to give a price."""


_DOLLARS = Real(0, math.inf, "US dollars")
_TOKENS = Whole(0, None, "tokens")


@dataclass(frozen=True)
class Tier:
    """The rates of a request whose prompt has more than `above` tokens; they hold for all its tokens.

    Raises ValueError for a negative rate or length, or one that is no number.
    """

    above: int
    input: float
    output: float
    cached: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "above", _TOKENS("above", self.above))
        _check_rates(self, "input", "output")


def _check_rates(price: Tier | ModelPrice, *names: str) -> None:
    """Makes rates floats; that of cached tokens alone may be None."""
    for name in (*names, "cached") if price.cached is not None else names:
        object.__setattr__(price, name, _DOLLARS(name, getattr(price, name)))


@dataclass(frozen=True)
class ModelPrice:
    """What a model's tokens cost, in US dollars per million. From `model_price`, or made by hand for a price of one's
    own: `ModelPrice("my-model", input=0.5, output=2)`.

    Raises ValueError for a negative rate, or one that is no number, TypeError for tiers that are no `Tier`.
    """

    model: str
    input: float
    output: float
    cached: float | None = None
    """Of prompt tokens that the provider had in its cache; None when they cost what others do."""
    tiers: tuple[Tier, ...] = ()
    """Rates of long prompts; kept in order of length."""
    per_request: float = 0.0
    """US dollars for each request, whatever its length."""
    context_window: int | None = None
    provider: str | None = None
    since: date | None = None
    """The day from which these rates hold; None when that is not recorded."""
    source: str = "given by hand"
    """Where the rates come from, and of which day."""
    url: str | None = None
    """The provider's own page of prices."""

    def __post_init__(self) -> None:
        _check_rates(self, "input", "output", "per_request")
        if self.context_window is not None:
            object.__setattr__(self, "context_window", _TOKENS("context_window", self.context_window))
        object.__setattr__(self, "tiers", _ordered(self.tiers))

    def of(self, prompt_tokens: Counts, completion_tokens: Counts, cached_tokens: Counts = 0) -> Doubles:
        """US dollars of each request; the cached tokens are part of its prompt tokens. Tiers go by the length of each
        single prompt, so prices are of requests, and sums are sums of prices.

        Raises ValueError for negative numbers, and for more cached tokens than the prompt has.
        """
        prompt, completion, cached = (
            np.asarray(n, np.float64) for n in (prompt_tokens, completion_tokens, cached_tokens)
        )
        if any((n < 0).any() for n in (prompt, completion, cached)):
            raise ValueError("numbers of tokens must be from 0 up, and one is negative")
        if (cached > prompt).any():
            raise ValueError("cached_tokens are part of prompt_tokens, and cannot be more")
        place = np.searchsorted([t.above for t in self.tiers], prompt, side="left")
        steps = [Tier(0, self.input, self.output, self.cached), *self.tiers]
        rates = np.array([[t.input, t.input if t.cached is None else t.cached, t.output] for t in steps])[
            place
        ]
        tokens = (prompt - cached) * rates[..., 0] + cached * rates[..., 1] + completion * rates[..., 2]
        return np.asarray(tokens / 1e6 + self.per_request)

    def __str__(self) -> str:
        seller = f" from {self.provider}" if self.provider else ""
        tiers = f" + tiers above {', '.join(f'{t.above:,}' for t in self.tiers)}" if self.tiers else ""
        fee = f" + {self.per_request:g} a request" if self.per_request else ""
        since = f" since {self.since}" if self.since else ""
        rates = f"{self.input:g} in, {self.output:g} out per million tokens{tiers}{fee}{since}"
        return f"{self.model}{seller}: {rates} ({self.source})"


def _ordered(tiers: Any) -> tuple[Tier, ...]:
    if not isinstance(tiers, (list, tuple)) or not all(isinstance(tier, Tier) for tier in tiers):
        raise TypeError(f"tiers must be a list of toolkit.prices.Tier(above, input, output), got {tiers!r}")
    if len({tier.above for tier in tiers}) < len(tiers):
        raise ValueError(f"tiers must begin at different lengths, got {tiers!r}")
    return tuple(sorted(tiers, key=lambda tier: tier.above))


@dataclass(frozen=True)
class LocalPrice:
    """What the time of one's own machine costs.

    Raises ValueError for a negative rate, or watts of energy that costs nothing.
    """

    per_hour: float = 0.0
    """US dollars for each hour in which the engine works: rent, or what the machine costs over its life."""
    per_kwh: float = 0.0
    """US dollars for each kWh."""
    watts: float | None = None
    """What the machine draws while it works, as you say. None for what the device told of each run: by NVML, or
    by RAPL, which most systems let only root read."""

    def __post_init__(self) -> None:
        for name in ("per_hour", "per_kwh"):
            object.__setattr__(self, name, _DOLLARS(name, getattr(self, name)))
        if self.watts is not None:
            watts = Real(0, math.inf, "what the machine draws")
            object.__setattr__(self, "watts", watts("watts", self.watts))
            if not self.per_kwh:
                raise ValueError("watts without per_kwh cost nothing: give per_kwh, US dollars for each kWh")

    def of(self, seconds: npt.ArrayLike, watts: npt.ArrayLike = math.nan) -> Doubles:
        """US dollars of each stretch of time; watts: what the device told of it, NaN where it did not.

        Raises ValueError when energy costs something and how much was drawn is not known.
        """
        time = np.asarray(seconds, np.float64)
        told = np.asarray(watts if self.watts is None else self.watts, np.float64)
        drawn = np.where(time > 0, told, 0.0)
        if self.per_kwh and np.isnan(drawn).any():
            raise ValueError(
                f"what the device drew is not known of {np.isnan(drawn).sum()} of {drawn.size} completions: give "
                "LocalPrice(watts=…), what the machine draws while it works"
            )
        energy = self.per_kwh * drawn / 1000 if self.per_kwh else 0.0
        return np.asarray(time / 3600 * (self.per_hour + energy))

    def __str__(self) -> str:
        drawn = "as measured" if self.watts is None else f"{self.watts:g} W (given)"
        energy = f" and {drawn} at {self.per_kwh:g} a kWh" if self.per_kwh else ""
        return f"this machine: {self.per_hour:g} an hour{energy}, in US dollars"


@cache
def _book() -> Any:
    """The prices that come with genai-prices. Not its global snapshot, which other packages may replace by one from
    the network."""
    from genai_prices.data import providers
    from genai_prices.data_snapshot import DataSnapshot

    return DataSnapshot(providers, from_auto_update=False)


def model_price(model: str | ModelPrice, provider: str | None = None, on: date | None = None) -> ModelPrice:
    """The price of a model by its name, as the API has it (dated names too), from the table in the genai-prices
    package: nothing is fetched. provider: where several sell a model at different rates, as "azure"; its maker when
    left out and it sells it, and the price says whose it is. "openai/gpt-4o" is looked for as the name of a model,
    then as gpt-4o from openai. on: the day; today when left out. A ModelPrice is returned as it is.

    Raises PriceError for a model that is not listed, or not by text tokens, or that several sell and not its maker;
    TypeError for what is no name.

    >>> tk.model_price("gpt-4o").of(prompt_tokens=1000, completion_tokens=100)  # doctest: +SKIP
    """
    if isinstance(model, ModelPrice):
        return model
    if not isinstance(model, str):
        raise TypeError(f"model must be a name or a ModelPrice, got {model!r}")
    model, moment = model.strip(), _moment(on)
    seller, found = _find(model, provider, moment)
    price = _made(seller, found, moment)
    if price is None:
        raise PriceError(f"genai-prices lists no price for text tokens of {model!r}: {_HOW}")
    return (
        price if found.id == model else replace(price, source=f"{price.source}, as {found.id}", model=model)
    )


_HOW = "give toolkit.ModelPrice(name, input=…, output=…), US dollars per million tokens"


def _find(model: str, provider: str | None, moment: datetime) -> tuple[Any, Any]:
    """Who sells a model, and the entry in their list."""
    sellers = {p.id: p for p in _book().providers}
    if provider is not None:
        _check_seller(provider, sellers)
    exact = [(p, m) for p in sellers.values() for m in p.models if m.id == model and provider in (None, p.id)]
    if len(exact) == 1:
        return exact[0]
    maker, _, rest = model.partition("/")
    if not exact and rest and maker in sellers and provider in (None, maker):
        return _find(rest, maker, moment)
    tuned = "openai" if model.startswith("ft:") else None
    found = _matched(model, provider or tuned)
    if found and (not exact or found in exact):
        return found
    if exact:
        return _alike(model, exact, moment)
    names = {m.id for p in sellers.values() for m in p.models if provider in (None, p.id)}
    raise PriceError(f"{unknown('model', model, names)[:300]}; for one that is not listed {_HOW}")


def _check_seller(provider: Any, sellers: Iterable[str]) -> None:
    if not isinstance(provider, str):
        raise TypeError(f"provider must be a name, got {provider!r}")
    if provider not in sellers:
        raise PriceError(unknown("provider", provider, sellers))


def _matched(model: str, provider: str | None) -> tuple[Any, Any] | None:
    """What the package's rules for dated and other names find: without a provider, at the maker."""
    try:
        return _book().find_provider_model(model, None, provider, None)  # type: ignore[no-any-return]
    except LookupError:
        return None


def _alike(model: str, exact: Sequence[tuple[Any, Any]], moment: datetime) -> tuple[Any, Any]:
    """The first of several sellers that names a price, where all of these have the same rates."""
    made = [_made(*pair, moment) for pair in exact]
    if len({(p.input, p.output, p.cached, p.tiers, p.per_request) for p in made if p}) > 1:
        names = ", ".join(str(p.provider) for p in made if p)
        raise PriceError(f"{model!r} is sold at several rates, by {names}: give provider=")
    return next((pair for pair, p in zip(exact, made, strict=True) if p), exact[0])


def _moment(on: date | None) -> datetime:
    if on is None:
        return datetime.now(UTC)
    if not isinstance(on, date) or on != on:  # pandas' NaT is a datetime too
        raise TypeError(f"on must be a date, got {on!r}")
    if isinstance(on, datetime):
        return on if on.tzinfo else on.replace(tzinfo=UTC)
    return datetime.combine(on, time(12), UTC)


def _made(seller: Any, model: Any, moment: datetime) -> ModelPrice | None:
    """None for a model without a price for both text tokens in and out."""
    rates = model.get_prices(moment)
    if rates.input_mtok is None or rates.output_mtok is None:
        return None
    # Azure sells what OpenAI lists, and so on: then the page is the lender's.
    own = next((p for p in _book().providers if any(m is model for m in p.models)), seller)
    per_thousand = rates.requests_kcount
    return ModelPrice(
        model=model.id,
        provider=seller.id,
        input=_rate(rates.input_mtok),
        output=_rate(rates.output_mtok),
        cached=None if rates.cache_read_mtok is None else _rate(rates.cache_read_mtok),
        tiers=_tiers(rates),
        per_request=float(per_thousand) / 1000 if per_thousand is not None else 0.0,
        context_window=model.context_window,
        since=_since(model, rates),
        source=_source(),
        url=(own.pricing_urls or [None])[0],
    )


def _rate(value: Any, above: int | None = None) -> float:
    """A rate at the base, or in the tier that begins above a length."""
    if not hasattr(value, "tiers"):
        return float(value)
    tier = next((t for t in value.tiers if t.start == above), None)
    return float(value.base if tier is None else tier.price)


def _tiers(rates: Any) -> tuple[Tier, ...]:
    parts = (rates.input_mtok, rates.output_mtok, rates.cache_read_mtok)
    starts = sorted({t.start for part in parts if hasattr(part, "tiers") for t in part.tiers})
    return tuple(
        Tier(start, *(None if part is None else _rate(part, start) for part in parts))  # type: ignore[arg-type]
        for start in starts
    )


def _since(model: Any, rates: Any) -> date | None:
    """The first day of the entry that holds."""
    if not isinstance(model.prices, list):
        return None
    held = next((entry for entry in model.prices if entry.prices is rates), None)
    return getattr(getattr(held, "constraint", None), "start_date", None)


@cache
def _source() -> str:
    """The package keeps no date of its own: the newest start of a price in it, up to today, is a lower bound."""
    today = datetime.now(UTC).date()
    starts = (
        getattr(entry.constraint, "start_date", None)
        for provider in _book().providers
        for model in provider.models
        if isinstance(model.prices, list)
        for entry in model.prices
    )
    newest = max((start for start in starts if start is not None and start <= today), default=None)
    return f"genai-prices {importlib.metadata.version('genai-prices')}, with prices up to {newest}"


def model_prices(provider: str | None = None, on: date | None = None) -> pd.DataFrame:
    """Every model that is sold by text tokens: model, provider, input, cached, output (US dollars per million
    tokens), tiers (prompt lengths above which other rates hold), context_window, since, source, url.

    Raises PriceError for an unknown provider, TypeError for what is no name or no date.
    """
    import pandas as pd

    sellers = {p.id: p for p in _book().providers}
    if provider is not None:
        _check_seller(provider, sellers)
    moment = _moment(on)
    chosen: Iterable[Any] = sellers.values() if provider is None else [sellers[provider]]
    made = (_made(seller, model, moment) for seller in chosen for model in seller.models)
    rates = ["input", "cached", "output", "tiers"]
    columns = ["model", "provider", *rates, "context_window", "since", "source", "url"]
    rows = [
        {n: tuple(t.above for t in p.tiers) if n == "tiers" else getattr(p, n) for n in columns}
        for p in made
        if p
    ]
    return pd.DataFrame(rows, columns=columns).astype({"context_window": "Int64", "cached": float})


def dollars(amount: float) -> str:
    """With two digits that tell something: $0.0000095."""
    if math.isnan(amount):
        return "not known"
    return f"${amount:,.{max(2, 1 - math.floor(math.log10(amount))) if amount else 0}f}"
