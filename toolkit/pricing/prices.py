"""Prices of tokens at a provider, and of the hours of one's own machine."""

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

from toolkit._internal.field_docs import documented
from toolkit._internal.text import short_repr
from toolkit._internal.validation import Real, Whole, unknown
from toolkit.errors import PriceError

if TYPE_CHECKING:
    import pandas as pd


Doubles = npt.NDArray[np.float64]
Counts = Any
"""Numbers of tokens: one, or an array of them."""
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
    """Converts rates to floats; only the one of cached tokens may be None."""
    for name in (*names, "cached") if price.cached is not None else names:
        object.__setattr__(price, name, _DOLLARS(name, getattr(price, name)))


@documented
@dataclass(frozen=True)
class ModelPrice:
    """What a model's tokens cost, in US dollars per million. From `model_price`, or for a price of your own:
    `ModelPrice("my-model", input=0.5, output=2)`.

    Raises ValueError for a negative rate, or one that is no number, TypeError for tiers that are no `Tier`.
    """

    model: str
    """The model's name."""
    input: float
    """US dollars per million prompt tokens."""
    output: float
    """US dollars per million completion tokens."""
    cached: float | None = None
    """The rate of prompt tokens in the provider's cache; None when it is that of other prompt tokens."""
    tiers: tuple[Tier, ...] = ()
    """Rates of long prompts; kept in order of length."""
    per_request: float = 0.0
    """US dollars for each request, whatever its length."""
    context_window: int | None = None
    """The most tokens of prompt and answer together; None where it is not recorded."""
    provider: str | None = None
    """Who sells it at this price."""
    since: date | None = None
    """The first day of these rates; None when it is not recorded."""
    source: str = "given by hand"
    """Where the rates come from, with their date."""
    url: str | None = None
    """The provider's own pricing page."""

    def __post_init__(self) -> None:
        _check_rates(self, "input", "output", "per_request")
        if self.context_window is not None:
            object.__setattr__(self, "context_window", _TOKENS("context_window", self.context_window))
        object.__setattr__(self, "tiers", _ordered(self.tiers))

    def of(self, prompt_tokens: Counts, completion_tokens: Counts, cached_tokens: Counts = 0) -> Doubles:
        """US dollars of each request; the cached tokens are part of its prompt tokens. Tiers go by the length of each
        single prompt, so give the counts of requests, not their sums.

        Raises ValueError for negative numbers, and for more cached tokens than the prompt has.
        """
        prompt, completion, cached = (
            np.asarray(n, np.float64) for n in (prompt_tokens, completion_tokens, cached_tokens)
        )
        if any((n < 0).any() for n in (prompt, completion, cached)):
            raise ValueError("numbers of tokens must be from 0 up, and one is negative")
        if (cached > prompt).any():
            raise ValueError("cached_tokens are part of prompt_tokens, and cannot be more")
        tier = np.searchsorted([t.above for t in self.tiers], prompt, side="left")
        tiers = [Tier(0, self.input, self.output, self.cached), *self.tiers]
        rates = np.array([[t.input, t.input if t.cached is None else t.cached, t.output] for t in tiers])[
            tier
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
        raise TypeError(
            f"tiers must be a list of toolkit.pricing.prices.Tier(above, input, output), got {short_repr(tiers)}"
        )
    if len({tier.above for tier in tiers}) < len(tiers):
        raise ValueError(f"tiers must begin at different lengths, got {short_repr(tiers)}")
    return tuple(sorted(tiers, key=lambda tier: tier.above))


@documented
@dataclass(frozen=True)
class LocalPrice:
    """What the time of one's own machine costs.

    Raises ValueError for a negative rate, or watts of energy that costs nothing.
    """

    per_hour: float = 0.0
    """US dollars for each hour in which the engine works: rent, or the price of the machine over its lifetime."""
    per_kwh: float = 0.0
    """US dollars for each kWh."""
    watts: float | None = None
    """The machine's power while it works. None for the measured power of each run: by NVML, or by RAPL, which on most
    systems only root may read."""

    def __post_init__(self) -> None:
        for name in ("per_hour", "per_kwh"):
            object.__setattr__(self, name, _DOLLARS(name, getattr(self, name)))
        if self.watts is not None:
            watts = Real(0, math.inf, "what the machine draws")
            object.__setattr__(self, "watts", watts("watts", self.watts))
            if not self.per_kwh:
                raise ValueError("watts without per_kwh cost nothing: give per_kwh, US dollars for each kWh")

    def of(self, seconds: npt.ArrayLike, watts: npt.ArrayLike = math.nan) -> Doubles:
        """US dollars of each period of time; watts: the measured power, NaN where it is not known.

        Raises ValueError when energy costs something and the power is not known.
        """
        time = np.asarray(seconds, np.float64)
        power = np.asarray(watts if self.watts is None else self.watts, np.float64)
        power = np.where(time > 0, power, 0.0)
        if self.per_kwh and np.isnan(power).any():
            raise ValueError(
                f"what the device drew is not known of {np.isnan(power).sum()} of {power.size} completions: give "
                "LocalPrice(watts=…), what the machine draws while it works"
            )
        energy = self.per_kwh * power / 1000 if self.per_kwh else 0.0
        return np.asarray(time / 3600 * (self.per_hour + energy))

    def __str__(self) -> str:
        power = "as measured" if self.watts is None else f"{self.watts:g} W (given)"
        energy = f" and {power} at {self.per_kwh:g} a kWh" if self.per_kwh else ""
        return f"this machine: {self.per_hour:g} an hour{energy}, in US dollars"


@cache
def _price_list() -> Any:
    """The price list of the genai-prices package. Not its global snapshot, which other packages may replace by one
    from the network."""
    from genai_prices.data import providers
    from genai_prices.data_snapshot import DataSnapshot

    return DataSnapshot(providers, from_auto_update=False)


def model_price(model: str | ModelPrice, provider: str | None = None, on: date | None = None) -> ModelPrice:
    """The price of a model by its API name (dated names too), from the table in the genai-prices package: nothing is
    fetched. provider: for a model that several sell at different rates, such as "azure"; by default its maker, if
    that sells it. The price names its provider. "openai/gpt-4o" is looked up as the name of a model, then as gpt-4o
    from openai. on: the day; today when left out. A ModelPrice is returned unchanged.

    Raises PriceError for a model that is not listed, or not by text tokens, or that several sell and not its maker;
    TypeError for a name that is no string.

    >>> tk.model_price("gpt-4o").of(prompt_tokens=1000, completion_tokens=100)  # doctest: +SKIP
    """
    if isinstance(model, ModelPrice):
        return model
    if not isinstance(model, str):
        raise TypeError(f"model must be a name or a ModelPrice, got {short_repr(model)}")
    model, moment = model.strip(), _moment(on)
    seller, entry = _find(model, provider, moment)
    price = _to_model_price(seller, entry, moment)
    if price is None:
        raise PriceError(
            f"genai-prices lists no price for text tokens of {short_repr(model)}: {_OWN_PRICE_HINT}"
        )
    return (
        price if entry.id == model else replace(price, source=f"{price.source}, as {entry.id}", model=model)
    )


_OWN_PRICE_HINT = "give toolkit.ModelPrice(name, input=…, output=…), US dollars per million tokens"


def _find(model: str, provider: str | None, moment: datetime) -> tuple[Any, Any]:
    """The provider that sells a model, and the model's entry in its list."""
    sellers = {p.id: p for p in _price_list().providers}
    if provider is not None:
        _check_seller(provider, sellers)
    exact = [(p, m) for p in sellers.values() for m in p.models if m.id == model and provider in (None, p.id)]
    if len(exact) == 1:
        return exact[0]
    maker, _, rest = model.partition("/")
    if not exact and rest and maker in sellers and provider in (None, maker):
        return _find(rest, maker, moment)
    tuned = "openai" if model.startswith("ft:") else None
    match = _match_name(model, provider or tuned)
    if match and (not exact or match in exact):
        return match
    if exact:
        return _seller_of_equal_rates(model, exact, moment)
    names = {m.id for p in sellers.values() for m in p.models if provider in (None, p.id)}
    raise PriceError(f"{unknown('model', model, names)[:300]}; for one that is not listed {_OWN_PRICE_HINT}")


def _check_seller(provider: Any, sellers: Iterable[str]) -> None:
    if not isinstance(provider, str):
        raise TypeError(f"provider must be a name, got {short_repr(provider)}")
    if provider not in sellers:
        raise PriceError(unknown("provider", provider, sellers))


def _match_name(model: str, provider: str | None) -> tuple[Any, Any] | None:
    """The match by the package's rules for dated and other names: without a provider, at the maker."""
    try:
        return _price_list().find_provider_model(model, None, provider, None)  # type: ignore[no-any-return]
    except LookupError:
        return None


def _seller_of_equal_rates(model: str, exact: Sequence[tuple[Any, Any]], moment: datetime) -> tuple[Any, Any]:
    """The first of several sellers that lists a price. Raises PriceError when their rates differ."""
    prices = [_to_model_price(*pair, moment) for pair in exact]
    if len({(p.input, p.output, p.cached, p.tiers, p.per_request) for p in prices if p}) > 1:
        names = ", ".join(str(p.provider) for p in prices if p)
        raise PriceError(f"{short_repr(model)} is sold at several rates, by {names}: give provider=")
    return next((pair for pair, p in zip(exact, prices, strict=True) if p), exact[0])


def _moment(on: date | None) -> datetime:
    if on is None:
        return datetime.now(UTC)
    if not isinstance(on, date) or on != on:  # pandas' NaT is a datetime too
        raise TypeError(f"on must be a date, got {short_repr(on)}")
    if isinstance(on, datetime):
        return on if on.tzinfo else on.replace(tzinfo=UTC)
    return datetime.combine(on, time(12), UTC)


def _to_model_price(seller: Any, model: Any, moment: datetime) -> ModelPrice | None:
    """The price in an entry of the list; None without a price for both input and output text tokens."""
    rates = model.get_prices(moment)
    if rates.input_mtok is None or rates.output_mtok is None:
        return None
    # Some providers share the entries of another, as Azure those of OpenAI: then the page is that one's.
    lister = next((p for p in _price_list().providers if any(m is model for m in p.models)), seller)
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
        url=(lister.pricing_urls or [None])[0],
    )


