import dataclasses
import json
import threading

import numpy as np
import pytest
from browser import HOSTILE, mount, shot, static, unharmed
from playwright.sync_api import expect

from toolkit.analysis.microscope import microscope
from toolkit.core.choice import Choice
from toolkit.core.completion import Completion, Usage
from toolkit.core.request import Request
from toolkit.widgets.microscope import SETTINGS, MicroscopeView

TEXT = "The old lighthouse keeper climbed the stairs again, and the lamp was dark.\nHe said “no” and"
WORDS = TEXT.replace(" ", "| ").split("|")
OTHERS = [f" {a}{b}" for a in "bdfgklmnprstvw" for b in ("ake", "ell", "ight", "ow", "ust", "ane", "earth")]


def told(words=WORDS, others=OTHERS, k=20, fields=None, **sampling):
    """A completion of these words, each a token; of a vocabulary with the others the top k are stored."""
    draw = np.random.default_rng(3)
    names = list(dict.fromkeys([*words, *others]))
    raw = [n if isinstance(n, bytes) else n.encode("utf-8", "replace") for n in names]
    rows, own = np.arange(len(words)), np.array([names.index(word) for word in words])
    logits = draw.normal(size=(len(words), len(names))) * 1.3
    logits[rows, own] += draw.uniform(1, 5, len(words))
    logprobs = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)
    top = np.argsort(-logprobs, axis=1)[:, :k]
    choice = Choice(
        0,
        b"".join(raw[i] for i in own).decode("utf-8", "replace"),
        "stop",
        token_ids=own.astype(np.int32),
        logprobs=logprobs[rows, own],
        ranks=1 + (logprobs > logprobs[rows, own][:, None]).sum(axis=1).astype(np.int32),
        top_ids=top.astype(np.int32),
        top_logprobs=np.take_along_axis(logprobs, top, 1),
        logprobs_mode="raw_logprobs",
        vocabulary=lambda: raw,
    )
    return Completion(
        request=Request.chat("Tell a story", top_logprobs=k, **sampling).resolve({}),
        choices=(dataclasses.replace(choice, **(fields or {})),),
        usage=Usage(7, len(own)),
        model="by-hand",
        system_fingerprint="fp_0000000000",
        id="0123456789abcdef",
        created=1_700_000_000.5,
    )


class Continues:
    """An engine's `branch`, which goes on with the same tokens, once it may."""

    def __init__(self, error=None):
        self.asked, self.error, self.may = [], error, threading.Event()

    def branch(self, completion, at, token, choice=0):
        self.asked.append((at, token, choice))
        self.may.wait(20)
        if self.error:
            raise ValueError(self.error)
        own = completion.choices[choice]
        ids = np.concatenate([own.token_ids[:at], [token], own.token_ids[1:4]]).astype(np.int32)
        notes = {"branch": {"at": at, "token": "…", "counted anew": ["seed"]}}
        made = dataclasses.replace(own, token_ids=ids, finish_reason="length")
        return dataclasses.replace(completion, choices=(made,), notes=notes)


@pytest.fixture
def scope():
    return microscope(told(temperature=0.9, top_p=0.95, seed=7))


def drawn(page):
    """What the table says: for each row the text of its cells."""
    return page.locator(".tk-mic-table tbody tr").evaluate_all(
        "rows => rows.map(r => [...r.cells].map(c => c.textContent))"
    )


def moved(page, before):
    """The table, once it is another one."""
    page.wait_for_function(
        "(was) => JSON.stringify([...document.querySelectorAll('.tk-mic-table tbody tr')]"
        ".map(r => [...r.cells].map(c => c.textContent))) !== JSON.stringify(was)",
        arg=before,
    )
    return drawn(page)


def step_of(page):
    return page.get_by_label("step", exact=True).input_value()


def slider(page, name):
    return page.get_by_role("slider", name=name, exact=True)


# The Python side


def test_first_sight_needs_no_kernel(scope):
    content = MicroscopeView(scope).content
    json.dumps(content, allow_nan=False)
    assert content["settings"] == {
        "temperature": 0.9, "top_p": 0.95, "top_k": 0, "min_p": 0, "frequency_penalty": 0, "presence_penalty": 0,
    }  # fmt: skip
    assert content["step"] == np.argmin(scope.choice.logprobs) == content["now"]["step"]
    assert len(content["now"]["rows"]) == len(scope.at(content["step"]).ids) + 1
    assert "".join(content["page"]["texts"]) == scope.choice.text


