"""The page while a model is loaded and a collection is built, with more pictures than fit on a screen."""

import threading

import pytest
from playwright.sync_api import expect

import coloured
from diptych.index import jobs, store
from diptych.index.progress import ProgressFile
from diptych.index.search import Searcher
from diptych.service.shelf import Shelf
from fakes import COLOURS, ColourEmbedder

PICTURES = "#results a.picture"


@pytest.fixture
def many(own_home):
    """240 pictures: each colour 30 times, brighter and darker."""
    folder = own_home / "many"
    folder.mkdir(parents=True)
    pairs = []
    for shade in range(30):
        for colour, rgb in COLOURS.items():
            picture = coloured.drawn(tuple(int(c * (0.6 + shade / 75)) for c in rgb), "square")
            path = folder / f"{colour}-{shade:02}.png"
            picture.save(path)
            pairs.append(coloured.Pair(uri=str(path), captions=(f"{colour} {shade}",), metadata={"colour": colour}))
    return pairs


def test_scrolling_brings_more_until_the_end(page, serve, many):
    coloured.index(many, "many")
    site = serve(Shelf.of({"many": Searcher(store.Collection("many"), ColourEmbedder())}))
    page.goto(site.url + "/?q=yellow")
    expect(page.locator(PICTURES)).to_have_count(48)
    while (count := page.locator(PICTURES).count()) < 240:
        page.mouse.wheel(0, 5000)
        expect(page.locator(PICTURES).nth(count)).to_be_attached()  # each scroll to the end brings another page
    expect(page.locator(PICTURES)).to_have_count(240)
    found = page.locator("#results .caption").all_inner_texts()
    assert sorted(found) == sorted(pair.captions[0] for pair in many)
    middle = page.evaluate("(scrollTo(0, document.body.scrollHeight / 2), Math.round(scrollY))")
    page.locator(PICTURES).nth(120).evaluate("link => link.click()")
    expect(page.locator("#seed")).to_contain_text("like")
    page.go_back()  # to the same place, with everything that was there
    expect(page.locator(PICTURES)).to_have_count(240)
    assert page.evaluate("scrollY") == pytest.approx(middle, abs=5)


def test_scrolling_goes_on_after_back(page, serve, many):
    coloured.index(many, "many")
    site = serve(Shelf.of({"many": Searcher(store.Collection("many"), ColourEmbedder())}))
    page.goto(site.url + "/?q=yellow")
    expect(page.locator(PICTURES)).to_have_count(48)
    page.locator(PICTURES).nth(3).click()
    expect(page.locator("#seed")).to_contain_text("like")
    page.go_back()
    expect(page.locator("#q")).to_have_value("yellow")
    expect(page.locator(PICTURES)).to_have_count(48)
    page.mouse.wheel(0, 5000)
    expect(page.locator(PICTURES).nth(48)).to_be_attached()


def test_back_never_shows_the_pictures_of_another_search(page, serve, many):
    """Left before its answer came, a search has no pictures of its own to come back to."""
    coloured.index(many, "many")
    site = serve(Shelf.of({"many": Searcher(store.Collection("many"), ColourEmbedder())}))
    page.goto(site.url + "/?q=yellow")
    expect(page.locator(PICTURES)).to_have_count(48)
    red = next(hit["id"] for hit in page.request.get(site.url + "/api/search?q=red").json()["hits"])
    page.route(f"**/api/search*like={red}*", lambda route: None)  # it never comes
    page.evaluate("""id => {
        history.pushState({ entry: 1 }, "", "/?like=" + id);
        dispatchEvent(new PopStateEvent("popstate"));
    }""", red)
    page.locator(PICTURES).nth(1).click()
    expect(page.locator("#results .caption").first).to_contain_text("yellow")
    page.unroute(f"**/api/search*like={red}*")
    page.go_back()
    expect(page.locator("#seed")).to_contain_text("like red")
    expect(page.locator("#results .caption").first).to_contain_text("red")


def test_the_model_is_loaded_while_the_page_is_up(page, serve, many):
    coloured.index(many[:40], "many")
    shelf = Shelf(["many"])
    site = serve(shelf)
    page.goto(site.url + "/?q=red")
    expect(page.locator("#progress-text")).to_have_text("Loading the model…")
    expect(page.locator(PICTURES)).to_have_count(0)
    shelf.put("many", Searcher(store.Collection("many"), ColourEmbedder()))
    expect(page.locator("#results .caption").first).to_contain_text("red")
    expect(page.locator("#progress")).to_be_hidden()


def test_a_model_that_cannot_be_loaded_is_said(page, serve):
    page.expected.append("status of 503")
    shelf = Shelf(["many"])
    shelf.fail("many", "the weights are damaged; pull them again")
    page.goto(serve(shelf).url)
    expect(page.get_by_role("alert")).to_contain_text("The weights are damaged; pull them again.")


def test_what_is_indexed_can_be_searched_while_the_rest_is_coming(page, serve, many):
    embedder = ColourEmbedder()
    collection = store.open_or_create("many", embedder.spec)
    go_on = threading.Event()

    def slowly():
        for i, pair in enumerate(many):
            if i == 160:
                go_on.wait(60)
            yield pair

    job = threading.Thread(target=lambda: jobs.index_pairs({"": slowly()}, collection, embedder, total=len(many)))
    job.start()
    try:
        page.goto(serve(Shelf.of({"many": Searcher(collection, embedder)})).url)
        expect(page.locator("#progress-text")).to_contain_text("of 240 pictures")
        expect(page.locator("#progress-text")).to_contain_text("You can search what is there already.")
        expect(page.locator(PICTURES).first).to_be_visible(timeout=20_000)
        page.locator("#q").fill("red")
        page.keyboard.press("Enter")
        expect(page.locator("#results .caption").first).to_contain_text("red")
    finally:
        go_on.set()
        job.join()
    expect(page.locator("#progress")).to_be_hidden(timeout=20_000)
    expect(page.locator("#status")).to_contain_text("240 pictures")
    expect(page.locator("#model")).to_contain_text("240 pictures")


def test_a_job_that_failed_is_said(page, serve, many):
    coloured.index(many[:8], "many")
    ProgressFile("many", 240).finish("failed", 8, "the disk is full")
    page.goto(serve(Shelf.of({"many": Searcher(store.Collection("many"), ColourEmbedder())})).url)
    expect(page.locator("#progress-text")).to_have_text(
        "Indexing ended early, after 8 of 240 pictures: the disk is full. Run it again to go on.")
    expect(page.locator(PICTURES)).to_have_count(8)


def test_several_collections(page, serve, many):
    coloured.index(many[:16], "first")
    coloured.index(many[16:40], "second")
    shelf = Shelf(["first", "second", "third"])
    for name in ("first", "second"):
        shelf.put(name, Searcher(store.Collection(name), ColourEmbedder()), notice=f"This is {name}.")
    site = serve(shelf)
    page.goto(site.url)
    expect(page.locator(PICTURES)).to_have_count(16)
    page.get_by_label("Collection").select_option("second")
    expect(page).to_have_url(site.url + "/?collection=second")
    expect(page.locator(PICTURES)).to_have_count(24)
    expect(page.locator("#notice")).to_have_text("This is second.")
    page.get_by_label("Collection").select_option("third")
    expect(page.locator("#progress-text")).to_have_text("Loading the model…")
    page.go_back()
    expect(page.locator(PICTURES)).to_have_count(24)
    page.go_back()
    expect(page.locator(PICTURES)).to_have_count(16)
    expect(page.locator("#progress")).to_be_hidden()
