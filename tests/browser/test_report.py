"""The report of a comparison, opened as the file that it is. It asks nobody for anything: `new_page` fails on a message
in the console and on any other request, and the network is off."""

import base64
import io
import re
from dataclasses import replace

import pytest
from PIL import Image
from playwright.sync_api import expect

from comparisons import comparison
from diptych.evaluation.report.files import write_report
from diptych.evaluation.result import Cell, Confusion

DECODED = "all => Promise.all(all.map((img) => img.decode().then(() => img)))"
"""Pictures as soon as they are there, as a promise."""
TABS = ["Overview", "History", "Quality", "Pictures", "Prompts", "Calibration", "Domains", "Fairness", "Cost",
        "Provenance"]
A, B, C = "siglip2-base-patch16-224", "diptych-tiny", "mobileclip-s0"


@pytest.fixture(scope="module")
def whole():
    return comparison()


@pytest.fixture(scope="module")
def report(whole, tmp_path_factory):
    return write_report(whole, tmp_path_factory.mktemp("report")).as_uri()


def of_pictures(whole, tmp_path, **views):
    """A report without charts, which take their time."""
    views = replace(whole.views, curves=(), templates=(), **views)
    return write_report(replace(whole, figures=(), costs=(), views=views), tmp_path).as_uri()


@pytest.fixture
def show(new_page):
    """`show(address)`: the file in a new page that may ask for this file and for nothing else."""
    def opened(address, **settings):
        page = new_page(**settings)
        page.context.set_offline(True)
        page.expected.append(f"request to {address.partition('#')[0]}")
        page.on("dialog", lambda dialog: pytest.fail(f"the data ran a script: {dialog.message}"))
        page.goto(address)
        return page

    return opened


def expect_open(page, name):
    expect(page.get_by_role("tab", selected=True)).to_have_text(name)
    expect(page.get_by_role("tabpanel")).to_have_count(1)  # hidden ones have no role
    expect(page.get_by_role("tabpanel", name=name)).to_be_visible()


def tab(page, name):
    return page.get_by_role("tab", name=name, exact=True)


def test_tabs_open_by_mouse_and_back_returns(show, report):
    page = show(report)
    assert page.get_by_role("tab").all_inner_texts() == TABS
    expect_open(page, "Overview")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{A}, {B} and {C} on pictograms")
    for name in TABS[1:]:
        tab(page, name).click()
        expect_open(page, name)
        expect(page).to_have_url(f"{report}#{name.lower()}")
    page.go_back()
    expect_open(page, "Cost")
    page.go_back()
    expect_open(page, "Fairness")
    page.go_forward()
    expect_open(page, "Cost")


def test_tabs_open_by_keyboard(show, report):
    page = show(report)
    tab(page, "Overview").focus()
    for key, name in (("ArrowRight", "History"), ("ArrowRight", "Quality"), ("ArrowLeft", "History"),
                      ("End", "Provenance"), ("ArrowRight", "Overview"), ("ArrowLeft", "Provenance"),
                      ("Home", "Overview")):
        page.keyboard.press(key)
        expect_open(page, name)
        expect(tab(page, name)).to_be_focused()
    page.keyboard.press("Tab")  # one stop for all tabs, then into the page
    assert page.evaluate("document.activeElement.closest('[role=tabpanel]')?.id") == "overview"


def test_an_address_opens_its_tab_and_its_place(show, report):
    expect_open(show(report + "#fairness"), "Fairness")
    page = show(report + "#differences")
    expect_open(page, "Quality")
    expect(page.get_by_role("heading", name="Differences between models")).to_be_in_viewport()
    expect_open(show(report + "#nothing-of-the-kind%"), "Overview")
    page = show(report)
    page.get_by_role("link", name="What could not be used, and why").click()
    expect_open(page, "Provenance")
    expect(page.get_by_text("Not a picture: 2")).to_be_visible()
    page.go_back()
    page.get_by_role("link", name="1 task could not be run, and why").click()
    expect(page.get_by_text("pictograms has no pairs of captions")).to_be_in_viewport()