def test_what_it_draws_is_what_the_analysis_says(scope):
    view = MicroscopeView(scope)
    options = {**view.content["settings"], "temperature": 0.5, "top_p": 0.8, "presence_penalty": 1.0}
    now, step = view.at(9, options), scope.at(9, temperature=0.5, top_p=0.8, presence_penalty=1.0)
    rows = now["rows"][:-1]
    assert [r["id"] for r in rows] == step.ids.tolist()
    for name, column in (("before", step.raw), ("low", step.low), ("high", step.high), ("seen", step.seen)):
        assert [r[name] for r in rows] == column.tolist()
    assert [i for i, r in enumerate(rows) if r["drawn"]] == [step.chosen]
    assert now["rows"][-1]["high"] == step.tail_high
    assert sum(now["fates"].values()) == len(step.ids)
    assert now["counted"] == 9
    assert view.displayed_step.settings == step.settings


def test_a_table_of_many_tokens_is_cut_and_the_rest_counted():
    scope = microscope(told(k=110))
    now = MicroscopeView(scope).at(2, {n: scope.sampling.given()[n] for n in SETTINGS})
    shown, others = now["rows"][:-1], now["rows"][-1]
    assert len(shown) in (30, 31)
    assert others["text"] == f"all {len(scope.choice.vocabulary()) - len(shown)} others"
    assert sum(r["before"] for r in now["rows"]) == pytest.approx(1, abs=1e-5)
    assert others["low"] == pytest.approx(others["before"], abs=1e-5)


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        (b" a\n", "␣a⏎"),
        (b"  ", "␣␣"),
        (b"a\tb ", "a⇥b␣"),
        (b"\xf0\x9f", "⟨F0 9F⟩"),
        (b"", "(no text)"),
        ("\u202e".encode(), "⟨U+202E⟩"),
    ],
)
def test_every_token_can_be_seen(raw, label):
    view = MicroscopeView(microscope(told(["a", raw, "b"], k=3)))
    rows = view.at(1, view.content["settings"])["rows"]
    assert next(r["text"] for r in rows if r.get("drawn")) == label


def test_settings_that_cannot_be_followed_are_left_out_and_said():
    view = MicroscopeView(microscope(told(repetition_penalty=1.1, logit_bias={3: 2})))
    assert view.content["notes"] == [
        "The request had repetition_penalty=1.1, which is left out here: it multiplies or divides a logit by its "
        "sign, which log probabilities do not tell.",
        "The request's logit_bias of 1 token(s) is applied.",
    ]
    assert view.displayed_step.settings.repetition_penalty == 1
    assert "repetition_penalty=1.1, which is left out" in view.html()
    assert "repetition_penalty=1.1, which is left out" in view.text()


def test_a_step_that_is_not_known_says_why(page):
    nothing = np.full((3, 20), np.nan, np.float32)
    choice = told(["a", "b", "c"]).choices[0]
    bare = dataclasses.replace(choice, top_logprobs=nothing, logprobs=nothing[:, 0])
    view = MicroscopeView(microscope(bare))
    assert view.displayed_step is None
    mount(page, view)
    page.get_by_text("the log probabilities of step 0 are not known").wait_for()
    assert page.locator(".tk-mic-table").is_hidden()
    assert "of step 0 are not known" in view.html()
    assert "of step 0 are not known" in view.text()
    unharmed(page)


def test_a_text_without_tokens_is_refused():
    empty = {n: a[:0] for n in ("token_ids", "logprobs", "ranks", "top_ids", "top_logprobs")
             if (a := getattr(told().choices[0], n)) is not None}  # fmt: skip
    with pytest.raises(ValueError, match="has no tokens: there is no step"):
        MicroscopeView(microscope(told(fields=empty)))


def test_the_static_form_tells_the_same(scope, page):
    view = MicroscopeView(scope)
    view.at(9, {**view.content["settings"], "temperature": 0.5, "min_p": 0.3})
    static(page, view)
    cells = page.locator("tbody tr").evaluate_all(
        "rows => rows.map(r => [...r.cells].map(c => c.textContent))"
    )
    step = view.displayed_step
    assert len(cells) == len(step.ids) + 1
    assert {c[-1] for c in cells} == {"kept", "cut by min-p", "together"}
    assert page.locator("del").count() == np.count_nonzero(step.fate == "cut")
    assert "temperature=0.5" in page.content()
    assert "var(" not in view.html()
    for told_as in ("Step 9 at temperature=0.5", "Entropy", "kept", "cut"):
        assert told_as in view.text()
    unharmed(page)


