"""REST searches give exactly what the Searcher gives in process, and refuse with sentences."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coloured import drawn, encoded
from diptych.service.schemas import SearchAnswer
from fakes import COLOURS


def search(client, **params):
    answer = client.get("/api/search", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def same(answer, result):
    """Equal in everything but the time it took."""
    expected = SearchAnswer.of(result).model_dump(mode="json")
    return {**answer, "took_ms": 0} == {**expected, "took_ms": 0}


@pytest.mark.parametrize(("params", "asked"), [
    ({"q": "red"}, {"query": "red"}),
    ({"q": "2:red + blue"}, {"query": "2:red + blue"}),
    ({"q": "yellow", "not": ["green", "white"]}, {"query": "yellow", "exclude": ["green", "white"]}),
    ({"q": "red", "k": 3, "offset": 4}, {"query": "red", "k": 3, "offset": 4}),
    ({"q": "red", "where": "size = 4"}, {"query": "red", "where": "size = 4"}),
    ({"q": "red square", "hybrid": "false"}, {"query": "red square", "hybrid": False}),
    ({}, {}),
])
def test_search_equals_the_searcher_in_process(client, searcher, params, asked):
    assert same(search(client, **params), searcher.search(**{"k": 24, **asked}))


def test_search_shape(client, searcher):
    answer = search(client, q="red square", k=1)
    assert list(answer) == ["query", "model", "took_ms", "answered", "total", "hits"]
    assert answer["model"] == {"name": "colours", "fingerprint": searcher.embedder.spec.fingerprint}
    assert list(answer["hits"][0]) == ["id", "uri", "caption", "score", "probability", "matches", "ranks", "metadata"]
    assert answer["hits"][0]["caption"] == "red square"
    assert answer["total"] == 40


def test_pages_of_a_search_join_without_gap_or_overlap(client):
    whole = search(client, q="red + blue", k=40)["hits"]
    parts = [hit for offset in range(0, 40, 7) for hit in search(client, q="red + blue", k=7, offset=offset)["hits"]]
    assert parts == whole
    assert len({hit["id"] for hit in whole}) == 40


def test_more_like_this(client, searcher):
    seed = search(client, q="blue", k=1)["hits"][0]["id"]
    answer = search(client, like=seed, k=4)
    assert same(answer, searcher.search(like=seed, k=4))
    assert {hit["metadata"]["colour"] for hit in answer["hits"]} == {"blue"}
    assert seed not in [hit["id"] for hit in answer["hits"]]


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_picture_finds_its_colour(client, searcher, format_):
    picture = drawn(COLOURS["green"], "wide")
    answer = client.post("/api/search", params={"k": 5}, files={"picture": ("g", encoded(picture, format_))})
    assert answer.status_code == 200, answer.text
    assert {hit["metadata"]["colour"] for hit in answer.json()["hits"]} == {"green"}
    assert answer.json()["answered"]


def test_a_picture_with_text_fuses_both(client, searcher):
    picture = drawn(COLOURS["green"], "square")
    answer = client.post("/api/search", params={"q": "yellow", "k": 40}, files={"picture": ("g", encoded(picture))})
    assert same(answer.json(), searcher.search("yellow", image=picture, k=40))
    assert set(answer.json()["hits"][0]["ranks"]) >= {"text", "image"}


def test_nothing_matches(client):
    answer = search(client, q="grey", k=5)
    assert not answer["answered"]
    assert [hit["matches"] for hit in answer["hits"]] == [False] * 5


@pytest.mark.parametrize(("chosen", "condition"), [
    (["colour:red"], lambda m: m["colour"] == "red"),
    (["colour:red", "colour:blue", "shape:wide"], lambda m: m["colour"] in ("red", "blue") and m["shape"] == "wide"),
    (["group:it's cold"], lambda m: m["group"] == "it's cold"),
    (["bright:true"], lambda m: m["bright"]),
    (["size:4"], lambda m: m["size"] == 4),
    (["weight:1.5"], lambda m: m["weight"] == 1.5),
    (["width:300"], lambda m: m["width"] == 300),
    (["colour:' OR 1=1 --"], lambda m: False),
])
def test_filters_are_what_python_would_filter(client, chosen, condition):
    everything = search(client, q="red", k=40)["hits"]
    filtered = search(client, q="red", k=40, filter=chosen)["hits"]
    assert {hit["id"] for hit in filtered} == {hit["id"] for hit in everything if condition(hit["metadata"])}


def test_filter_and_where_both_hold(client):
    hits = search(client, filter=["colour:red"], where="shape = 'wide' OR shape = 'tall'", k=40)["hits"]
    assert sorted(hit["caption"] for hit in hits) == ["red tall", "red wide"]


@pytest.mark.parametrize(("params", "status", "says"), [
    ({"k": "many"}, 422, "k: input should be a valid integer"),
    ({"k": 0}, 422, "greater than or equal to 1, got '0'"),
    ({"k": 1000}, 422, "less than or equal to 200"),
    ({"offset": -1}, 422, "offset: input should be greater than or equal to 0"),
    ({"limit": 5}, 422, "limit: extra inputs are not permitted"),
    ({"hybrid": "perhaps"}, 422, "hybrid: input should be a valid boolean"),
    ({"q": "x" * 1001}, 422, "q: string should have at most 1000 characters"),
    ({"collection": "trips"}, 404, "no collection 'trips' here; there are: colours"),
    ({"like": "0" * 64}, 404, "ids are in the hits of a search"),
    ({"like": "../../etc/passwd"}, 404, "ids are in the hits of a search"),
    ({"q": "red", "where": "taste = 'sweet'"}, 422, "Its columns are"),
    ({"q": "red", "where": "colour ="}, 422, "is not a condition over this collection"),
    ({"q": "red", "where": "1; DROP TABLE pictures"}, 422, "is not a condition over this collection"),
    ({"filter": "red"}, 422, "a filter is column:value, got 'red'"),
    ({"filter": "taste:sweet"}, 422, "no column 'taste' to filter by; there are: id, uri"),
    ({"filter": "size:large"}, 422, "size is int64, which 'large' is not"),
    ({"filter": "bright:perhaps"}, 422, "bright is bool, which 'perhaps' is not"),
    ({"filter": "captions:red"}, 422, "which filters cannot name; use where="),
    ({"q": "0:red"}, 422, "there is nothing to look for in '0:red'"),
])
def test_what_is_refused_and_how(client, params, status, says):
    answer = client.get("/api/search", params=params)
    assert answer.status_code == status
    assert says in answer.json()["detail"]


text = st.text(max_size=40)
number = st.integers(-10**20, 10**20).map(str) | st.floats().map(str) | text
condition = text | st.from_regex(r"(colour|size|width|bright|nope) (=|<|LIKE|IN|IS) ('?[a-z0-9%]*'?|NULL|\(1, 2\))",
                                 fullmatch=True)


@given(params=st.fixed_dictionaries({}, optional={
    "q": text | st.sampled_from(["red", "2:red + blue", "- red", "1e999:red", '"']), "not": st.lists(text, max_size=3),
    "filter": st.lists(text | st.sampled_from(["colour:red", "size:9e9", "size:99999999999999999999", "weight:nan",
                                               "weight:inf", "width:99999999999"]), max_size=3),
    "where": condition, "like": text, "k": number, "offset": number, "hybrid": text, "collection": text,
    "other": text}))
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_query_string_brings_the_server_down(client, params):
    answer = client.get("/api/search", params=params)
    assert answer.status_code in (200, 404, 422), answer.text
    if answer.status_code != 200:
        assert isinstance(answer.json()["detail"], str)
