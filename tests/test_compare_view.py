"""The Compare widget in a browser: by mouse, by keyboard alone, with hostile texts, and without a kernel."""

import csv
import dataclasses
import json
import re

import pytest
from browser import HOSTILE, mount, shot, static, unharmed
from playwright.sync_api import expect
from test_comparison import FINGERPRINT, FORM, filled

import toolkit as tk
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.widgets.comparison import CompareView

CELL = ".cmp-cell:not(.cmp-none)"


@pytest.fixture
def results(db, made):
    """Four questions at two temperatures, two seeds each; one was cut, one has failed."""
    capitals = [("France", "Paris"), ("Japan", "Tokyo"), ("Kenya", "Nairobi"), ("Peru", "Lima")]
    answers = []
    for row, (country, city) in enumerate(capitals):
        answers += [
            (row, {"temperature": 0.5, "seed": seed}, [f"The capital of {country} is {city}."])
            for seed in (1, 2)
        ]
        wild = [
            f"The capital of {country} is {city}.",
            {"text": f"The old capital of {country}, as everybody", "finish_reason": "length"},
        ]
        if country == "Peru":
            wild[0] = {"error": "the window is too short"}
        answers += [(row, {"temperature": 1.0, "seed": seed}, [wild[seed - 1]]) for seed in (1, 2)]
    return filled(db, made, answers, [{"country": country} for country, _ in capitals])


@pytest.fixture
def view(results):
    return CompareView(results.compare("temperature", price=tk.LocalPrice(per_hour=2)))


def grading(page, view):
    """The widget with the grades' controls in all cells."""
    mount(page, view)
    page.get_by_role("button", name="grade", exact=True).click()


def rows(page):
    return page.locator(".cmp-table tbody tr:not(.cmp-group):not(.cmp-detail):has(.cmp-cell)")


def focused(page):
    return page.evaluate("document.activeElement.dataset.at")


def test_outputs_stand_side_by_side_with_what_differs(page, view):
    mount(page, view)
    assert rows(page).count() == 8
    second = page.locator('[data-at="1-1"]')
    expect(second.locator("ins").first).to_have_text("old ")
    expect(second.locator("del")).to_have_text("is Paris.")
    assert second.locator("ins").first.evaluate("e => getComputedStyle(e).textDecorationLine") == "underline"
    assert (
        second.locator("del").first.evaluate("e => getComputedStyle(e).textDecorationLine") == "line-through"
    )
    expect(second).to_contain_text("≠ differs")
    expect(second).to_contain_text("✂ length")
    expect(second).to_contain_text("7 + 3 tokens")
    expect(second).to_contain_text("0.50 s")
    expect(second).to_contain_text("$0.000019")
    expect(page.locator('[data-at="0-1"]')).to_contain_text("= as the baseline")
    expect(page.locator('[data-at="6-1"]')).to_contain_text("the window is too short")
    shot(page, "compare-light")
    unharmed(page, 1200)


def test_the_baseline_and_the_diff_are_chosen(page, view):
    mount(page, view)
    page.get_by_role("button", name="baseline").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator('[data-at="1-0"] del').first).to_contain_text("old")
    expect(page.locator(".cmp-counts")).to_contain_text("differences from temperature 1")
    assert page.evaluate("document.activeElement.textContent") == "baseline"  # the focus stays
    page.get_by_label("diff", exact=True).select_option("tokens")
    expect(page.locator('[data-at="1-0"] del').first).to_contain_text("old")
    page.get_by_label("diff", exact=True).select_option("off")
    expect(page.locator(".cmp-cell del")).to_have_count(0)
    unharmed(page)


def test_only_differing_rows(page, view):
    mount(page, view)
    page.get_by_label("only differing").check()
    expect(rows(page)).to_have_count(5)
    expect(page.locator(".cmp-counts")).to_contain_text("5 of 8 rows, 5 outputs match")
    page.get_by_label("only differing").uncheck()
    expect(rows(page)).to_have_count(8)


def test_a_regular_expression_is_searched_and_marked_and_a_bad_one_is_said_at_its_box(page, view):
    mount(page, view)
    box = page.get_by_label("search outputs, a regular expression")
    box.fill("old|tokyo")
    expect(rows(page)).to_have_count(5)
    expect(page.locator("mark").first).to_have_text(re.compile("old|Tokyo"))
    box.fill("old(")
    expect(page.locator(".cmp-problem")).to_contain_text("'old(' is no regular expression")
    assert box.get_attribute("aria-invalid") == "true"
    assert rows(page).count() == 5  # what was found stays
    box.fill("nothing like it")
    expect(page.locator(".cmp-table")).to_contain_text("No output matches.")
    expect(page.locator(".cmp-problem")).to_have_text("")
    box.fill("")
    expect(rows(page)).to_have_count(8)
    unharmed(page)