# In the browser


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_sliders_move_the_distribution(page, scope, theme):
    view = MicroscopeView(scope)
    mount(page, view, theme)
    was = drawn(page)
    assert len(was) == len(view.displayed_step.ids) + 1
    box = slider(page, "temperature").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.45, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.15, box["y"] + box["height"] / 2, steps=12)
    page.mouse.up()
    was = moved(page, was)
    page.wait_for_function("() => document.querySelector('.tk-mic-tiles strong').textContent.length")
    assert view.displayed_step.settings.temperature < 0.5
    number = page.get_by_label("temperature, as a number")
    assert float(number.input_value()) == view.displayed_step.settings.temperature
    number.fill("1.25")
    number.press("Enter")
    was = moved(page, was)
    assert view.displayed_step.settings.temperature == 1.25
    assert slider(page, "temperature").input_value() == "1.25"
    slider(page, "top-k").fill("4")
    moved(page, was)
    assert page.locator(".tk-mic-cut").count() == len(view.displayed_step.ids) - 4
    assert page.locator(".tk-mic-cut button").first.evaluate(
        "e => getComputedStyle(e).textDecorationLine"
    ) == ("line-through")
    assert page.get_by_text("cut by top-k").count() == len(view.displayed_step.ids) - 4
    shot(page, f"microscope-{theme}")
    unharmed(page)


def test_what_is_not_known_is_said_and_drawn_light(page, scope):
    view = MicroscopeView(scope)
    mount(page, view)
    was = drawn(page)
    number = page.get_by_label("temperature, as a number")
    number.fill("1.9")
    number.press("Tab")
    moved(page, was)
    unknown = page.locator(".tk-mic-unknown")
    assert unknown.count() == np.count_nonzero(view.displayed_step.fate == "unknown") > 0
    assert "unknown: top-p" in unknown.first.text_content()
    assert " – " in unknown.first.text_content()
    assert unknown.first.locator(".tk-mic-high").is_visible()
    assert unknown.first.locator(".tk-mic-low").is_hidden()
    unharmed(page)


def test_a_dragged_slider_asks_no_faster_than_answers_come(page, scope):
    view = MicroscopeView(scope)
    mount(page, view)
    page.evaluate(
        """() => { window.asked = 0; const was = window.toPython;
        window.toPython = async (c) => { window.asked++; await new Promise(r => window.go = r); return was(c); }; }"""
    )
    page.evaluate(
        """() => { const one = document.querySelector('input[type=range]');
        for (let i = 0; i < 40; i++) { one.value = i / 40; one.dispatchEvent(new Event('input')); } }"""
    )
    assert page.evaluate("window.asked") == 1
    page.evaluate("window.go()")
    page.wait_for_function("window.asked === 2")
    page.evaluate("window.go()")
    page.wait_for_function("() => document.querySelector('.tk-mic-status').textContent")
    assert page.evaluate("window.asked") == 2
    assert view.displayed_step.settings.temperature == pytest.approx(0.98)


def test_presets_and_reset(page, scope):
    view = MicroscopeView(scope)
    mount(page, view)
    presets = {
        "Greedy": {"temperature": 0, "top_p": 1},
        "Creative": {"temperature": 1.3, "presence_penalty": 0.6},
        "Neutral": {"temperature": 1, "top_p": 1},
        "As sampled": {"temperature": 0.9, "top_p": 0.95},
    }
    was = drawn(page)
    for name, settings in presets.items():
        button = page.get_by_role("button", name=name)
        button.click()
        was = moved(page, was)
        assert button.get_attribute("aria-pressed") == "true"
        assert page.locator("[aria-pressed=true]").count() == 1
        assert {n: getattr(view.displayed_step.settings, n) for n in settings} == settings
    page.get_by_role("button", name="Greedy").click()
    was = moved(page, was)
    page.get_by_text("At temperature 0 the most likely token is taken").wait_for()
    page.get_by_label("step after").click()
    was = moved(page, was)
    page.get_by_role("button", name="Reset").click()
    moved(page, was)
    page.wait_for_function(
        f"() => document.querySelector('[aria-selected]').dataset.step === '{view.content['step']}'"
    )
    assert page.get_by_role("button", name="As sampled").get_attribute("aria-pressed") == "true"