def _rate(value: Any, above: int | None = None) -> float:
    """The base rate, or the rate of the tier that begins above a length."""
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
    """The first day of the rates."""
    if not isinstance(model.prices, list):
        return None
    current = next((entry for entry in model.prices if entry.prices is rates), None)
    return getattr(getattr(current, "constraint", None), "start_date", None)


@cache
def _source() -> str:
    """The package and its date: it records none, so the newest start of a price, up to today, is a lower bound."""
    today = datetime.now(UTC).date()
    starts = (
        getattr(entry.constraint, "start_date", None)
        for provider in _price_list().providers
        for model in provider.models
        if isinstance(model.prices, list)
        for entry in model.prices
    )
    newest = max((start for start in starts if start is not None and start <= today), default=None)
    return f"genai-prices {importlib.metadata.version('genai-prices')}, with prices up to {newest}"


def model_prices(provider: str | None = None, on: date | None = None) -> pd.DataFrame:
    """Every model that is sold by text tokens: model, provider, input, cached, output (US dollars per million
    tokens), tiers (prompt lengths above which other rates hold), context_window, since, source, url.

    Raises PriceError for an unknown provider, TypeError for a bad name or date.
    """
    import pandas as pd

    sellers = {p.id: p for p in _price_list().providers}
    if provider is not None:
        _check_seller(provider, sellers)
    moment = _moment(on)
    providers: Iterable[Any] = sellers.values() if provider is None else [sellers[provider]]
    prices = (_to_model_price(seller, model, moment) for seller in providers for model in seller.models)
    rates = ["input", "cached", "output", "tiers"]
    columns = ["model", "provider", *rates, "context_window", "since", "source", "url"]
    rows = [
        {n: tuple(t.above for t in p.tiers) if n == "tiers" else getattr(p, n) for n in columns}
        for p in prices
        if p
    ]
    return pd.DataFrame(rows, columns=columns).astype({"context_window": "Int64", "cached": float})
