import itertools
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from diptych.core.errors import CollectionError, CollectionNotFound, FilterError, IndexMismatch
from diptych.core.types import Pair
from diptych.index import search, snapshot, store
from diptych.index.jobs import index_pairs
from diptych.index.search import Searcher
from diptych.index.snapshot import StaleSnapshotError
from diptych.index.writer import Writer
from fakes import COLOURS, ColourEmbedder


def names(result) -> list[str]:
    return [hit.uri.rsplit("/", 1)[-1].removesuffix(".png") for hit in result]


@pytest.fixture
def searcher(run, folder, embedder):
    """Colours captioned "<colour> picture", with metadata."""
    run(folder, captions=lambda path: (f"{path.stem} picture", "colour"),
        metadata=lambda path: {"length": len(path.stem), "warm": path.stem in ("red", "yellow", "magenta")})
    return Searcher(store.Collection("colours"), embedder)


def test_text_finds_its_picture_and_says_why(searcher, embedder):
    result = searcher.search("red", k=3)
    assert names(result)[0] == "red" and result.answered and result.hits[0].matches
    assert (result.query, result.model_name, result.fingerprint, result.total) == (
        "red", "colours", embedder.spec.fingerprint, 8)
    hit = result.hits[0]
    assert hit.score == pytest.approx(1.0, abs=1e-5)
    assert hit.probability == pytest.approx(embedder.spec.probability(1.0), abs=1e-4)
    assert hit.ranks == {"text": 1, "lexical": 1} and hit.caption == "red picture"
    assert hit.metadata == {"width": 6, "height": 4, "format": "PNG", "length": 3, "warm": True}


def test_the_order_is_that_of_all_cosines(searcher, embedder):
    result = searcher.search("red", k=100, hybrid=False)
    want = {c: float(embedder.embed_images([Image.new("RGB", (1, 1), rgb)])[0] @ embedder.embed_texts(["red"])[0])
            for c, rgb in COLOURS.items()}
    assert [hit.score for hit in result] == pytest.approx(sorted(want.values(), reverse=True), abs=1e-5)
    for hit, name in zip(result, names(result), strict=True):
        assert hit.score == pytest.approx(want[name], abs=1e-5)
    assert [hit.ranks for hit in result] == [{"text": i} for i in range(1, 9)]


@pytest.mark.parametrize("how", [{"hybrid": False}, {"hybrid": True}, {"where": "length > 3"}])
def test_pages_are_parts_of_one_list(searcher, how):
    whole = searcher.search("red picture", k=100, **how).hits
    for size in (1, 3):
        pages = [searcher.search("red picture", k=size, offset=at, **how).hits for at in range(0, len(whole) + 2, size)]
        assert tuple(hit for page in pages for hit in page) == whole


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(sorted(COLOURS)), st.sampled_from([1.0, 2.0, 0.5])), min_size=1,
                max_size=4))
def test_terms_add_up_to_the_query_vector(searcher, embedder, terms):
    written = " + ".join(f"{w}:{c}" for c, w in terms)
    total = sum(w * embedder.embed_texts([c])[0].astype(np.float64) for c, w in terms)
    norm = np.linalg.norm(total)
    if norm < 1e-3:
        return
    result = searcher.search(written, k=8, hybrid=False)
    pictures = {c: embedder.embed_images([Image.new("RGB", (1, 1), rgb)])[0] for c, rgb in COLOURS.items()}
    for hit, name in zip(result, names(result), strict=True):
        assert hit.score == pytest.approx(float(pictures[name] @ (total / norm)), abs=1e-4)
    assert [h.score for h in result] == sorted((h.score for h in result), reverse=True)


def test_excluded_terms_push_away_and_never_match(searcher):
    assert names(searcher.search("red", hybrid=False, k=8)).index("magenta") < 4
    result = searcher.search("red + magenta", exclude=["magenta"], hybrid=False, k=8)
    assert names(result)[0] == "red"
    both = {name: hit for hit, name in zip(result, names(result), strict=True)}
    assert not both["magenta"].matches and both["magenta"].probability > 0
    assert names(searcher.search("red + magenta - magenta", k=8, hybrid=False)) == names(result)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(COLOURS)), st.lists(st.sampled_from(sorted(COLOURS)), min_size=1, max_size=2,
                                                  unique=True), st.sampled_from([0.5, 1.0, 3.0]))
