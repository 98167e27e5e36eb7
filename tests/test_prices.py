import math
import socket
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from toolkit._internal.text import dollars
from toolkit.errors import PriceError
from toolkit.pricing.prices import LocalPrice, ModelPrice, Tier, model_price, model_prices

# Prices of today change with the package; those of a day that is past do not.
BEFORE, AFTER = date(2025, 6, 9), date(2025, 6, 10)


@pytest.fixture
def library():
    """genai-prices' own reckoning, one request at a time, in decimals."""
    from genai_prices import Usage
    from genai_prices.data import providers

    moment = datetime(2026, 11, 1, 12, tzinfo=UTC)

    def models():
        for provider in providers:
            for model in provider.models:
                yield provider.id, model, model.get_prices(moment)

    def cost(rates, prompt, completion, cached):
        usage = Usage(input_tokens=prompt, output_tokens=completion, cache_read_tokens=cached)
        return float(rates.calc_price(usage)["total_price"])

    return models, cost, moment


def test_prices_of_requests_are_those_of_the_library_for_every_model_and_tier(library):
    models, cost, moment = library
    checked = 0
    for provider, model, rates in models():
        if rates.input_mtok is None or rates.output_mtok is None:
            continue
        price = model_price(model.id, provider, on=moment)
        edges = [t.above + step for t in price.tiers for step in (0, 1)]
        for prompt in (0, 1000, *edges):
            cached = prompt // 4
            own = float(price.of(prompt, 100, cached))
            assert own == pytest.approx(cost(rates, prompt, 100, cached), abs=1e-12), (
                provider,
                model.id,
                prompt,
            )
            checked += 1
    assert checked > 3000


def test_a_request_by_hand():
    # 600 tokens at 2.5, 400 cached ones at 1.25 and 100 at 10, all per million.
    price = ModelPrice("m", input=2.5, output=10, cached=1.25)
    assert price.of(1000, 100, 400) == pytest.approx((600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6)
    assert ModelPrice("m", 2.5, 10).of(1000, 100, 400) == pytest.approx((1000 * 2.5 + 100 * 10) / 1e6)
    assert ModelPrice("m", 0, 0, per_request=0.01).of([1, 2], [3, 4]).tolist() == [0.01, 0.01]


def test_a_tier_holds_for_all_tokens_of_a_prompt_that_is_longer():
    price = ModelPrice("m", 1, 10, tiers=(Tier(above=200_000, input=2, output=15),))
    assert price.of([200_000, 200_001], 1000) == pytest.approx([0.2 + 0.01, 200_001 * 2 / 1e6 + 0.015])
    # So the price of two requests is not that of their sum.
    assert price.of([150_000] * 2, 0).sum() < price.of(300_000, 0)


@pytest.mark.parametrize(("on", "expected"), [(BEFORE, 50), (AFTER, 10), (datetime(2025, 6, 9, 1), 50)])
def test_prices_go_by_the_day(on, expected):
    assert model_price("o3", on=on).of(10**6, 10**6) == expected
    assert model_price("o3", on=AFTER).since == AFTER


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("openai/gpt-4o-2024-08-06", "gpt-4o"),
        ("azure/gpt-4o", "gpt-4o"),
        (" gpt-4o ", "gpt-4o"),
        ("GPT-4o", "gpt-4o"),
        ("ft:gpt-4o-2024-08-06:org::id", "ft:gpt-4o"),
    ],
)
def test_models_are_found_by_the_names_of_the_api_and_say_where_the_price_is_from(name, found):
    price = model_price(name)
    assert price.source.startswith("genai-prices 0.2.")
    assert "with prices up to 20" in price.source
    assert price.url.startswith("https://")
    assert price.model == found or price.source.endswith(f"as {found}")
    assert str(price).startswith(price.model)


def test_a_price_by_hand_is_taken_as_it_is():
    own = ModelPrice("mine", 1, 2)
    assert model_price(own) is own
    assert "given by hand" in str(own)


@pytest.mark.parametrize(
    ("name", "provider", "message"),
    [
        ("gpt4o", None, "unknown model 'gpt4o': did you mean 'gpt-4o'.*toolkit.ModelPrice"),
        ("no-such-thing", "openai", "unknown model 'no-such-thing'"),
        ("gpt-4o", "opnai", "unknown provider 'opnai': did you mean 'openai'"),
        ("openai/gpt-oss-120b", None, "is sold at several rates, by baseten, groq, .*: give provider="),
        ("moonshotai/kimi-k2-instruct", None, "is sold at several rates, by groq, novita: give provider="),
        ("gpt-4p", "openai", "unknown model 'gpt-4p'"),
        ("openai/", None, "unknown model 'openai/'"),
        ("text-embedding-3-small", None, "lists no price for text tokens"),
        ("text-embedding-3-small", "openai", "lists no price for text tokens"),
    ],
)
def test_what_has_no_price_says_what_to_do(name, provider, message):
    with pytest.raises(PriceError, match=message):
        model_price(name, provider)


