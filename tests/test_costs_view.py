"""The costs widget: the table, the chart, what if it were asked elsewhere, by mouse and by keyboard, in Chromium."""

from dataclasses import replace

import numpy as np
import pytest
from browser import HOSTILE, mount, shot, static, unharmed
from test_cost import ONE, PRICE, ran

from toolkit.core.completion import UNKNOWN_USAGE
from toolkit.pricing.prices import LocalPrice, ModelPrice, model_price
from toolkit.store.store import Store
from toolkit.widgets.costs import CostsView

GOOD = {"low": ("yes", "yes"), "middle": ("yes", "no"), "high": ("no", "no", "no")}


@pytest.fixture
def results(db, made):
    """Three settings of 2, 2 and 3 answers, each of 4, 3 and 6 generated and 7 prompt tokens, 2 of them cached."""
    steps = {"low": 4, "middle": 3, "high": 6}
    answers = [
        ({"case": case}, made(text, messages=f"{case}{i}", steps=steps[case]))
        for case, texts in GOOD.items()
        for i, text in enumerate(texts)
    ]
    cut = answers[-1][1]
    answers[-1] = (answers[-1][0], replace(cut, choices=(replace(cut.choices[0], finish_reason="length"),)))
    return ran(Store(db), "s", answers)


def view(results, price=PRICE, at=(), scored=True):
    score = (lambda row: row["text"] == "yes") if scored else None
    return CostsView(results.costs("case", price, at, score))


def table(page, name):
    """The column of a name, the last row that of all."""
    heads = [head.strip(" ▾▴\n") for head in page.locator(".tk-cost-table th button").all_inner_texts()]
    rows = page.locator(".tk-cost-table tbody tr, .tk-cost-table tfoot tr").all()
    return [row.locator("td, th").nth(heads.index(name)).inner_text().strip() for row in rows]


def totals(page):
    return {
        row.locator("th").inner_text().split("\n")[0]: row.locator("td").first.inner_text()
        for row in page.locator(".tk-cost-totals tbody tr").all()
    }


def settle(page, name, total):
    """Until a price's total is there."""
    row = page.locator(".tk-cost-totals tr", has=page.get_by_text(name, exact=True))
    row.locator("td", has_text=total).first.wait_for()


# What is sent


def test_the_table_is_sent_at_once(results):
    content = view(results, at=["gpt-4o"]).content
    assert content["axes"] == ["case"]
    assert content["settings"] == [["high"], ["low"], ["middle"]]
    assert content["columns"]["completion_tokens"] == [18, 8, 6]
    assert content["columns"]["cost"] == [3 * 67, 2 * 47, 2 * ONE]
    assert content["columns"]["cut"] == [1, 0, 0]
    assert content["total"]["cost"] == 3 * 67 + 2 * 47 + 2 * ONE
    (offer,) = content["offers"]
    assert offer["total"] == pytest.approx(float(model_price("gpt-4o").of(49, 32)))
    assert content["paid"].startswith("own: 1e+06 in")


def test_other_prices_by_hand(results):
    own = ModelPrice("own", input=2e6, output=1e6, cached=1e6)
    found = view(results, at=[own])
    listed, given = found.prices([["gpt-4o", "openai"], ["own", None]], True)
    assert listed["total"] == pytest.approx(float(model_price("gpt-4o").of(49, 32, 14)))
    # 5 tokens at 2, 2 cached at 1, and the generated at 1.
    assert given["cost"] == [3 * (10 + 2 + 6), 2 * (10 + 2 + 4), 2 * (10 + 2 + 3)]
    assert (given["total"], given["name"]) == (116, "own")
    assert found.prices([["own", None]], False)[0]["total"] == 116 + 14
    hour = found.content["at_one_an_hour"]
    assert 7200 * hour["total"] == pytest.approx(1)  # half a second, all at once
    assert sum(hour["cost"]) == pytest.approx(hour["total"])


def test_a_price_by_hand_stays_what_it_was(results):
    price = ModelPrice("gpt-4o", 1e6, 0)
    found = view(results, at=[price])
    assert found.prices([found.content["offers"][0]["key"]], False)[0]["total"] == 49


def test_models_are_searched_by_all_words_and_paged(results):
    found = view(results)
    first = found.models("Claude anthropic/", 0)
    assert len(first["models"]) == first["size"]
    assert all("claude" in row["model"].lower() for row in first["models"])
    assert {row["provider"] for row in first["models"]} == {"anthropic"}
    second = found.models("claude anthropic/", 1)
    assert not {row["model"] for row in first["models"]} & {row["model"] for row in second["models"]}
    assert found.models("no-such-model")["total"] == 0
    assert found.models()["total"] > 1000