def test_filters_by_axes_and_outcomes_are_put_on_and_taken_off(page, view):
    mount(page, view)
    page.get_by_label("filter by").select_option("finish_reason")
    page.get_by_label("value of finish_reason").select_option(label="length")
    expect(rows(page)).to_have_count(4)
    page.get_by_label("filter by").select_option("row.country")
    page.get_by_label("value of row.country").select_option(label="Peru")
    expect(rows(page)).to_have_count(1)
    page.get_by_label("filter by").select_option("temperature")
    page.get_by_label("value of temperature").select_option(label="1")
    expect(page.locator(".cmp-head")).to_have_count(1)
    for name in ("no longer only finish_reason length", "no longer only temperature 1"):
        page.get_by_role("button", name=name).click()
    expect(rows(page)).to_have_count(2)
    expect(page.locator(".cmp-head")).to_have_count(2)


def test_rows_are_sorted_and_grouped(page, view):
    mount(page, view)
    page.get_by_label("sort", exact=True).select_option("row.country")
    page.get_by_role("button", name="order").click()
    expect(rows(page).first).to_contain_text("Peru")
    page.get_by_label("group", exact=True).select_option("seed")
    expect(page.locator(".cmp-group")).to_have_text(["seed 1 (4 rows)", "seed 2 (4 rows)"])
    shot(page, "compare-groups")
    page.get_by_label("sort", exact=True).select_option("cost")
    page.get_by_label("group", exact=True).select_option("finish_reason")
    expect(page.locator(".cmp-group").first).to_contain_text("finish_reason")
    unharmed(page)


def test_any_axes_are_rows_and_columns(page, view):
    mount(page, view)
    page.locator("summary").click()
    page.get_by_label("seed", exact=True).select_option("in the cell")
    expect(rows(page)).to_have_count(4)
    expect(page.locator('[data-at="0-1"]')).to_contain_text("1 of 2")
    page.get_by_label("row.country", exact=True).select_option("columns")
    page.get_by_label("row", exact=True).select_option("in the cell")
    expect(page.locator(".cmp-head")).to_have_count(6)
    expect(page.locator("summary")).to_contain_text("rows all together · columns row.country × temperature")
    page.get_by_role("button", name="next columns").click()
    expect(page.locator(".cmp-head")).to_have_count(2)
    expect(page.locator(".cmp-foot")).to_contain_text("columns 7–8 of 8")
    page.get_by_role("button", name="columns before").click()
    expect(page.locator(".cmp-head")).to_have_count(6)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1200


def test_a_click_opens_the_detail_and_escape_closes_it(page, view):
    mount(page, view, "dark")
    cell = page.locator('[data-at="1-1"]')
    cell.locator(".cmp-text").click()
    panel = page.locator(".cmp-panel")
    for text in (
        "JSON 0",
        "temperature",
        "by-hand",
        view.comparison.facts.table["system_fingerprint"][0],
        "✂ length",
    ):
        expect(panel).to_contain_text(text)
    assert cell.get_attribute("aria-expanded") == "true"
    shot(page, "compare-dark")
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    assert focused(page) == "1-1"
    page.locator('[data-at="6-1"] .tk-error:not([role=alert])').click()
    expect(panel).to_contain_text("the window is too short")
    page.get_by_role("button", name="close (Esc)").click()
    expect(panel).to_have_count(0)


def test_the_detail_goes_through_the_outputs_of_a_cell(page, results):
    view = CompareView(results.compare("temperature", rows="row.country"))
    mount(page, view)
    page.locator('[data-at="0-1"] .cmp-text').click()
    panel = page.locator(".cmp-panel")
    expect(panel).to_contain_text("output 1 of 2")
    panel.get_by_role("button", name="next output").click()
    expect(panel).to_contain_text("output 2 of 2")
    expect(panel.locator("ins").first).to_have_text("old ")
    panel.get_by_role("button", name="thumb down").click()
    expect(panel.get_by_role("button", name="thumb down")).to_have_attribute("aria-pressed", "true")
    assert results.frame()["grade.thumb"].dropna().to_dict() == {3: -1}
    page.keyboard.press("Escape")
    first_output = page.locator('[data-at="0-1"]')
    expect(first_output.get_by_role("button", name="thumb down", pressed=True)).to_have_count(0)