def test_exclusion_leaves_the_order_of_what_it_is_not_about(searcher, wanted, excluded, weight):
    """What shows something excluded comes last; among those nearer to what is wanted, the order is that without it."""
    if wanted in excluded:
        return
    spec = searcher.embedder.spec
    plain = searcher.search(wanted, k=8, hybrid=False)
    pushed = searcher.search(wanted + "".join(f" - {weight}:{c}" for c in excluded), k=8, hybrid=False)
    against = {c: {h.uri: h.score for h in searcher.search(c, k=8, hybrid=False)} for c in excluded}
    shows = [any(spec.probability(against[c][h.uri]) >= spec.cutoff for c in excluded) for h in pushed]
    assert shows == sorted(shows) and not any(h.matches for h, bad in zip(pushed, shows, strict=True) if bad)
    untouched = {h.uri for h, bad in zip(pushed, shows, strict=True)
                 if not bad and all(against[c][h.uri] <= h.score for c in excluded)}
    assert [h.uri for h in pushed if h.uri in untouched] == [h.uri for h in plain if h.uri in untouched]
    assert {h.uri: h.score for h in pushed} == {h.uri: h.score for h in plain}


def test_what_a_caption_names_is_excluded_too(searcher):
    """ "green picture" is no colour that the model excludes by sight: its caption says the words."""
    plain = searcher.search("green", k=8)
    assert names(plain)[0] == "green" and plain.hits[0].matches
    without = searcher.search("green", exclude=[plain.hits[0].caption], k=8)
    assert names(without)[-1] == "green" and not without.hits[-1].matches


def test_only_exclusions(searcher):
    result = searcher.search("- red", k=8)
    assert names(result)[0] == "cyan" and names(result)[-1] == "red"
    assert result.hits[0].matches and not result.hits[-1].matches


def test_terms_that_cancel_out_are_the_callers_mistake(searcher):
    assert names(searcher.search("red - red", k=8))[-1] == "red"  # excluded is excluded, that is no mistake
    one = searcher.embedder.embed_texts(["red"])[0]
    with pytest.raises(ValueError, match="cancel each other out"):
        search._sum([one, -one], [1.0, 1.0])


def test_nothing_matches_is_an_answer(searcher):
    result = searcher.search("grey", hybrid=False)
    assert not result.answered and len(result) == 8 and not any(hit.matches for hit in result)


def test_a_caption_with_every_word_matches_whatever_the_cosine(searcher):
    result = searcher.search("colour", k=8)
    assert result.answered and all(hit.matches and "lexical" in hit.ranks for hit in result)
    assert not searcher.search("colour zeppelin", k=8).answered


def test_words_lift_what_is_named_and_leave_other_queries_alone(searcher):
    lifted = searcher.search("yellow picture - red", k=8)
    assert names(lifted)[0] == "yellow" and [("lexical" in h.ranks) for h in lifted] == [True] + [False] * 7
    assert names(searcher.search("red boat", k=8)) == names(searcher.search("red boat", k=8, hybrid=False))


def test_pictures_find_their_like(searcher, picture, folder):
    for held in (picture("blue"), Image.new("RGB", (3, 3), "blue"), folder / "blue.png", str(folder / "blue.png")):
        result = searcher.search(image=held, k=2)
        assert names(result)[0] == "blue" and result.hits[0].ranks == {"image": 1}
        assert result.hits[0].score == pytest.approx(1.0, abs=1e-5)


def test_text_and_picture_are_fused_by_rank(searcher, picture):
    result = searcher.search("red", image=picture("blue"), k=8, hybrid=False)
    text = {n: i for i, n in enumerate(names(searcher.search("red", k=8, hybrid=False)), 1)}
    blue = {n: i for i, n in enumerate(names(searcher.search(image=picture("blue"), k=8)), 1)}
    assert all(hit.ranks == {"text": text[n], "image": blue[n]} for hit, n in zip(result, names(result), strict=True))
    fused = [1 / (60 + text[n]) + 1 / (60 + blue[n]) for n in names(result)]
    assert fused == sorted(fused, reverse=True)
    by_text = {n: h.score for h, n in zip(searcher.search("red", k=8), names(searcher.search("red", k=8)), strict=True)}
    assert all(hit.score == pytest.approx(by_text[n]) for hit, n in zip(result, names(result), strict=True))


def test_more_like_this_leaves_itself_out_and_keeps_its_twin(run, folder, embedder, picture):
    (folder / "twin.png").write_bytes(picture("red", (9, 9)))
    run(folder)
    searcher = Searcher(store.Collection("colours"), embedder)
    red = searcher.search("red", k=9).hits
    itself = next(hit for hit in red if hit.uri.endswith("/red.png"))
    result = searcher.search(like=itself.id, k=100)
    assert result.total == 8 and "red" not in names(result) and names(result)[0] == "twin"
    assert result.hits[0].ranks == {"like": 1}
    both = searcher.search("blue", like=itself.id, k=3)
    assert set(both.hits[0].ranks) == {"text", "like"}