def tiles(page):
    """What each tile of numbers says before and after the settings."""
    texts = page.locator(".tk-mic-tile > div:last-child").all_text_contents()[:3]
    return [text.split(" → ") for text in texts]


@pytest.mark.parametrize(
    ("sampling", "name"),
    [
        ({"temperature": 1.0}, "As sampled (neutral)"),
        ({"temperature": 0.0}, "As sampled (greedy)"),
        ({"temperature": 0.9}, "As sampled"),
    ],
)
def test_one_preset_is_lit(page, sampling, name):
    mount(page, MicroscopeView(microscope(told(**sampling))))
    assert page.locator("button[aria-pressed=true]").all_text_contents() == [name]
    names = page.get_by_role("group", name="settings").get_by_role("button").all_text_contents()
    assert len(names) == (5 if name == "As sampled" else 4)
    page.get_by_label("temperature, as a number").fill("1.7")
    page.keyboard.press("Enter")
    expect(page.locator("button[aria-pressed=true]")).to_have_count(0)


@pytest.mark.parametrize(
    "sampling", [{"temperature": 0.7, "top_p": 0.5}, {"logit_bias": {3: 4}}, {"min_p": 0.2}]
)
def test_neutral_settings_change_nothing_that_is_shown(page, sampling):
    view = MicroscopeView(microscope(told(**sampling)))
    mount(page, view)
    was = drawn(page)
    page.get_by_role("button", name="Neutral").click()
    rows = moved(page, was)
    for before, after in tiles(page):
        assert before == after
    assert all(row[2] == row[3] for row in rows)
    assert {row[4] for row in rows} == {"kept", "together"}
    assert "cut" not in page.locator(".tk-mic-tiles").text_content()


def test_the_bias_of_the_request_is_applied_or_not(page):
    view = MicroscopeView(microscope(told(logit_bias={3: 4})))
    mount(page, view)
    bias = page.get_by_label("the request's logit_bias")
    expect(bias).to_be_checked()
    was = drawn(page)
    bias.uncheck()
    was = moved(page, was)
    assert view.displayed_step.settings.logit_bias is None
    assert "logit_bias of 1 token(s) is left out" in view.html()
    page.get_by_role("button", name="As sampled").click()
    moved(page, was)
    expect(bias).to_be_checked()
    assert "logit_bias of 1 token(s) is applied" in view.text()
    unharmed(page)


def test_neutral_in_python_is_the_stored_distribution():
    view = MicroscopeView(microscope(told(temperature=0.7, logit_bias={3: 4})))
    ((_, settings),) = [preset for preset in view.content["presets"] if preset[0] == "Neutral"]
    now = view.at(5, settings)
    assert now["entropy"][0] == now["entropy"][1]
    assert now["missing"][0] == now["missing"][1]
    assert all(row["low"] == row["high"] == row["before"] for row in now["rows"][:-1])


def test_the_text_chooses_the_step_and_penalties_count_what_is_before(page, scope):
    view = MicroscopeView(scope)
    mount(page, view)
    was = drawn(page)
    page.locator(".tk-mic-token").nth(9).click()
    was = moved(page, was)
    assert (view.displayed_step.step, step_of(page)) == (9, "9")
    page.get_by_text("9 tokens before this step count for the penalties").wait_for()
    assert page.locator(".tk-mic-name small").count() == np.count_nonzero(view.displayed_step.seen)
    page.locator(".tk-mic-token").nth(2).hover()
    tip = page.locator(".tk-tip")
    assert tip.text_content().startswith("step 2: probability ")
    page.get_by_label("step", exact=True).fill("4")
    page.keyboard.press("Enter")
    moved(page, was)
    assert view.displayed_step.step == 4