def test_a_cell_of_the_confusion_matrix_shows_its_pictures(show, report, whole):
    page = show(report + "#pictures")
    confusion = next(each for each in whole.views.confusions if each.model == A)
    wrong = sorted((c for c in confusion.cells if c.true != c.predicted), key=lambda c: -c.count)
    cell, shown = wrong[3], page.locator("#cell")
    expect(shown.get_by_role("heading")).to_have_text(f"{wrong[0].true} taken for {wrong[0].predicted}")
    button = page.get_by_role("button", name=f"{cell.count}: {cell.true} taken for {cell.predicted}", exact=True)
    button.click()
    expect(shown.get_by_role("heading")).to_have_text(f"{cell.true} taken for {cell.predicted}")
    expect(button).to_have_attribute("aria-pressed", "true")
    assert shown.get_by_role("img").evaluate_all("all => all.map((each) => each.alt)") == list(cell.ids)
    widths = shown.get_by_role("img").evaluate_all(DECODED + ".then((all) => all.map((each) => each.naturalWidth))")
    assert set(widths) == {96}
    page.locator("#pairs").get_by_role("button").first.click()
    expect(shown.get_by_role("heading")).to_have_text(f"{wrong[0].true} taken for {wrong[0].predicted}")


def test_the_matrix_is_walked_by_arrows_and_follows_the_model(show, report, whole):
    page = show(report + "#pictures")
    page.locator(".matrix button").first.focus()
    focused = "document.activeElement.getAttribute('aria-label')"
    first = page.evaluate(focused)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    second = page.evaluate(focused)
    assert first != second
    page.keyboard.press("Enter")
    true = re.match(r"\d+: (.*?)(?: taken for| recognised)", second)[1]
    expect(page.locator("#cell").get_by_role("heading")).to_contain_text(true)
    assert page.locator(".matrix button:not([tabindex])").count() == 1  # one stop for all cells
    page.locator("#confusion-model").select_option(f"C {C}")
    confusion = next(each for each in whole.views.confusions if each.model == C)
    expect(page.locator(".matrix button")).to_have_count(len(confusion.cells))


def test_of_many_classes_the_most_confused_have_a_matrix(show, whole, tmp_path):
    classes = tuple(f"class {i}" for i in range(60))
    cells = tuple(Cell(true=one, predicted=one, count=9, ids=()) for one in classes)
    cells += (Cell(true="class 58", predicted="class 3", count=7, ids=()),)
    confusion = Confusion(model=C, classes=classes, cells=cells)
    page = show(of_pictures(whole, tmp_path, confusions=(confusion,), grids=()) + "#pictures")
    expect(page.locator("#confusion-model option")).to_have_text([f"C {C}"])
    expect(page.locator("#pairs button")).to_have_text(["class 58 taken for class 37"])
    expect(page.locator("#matrix")).to_contain_text("The 40 classes of 60 that are confused most.")
    expect(page.locator(".matrix tbody tr")).to_have_count(40)
    expect(page.get_by_role("button", name="7: class 58 taken for class 3", exact=True)).to_be_visible()
    expect(page.locator("#cell")).to_contain_text("7 pictures; none is in this report")
    expect(page.locator("#grids")).to_have_count(0)


def queries(page):
    return page.locator("#grid-list .query h4 span").all_inner_texts()


def everything(page):
    more = page.get_by_role("button", name=re.compile("^Show .* more$"))
    while more.count():
        more.click()
    return queries(page)