@pytest.mark.parametrize("unknown", ["", "0" * 64, "x' OR 1=1", "é" * 32])
def test_an_unknown_picture_to_be_like(searcher, unknown):
    with pytest.raises(ValueError, match="no picture"):
        searcher.search(like=unknown)


@pytest.mark.parametrize("where, want", [
    ("length = 3", {"red"}), ("warm", {"red", "yellow", "magenta"}), ("warm AND length > 3", {"yellow", "magenta"}),
    ("caption LIKE 'b%'", {"blue", "black"}), ("format = 'PNG' AND width < 3", set()), ("length IS NULL", set()),
    ("length IN (3, 4)", {"red", "blue", "cyan"}), ("array_has(captions, 'red picture')", {"red"}),
    ("  ", set(COLOURS)), (None, set(COLOURS))])
def test_filters_come_before_ranking(searcher, where, want):
    result = searcher.search("blue", where=where, k=2)
    assert result.total == len(want)
    assert len(result) == min(2, len(want))
    assert set(names(searcher.search("blue", where=where, k=8))) == want


@pytest.mark.parametrize("where", ["nope = 1", "length =", "length", "length = 'x", "length > 'abc'", "nosuch(length)",
                                   "count(*) > 1", "id IN (SELECT id FROM t)", "vector = 3", "犬"])
def test_a_bad_filter_lists_the_columns(searcher, where):
    with pytest.raises(FilterError, match=r"length \(int64\), warm \(bool\)") as caught:
        searcher.search("red", where=where)
    assert ".rs:" not in str(caught.value)


def test_asked_nothing_it_lists_by_uri(searcher):
    result = searcher.search(where="warm", k=2)
    assert names(result) == ["magenta", "red"] and result.total == 3 and result.answered
    assert names(searcher.search(where="warm", k=2, offset=2)) == ["yellow"]
    assert [hit.ranks for hit in result] == [{}, {}] and result.hits[0].score == 0.0


def test_bounds(searcher):
    assert len(searcher.search("red", k=0)) == 0 and searcher.search("red", k=0).total == 8
    assert len(searcher.search("red", k=5, offset=7)) == 1
    assert len(searcher.search("red", k=5, offset=1000)) == 0
    for bad in ({"k": -1}, {"offset": -1}):
        with pytest.raises(ValueError, match="not negative"):
            searcher.search("red", **bad)


def test_an_empty_collection(embedder):
    searcher = Searcher(store.open_or_create("empty", embedder.spec), embedder)
    for how in ({"query": "red"}, {"image": Image.new("RGB", (2, 2))}, {}, {"query": "a b", "where": "width > 1"}):
        result = searcher.search(**how)
        assert (len(result), result.total, result.answered) == (0, 0, False)


def test_a_query_that_has_no_finite_vector(searcher, embedder, monkeypatch):
    monkeypatch.setattr(embedder, "embed_texts", lambda texts: np.full((len(texts), 4), np.nan, np.float32))
    with pytest.raises(CollectionError, match="no finite vector"):
        searcher.search("a query not asked before")


def test_another_embedder_is_refused_also_later(searcher, run, folder, listed):
    with pytest.raises(IndexMismatch):
        Searcher(store.Collection("colours"), ColourEmbedder("other"))
    store.remove("colours")
    with pytest.raises(CollectionNotFound):
        searcher.search("red")
    other = ColourEmbedder("other")
    index_pairs({str(folder): listed(folder)}, store.open_or_create("colours", other.spec), other)
    with pytest.raises(IndexMismatch):
        searcher.search("red")


def test_a_collection_made_anew_is_seen(searcher, run, folder, picture):
    store.remove("colours")
    (folder / "red.png").unlink()
    run(folder)
    assert searcher.search("red").total == 7


def test_commits_are_seen_by_the_next_search(searcher, run, folder, picture):
    assert searcher.search("red", hybrid=False).total == 8
    (folder / "second red.png").write_bytes(picture("red", (2, 2)))
    (folder / "blue.png").unlink()
    run(folder)
    result = searcher.search("red", hybrid=False, k=8)
    assert result.total == 8 and set(names(result)[:2]) == {"red", "second red"} and "blue" not in names(result)