def test_all_with_the_keyboard_alone(page, scope):
    engine = Continues()
    engine.may.set()
    view = MicroscopeView(scope, engine)
    mount(page, view)

    def tab_to(condition):
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate(f"(() => {{ const a = document.activeElement; return {condition}; }})()"):
                return
        pytest.fail(f"Tab never reaches {condition}")

    was = drawn(page)
    tab_to("a.role === 'option'")
    page.keyboard.press("Home")
    was = moved(page, was)
    page.keyboard.press("ArrowRight")
    was = moved(page, was)
    page.keyboard.press("ArrowRight")
    was = moved(page, was)
    assert (view.displayed_step.step, step_of(page)) == (2, "2")
    assert page.evaluate("document.activeElement.dataset.step") == "2"
    assert page.locator(".tk-tip").evaluate("e => e.matches(':popover-open')")
    page.keyboard.press("Escape")
    assert not page.locator(".tk-tip").evaluate("e => e.matches(':popover-open')")
    tab_to("a.type === 'range' && a.ariaLabel === 'top-p'")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    was = moved(page, was)
    page.wait_for_function("() => document.querySelector('[aria-label=\"top-p\"]').value === '0.9'")
    tab_to("a.classList.contains('tk-mic-pick')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    if "tk-mic-drawn" in page.evaluate("document.activeElement.className"):
        page.keyboard.press("ArrowUp")
    token = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    page.get_by_text("Branch at step 2").wait_for()
    assert page.locator(".tk-mic-side mark").all_text_contents() == ["␣lighthouse", token]
    assert view.displayed_step.settings.top_p == pytest.approx(0.9)
    assert len(view.branches) == 1


def test_a_branch_works_in_a_thread_and_several_are_kept(page, scope):
    engine = Continues()
    view = MicroscopeView(scope, engine)
    mount(page, view)
    was = drawn(page)
    page.locator(".tk-mic-token").nth(5).click()
    moved(page, was)
    names = page.locator(".tk-mic-pick:not(.tk-mic-drawn)")
    first, second = names.nth(0).text_content(), names.nth(1).text_content()
    names.nth(0).click()
    page.get_by_text(f"Step 5: going on with {first} … 1 s").wait_for()
    # Meanwhile all else answers.
    was = drawn(page)
    page.get_by_role("button", name="Greedy").click()
    moved(page, was)
    names.nth(1).click()
    page.get_by_text(f"going on with {second}").wait_for()
    engine.may.set()
    page.locator(".tk-mic-side").nth(3).wait_for()
    assert len(view.branches) == 2
    assert [c.request.key for c in view.branches] == [scope.completion.request.key] * 2
    assert {asked[0] for asked in engine.asked} == {5}
    sides = page.locator(".tk-mic-branch").last.locator(".tk-mic-side .tk-said").all_text_contents()
    assert sides[0] == f"␣the{''.join(WORDS[6:])}"
    assert sides[1] == f"{first} old lighthouse keeper"
    page.get_by_text("Counted anew from the fork on: seed.").first.wait_for()
    assert view.text().count("Branch at step 5: Original: ␣the") == 2
    shot(page, "microscope-branches")
    # Another view of the widget, and the static form, have them too.
    other = page.context.new_page()
    other.refused, other.errors = [], []
    static(other, view)
    assert other.get_by_text("Branch at step 5").count() == 2
    assert len(view.content["branches"]) == 2


def test_the_drawn_token_is_no_branch(page, scope):
    engine = Continues()
    mount(page, MicroscopeView(scope, engine))
    page.locator("button.tk-mic-drawn").click(force=True)
    page.locator("button.tk-mic-drawn").press("Enter")
    assert engine.asked == []
    assert page.locator(".tk-mic-branch").count() == 0


def test_an_engine_that_refuses_is_quoted(page, scope):
    engine = Continues("<b>another tokenizer</b>\x1b")
    engine.may.set()
    view = MicroscopeView(scope, engine)
    mount(page, view)
    page.locator("button.tk-mic-pick:not(.tk-mic-drawn)").first.click()
    page.get_by_text("<b>another tokenizer</b>⟨U+001B⟩").wait_for()
    assert view.branches == []
    unharmed(page)


@pytest.mark.parametrize("bare", [False, True])
def test_without_an_engine_it_says_what_is_needed(page, bare):
    completion = told()
    view = MicroscopeView(
        microscope(completion.choices[0] if bare else completion), Continues() if bare else None
    )
    needed = "the completion that the choice is one of" if bare else "an engine"
    mount(page, view)
    page.locator("button.tk-mic-pick:not(.tk-mic-drawn)").first.click()
    said = f"Branching needs {needed}: tk.widgets.MicroscopeView(tk.microscope(completion), engine)."
    page.get_by_role("status").get_by_text(said).wait_for()
    with pytest.raises(ValueError, match=f"Branching needs {needed}"):
        view.branch(0, 1, "card")


def test_a_wrong_number_is_told_and_the_last_table_stays(page, scope):
    mount(page, MicroscopeView(scope))
    was = drawn(page)
    number = page.get_by_label("temperature, as a number")
    number.fill("3")
    number.press("Enter")
    page.get_by_role("alert").get_by_text("temperature must be a number from 0 to 2, got 3").wait_for()
    assert drawn(page) == was
    number.fill("0.5")
    number.press("Enter")
    moved(page, was)
    assert page.get_by_role("alert").is_hidden()


def test_long_texts_are_paged(page):
    words = [f"w{i % 50}" for i in range(4100)]
    view = MicroscopeView(microscope(told(words, k=5)))
    mount(page, view)
    where = page.get_by_label("step", exact=True)
    where.fill("1999")
    where.press("Enter")
    page.wait_for_function("() => document.querySelector('[aria-selected]').dataset.step === '1999'")
    page.get_by_label("step after").click()
    page.wait_for_function("() => document.querySelector('[aria-selected]').dataset.step === '2000'")
    assert page.locator(".tk-mic-token").count() == 2000
    page.locator("[aria-selected]").focus()
    page.keyboard.press("End")
    page.wait_for_function("() => document.querySelector('[aria-selected]').dataset.step === '4099'")
    assert page.locator(".tk-mic-token").count() == 100
    assert "more tokens" in view.html()


@pytest.mark.parametrize("width", [1200, 600])
def test_nothing_stands_out_of_the_page(page, scope, width):
    page.set_viewport_size({"width": width, "height": 800})
    mount(page, MicroscopeView(scope))
    unharmed(page, within=width)
    was = drawn(page)
    page.get_by_role("button", name="Greedy").click()
    assert "cut by temperature" in moved(page, was)[-2]
    cut_off = (
        "cells => cells.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.textContent)"
    )
    assert page.locator(".tk-mic-table td:last-child").evaluate_all(cut_off) == []
    static(page, MicroscopeView(scope))
    unharmed(page, within=max(width, 900))


def test_hostile_tokens_are_text_in_every_form(page):
    texts = [t.encode("utf-8", "replace") for t in HOSTILE.values()]
    completion = told(
        ["start", *texts, b"\xf0\x9f", "end"], others=[f"{t!r}" for t in HOSTILE.values()], k=12
    )
    engine = Continues()
    engine.may.set()
    view = MicroscopeView(microscope(completion), engine)
    mount(page, view, "dark")
    for i in range(len(texts) + 3):
        page.locator(".tk-mic-token").nth(i).click()
        page.wait_for_function(
            "(i) => document.querySelector('[aria-selected]').dataset.step === `${i}`", arg=i
        )
    page.locator(".tk-mic-token").nth(1).click()
    page.locator("button.tk-mic-pick:not(.tk-mic-drawn)").first.click()
    page.get_by_text("Branch at step").wait_for()
    assert page.locator(".tk-mic-branch").count() == 1
    shot(page, "microscope-hostile")
    unharmed(page)
    static(page, view)
    unharmed(page)
    assert "\x1b" not in view.text()
    assert "\u202e" not in view.text()


def test_a_real_engine_goes_on_from_another_token(engine, page):
    completion = engine.chat(
        "Name a fruit. Answer with one word.", temperature=0, top_logprobs=20, max_tokens=8
    )
    view = MicroscopeView(microscope(completion), engine)
    mount(page, view)
    page.locator(".tk-mic-text .tk-mic-token").first.click()
    page.wait_for_function("() => document.querySelector('[aria-selected]').dataset.step === '0'")
    other = page.locator("button.tk-mic-pick:not(.tk-mic-drawn)").first
    token = other.text_content()
    other.press("Enter")
    page.get_by_text("Branch at step 0").wait_for(timeout=60_000)
    (branch,) = view.branches
    assert branch.notes["branch"]["of"] == completion.id
    assert branch.token_ids[0] == completion.top_ids[0, 1]
    assert page.locator(".tk-mic-side mark").all_text_contents()[1] == token
    # A branch can be looked at in its turn.
    assert MicroscopeView(microscope(branch), engine).displayed_step is not None
    unharmed(page)