def test_grids_show_who_wins_the_largest_difference_first(show, report, whole):
    page = show(report + "#pictures")
    grids = whole.views.grids
    gap = sorted((abs(grid.rank[A] - grid.rank[B]) for grid in grids), reverse=True)
    rank = {grid.query: grid.rank for grid in grids}
    assert len(queries(page)) == 12
    found = everything(page)
    assert sorted(found) == sorted(rank) and [abs(rank[q][A] - rank[q][B]) for q in found] == gap
    rules = {"A wins": lambda r: r[A] < r[B], "B wins": lambda r: r[B] < r[A],
             "Both wrong": lambda r: r[A] > 1 and r[B] > 1}
    for name, rule in rules.items():
        button = page.get_by_role("button", name=name, exact=True)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        kept = {query for query, ranks in rank.items() if rule(ranks)}
        assert kept and set(everything(page)) == kept
        expect(page.locator("#grid-count")).to_have_text(f"{len(kept)} of {len(rank)} queries")
    page.locator("#right").select_option(f"C {C}")
    page.get_by_role("button", name="C wins", exact=True).click()
    assert set(everything(page)) == {query for query, ranks in rank.items() if ranks[C] < ranks[A]}


def test_a_query_shows_both_models_pictures_with_right_and_wrong(show, report, whole):
    page = show(report + "#pictures")
    grid = whole.views.grids[17]
    page.locator("#find").fill(grid.query.upper())
    expect(page.locator("#grid-count")).to_have_text(f"1 of {len(whole.views.grids)} queries")
    for model in (A, B):
        pictures = page.get_by_role("list", name=f"Found by {model}").get_by_role("img")
        assert pictures.evaluate_all("all => all.map((each) => each.alt)") == [
            f"{hit.id}, {'right' if hit.right else 'wrong'}" for hit in grid.found[model]]
    page.locator("#find").fill("nothing like it")
    expect(page.locator("#grid-count")).to_have_text(f"0 of {len(whole.views.grids)} queries")


def test_tall_and_wide_pictures_are_shown_whole(show, whole, tmp_path):
    def shape(width, height):
        stream = io.BytesIO()
        Image.new("RGB", (width, height), "red").save(stream, "PNG")
        return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"

    shapes = (shape(40, 160), shape(160, 40))
    thumbnails = {id_: shapes[number % 2] for number, id_ in enumerate(whole.views.thumbnails)}
    page = show(of_pictures(whole, tmp_path, thumbnails=thumbnails) + "#pictures")
    expect(page.locator(".frame img:visible").first).to_be_visible()
    assert page.locator(".frame img:visible").evaluate_all(DECODED + """.then((all) => all.every((img) => {
        const [a, b] = [img, img.closest('.frame')].map((each) => each.getBoundingClientRect());
        return a.height > 0 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1 && a.right <= b.right + 1;
    }))""")


def test_the_worst_failures_of_a_model(show, report, whole):
    page = show(report + "#pictures")
    page.locator("#failure-model").select_option(f"B {B}")
    worst = sorted((grid for grid in whole.views.grids if grid.rank[B] > 1), key=lambda grid: -grid.rank[B])
    row = page.locator(".failures tbody tr").first
    expect(row.get_by_role("rowheader")).to_contain_text(worst[0].query)
    assert row.locator("td.n").all_inner_texts() == [str(worst[0].rank[model]) for model in (A, B, C)]


def test_what_models_say_stands_beside_what_people_say(show, report, whole):
    page = show(report + "#pictures")
    table = page.get_by_role("table", name="The same picture, in people's words and in each model's")
    assert table.get_by_role("columnheader").all_inner_texts() == ["Picture", "People", "A", "B"]  # C does not speak
    row, first = table.locator("tbody tr").first, whole.views.captions[0]
    expect(row.locator("img")).to_have_attribute("alt", first.id)
    expect(row.locator("td").nth(0)).to_have_text("".join(first.references[:5]) + "and 2 more")
    expect(row.locator("td").nth(1)).to_have_text(f"{first.said[A]}3.200")
    expect(table.locator("tbody tr").nth(1).locator("td").nth(2)).to_have_text("a red circle0.000")