def test_an_unchanged_collection_is_loaded_once(searcher, monkeypatch):
    searcher.search("red")
    monkeypatch.setattr(snapshot, "load", lambda collection: pytest.fail("loaded again"))
    searcher.search("blue", where="warm")


def test_texts_are_embedded_once(searcher, embedder, monkeypatch):
    searcher.search("red")
    monkeypatch.setattr(embedder, "embed_texts", lambda texts: pytest.fail("embedded again"))
    assert names(searcher.search("red", offset=0, k=1)) == ["red"]


def test_a_large_collection_lags_behind_a_running_job(searcher, run, folder, picture, monkeypatch):
    """Loading that takes long is not repeated for every commit, but it is made up for."""
    monkeypatch.setattr(Writer, "optimize", lambda self: None)  # it would clear the loaded version away
    monkeypatch.setattr(search, "_RELOAD_SHARE", 1e9)
    clock = itertools.count(0, 5)
    monkeypatch.setattr(search, "monotonic", lambda: float(next(clock)))
    assert searcher.search("red").total == 8
    (folder / "second.png").write_bytes(picture("red", (2, 2)))
    run(folder)
    assert searcher.search("red").total == 8
    searcher._next_load_at = 0.0
    assert searcher.search("red").total == 9


def test_versions_cleared_away_in_the_middle_of_a_search(searcher, monkeypatch):
    failures = iter([True, True, False, *[True] * search._ATTEMPTS])
    monkeypatch.setattr(search, "sleep", lambda _: None)

    def fetch(self, rows, columns, original=snapshot.Snapshot.fetch):
        if next(failures):
            raise StaleSnapshotError
        return original(self, rows, columns)

    monkeypatch.setattr(snapshot.Snapshot, "fetch", fetch)
    assert names(searcher.search("red", k=1)) == ["red"]
    with pytest.raises(CollectionError, match="faster than it can be read"):
        searcher.search("red", k=1)


def test_searching_while_another_thread_writes(run, folder, embedder, picture):
    """Every answer is of one version: as many rows as some version had, each row whole."""
    run(folder)
    searcher, stop, problems, seen = Searcher(store.Collection("colours"), embedder), threading.Event(), [], set()

    def look():
        while not stop.is_set():
            try:
                result = searcher.search("red", k=50, where="width > 0")
                seen.add(result.total)
                assert len(result) == result.total and names(result)[0].startswith("red")
                assert searcher.collection.thumbnail(result.hits[0].id) is not None
            except Exception as error:
                problems.append(error)
                return

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(12):
        (folder / f"grey {number}.png").write_bytes(picture((90 + number, 90, 90)))
        run(folder)
    stop.set()
    for reader in readers:
        reader.join()
    assert not problems, problems[0]
    assert searcher.search("red").total == 20 and seen <= set(range(8, 21))


def test_hits_come_in_the_order_of_ids_when_all_else_is_equal(embedder, picture):
    pairs = [Pair(uri=f"same/{i}", data=picture("red", (2 + i, 2))) for i in range(9)]
    index_pairs({"t": pairs}, store.open_or_create("same", embedder.spec), embedder, batch=1)
    ids = [hit.id for hit in Searcher(store.Collection("same"), embedder).search("red", k=9, hybrid=False)]
    assert ids == sorted(ids)


def test_without_calibration_the_cutoff_is_one_half(run, folder, embedder):
    run(folder)
    embedder.spec = replace(embedder.spec, calibration=None)
    searcher = Searcher(store.Collection("colours"), embedder)
    for hit in searcher.search("red", k=8, hybrid=False):
        assert hit.matches == (hit.probability >= 0.5) == (10 * hit.score - 5 >= 0)


@pytest.mark.parametrize("query", ["-", " + ", "0:red", "2:"])
def test_an_operator_alone_is_nothing_to_look_for(searcher, query):
    with pytest.raises(ValueError, match="nothing to look for"):
        searcher.search(query)


@pytest.mark.parametrize("deep", ["width" + "+1" * 700 + " > 1", " AND ".join(["width > 1"] * 700),
                                  "NOT " * 700 + "true"])
def test_a_condition_too_deep_for_the_engine_is_refused(searcher, deep):
    """Unrefused, the first one overflows DataFusion's stack and ends the process."""
    with pytest.raises(FilterError, match="operators, 200 is the limit"):
        searcher.search(where=deep)
    many = ", ".join(f"'+{n} AND'" for n in range(1000))
    assert searcher.search(where=f"caption NOT IN ({many})").total == len(searcher)