# In the browser


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_it_cost_and_what_it_would(page, results, theme):
    mount(page, view(results, at=["gpt-4o", "gpt-4o-mini"]), theme)
    assert table(page, "case") == ["high", "low", "middle", "all"]
    assert table(page, "tokens") == ["39", "22", "20", "81"]
    assert table(page, "cost, $") == ["201", "94", "74", "369"]  # one format, at most four digits
    assert table(page, "correct") == ["0.0 %", "100.0 %", "50.0 %", "42.9 %"]
    assert table(page, "cut") == ["1", "0", "0", "1"]
    assert table(page, "gpt-4o, $")[-1] == "0.0004425"
    assert list(totals(page)) == ["as paid", "gpt-4o", "gpt-4o-mini"]
    assert "Lost: 1 completion cut" in page.locator(".tk-cost-said").inner_text()
    assert (
        page.locator(".tk-cost-front").inner_text()
        == "Pareto front: case middle (50.0 %); case low (100.0 %)"
    )
    marks = page.locator(".tk-cost-figure svg.tk-chart .tk-mark")
    assert [one.get_attribute("aria-label").split(":")[0] for one in marks.all()] == [
        "case low",
        "case middle",
        "case high",
    ]
    marks.first.hover()
    assert (
        page.locator(".tk-tip:popover-open").inner_text()
        == "case low: 47000 US dollars for 1,000 completions, 100.0 % correct"
    )
    shot(page, f"costs-{theme}")
    unharmed(page)


def test_the_table_is_sorted_by_its_heads(page, results):
    mount(page, view(results))
    head = page.locator("[data-column=completion_tokens]")
    head.click()
    assert table(page, "generated") == ["18", "8", "6", "32"]
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")  # the focus stays where it was
    assert table(page, "generated") == ["6", "8", "18", "32"]
    page.locator("[data-column='axis 0']").click()
    assert table(page, "case") == ["high", "low", "middle", "all"]
    page.locator("[data-column='axis 0']").click()
    assert table(page, "case") == ["middle", "low", "high", "all"]


def test_a_model_is_found_added_and_left_out(page, results):
    mount(page, view(results))
    page.get_by_text("Add a model").click()
    page.get_by_label("search models").fill("gpt-4o-mini openai/")
    add = page.get_by_label("gpt-4o-mini from openai", exact=True)
    add.click()
    expected = float(model_price("gpt-4o-mini").of(49, 32))
    settle(page, "gpt-4o-mini", "<1")  # beside 369
    assert float(table(page, "gpt-4o-mini, $")[-1]) == pytest.approx(expected, rel=0.005)
    assert add.inner_text() == "added"
    page.get_by_label("leave out gpt-4o-mini").click()
    page.locator(".tk-cost-totals tr").nth(1).wait_for(state="detached")
    assert list(totals(page)) == ["as paid"]
    assert add.inner_text() == "add"
    unharmed(page)


def test_a_price_of_ones_own_moves_table_and_chart_at_once(page, results):
    mount(page, view(results))
    page.locator("[data-price=input]").fill("2000000")
    assert list(totals(page)) == ["as paid"]  # not without that of the output
    page.locator("[data-price=output]").fill("1000000")
    settle(page, "own price", "130")
    assert table(page, "own price, $") == ["60", "36", "34", "130"]
    page.locator("[data-price=cached]").fill("1000000")
    settle(page, "own price", "116")
    assert page.get_by_label("that the engine had cached").is_checked()
    page.get_by_label("that the engine had cached").uncheck()
    settle(page, "own price", "130")
    page.get_by_label("at the price").select_option("own price")
    labels = [one.get_attribute("aria-label") for one in page.locator(".tk-chart .tk-mark").all()]
    assert labels[0] == "case low: 18000 US dollars for 1,000 completions, 100.0 % correct"
    page.get_by_label("that the engine had cached").check()
    labels = [one.get_attribute("aria-label") for one in page.locator(".tk-chart .tk-mark").all()]
    assert [label.split(" US")[0] for label in labels] == [
        "case low: 16000",
        "case middle: 15000",
        "case high: 18000",
    ]
    assert (
        page.locator(".tk-cost-front").inner_text()
        == "Pareto front: case middle (50.0 %); case low (100.0 %)"
    )
    page.get_by_label("that the engine had cached").uncheck()
    page.locator("[data-price=output]").fill("-1")
    page.locator(".tk-error").get_by_text("US dollars").wait_for()
    page.locator("[data-price=output]").fill("1e6")
    page.locator(".tk-error:empty").wait_for(state="attached")
    assert totals(page)["own price"] == "130"