def test_the_price_of_an_hour_changes_the_price_of_a_million(show, report, whole):
    page = show(report + "#cost")
    rates = {cost.model: max(r.per_second for r in cost.rates if r.what == "images") for cost in whole.costs}
    table = page.get_by_role("table", name="Price of a million, on a machine that is always busy")

    def prices():
        return [float(text.replace(",", "")) for text in table.locator("tbody tr td:nth-child(2) b").all_inner_texts()]

    expected = [1e6 / rates[model] / 3600 for model in (A, B, C)]
    assert prices() == pytest.approx(expected, abs=0.006)  # two digits are shown
    page.get_by_label("Price of this machine for an hour").fill("400")
    assert prices() == pytest.approx([400 * price for price in expected], abs=0.006)
    expect(page).to_have_url(report + "#cost?price=400")
    tab(page, "Overview").click()
    tab(page, "Cost").click()
    expect(page).to_have_url(report + "#cost?price=400")
    again = show(report + "#cost?price=400")
    expect(again.get_by_label("Price of this machine for an hour")).to_have_value("400")
    assert again.locator("[data-rate]").all_inner_texts() == page.locator("[data-rate]").all_inner_texts()
    page.get_by_label("Price of this machine for an hour").fill("")
    assert set(page.locator("[data-rate]").all_inner_texts()) == {"–"}


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_light_and_dark_follow_the_system_until_the_reader_chooses(show, report):
    light, dark = show(report, color_scheme="light"), show(report, color_scheme="dark")
    assert (background(light), background(dark)) == ("rgb(251, 249, 245)", "rgb(23, 21, 19)")
    axis = "getComputedStyle(document.querySelector('figure text')).fill"
    assert dark.evaluate(axis) == "rgb(168, 159, 147)"  # the chart goes with the page
    toggle = dark.get_by_role("button", name="Dark appearance")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "false")
    assert background(dark) == background(light) and dark.evaluate(axis) == light.evaluate(axis)


def test_on_paper_there_is_everything_and_nothing_to_press(show, report):
    page = show(report, color_scheme="dark")
    folded = page.locator("details:not([open])")
    before = folded.count()
    assert before > 5
    page.emulate_media(media="print")
    for name in TABS:
        expect(page.get_by_role("heading", name=name, level=2, exact=True)).to_be_visible()
    expect(folded).to_have_count(0)
    expect(page.get_by_role("tablist")).to_have_count(0)
    expect(page.locator("#theme")).to_be_hidden()
    expect(page.locator("#grid-list .query").first).to_be_visible()
    assert background(page) == "rgb(255, 255, 255)"
    page.emulate_media(media="screen")
    expect(folded).to_have_count(before)
    expect_open(page, "Overview")


@pytest.mark.parametrize("width", [390, 820])
def test_no_tab_is_wider_than_the_screen(show, report, width):
    page = show(report, viewport={"width": width, "height": 800})
    for name in TABS:
        tab(page, name).click()
        expect_open(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_without_javascript_all_tabs_are_there(show, report):
    page = show(report, java_script_enabled=False)
    for name in TABS:
        expect(page.get_by_role("heading", name=name, level=2, exact=True)).to_be_visible()
    expect(page.get_by_text("need JavaScript")).to_be_visible()


def test_data_that_looks_like_markup_is_shown_as_it_is(show, whole, tmp_path):
    attack = "</script><img src=x onerror=alert(1)><script>alert(2)</script>"
    grid = replace(whole.views.grids[0], query=attack, language=attack, expected=(attack,))
    confusion = Confusion(model=A, classes=(attack, "b"), cells=(
        Cell(true=attack, predicted="b", count=1, ids=(attack,)),))
    page = show(of_pictures(replace(whole, sentences=(attack,)), tmp_path, grids=(grid,), confusions=(confusion,)))
    expect(page.locator(".verdict")).to_have_text(attack)
    tab(page, "Pictures").click()
    expect(page.locator("#grid-list h4 span")).to_have_text(attack)
    expect(page.locator("#pairs button span").first).to_have_text(f"{attack} taken for b")