def test_grades_are_saved_at_once(page, view, results):
    grading(page, view)
    cell = page.locator('[data-at="0-0"]')
    cell.get_by_role("button", name="thumb up").click()
    cell.get_by_label("score").fill("4.5")
    cell.get_by_label("score").press("Enter")
    cell.get_by_label("note").fill("well said: né")
    cell.get_by_label("note").press("Enter")
    expect(cell.get_by_role("button", name="thumb up")).to_have_attribute("aria-pressed", "true")
    expect(cell.get_by_label("note")).to_have_value("well said: né")
    assert focused(page) == "0-0"
    ((place, grade),) = results._store.grades().items()
    assert (grade.thumb, grade.score, grade.note) == (1, 4.5, "well said: né")
    assert place[0] == results.frame()["request"][0]
    with tk.Store(results._store.path) as again:
        assert again.grades() == {place: grade}
    cell.get_by_role("button", name="thumb up").click()
    expect(cell.get_by_role("button", name="thumb up")).to_have_attribute("aria-pressed", "false")
    assert results._store.grades()[place].thumb is None
    page.get_by_label("filter by").select_option("grade")
    page.get_by_label("value of grade").select_option("other")
    expect(rows(page)).to_have_count(1)
    unharmed(page)


def test_a_grade_that_cannot_be_saved_is_taken_back_and_says_so(page, view, results):
    grading(page, view)
    results._store._db.execute("DROP TABLE completions")
    cell = page.locator('[data-at="0-0"]')
    cell.get_by_role("button", name="thumb up").click()
    expect(cell.locator(".tk-error")).to_contain_text("not saved")
    expect(cell.get_by_role("button", name="thumb up")).to_have_attribute("aria-pressed", "false")
    assert page.errors == []


def test_results_of_a_file_cannot_be_graded(page, results, tmp_path):
    again = tk.Results.from_parquet(results.to_parquet(tmp_path / "r.parquet"))
    mount(page, CompareView(again.compare("temperature")))
    mode = page.get_by_role("button", name="grade", exact=True)
    expect(mode).to_be_disabled()
    assert "read from another" in mode.get_attribute("title")
    page.locator('[data-at="0-0"]').focus()
    group = page.locator('[data-at="0-0"] .cmp-grade')
    assert group.get_by_role("button", name="thumb up").is_disabled()
    assert "read from another" in group.get_attribute("title")


