"""The page with the bundled model, on a few hundred of the bundled drawings, in three languages."""

import pytest
from playwright.sync_api import expect

from diptych import workbench
from diptych.data import pictograms
from diptych.index import jobs, store
from diptych.index.search import Searcher
from diptych.service.shelf import Shelf

SUBGROUPS = {"food-fruit", "animal-mammal", "transport-ground", "clothing"}

pytestmark = pytest.mark.slow


@pytest.fixture
def site(serve):
    embedder = workbench.load_model("diptych-tiny")
    pairs = [pair for pair in pictograms.pairs(["noto", "fluent-3d"]) if pair.metadata["subgroup"] in SUBGROUPS]
    collection = store.open_or_create("drawings", embedder.spec)
    jobs.index_pairs({"": pairs}, collection, embedder, total=len(pairs))
    shelf = Shelf(["drawings"])
    shelf.put("drawings", Searcher(collection, embedder), workbench.SMALL_MODEL)
    return serve(shelf)


def subgroups(page, n=6):
    """The subgroups of the first n hits."""
    found = []
    for link in page.locator("#results a.picture").all()[:n]:
        id_ = link.get_attribute("href").split("like=")[1]
        row = page.request.get(f"{page.url.split('/?')[0]}/api/collections/drawings/pictures/{id_}").json()
        found.append(row["metadata"]["subgroup"])
    return found


def test_pictures_are_found_in_three_languages_and_by_each_other(page, site):
    page.goto(site.url)
    expect(page.locator("#notice")).to_contain_text("diptych-tiny is a small model")
    expect(page.locator("#examples li:visible")).to_have_count(8)
    for query in ("red fruit", "fruta roja", "赤い果物"):
        page.locator("#q").fill(query)
        page.keyboard.press("Enter")
        expect(page).to_have_title(f"{query} · Diptych")
        expect(page.locator("#status")).to_contain_text("first")
        found = subgroups(page)
        assert found.count("food-fruit") >= 5, (query, found)
    page.locator("#results a.picture").first.click()
    expect(page.locator("#seed")).to_contain_text("like ")
    expect(page.locator("#results .numbers").first).to_be_visible()
    assert subgroups(page).count("food-fruit") >= 4