@pytest.mark.parametrize("cached", [True, False])
def test_what_needs_no_kernel_goes_on_without_one(page, results, cached):
    widget = view(results)
    mount(page, widget)
    page.evaluate("window.gone = true")
    for name, rate in (("input", "123456.5"), ("output", "7654321"), ("cached", "4321")):
        page.locator(f"[data-price={name}]").fill(rate)
    if not cached:
        page.get_by_label("that the engine had cached").uncheck()
    page.locator("[data-price=hour]").fill("1234567")
    own = ModelPrice("own", 123456.5, 7654321, 4321)
    for name, price in (("own price", own), ("this machine", LocalPrice(1234567))):
        each, total = widget.costs.at(price, cached)
        shown = [float(cell.replace(",", "")) for cell in table(page, f"{name}, $")]
        assert shown == pytest.approx([*each, total], abs=0.051)  # four digits of the largest
    page.get_by_text("Add a model").click()
    page.get_by_text("The kernel does not answer").wait_for()
    unharmed(page)


def test_the_front_is_that_of_the_analysis(page, db, made):
    draw = np.random.default_rng(5)
    answers = [
        (
            {"case": f"{i:02}"},
            made(f"{draw.integers(4) / 4}", messages=f"{i}", steps=int(draw.integers(1, 6))),
        )
        for i in range(40)
    ]
    results = ran(Store(db), "s", answers)
    widget = CostsView(results.costs("case", PRICE, score=lambda row: float(row["text"])))
    front = widget.costs.front()
    assert 1 < front.sum() < 20
    mount(page, widget)
    marks = page.locator(".tk-cost-figure svg.tk-chart .tk-mark.tk-hue-1").all()
    names = {one.get_attribute("aria-label").split(":")[0] for one in marks}
    assert names == {f"case {name}" for name in widget.costs.table.index[front]}


def test_what_failures_cost_is_in_the_cost_of_a_completion(page, db, made):
    new = made("no", messages="b")
    results = ran(Store(db), "s", [({}, made("yes", messages="a")), ({}, new)], failed=[new])
    costs = results.costs(by=[], price=PRICE, score=lambda row: row["text"] == "yes")
    mount(page, CostsView(costs))
    told = page.locator(".tk-chart .tk-mark").get_attribute("aria-label")
    assert f": {1000 * costs.total['cost_per_completion']:g} US dollars" in told
    assert costs.total["cost_per_completion"] > costs.total["cost"] / 2
    assert table(page, "a correct one, $")[-1] == f"{costs.total['cost_per_correct']:g}"


def test_the_price_of_the_chart_stays_when_another_is_left_out(page, results):
    mount(page, view(results, at=["gpt-4o", "gpt-4o-mini"]))
    page.get_by_label("at the price").select_option("gpt-4o-mini")
    before = page.locator(".tk-chart .tk-mark").first.get_attribute("aria-label")
    page.get_by_label("leave out gpt-4o", exact=True).click()
    page.locator(".tk-cost-totals tr").nth(2).wait_for(state="detached")
    assert page.get_by_label("at the price").locator("option:checked").inner_text() == "gpt-4o-mini"
    assert page.locator(".tk-chart .tk-mark").first.get_attribute("aria-label") == before


def test_the_hour_of_this_machine(page, results):
    mount(page, view(results, LocalPrice(per_hour=3600)))
    hour = page.locator("[data-price=hour]")
    assert hour.input_value() == "3600"
    assert totals(page) == {"as paid": "0.5"}
    hour.fill("7200")
    settle(page, "this machine", "1.0")
    assert page.locator(".tk-cost-totals").inner_text().count("× 2.00") == 1
    page.get_by_role("checkbox", name="This machine").uncheck()
    page.locator(".tk-cost-totals tr").nth(1).wait_for(state="detached")


def test_by_keyboard_alone(page, results):
    mount(page, view(results))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort]").inner_text().startswith("case")
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    page.locator("[data-key]").first.wait_for()
    page.keyboard.press("Tab")
    page.keyboard.type("gpt-4o openai/")
    page.locator(".tk-cost-models").get_by_text("gpt-4o-mini", exact=True).wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    chosen = page.evaluate("JSON.parse(document.activeElement.dataset.key)[0]")
    page.keyboard.press("Space")
    page.locator(".tk-cost-totals").get_by_text(chosen, exact=True).wait_for()
    assert page.evaluate("document.activeElement.textContent") == "added"
    page.keyboard.press("Space")
    page.locator(".tk-cost-totals tr").nth(1).wait_for(state="detached")
    unharmed(page)


def test_the_models_are_turned_page_by_page(page, results):
    mount(page, view(results))
    page.get_by_text("Add a model").click()
    page.get_by_text("1 to 12 of").wait_for()
    page.get_by_role("button", name="next").click()
    page.get_by_text("13 to 24 of").wait_for()
    page.keyboard.press("Enter")
    page.get_by_text("25 to 36 of").wait_for()
    page.get_by_label("search models").fill("zzzz")
    page.get_by_text("no such model").wait_for()