def test_everything_by_keyboard_alone(page, view, results):
    mount(page, view)
    page.get_by_label("diff", exact=True).focus()
    page.keyboard.press("/")  # in a control it is a letter
    assert page.evaluate("document.activeElement.tagName") == "SELECT"
    page.locator(".cmp-base").last.focus()
    page.keyboard.press("Tab")  # the row's box
    page.keyboard.press("Tab")
    assert focused(page) == "0-0"
    for key, at in [
        ("ArrowRight", "0-1"),
        ("ArrowDown", "1-1"),
        ("ArrowLeft", "1-0"),
        ("End", "7-1"),
        ("Home", "0-0"),
    ]:
        page.keyboard.press(key)
        assert focused(page) == at
    page.keyboard.press("ArrowDown")
    page.keyboard.press("u")
    expect(page.locator('[data-at="1-0"] .cmp-thumb').first).to_have_attribute("aria-pressed", "true")
    assert focused(page) == "1-0"
    page.keyboard.press("d")
    expect(page.locator('[data-at="1-0"] .cmp-thumb').nth(1)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("s")
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    page.keyboard.press("n")
    page.keyboard.type("u d x /")
    page.keyboard.press("ArrowLeft")  # within the note
    page.keyboard.press("Enter")
    assert focused(page) == "1-0"
    page.wait_for_function("document.querySelector('[data-at=\"1-0\"] .cmp-note').value === 'u d x /'")
    (grade,) = results._store.grades().values()
    assert (grade.thumb, grade.score, grade.note) == (-1, 3.0, "u d x /")
    page.keyboard.press("x")
    expect(page.locator(".cmp-foot")).to_contain_text("1 selected")
    page.keyboard.press("Enter")
    expect(page.locator(".cmp-panel")).to_be_visible()
    page.keyboard.press("Escape")
    assert focused(page) == "1-0"
    page.keyboard.press("/")
    page.keyboard.type("Lima")
    expect(rows(page)).to_have_count(2)
    page.keyboard.press("Enter")
    assert focused(page) == "0-0"
    unharmed(page)


def test_the_selection_is_results_in_python_and_files_in_the_browser(page, view):
    mount(page, view)
    page.get_by_label("select row row.country France, seed 1").check()
    page.locator('[data-at="2-1"] .cmp-pick').check()
    expect(page.locator(".cmp-foot")).to_contain_text("3 selected")
    page.wait_for_function("true")
    for _ in range(100):  # it is told a moment later
        if len(view.selected()) == 3:
            break
        page.wait_for_timeout(20)
    assert view.selected().frame()["row.country"].tolist() == ["France", "France", "Japan"]
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV of the selected").click()
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [line["text"] for line in found] == view.selected().frame()["text"].tolist()
    assert download.value.suggested_filename == "outputs.csv"
    page.get_by_role("button", name="select none").click()
    page.get_by_label("only differing").check()
    expect(rows(page)).to_have_count(5)
    page.get_by_role("button", name="select all 5 outputs that match").click()
    expect(page.locator(".cmp-foot")).to_contain_text("5 selected")
    with page.expect_download() as download:
        page.get_by_role("button", name="JSONL of the selected").click()
    again = tk.Results.from_jsonl(download.value.path()).frame()
    assert again["temperature"].tolist() == [1.0] * 5
    assert set(again["error"].dropna()) == {"the window is too short"}
    page.wait_for_function("true")
    assert again["text"].tolist() == view.selected().frame()["text"].tolist()
    unharmed(page)


def test_one_choice_of_several_is_exported_with_its_grade_and_looked_into_again(db, made, tmp_path):
    store = tk.Store(db)
    store.begin_run("s", FINGERPRINT, [])
    done = dataclasses.replace(made(n=3), system_fingerprint=FINGERPRINT.id)
    store.add([StoredCompletion(done, 0)])
    store.define("s", {}, [done.request], [Cell(done.request.key, 1, {})])
    view = CompareView(tk.results(store).compare("choice"))
    view.grade(2, thumb=-1, note="né")
    path = tmp_path / "outputs.jsonl"
    path.write_text(view.export("jsonl", [2]), encoding="utf-8")
    again = CompareView(tk.Results.from_jsonl(path).compare("choice"))
    detail = again.detail(0)
    assert (detail["grade"]["thumb"], detail["grade"]["note"]) == (-1, "né")
    assert ["choice", "2"] in detail["facts"]
    assert detail["prompt"] == [["user", "Hi"]]


def test_a_table_from_csv_gives_csv_alone(page, results, tmp_path):
    again = tk.Results.from_csv(results.to_csv(tmp_path / "r.csv"))
    mount(page, CompareView(again.compare("temperature")))
    expect(page.get_by_role("button", name="CSV of all 16 outputs")).to_be_visible()
    expect(page.get_by_role("button", name="JSONL of all 16 outputs")).to_be_hidden()


HOLD = """(command) => {
  const real = window.toPython;
  window.held = [];
  window.toPython = async (asked) => {
    const said = await real(asked);
    if (asked.command === command) await new Promise((go) => window.held.push(go));
    return said;
  };
}"""
"""Holds back what Python answers to one kind of question."""


def test_a_note_is_written_on_while_a_thumb_is_being_saved(page, view, results):
    grading(page, view)
    page.evaluate(HOLD, "grade")
    cell = page.locator('[data-at="0-0"]')
    cell.get_by_role("button", name="thumb up").click()
    cell.get_by_label("note").press_sequentially("half a")
    page.wait_for_function("window.held.length === 1")
    page.evaluate("window.held.shift()()")
    cell.get_by_label("note").press_sequentially(" note")
    cell.get_by_label("note").press("Enter")
    page.wait_for_function("window.held.length === 1")
    page.evaluate("window.held.shift()()")
    expect(cell.get_by_label("note")).to_have_value("half a note")
    (grade,) = results._store.grades().values()
    assert (grade.thumb, grade.note) == (1, "half a note")


def test_the_last_question_is_the_one_that_is_answered(page, view):
    mount(page, view)
    page.evaluate(HOLD, "page")
    page.get_by_label("diff", exact=True).select_option("off")
    page.wait_for_function("window.held.length === 1")
    page.get_by_label("diff", exact=True).select_option("tokens")
    page.wait_for_function("window.held.length === 2")
    page.evaluate("window.held[1]()")
    expect(page.locator('[data-at="1-1"] ins').first).to_have_text("old ")
    page.evaluate("window.held[0]()")
    page.wait_for_timeout(100)
    expect(page.locator('[data-at="1-1"] ins').first).to_have_text("old ")


def test_shown_again_it_knows_what_was_graded_and_selected(page, view):
    view.grade(1, thumb=-1, note="seen")
    view.select([1, 5])
    grading(page, view)  # its content is from before
    cell = page.locator('[data-at="1-0"]')
    expect(cell.get_by_label("note")).to_have_value("seen")
    expect(cell.get_by_role("button", name="thumb down")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".cmp-foot")).to_contain_text("2 selected")
    expect(cell.locator(".cmp-pick")).to_be_checked()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_greedy_outputs_are_in_the_rows_of_all_seeds(page, db, made, theme):
    answers = [(0, {"temperature": 0.0}, ["Paris."])]
    answers += [
        (0, {"temperature": 1.0, "seed": seed}, [text]) for seed, text in [(1, "Paris."), (2, "Rome.")]
    ]
    view = CompareView(filled(db, made, answers, [{"country": "France"}]).compare("temperature"))
    mount(page, view, theme)
    page.get_by_label("only differing").check()
    expect(rows(page)).to_have_count(1)
    expect(page.locator('[data-at="0-0"]')).to_contain_text("without seed")
    expect(page.locator('[data-at="0-0"] .cmp-text')).to_have_text("Paris.")
    expect(page.locator(".cmp-head").first).to_contain_text("1 output ·")
    page.get_by_role("button", name="baseline").nth(1).click()
    page.get_by_label("only differing").uncheck()
    expect(rows(page)).to_have_count(2)
    expect(page.get_by_text("2 rows, 3 outputs")).to_be_visible()
    expect(page.locator(".cmp-cell :is(ins, del)")).to_have_count(0)
    expect(page.locator('[data-at="0-0"]')).not_to_contain_text("baseline")
    shot(page, f"compare-greedy-{theme}")
    unharmed(page)