def test_names_and_days_of_other_kinds_are_refused():
    with pytest.raises(TypeError, match="model must be a name or a ModelPrice, got 3"):
        model_price(3)
    for ask in (model_price, model_prices):
        for day, told in (("2025", "'2025'"), (pd.NaT, "NaT")):
            with pytest.raises(TypeError, match=f"on must be a date, got {told}"):
                ask("openai" if ask is model_prices else "o3", on=day)
    with pytest.raises(TypeError, match="provider must be a name, got 3"):
        model_price("gpt-4o", 3)
    with pytest.raises(TypeError, match="provider must be a name, got 3"):
        model_prices(3)


def test_every_listed_model_is_found_or_asks_who_sells_it():
    rates_of: dict[str, dict[str, tuple[float, float]]] = {}
    for row in model_prices().itertuples():
        rates_of.setdefault(row.model, {})[row.provider] = (row.input, row.output)
    for model, rates in rates_of.items():
        for seller, expected in rates.items():
            price = model_price(model, seller)
            assert (price.provider, price.input, price.output) == (seller, *expected)
        try:
            price = model_price(model)
        except PriceError as error:
            sellers = str(error).removeprefix(f"{model!r} is sold at several rates, by ")
            found, several = sellers.removesuffix(": give provider=").split(", "), len(rates) > 1
        else:
            found, several = [price.provider], True
            assert (price.input, price.output) == rates[price.provider]
        assert several
        assert set(found) <= set(rates), model


@pytest.mark.parametrize(
    ("name", "provider", "seller"),
    [
        ("deepseek/deepseek-r1-distill-llama-8b", None, "novita"),  # the one that lists this name
        ("deepseek/deepseek-v4.1-flash", "openrouter", "openrouter"),
        ("claude-sonnet-4", None, "github-copilot"),
        ("claude-sonnet-5", None, "anthropic"),  # of several, its maker
        ("claude-3-5-sonnet", None, "anthropic"),
        ("google/gemini-2.5-flash", "google", "google"),
        ("gpt-4o", "azure", "azure"),
    ],
)
def test_a_price_says_whose_it_is(name, provider, seller):
    price = model_price(name, provider)
    assert price.provider == seller
    assert str(price).startswith(f"{name} from {seller}: ")


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "1", True, 10**400, 1j])
def test_a_rate_is_a_number_from_0_up(value):
    with pytest.raises(ValueError, match=r"input must be a number from 0 up, got .*: US dollars"):
        ModelPrice("m", value, 1)
    with pytest.raises(ValueError, match="cached must be a number from 0 up"):
        ModelPrice("m", 1, 1, value)
    with pytest.raises(ValueError, match="per_hour must be a number from 0 up"):
        LocalPrice(per_hour=value)
    with pytest.raises(ValueError, match="output must be a number from 0 up"):
        Tier(10, 1, value)


@pytest.mark.parametrize("name", ["input", "output", "per_request"])
def test_a_rate_is_needed(name):
    with pytest.raises(ValueError, match=f"{name} must be a number from 0 up, got None"):
        ModelPrice("m", **{"input": 1, "output": 1, name: None})


def test_rates_may_be_numbers_of_numpy():
    price = ModelPrice("m", np.float32(1), np.int64(2), tiers=[Tier(np.int64(10), np.int32(1), 1)])
    assert price == ModelPrice("m", 1.0, 2.0, tiers=(Tier(10, 1.0, 1.0),))
    assert type(price.input) is float


def test_tiers_are_kept_in_order():
    long, longer = Tier(100, 2, 2), Tier(1000, 3, 3)
    price = ModelPrice("m", 1, 1, tiers=[longer, long])
    assert price.tiers == (long, longer)
    assert price.of([100, 101, 1001], 0) == pytest.approx(np.array([100, 202, 3003]) / 1e6)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: ModelPrice("m", 1, 1, tiers=((100, 2, 2),)),
            TypeError,
            r"tiers must be a list of toolkit.pricing.prices.Tier\(above, input, output\), got \(\(100, 2, 2\),\)",
        ),
        (lambda: ModelPrice("m", 1, 1, tiers=Tier(1, 1, 1)), TypeError, "tiers must be a list of"),
        (
            lambda: ModelPrice("m", 1, 1, tiers=(Tier(1, 1, 1), Tier(1, 2, 2))),
            ValueError,
            "tiers must begin at different lengths",
        ),
        (lambda: Tier("x", 1, 1), ValueError, "above must be a whole number, got 'x'"),
        (lambda: Tier(-1, 1, 1), ValueError, "above must be a whole number from 0 up, got -1"),
        (lambda: Tier(1, 1, None), ValueError, "output must be a number from 0 up, got None"),
        (lambda: ModelPrice("m", 1, 1, context_window="big"), ValueError, "context_window must be a whole"),
    ],
)
def test_bad_prices_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("tokens", [(-1, 0, 0), (0, [1, -1], 0), (0, 0, -1)])
def test_tokens_are_never_negative(tokens):
    with pytest.raises(ValueError, match="numbers of tokens must be from 0 up"):
        ModelPrice("m", 1, 1).of(*tokens)