def test_many_settings_have_pages(page, db, made):
    answers = [({"case": f"{i:02}"}, made(messages=f"{i}", steps=i + 1)) for i in range(30)]
    mount(page, CostsView(ran(Store(db), "s", answers).costs("case", PRICE)))
    assert len(table(page, "case")) == 26
    page.get_by_role("button", name="next").click()
    assert table(page, "case")[:2] == ["25", "26"]
    page.locator("[data-column=tokens]").click()
    assert table(page, "case")[0] == "29"


@pytest.mark.parametrize(
    ("price", "scored", "title", "marks"),
    [
        (PRICE, False, "Cost against tokens", "case high: 67000 US dollars for 1,000 completions, 13 tokens"),
        (
            None,
            False,
            "Prompt tokens against generated tokens",
            "case high: 7 prompt tokens of a completion, 6 generated",
        ),
        (
            None,
            True,
            "Prompt tokens against correct",
            "case high: 7 prompt tokens of a completion, 0.0 % correct",
        ),
    ],
)
def test_without_a_price_or_a_quality(page, results, price, scored, title, marks):
    mount(page, view(results, price, scored=scored))
    assert page.locator(".tk-cost-figure h4").inner_text() == title
    assert page.locator(".tk-chart .tk-mark").first.get_attribute("aria-label").startswith(marks)
    assert ("No price yet" in page.locator(".tk-cost-if").inner_text()) == (price is None)
    assert page.locator(".tk-cost-front").count() == 0


def test_nothing_asked_shows_nothing(page, results):
    mount(page, CostsView(results.filter(model="none").costs("case", PRICE, "gpt-4o", lambda row: 1)))
    assert table(page, "cost, $") == ["0"]
    page.get_by_text("nothing to show").wait_for()
    unharmed(page)


def test_what_is_not_known_is_a_dash(page, results, tmp_path):
    from toolkit.results.results import Results

    path = results.to_jsonl(tmp_path / "r.jsonl")
    mount(page, CostsView(Results.from_jsonl(path).costs("seed", PRICE)))
    assert table(page, "seed") == ["–", "all"]
    unharmed(page)


# What data and models may say


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_text_everywhere(page, db, made, name):
    text = HOSTILE[name].encode("utf-8", "replace").decode()
    rows = [{"word": f"{text[:9000]}{i}"} for i in range(9)]
    answers = [({"row": i}, made(text[:2000], messages=f"{i}", steps=i + 1)) for i in range(9)]
    costs = ran(Store(db), "s", answers, rows).costs(
        "row.word", PRICE, ModelPrice(text[:9000], 1, 1), lambda row: row["completion_tokens"]
    )
    widget = CostsView(costs)
    mount(page, widget, "dark")
    page.locator("[data-column='axis 0']").click()
    page.get_by_label("at the price").select_option(index=1)
    page.locator(".tk-chart .tk-mark").first.hover()
    unharmed(page)
    static(page, widget)
    unharmed(page)
    assert "\x1b" not in widget.text() + widget.html()


# Without a kernel


def test_as_html_and_as_text(page, results):
    widget = view(results, at="gpt-4o")
    static(page, widget)
    rows = {
        row.locator("td").first.inner_text(): row.locator("td").all_inner_texts()
        for row in page.locator("tbody tr").all()
    }
    assert rows["cost (US$)"][1:] == ["201", "94", "74", "369"]
    assert rows["correct (share)"][1:] == ["0", "1", "0.5", "0.4286"]
    assert page.locator("td", has_text="201").first.evaluate("e => e.style.textAlign") == "right"
    assert "the Pareto front" in page.locator("ul").first.inner_text()
    for word in ("<script", "<style", "<svg"):
        assert word not in widget.html()
    assert widget.text().startswith("Costs")
    assert "Lost: 1 completion cut" in widget.text()
    unharmed(page)


def test_tokens_that_a_server_does_not_report_are_shown_as_unknown(page, db, made):
    known = made("yes", messages="known", steps=4)
    unknown = replace(made("no", messages="unknown", steps=4), usage=UNKNOWN_USAGE)
    unknown = replace(unknown, choices=tuple(replace(choice, logprobs=None) for choice in unknown.choices))
    mount(page, view(ran(Store(db), "s", [({"case": "a"}, known), ({"case": "b"}, unknown)])))
    assert table(page, "tokens") == ["11", "–", "–"]
    assert table(page, "generated") == ["4", "–", "–"]
    assert table(page, "cost, $") == ["47", "–", "–"]
    assert "the tokens of 1 are unknown" in page.locator(".tk-cost-said").inner_text()
    page.locator("[data-price=input]").fill("1")
    page.locator("[data-price=output]").fill("1")
    assert table(page, "own price, $")[1:] == ["–", "–"]
    unharmed(page)