def test_values_that_are_not_offered_are_counted(page, view, monkeypatch):
    monkeypatch.setattr("toolkit.widgets.comparison._VALUES", 3)
    mount(page, view)
    page.get_by_label("filter by").select_option("row.country")
    box = page.get_by_label("value of row.country")
    expect(box.locator("option")).to_have_count(5)
    expect(box.locator("option").last).to_have_text("… 1 more, which are not offered")
    expect(box.locator("option").last).to_be_disabled()


def test_a_cell_is_called_by_its_axes_and_described_by_its_text(page, db, made):
    long = "word\n" * 200
    results = filled(db, made, [(0, {"seed": seed}, [f"{seed} {long}"]) for seed in (1, 2)])
    mount(page, CompareView(results.compare("seed")))
    cell = page.locator('[data-at="0-1"]')
    expect(cell).to_have_accessible_name(re.compile("seed 2"))
    expect(cell).to_have_accessible_description(re.compile(r"2 word\s+word"))
    cell.focus()
    page.keyboard.press("Tab")  # a text that can be scrolled is no stop on the way
    assert page.evaluate("document.activeElement.className") == "cmp-pick"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "cmp-thumb"
    cell.locator(".cmp-text").focus()  # as a mouse does that marks words in it
    page.keyboard.press("u")
    expect(cell.locator(".cmp-thumb").first).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Enter")
    expect(page.locator(".cmp-panel")).to_be_focused()


def test_pages(page, db, made):
    results = filled(
        db, made, [(row, {"seed": 1}, [f"answer {row}"]) for row in range(45)], [{"n": i} for i in range(45)]
    )
    mount(page, CompareView(results.compare("seed", rows="row.n")))
    assert rows(page).count() == 20
    expect(page.locator(".cmp-foot")).to_contain_text("rows 1–20 of 45")
    page.get_by_role("button", name="next page").click()
    expect(rows(page).first).to_contain_text("answer 20")
    page.locator('[data-at="3-0"]').focus()
    page.keyboard.press("PageDown")
    expect(rows(page)).to_have_count(5)
    expect(page.get_by_role("button", name="next page")).to_be_disabled()
    page.wait_for_function("document.activeElement.dataset.at === '0-0'")
    page.keyboard.press("PageUp")
    expect(rows(page).first).to_contain_text("answer 20")