def test_a_price_says_all_that_it_reckons_with():
    price = ModelPrice(
        "m", 1, 2, tiers=(Tier(200_000, 2, 3),), per_request=0.01, provider="us", since=date(2026, 1, 2)
    )
    assert str(price) == (
        "m from us: 1 in, 2 out per million tokens + tiers above 200,000 + 0.01 a request since 2026-01-02 "
        "(given by hand)"
    )
    assert str(ModelPrice("m", 1, 2)) == "m: 1 in, 2 out per million tokens (given by hand)"


def test_more_cached_tokens_than_there_are_is_refused():
    with pytest.raises(ValueError, match="cached_tokens are part of prompt_tokens"):
        ModelPrice("m", 1, 1).of(10, 0, 11)


def test_an_hour_of_this_machine_costs_rent_and_energy():
    price = LocalPrice(per_hour=2, per_kwh=0.3, watts=500)
    assert price.of([3600, 60]) == pytest.approx([2.15, 2.15 / 60])
    assert price.of(3600, watts=100) == pytest.approx(2.15)  # what the user says holds
    assert "500 W (given)" in str(price)
    with pytest.raises(ValueError, match="watts without per_kwh cost nothing"):
        LocalPrice(per_hour=1, watts=500)
    with pytest.raises(ValueError, match="watts must be a number from 0 up, got -1: what the machine draws"):
        LocalPrice(per_kwh=1, watts=-1)


def test_energy_is_what_the_device_told():
    price = LocalPrice(per_hour=1, per_kwh=0.5)
    assert price.of([3600, 7200, 0], [1000, 200, math.nan]) == pytest.approx([1.5, 2.2, 0])
    assert "as measured at 0.5 a kWh" in str(price)
    with pytest.raises(ValueError, match=r"not known of 1 of 2 completions: give LocalPrice\(watts=…\)"):
        price.of([1, 2], [math.nan, 3])


def test_all_prices_are_a_table():
    table = model_prices()
    assert len(table) > 1500
    assert {
        "model",
        "provider",
        "input",
        "cached",
        "output",
        "tiers",
        "context_window",
        "since",
        "source",
        "url",
    } == set(table)
    assert table["source"].str.startswith("genai-prices 0.2.").all()
    own = model_prices("openai")
    assert set(own["provider"]) == {"openai"}
    row = own[own["model"] == "gpt-4o"].iloc[0]
    assert (row["input"], row["output"]) == (model_price("gpt-4o").input, model_price("gpt-4o").output)
    with pytest.raises(PriceError, match="unknown provider"):
        model_prices("opnai")


def test_nothing_is_fetched_and_nobody_elses_update_counts(monkeypatch):
    import genai_prices.data_snapshot as snapshots

    def refuse(*_, **__):
        raise AssertionError("a price was to be fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(snapshots, "get_snapshot", refuse)
    assert np.isfinite(model_price("gpt-4o").of(1, 1))
    assert len(model_prices("anthropic"))


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        (0, "$0"),
        (0.0000095, "$0.0000095"),
        (0.00012345, "$0.00012"),
        (0.5, "$0.50"),
        (12.345, "$12.35"),
        (1234567, "$1,234,567.00"),
        (float("nan"), "not known"),
    ],
)
def test_small_amounts_have_two_digits_that_tell_something(amount, told):
    assert dollars(amount) == told


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0"), (-0.0, "$0"), (1, "$1.00"), (1234.5, "$1,234.50"), (0.5, "$0.50"), (0.0000095, "$0.0000095"),
        (-0.5, "-$0.50"), (-1234.5, "-$1,234.50"), (-0.0000095, "-$0.0000095"), (math.inf, "$inf"),
        (-math.inf, "-$inf"), (math.nan, "not known"),
    ],
)  # fmt: skip
def test_amounts_in_words(amount, text):
    assert dollars(amount) == text