def test_verdicts_are_badges_with_their_words(page, db, made):
    answers = ['{"a": 1}', {"text": '{"b', "finish_reason": "length"}, "no"]
    results = filled(db, made, [(0, {"seed": 1}, answers)], form=FORM)
    mount(page, CompareView(results.compare("seed")))
    expect(page.locator(".tk-badge")).to_have_text(["✓ valid", "✗ truncated", "✂ length", "✗ not_json"])
    page.get_by_label("filter by").select_option("verdict")
    page.get_by_label("value of verdict").select_option("not_json")
    expect(rows(page)).to_have_count(1)
    page.locator('[data-at="0-0"] .cmp-text').click()
    expect(page.locator(".cmp-panel")).to_contain_text("not_json: Expecting value")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_hostile_texts_are_texts_everywhere(page, db, made, theme):
    texts = {name: text.encode(errors="replace").decode() for name, text in HOSTILE.items()}
    answers = [
        (row, {"seed": seed}, [text if seed else "plain"])
        for row, text in enumerate(texts.values())
        for seed in (0, 1)
    ]
    answers += [(len(texts), {"seed": 1}, [{"error": HOSTILE["script"] + HOSTILE["override"]}])]
    results = filled(db, made, answers, [{"said": text[:5000]} for text in [*texts.values(), "x"]])
    results._store.grade(
        *[results.frame()[n][1] for n in ("request", "system_fingerprint", "repeat", "choice")],
        note=HOSTILE["attribute"],
    )
    view = CompareView(results.compare("seed"))
    mount(page, view, theme)
    count = page.locator(CELL).count()
    assert count == 2 * len(texts) + 1
    for diff in ("tokens", "off", "words"):
        page.get_by_label("diff", exact=True).select_option(diff)
        expect(page.locator(".cmp-cell ins")).to_have_count(0) if diff == "off" else page.wait_for_selector(
            ".cmp-cell ins"
        )
    for i in range(count):
        page.locator(CELL).nth(i).focus()
        page.keyboard.press("Enter")
        page.locator(".cmp-panel").wait_for()
        page.keyboard.press("Escape")
    page.get_by_label("search outputs, a regular expression").fill("PWNED")
    page.locator("mark").first.wait_for()
    page.get_by_label("filter by").select_option("row.said")
    page.get_by_label("group", exact=True).select_option("row.said")
    page.locator(".cmp-group").first.wait_for()
    unharmed(page, 1200)
    shot(page, f"compare-hostile-{theme}")
    unharmed(static(page, view), 1200)
    assert "PWNED" in view.text()


def test_the_form_without_a_kernel_tells_the_same(page, view):
    static(page, view)
    expect(page.locator("ins", has_text="old").first).to_be_visible()
    expect(page.locator("td", has_text="the window is too short")).to_have_count(1)
    expect(page.locator("body")).to_contain_text("8 rows × 2 columns (temperature), 16 outputs")
    page.set_viewport_size({"width": 1200, "height": 800})
    unharmed(page)
    for banned in ("<script", "<style", "<svg"):
        assert banned not in view.html()
    assert view.text().startswith("Comparison(8 rows × 2 columns")
    assert "The capital of France is Paris." in view.text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_narrow_page_is_not_left(page, view, theme):
    page.set_viewport_size({"width": 600, "height": 900})
    mount(page, view, theme)
    page.locator('[data-at="1-0"] .cmp-text').click()
    page.locator(".cmp-panel").wait_for()
    shot(page, f"compare-narrow-{theme}")
    unharmed(page, 600)


def test_an_error_of_the_python_half_is_shown(page, view):
    mount(page, view)
    view.comparison.facts.store.close()
    page.get_by_label("sort", exact=True).select_option("seconds")
    expect(page.get_by_role("alert").filter(has_text="closed")).to_be_visible()


def test_what_the_browser_asks_for_is_bounded(db, made):
    results = filled(
        db,
        made,
        [(row, {"seed": seed}, ["x" * 5000]) for row in range(30) for seed in range(9)],
        [{"n": i} for i in range(30)],
    )
    view = CompareView(results.compare("seed"))
    assert len(json.dumps(view.content)) < 400_000
    assert len(view.content["page"]["rows"]) == 20
    assert len(view.content["page"]["columns"]) == 6


REVIEWS = [("A warm, funny film.", "positive"), ("Two hours lost.", "negative"), ("Superb.", "positive")]
CHOICES = ["positive", "negative"]


@pytest.fixture
def study(db, made):
    """Three reviews at three temperatures and two seeds, with the right label of each."""
    answers = []
    for row, (_, label) in enumerate(REVIEWS):
        other = CHOICES[label == "positive"]
        for temperature in (0.1, 0.5, 1.0):
            for seed in (1, 2):
                text = other if temperature == 1 and seed == 2 else label
                unclear = (row, temperature, seed) == (2, 0.5, 1)
                answers.append(
                    (row, {"temperature": temperature, "seed": seed}, [f"It is {label}" if unclear else text])
                )
    answers.append((1, {"temperature": 0.1, "seed": 3}, [{"error": "broke"}]))
    return filled(db, made, answers, [{"review": review, "label": label} for review, label in REVIEWS])


def test_right_and_wrong_answers_are_marked_counted_and_found(page, study):
    mount(page, CompareView(study.compare("temperature")))
    assert page.locator(".cmp-tally").all_text_contents() == [
        "✓ 6 right✗ 0 wrong", "✓ 5 right✗ 0 wrong? 1 unclear", "✓ 3 right✗ 3 wrong",
    ]  # fmt: skip
    expect(page.locator(".cmp-counts")).to_contain_text("✓ right, ✗ wrong, ? unclear: by row.label")
    wrong = page.locator('[data-at="1-2"]')
    expect(wrong.locator(".cmp-mark")).to_have_text("✗")
    expect(wrong.get_by_role("img", name="wrong: positive is right")).to_be_visible()
    expect(page.locator('[data-at="0-0"]').get_by_role("img", name="right")).to_be_visible()
    expect(page.locator('[data-at="5-1"] .cmp-mark')).to_have_text("?")
    page.get_by_label("filter by").select_option("correct")
    page.get_by_label("value of correct").select_option("wrong")
    expect(rows(page)).to_have_count(3)
    wrong = page.locator('[data-at="0-2"] .cmp-text')
    expect(wrong.locator("ins")).to_have_text("negative")
    expect(wrong.locator("del")).to_have_count(0)  # nothing of the baseline's text is left to be compared
    wrong.click()
    expect(page.locator(".cmp-panel del")).to_have_text("positive")
    expect(page.locator(".cmp-panel")).to_contain_text("wrong: positive is right")
    unharmed(page)


def test_a_row_says_its_item_once_and_only_what_differs(page, study):
    mount(page, CompareView(study.compare("temperature", rows=["row.review", "row.label", "seed", "model"])))
    heads = page.locator("tbody .cmp-row")
    expect(page.locator("thead .cmp-row")).to_have_text(
        "row.review · row.label · seed"
    )  # one model: not named
    parts = [
        [part.strip() for part in head.locator(".cmp-item:not(.cmp-unseen), .cmp-axis").all_text_contents()]
        for head in heads.all()
    ]
    assert parts[:2] == [["A warm, funny film. label positive", "seed 1"], ["seed 2"]]
    assert parts[2][0] == "Two hours lost. label negative"
    hidden = heads.nth(1).locator(".cmp-item").bounding_box()
    assert hidden["width"] <= 1
    # For a screen reader each row has its item.
    expect(heads.nth(1)).to_contain_text("A warm, funny film.")
    page.get_by_label("sort", exact=True).select_option("seed")
    expect(heads.nth(1)).to_contain_text("Two hours lost.")
    expect(heads.locator(".cmp-unseen")).to_have_count(0)


def test_grading_controls_appear_at_the_focused_cell_alone_or_in_the_grading_mode(page, study):
    mount(page, CompareView(study.compare("temperature")))
    boxes = page.locator(".cmp-cell .cmp-grade")
    seen = "boxes => boxes.filter((box) => box.checkVisibility()).length"
    assert boxes.evaluate_all(seen) == 0
    page.locator('[data-at="0-0"]').focus()
    expect(page.locator('[data-at="0-0"] .cmp-grade')).to_be_visible()
    assert boxes.evaluate_all(seen) == 1
    page.keyboard.press("u")
    page.keyboard.press("ArrowRight")
    expect(page.locator('[data-at="0-0"] .cmp-grade')).to_be_hidden()
    expect(page.locator('[data-at="0-0"]').get_by_role("img", name="thumb up")).to_be_visible()
    expect(page.locator('[data-at="0-1"] .cmp-grade')).to_be_visible()
    mode = page.get_by_role("button", name="grade", exact=True)
    mode.click()
    expect(mode).to_have_attribute("aria-pressed", "true")
    assert boxes.evaluate_all(seen) == boxes.count()
    mode.click()
    assert boxes.evaluate_all(seen) == 0


def test_tokens_and_time_are_shown_on_demand_and_always_in_the_detail(page, study):
    mount(page, CompareView(study.compare("temperature")))
    numbers = page.locator('[data-at="0-0"] .cmp-numbers')
    expect(numbers).to_be_hidden()
    page.get_by_role("button", name="tokens and time").click()
    expect(numbers).to_be_visible()
    page.get_by_role("button", name="tokens and time").click()
    page.locator('[data-at="0-0"] .cmp-text').click()
    expect(page.locator(".cmp-panel .cmp-numbers")).to_be_visible()


@pytest.mark.parametrize("width", [840, 700])
def test_columns_that_a_narrow_page_hides_are_counted_and_scrolled_to(page, db, made, width):
    text = "a sentence of several words that fills its cell " * 2
    results = filled(db, made, [(0, {"seed": seed}, [f"{seed} {text}"]) for seed in range(8)])
    page.set_viewport_size({"width": width, "height": 800})
    mount(page, CompareView(results.compare("seed")))
    more, before = page.locator(".cmp-hidden").nth(1), page.locator(".cmp-hidden").nth(0)
    expect(before).to_be_hidden()

    def in_sight():
        return page.locator(".cmp-head").evaluate_all(
            "heads => heads.filter((head) => { const box = head.closest('.cmp-scroll').getBoundingClientRect();"
            " const start = document.querySelector('.cmp-row').getBoundingClientRect().right;"
            " const { left, right } = head.getBoundingClientRect();"
            " return left >= start - 8 && right <= box.right + 8; }).length"
        )

    expect(more).to_have_text(f"{8 - in_sight()} more columns →")
    expect(more).to_be_in_viewport(ratio=0.99)
    more.click()
    expect(before).to_be_visible()
    expect(before).to_contain_text("more column")
    for _ in range(8):  # to the last page of columns
        if page.locator('.cmp-head[data-column="7"]').count():
            break
        more.click()
    expect(page.locator('.cmp-head[data-column="7"]')).to_be_in_viewport()
    unharmed(page, width)


def test_a_wide_page_hides_no_column_and_says_nothing(page, study):
    mount(page, CompareView(study.compare("temperature")))
    expect(page.locator(".cmp-hidden").nth(0)).to_be_hidden()
    expect(page.locator(".cmp-hidden").nth(1)).to_be_hidden()


def test_the_words_of_the_controls_are_plain(page, study):
    mount(page, CompareView(study.compare("temperature")))
    order = page.get_by_role("button", name="order")
    expect(order).to_have_text("↑ ascending")
    order.click()
    expect(order).to_have_text("↓ descending")
    expect(page.get_by_role("button", name="select all 19 outputs", exact=True)).to_be_visible()
    text = page.locator(".tk").inner_text()
    for word in ("rising", "falling", "of found", "found", "sought", "undefined"):
        assert word not in text
    page.get_by_label("search outputs, a regular expression").fill("positive")
    expect(page.get_by_role("button", name=re.compile(r"CSV of all \d+ outputs that match"))).to_be_visible()


def test_without_a_kernel_answers_are_marked_too(study):
    view = CompareView(study.compare("temperature"))
    html = view.html()
    assert html.count(">✗</b>") == 3
    assert html.count(">?</b>") == 1
    assert 'title="wrong: positive is right"' in html
    assert "<small>3 right, 3 wrong</small>" in html
    assert html.count("A warm, funny film.") == 1  # not again in the row of the other seed
    assert "✗ negative" in view.text()


def test_numbers_of_a_comparison_open_as_a_table_that_says_why(study):
    from toolkit.widgets.display_hook import _bundle

    data, _ = _bundle(
        "toolkit.widgets.comparison:CompareView", study.compare("temperature", "completion_tokens")
    )
    assert (
        "Not opened as a widget: the widget compares texts, and this is a table of completion_tokens."
        in (data["text/html"])
    )
    assert "<table" in data["text/html"]
    assert "is a table of completion_tokens" in data["text/plain"]
